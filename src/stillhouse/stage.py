"""How any stage runs: its key, its memory of finished work, its MLflow run, its errors. Knows no stage's logic.

A stage is a function ``body(stage: Stage) -> None`` that reads ``stage.config`` and ``stage.inputs``, writes
files into ``stage.output`` and fills ``stage.metrics``, ``stage.details``, ``stage.cost`` and
``stage.headline``. Everything around it is here, once.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Generic, TypeVar

from stillhouse import __version__
from stillhouse.digest import sha256_files, sha256_json
from stillhouse.errors import TransientError
from stillhouse.lineage.tracking import Tracker, open_run, untold
from stillhouse.progress import Progress
from stillhouse.recipe.stages import StageConfig
from stillhouse.summary import FILE_NAME, StageSummary
from stillhouse.workspace import Workspace, link_tree

C = TypeVar("C", bound=StageConfig)
RECIPE_NAME = "recipe.json"


@dataclass
class Stage(Generic[C]):
    """A running stage, as its body sees it.

    ``output`` becomes the artifact once the body returns; ``work`` survives kills and is where checkpoints and
    other unfinished work belong. ``inputs`` maps a name to upstream folders, ``upstream`` to their summaries.
    """

    name: str
    part: str
    key: str
    config: C
    inputs: Mapping[str, Sequence[Path]]
    upstream: Mapping[str, Sequence[StageSummary]]
    output: Path
    work: Path
    workspace: Workspace
    progress: Progress
    tracker: Tracker
    metrics: dict[str, float] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    cost: dict[str, float] = field(default_factory=dict)
    headline: str = ""

    def input(self, name: str) -> Path:
        """The one upstream folder called ``name``."""
        (folder,) = self.inputs[name]
        return folder


def stage_key(config: StageConfig, inputs: Mapping[str, Sequence[str]], part: str = "") -> str:
    """Identity of a stage's work: its config, the keys of its inputs, and which shard it is.

    Computable without running anything, which is how the exit handler and the report find what a run made.
    """
    plain = config.model_dump(mode="json", by_alias=True)
    return sha256_json([config.stage, part, plain, {name: list(keys) for name, keys in inputs.items()}])[:32]


def run_stage(
    config: C,
    body: Callable[[Stage[C]], None],
    *,
    output: Path,
    workspace: str | Path,
    inputs: Mapping[str, Sequence[Path]] | None = None,
    part: str = "",
    name: str = "",
    still_true: Callable[[StageSummary, Workspace], bool] | None = None,
) -> StageSummary:
    """Run ``body`` unless the workspace already holds its result; either way ``output`` is the finished artifact.

    ``still_true`` is asked about a result that was found: a stage whose result also lives elsewhere (a registry)
    says whether it still does; if not, the stage runs again.

    Raises:
        RecipeError, TransientError, BudgetExhausted: from the body; whatever it finished stays in the workspace.
    """
    folders = {key: [Path(path) for path in paths] for key, paths in (inputs or {}).items()}
    upstream = {key: [StageSummary.read(path) for path in paths] for key, paths in folders.items()}
    space = Workspace.open(workspace)
    stage_name = name or config.stage
    key = stage_key(config, {kind: [item.key for item in items] for kind, items in upstream.items()}, part)
    payload = space.payload(stage_name, key)
    work = space.work(stage_name, key)
    progress = Progress(stage_name, part)
    with _disk_errors(space.root):
        work.mkdir(parents=True, exist_ok=True)
        with _only_one(work, progress):
            summary = _finished(payload, space, still_true)
            if summary is not None:
                if untold(space, stage_name, key):  # MLflow was away, or the process killed, when this was done
                    with open_run(space, stage_name, part, key) as tracker:
                        tracker.start(summary.config)
                        tracker.finish(summary, payload)
                progress.finish(f"{summary.headline} · done before", 0.0)
            else:
                with open_run(space, stage_name, part, key) as tracker, _partial(payload) as partial:
                    stage = Stage(
                        name=stage_name, part=part, key=key, config=config, inputs=folders, upstream=upstream,
                        output=partial, work=work, workspace=space, progress=progress, tracker=tracker,
                    )  # fmt: skip
                    summary = _run_body(stage, body)
                    partial.rename(payload)
                    tracker.finish(summary, payload)
        link_tree(payload, Path(output))
    return summary


def _finished(
    payload: Path, space: Workspace, still_true: Callable[[StageSummary, Workspace], bool] | None
) -> StageSummary | None:
    """The result of an earlier run; None where there is none, or where it is true no longer."""
    if not (payload / FILE_NAME).is_file():
        return None
    summary = StageSummary.read(payload)
    if still_true is None or still_true(summary, space):
        return summary
    shutil.rmtree(payload)
    return None


def _run_body(stage: Stage[C], body: Callable[[Stage[C]], None]) -> StageSummary:
    started, clock = datetime.now(UTC), time.monotonic()
    plain = stage.config.model_dump(mode="json", by_alias=True)
    (stage.output / RECIPE_NAME).write_text(json.dumps(plain, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    stage.tracker.start(plain)
    body(stage)
    seconds = time.monotonic() - clock
    summary = StageSummary(
        stage=stage.name,
        key=stage.key,
        part=stage.part,
        config=plain,
        inputs={kind: [item.key for item in items] for kind, items in stage.upstream.items()},
        digest=sha256_files((path for path in stage.output.rglob("*") if path.is_file()), stage.output),
        metrics=stage.metrics,
        details=stage.details,
        cost=stage.cost,
        headline=stage.headline,
        version=__version__,
        started_at=started.isoformat(timespec="seconds"),
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(seconds, 3),
    )
    summary.write(stage.output)
    stage.progress.finish(stage.headline, seconds)
    return summary


@contextmanager
def _partial(payload: Path) -> Iterator[Path]:
    """An empty folder beside ``payload`` that is gone afterwards, unless it was renamed to ``payload``."""
    for left in payload.parent.glob("payload.*.partial"):  # of a killed run; we hold the lock
        shutil.rmtree(left, ignore_errors=True)
    folder = payload.with_name(f"payload.{os.getpid()}.partial")
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _only_one(work: Path, progress: Progress) -> Iterator[None]:
    """Two processes never do the same work: the second waits, and then finds it done."""
    with (work / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.say("another process is doing this very work; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _disk_errors(root: Path) -> Iterator[None]:
    """A full or broken disk is not a bug: say where, and that what was finished is safe."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS):
            raise
        where = error.filename or root
        raise TransientError(
            f"{where}: {error.strerror}; free some space and run again, finished work under {root} is kept"
        ) from error
