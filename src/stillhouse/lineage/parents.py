"""One parent run for each pipeline run, and the end of runs whose process is gone. Knows processes, not stages.

A launcher that was killed leaves its parent run open. It also leaves a note under ``<workspace>/mlflow/open/`` with
its process id, so that the next launcher in this workspace closes what nobody will close any more.
"""

from __future__ import annotations

import json
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stillhouse.digest import canonical_json
from stillhouse.errors import TransientError
from stillhouse.workspace import Workspace

if TYPE_CHECKING:
    from stillhouse.lineage.store import Store

PARENT_ENV = "STILLHOUSE_PARENT_RUN_ID"


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


def close_parent(space: Workspace, run_id: str, status: str = "FINISHED", report: Path | None = None) -> None:
    """End a parent run with ``status`` (FINISHED, FAILED, KILLED) and every child that is still open.

    A child that runs while its parent ends has lost its process: it ends KILLED. Closing twice is harmless.
    """
    from stillhouse.lineage.store import connect

    _close(connect(space), run_id, status, report)
    _note(space, run_id).unlink(missing_ok=True)


def close_stale(space: Workspace, store: Store) -> list[str]:
    """Close the parents that a killed launcher left open in this workspace; returns their ids."""
    closed = []
    for note in sorted((space.mlflow / "open").glob("*.json")):
        if _alive(note):
            continue
        with suppress(TransientError):
            _close(store, note.stem, "KILLED", None)
            note.unlink(missing_ok=True)
            closed.append(note.stem)
    return closed


def _close(store: Store, run_id: str, status: str, report: Path | None) -> None:
    from mlflow.exceptions import MlflowException

    client = store.client
    try:
        parent = store.call(client.get_run, run_id)
    except MlflowException:
        return  # another MLflow than the one it was opened in: nothing of ours is there
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
