"""One MLflow run for each stage. Knows summaries and plain values, neither stages nor (until a run opens) mlflow.

A stage that runs under KFP's MLflow plugin finds ``MLFLOW_RUN_ID`` and logs into that run, which somebody else opened
and will end. Otherwise it opens a run of its own, below the one that ``STILLHOUSE_PARENT_RUN_ID`` names.

The payload of a stage is worth more than its bookkeeping: an MLflow that is away is reported before the body starts,
and one that goes away later costs no work. Until ``finish`` has told MLflow everything, a note in the stage's work
folder says so.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stillhouse.errors import BudgetExhausted, StillhouseError, TransientError
from stillhouse.lineage.parents import KFP_RUN_ENV, KFP_RUN_TAG, PARENT_ENV, close_parent, open_parent, prepare
from stillhouse.summary import FILE_NAME, StageSummary
from stillhouse.workspace import Workspace

if TYPE_CHECKING:
    from stillhouse.lineage.store import Point, Store

__all__ = ["Tracker", "close_parent", "open_parent", "open_run", "prepare", "untold"]

FLUSH_INTERVAL_S = 2.0
PENDING_NAME = "mlflow.pending"
_MAX_KEY, _MAX_PARAM, _MAX_TAG = 250, 6000, 8000


@dataclass
class Tracker:
    """The run of one stage. ``owned`` runs are ended here; others belong to whoever set ``MLFLOW_RUN_ID``."""

    store: Store
    run_id: str
    owned: bool
    pending: Path
    _points: list[Point] = field(default_factory=list, repr=False)
    _flushed_s: float = field(default=0.0, repr=False)
    _open: bool = field(default=True, repr=False)

    def start(self, config: Mapping[str, Any]) -> None:
        """Log ``config`` as parameters. Parameters never change: those a run already has are left alone."""
        params = flatten(config)
        if not self.owned:
            known = self.store.call(self.store.client.get_run, self.run_id).data.params
            params = {key: value for key, value in params.items() if key not in known}
        self.store.log(self.run_id, params=params)

    def metric(self, name: str, value: float, step: int = 0) -> None:
        """Record a value. Buffered, sent every two seconds; an MLflow that is away for a while costs nothing."""
        self._points.append((_clean(name), float(value), step, time.time_ns() // 1_000_000))
        if time.monotonic() - self._flushed_s >= FLUSH_INTERVAL_S:
            self._flushed_s = time.monotonic()
            with suppress(TransientError):
                self._flush()

    def artifact(self, path: Path) -> None:
        """Copy the file or folder at ``path`` into the run."""
        client = self.store.client
        if path.is_dir():
            self.store.call(client.log_artifacts, self.run_id, str(path), path.name)
        else:
            self.store.call(client.log_artifact, self.run_id, str(path))

    def dataset(self, name: str, digest: str, source: str, rows: int, context: str = "training") -> None:
        """Record a dataset as an input of this run."""
        self.store.log_dataset(self.run_id, name=name, digest=digest, source=source, rows=rows, context=context)

    def tags(self, tags: Mapping[str, str]) -> None:
        self.store.log(self.run_id, tags={key[:_MAX_KEY]: value[:_MAX_TAG] for key, value in tags.items()})

    def finish(self, summary: StageSummary, payload: Path) -> None:
        """Tell MLflow the result of a stage whose ``payload`` is already in its place, and end the run.

        Raises:
            TransientError: MLflow went away; the payload is kept, and running again tells the rest.
        """
        try:
            self._finish(summary, payload)
        except TransientError as error:
            self._open = False
            raise TransientError(f"{summary.stage} is done and kept, but {error}; then run again") from error

    def _finish(self, summary: StageSummary, payload: Path) -> None:
        now = time.time_ns() // 1_000_000
        last = [(_clean(name), float(value), 0, now) for name, value in summary.metrics.items()]
        spent = [(_clean(f"cost.{name}"), float(value), 0, now) for name, value in summary.cost.items()]
        # The run's own history has named steps; a summary value at step 0 must not stand behind them.
        logged = {name for name, *_ in self._points}
        self._points += [point for point in last + spent if point[0] not in logged]
        self._flush()
        self.tags(
            {
                "stillhouse.stage": summary.stage,
                "stillhouse.stage_key": summary.key,
                "stillhouse.digest": summary.digest,
                "stillhouse.version": summary.version,
                "stillhouse.headline": summary.headline,
            }
        )
        self.store.call(self.store.client.log_artifact, self.run_id, str(payload / FILE_NAME))
        self._end("FINISHED")
        self.pending.unlink(missing_ok=True)

    def _flush(self) -> None:
        self.store.log(self.run_id, points=self._points)
        self._points.clear()

    def _end(self, status: str) -> None:
        self._open = False
        if self.owned:
            self.store.call(self.store.client.set_terminated, self.run_id, status)

    def fail(self, error: BaseException) -> None:
        """End the run of a body that raised; never raises itself, the body's error is the one that counts."""
        if not self._open:
            return
        clean = isinstance(error, BudgetExhausted)
        killed = isinstance(error, (KeyboardInterrupt, SystemExit))
        text = " ".join(str(error).split()) or type(error).__name__
        with suppress(StillhouseError):
            self._flush()
            self.tags({"stillhouse.error": text[:1000]})
            self._end("FINISHED" if clean else "KILLED" if killed else "FAILED")


@contextmanager
def open_run(space: Workspace, stage: str, part: str, key: str) -> Iterator[Tracker]:
    """The MLflow run of a stage: opened before its body, ended with the body's fate.

    Raises:
        TransientError: MLflow does not answer; the body has not started.
    """
    from stillhouse.lineage.store import connect

    store = connect(space)
    pending = space.work(stage, key) / PENDING_NAME
    tags = {"stillhouse.stage": stage, "stillhouse.part": part, "stillhouse.stage_key": key}
    if kfp_run := os.environ.get(KFP_RUN_ENV):
        tags[KFP_RUN_TAG] = kfp_run
    given = os.environ.get("MLFLOW_RUN_ID")
    if given:
        run_id = given
        store.log(run_id, tags=tags)
    else:
        _bury(store, pending)
        if parent := os.environ.get(PARENT_ENV):
            tags["mlflow.parentRunId"] = parent
        name = f"{stage}[{part}]" if part else stage
        run = store.call(store.client.create_run, store.experiment(space), tags=tags, run_name=name)
        run_id = run.info.run_id
    tracker = Tracker(store, run_id, owned=not given, pending=pending)
    pending.parent.mkdir(parents=True, exist_ok=True)
    pending.write_text(run_id + "\n", encoding="utf-8")
    try:
        yield tracker
    except BaseException as error:
        tracker.fail(error)
        raise


def _bury(store: Store, pending: Path) -> None:
    """End the run of an earlier try of this very work whose process was killed."""
    if not pending.is_file():
        return
    run_id = pending.read_text(encoding="utf-8").strip()
    runs = store.client.search_runs
    with suppress(StillhouseError):
        experiments = [item.experiment_id for item in store.call(store.client.search_experiments)]
        query = f"attributes.run_id = '{run_id}' and attributes.status = 'RUNNING'"
        for run in store.call(runs, experiments, query):
            store.log(run.info.run_id, tags={"stillhouse.error": "its process ended without a word"})
            store.call(store.client.set_terminated, run.info.run_id, "KILLED")


def untold(space: Workspace, stage: str, key: str) -> bool:
    """Whether the stage's work was done but MLflow was away (or the process killed) before it heard of it."""
    return (space.work(stage, key) / PENDING_NAME).is_file()


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested config as dotted parameters within MLflow's limits; lists of plain values stay one parameter.

    >>> flatten({"train": {"steps": 3, "betas": [0.9, 0.99]}, "items": [{"name": "a"}]})
    {'train.steps': '3', 'train.betas': '[0.9, 0.99]', 'items.0.name': 'a'}
    """
    rows: dict[str, str] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, (list, tuple)) and any(isinstance(item, (dict, list)) for item in value):
            value = {str(index): item for index, item in enumerate(value)}
        if isinstance(value, Mapping) and value:
            rows.update(flatten(value, f"{name}."))
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            rows[_clean(name)] = text[:_MAX_PARAM]
    return rows


def _clean(name: str) -> str:
    """``name`` in the characters that MLflow allows."""
    return re.sub(r"[^\w.\- /:]", "_", name)[:_MAX_KEY]
