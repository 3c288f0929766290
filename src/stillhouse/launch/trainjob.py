"""Training on more than one node: the task ``train_student`` as a launcher of a TrainJob of Kubeflow Trainer.

The launcher writes the call of the stage into the workspace and has a TrainJob do it (``trainjob_launcher``). Then the
stage runs as always and finds its work done. How a TrainJob looks is ``trainjob_manifest``'s, what its state means
``trainjob_state``'s, and how the API is spoken to ``kube_jobs``'s. Without ``STILLHOUSE_TRAINJOB`` in the environment
nothing here happens.
"""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stillhouse import entry
from stillhouse.errors import RecipeError, StillhouseError
from stillhouse.launch.kube_jobs import Jobs, in_cluster
from stillhouse.launch.trainjob_launcher import Clock, Launcher, RealClock
from stillhouse.launch.trainjob_manifest import job_name
from stillhouse.recipe.stages import TrainConfig
from stillhouse.recipe.trainjob import TRAINJOB_ENV, TrainJobSpec, read_spec
from stillhouse.stage import stage_key
from stillhouse.summary import FILE_NAME, StageSummary
from stillhouse.training.worker import CALL_NAME, Call
from stillhouse.workspace import Workspace, link_tree

STAGE = "train_student"


class Cancelled(BaseException):
    """SIGTERM: the task was cancelled, or its pod is taken away."""


def run_component(name: str, config: Mapping[str, Any], **arguments: Any) -> StageSummary:
    """As ``entry.run_component``; with ``STILLHOUSE_TRAINJOB`` set, a TrainJob does the work first."""
    text = os.environ.get(TRAINJOB_ENV)
    if text:
        try:
            records, teacher = (Path(arguments[key].path) for key in ("records", "teacher"))
            launch(read_spec(text), config, records=records, teacher=teacher, workspace=arguments["workspace"])
        except StillhouseError as error:
            entry.exit_with(name, error)
    return entry.run_component(name, config, **arguments)


def launch(
    spec: TrainJobSpec,
    config: Mapping[str, Any],
    *,
    records: Path,
    teacher: Path,
    workspace: str | Path,
    jobs: Jobs | None = None,
    clock: Clock | None = None,
) -> None:
    """Have a TrainJob train the student, and return when its payload is in ``workspace``.

    On SIGTERM the TrainJob is deleted and the process ends (exit 143).

    Raises:
        RecipeError: what waiting does not cure (more processes than examples of a step, an image that cannot be pulled,
            too little memory, no right to create TrainJobs), or what the training itself raised.
        TransientError: the TrainJob was deleted, its pods were taken away, or the API did not answer; the next try
            takes a running TrainJob over, and a new one continues from the last checkpoint.
        StillhouseError: the training ended with a bug; the log of its pods says which.
    """
    space = Workspace.open(workspace)
    parsed = TrainConfig.model_validate(dict(config))
    _check(spec, parsed, space)
    found = {name: StageSummary.read(path) for name, path in (("records", records), ("teacher", teacher))}
    key = stage_key(parsed, {name: [summary.key] for name, summary in found.items()})
    payload = space.payload(STAGE, key)
    if (payload / FILE_NAME).is_file():
        return
    folder = space.work(STAGE, key) / "trainjob"
    inputs = {
        name: _in_workspace(space, found[name], path, folder / "inputs" / name)
        for name, path in (("records", records), ("teacher", teacher))
    }
    plain = parsed.model_dump(mode="json", by_alias=True)
    call = Call(config=plain, output=folder / "output", workspace=space.root, **inputs)
    call.write(folder / CALL_NAME)
    launcher = Launcher(spec, job_name(key), folder, payload, jobs or in_cluster(), clock or RealClock())
    with _cancelled_by_sigterm():
        try:
            launcher.run()
        except (Cancelled, KeyboardInterrupt) as error:
            launcher.cancel()
            raise SystemExit(128 + signal.SIGTERM) from error
    shutil.rmtree(folder, ignore_errors=True)


def _check(spec: TrainJobSpec, config: TrainConfig, space: Workspace) -> None:
    per_step = config.train.batch_size * config.train.gradient_accumulation
    if spec.processes > per_step:
        raise RecipeError(
            f"train.batch_size * train.gradient_accumulation is {per_step}, but {spec.nodes} nodes of "
            f"{spec.processes_per_node} processes share each step; raise one of the two, or train on fewer nodes"
        )
    if not space.root.is_relative_to(spec.mount_path):
        raise RecipeError(
            f"workspace {space.root}: must be {spec.mount_path} or a folder in it, which is what the nodes mount"
        )


def _in_workspace(space: Workspace, summary: StageSummary, path: Path, copy: Path) -> Path:
    """The artifact at ``path`` (of this pod alone) where all nodes see it: the workspace's own, or a copy."""
    own = space.payload(summary.stage, summary.key)
    if (own / FILE_NAME).is_file():
        return own
    copy.parent.mkdir(parents=True, exist_ok=True)
    link_tree(path, copy)
    return copy


@contextmanager
def _cancelled_by_sigterm() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def raise_cancelled(_signal: int, _frame: Any) -> None:
        raise Cancelled

    before = signal.signal(signal.SIGTERM, raise_cancelled)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
