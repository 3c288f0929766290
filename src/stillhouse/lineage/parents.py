"""One parent run for each pipeline run, and the end of runs whose process is gone. Knows processes, not stages.

A launcher that was killed leaves its parent run open. It also leaves a note under ``<workspace>/mlflow/open/`` with
its process id, so that the next launcher in this workspace closes what nobody will close any more.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stillhouse.digest import canonical_json
from stillhouse.errors import TransientError
from stillhouse.workspace import Workspace

if TYPE_CHECKING:
    from stillhouse.lineage.store import Store

PARENT_ENV = "STILLHOUSE_PARENT_RUN_ID"
KFP_RUN_ENV = "STILLHOUSE_KFP_RUN_ID"
KFP_RUN_TAG = "stillhouse.kfp_run_id"
KIND_TAG = "stillhouse.kind"


def prepare(space: Workspace) -> None:
    """Open MLflow once, which makes the embedded database where it is missing (seconds, once per workspace).

    Raises:
        TransientError: MLflow does not answer.
    """
    from stillhouse.lineage.store import connect

    connect(space)


def open_parent(space: Workspace, run_name: str, recipe: dict[str, Any], recipe_sha256: str) -> str:
    """Open the parent run of a pipeline run; returns its id, to be passed on as ``STILLHOUSE_PARENT_RUN_ID``.

    Parents of this workspace whose launcher is no longer alive are closed first, as KILLED.
    """
    from stillhouse.lineage.store import connect

    store = connect(space)
    close_stale(space, store)
    tags = {"stillhouse.run_name": run_name, "stillhouse.recipe_sha256": recipe_sha256}
    run = store.call(store.client.create_run, store.experiment(space), tags=tags, run_name=run_name)
    run_id = str(run.info.run_id)
    note = _note(space, run_id)
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps({"host": socket.gethostname(), **_process(os.getpid())}), encoding="utf-8")
    store.call(store.client.log_text, run_id, canonical_json(recipe) + "\n", "recipe.json")
    return run_id


def close_parent(
    space: Workspace,
    run_id: str,
    status: str = "FINISHED",
    report: Path | None = None,
    tags: Mapping[str, str] | None = None,
) -> None:
    """Tag a parent run, end it with ``status`` (FINISHED, FAILED, KILLED) and every child that is still open.

    A child that runs while its parent ends has lost its process: it ends KILLED. Closing twice is harmless.
    """
    from stillhouse.lineage.store import connect

    _close(connect(space), run_id, status, report, tags)
    _note(space, run_id).unlink(missing_ok=True)


def tell_outcome(
    space: Workspace, name: str, status: str, report: Path, tags: Mapping[str, str], env: Mapping[str, str]
) -> None:
    """Tag and end the MLflow run that stands for a whole pipeline run, with ``report`` in it.

    That is the parent that a launcher has opened; on a cluster, where none has, the run that KFP's MLflow plug-in made
    for the exit handler (and will end), or else a run of its own, below which the stages' runs then stand. A second
    report of the same pipeline run finds the first one's.

    Raises:
        TransientError: MLflow does not answer.
    """
    if parent := env.get(PARENT_ENV):
        close_parent(space, parent, status, report, tags)
    elif given := env.get("MLFLOW_RUN_ID"):
        from stillhouse.lineage.store import connect

        store = connect(space)
        store.log(given, tags=tags)
        store.call(store.client.log_artifact, given, str(report))
    elif kfp_run := env.get(KFP_RUN_ENV):
        _own_run(space, name, status, report, tags, kfp_run)


def told_error(space: Workspace, key: str) -> str:
    """What the latest run of the stage with this key said when it failed; empty where MLflow knows nothing of it."""
    from stillhouse.lineage.store import connect

    store = connect(space)
    query = f"tags.`stillhouse.stage_key` = '{key}'"
    latest = ["attributes.start_time DESC"]
    found = store.call(store.client.search_runs, [store.experiment(space)], query, max_results=1, order_by=latest)
    return str(found[0].data.tags.get("stillhouse.error", "")) if found else ""


def _own_run(space: Workspace, name: str, status: str, report: Path, tags: Mapping[str, str], kfp_run: str) -> None:
    from stillhouse.lineage.store import connect

    store = connect(space)
    experiment = store.experiment(space)
    of_this_run = f"tags.`{KFP_RUN_TAG}` = '{kfp_run}'"
    runs = store.call(store.client.search_runs, [experiment], of_this_run, max_results=1000)
    own = [run for run in runs if run.data.tags.get(KIND_TAG) == tags.get(KIND_TAG)]
    if own:
        run_id = str(own[0].info.run_id)
    else:
        made = store.call(store.client.create_run, experiment, tags={KFP_RUN_TAG: kfp_run}, run_name=name)
        run_id = str(made.info.run_id)
    for run in runs:
        if run.info.run_id != run_id and "mlflow.parentRunId" not in run.data.tags:
            store.log(run.info.run_id, tags={"mlflow.parentRunId": run_id})
    _close(store, run_id, status, report, tags)


def close_stale(space: Workspace, store: Store) -> list[str]:
    """Close the parents that a killed launcher left open in this workspace; returns their ids."""
    closed = []
    for note in sorted((space.mlflow / "open").glob("*.json")):
        if _alive(note):
            continue
        with suppress(TransientError):
            _close(store, note.stem, "KILLED", None, None)
            note.unlink(missing_ok=True)
            closed.append(note.stem)
    return closed


def _close(store: Store, run_id: str, status: str, report: Path | None, tags: Mapping[str, str] | None) -> None:
    from mlflow.exceptions import MlflowException

    client = store.client
    try:
        parent = store.call(client.get_run, run_id)
    except MlflowException:
        return  # another MLflow than the one it was opened in: nothing of ours is there
    if tags:
        store.log(run_id, tags=tags)
    if report is not None and report.is_file():
        store.call(client.log_artifact, run_id, str(report))
    query = f"tags.`mlflow.parentRunId` = '{run_id}' and attributes.status = 'RUNNING'"
    for child in store.call(client.search_runs, [parent.info.experiment_id], query, max_results=1000):
        store.log(child.info.run_id, tags={"stillhouse.error": "its process ended without a word"})
        store.call(client.set_terminated, child.info.run_id, "KILLED")
    if parent.info.status != status:
        store.call(client.set_terminated, run_id, status)


def _note(space: Workspace, run_id: str) -> Path:
    return space.mlflow / "open" / f"{run_id}.json"


def _process(pid: int) -> dict[str, Any]:
    """A process's identity: ids are reused, an id with its start time is not."""
    try:
        started = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except OSError:
        started = ""
    return {"pid": pid, "started": started}


def _alive(note: Path) -> bool:
    told = json.loads(note.read_text(encoding="utf-8"))
    if told["host"] != socket.gethostname():
        return True
    try:
        os.kill(told["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return bool(_process(told["pid"])["started"] == told["started"])
