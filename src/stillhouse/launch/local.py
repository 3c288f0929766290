"""The compiled pipeline on this machine, through ``kfp.local``, with embedded defaults.

Nothing here knows what a stage does: it hands parameters to the graph, listens to the stages' events, and says
how it ended. KFP's own log goes to ``run.log`` of the run's folder.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any

from stillhouse.errors import EXIT_BUG, EXIT_OK
from stillhouse.progress import EVENTS_ENV
from stillhouse.workspace import Workspace

_POLL_S = 0.1


@dataclass(frozen=True)
class Outcome:
    """How a local run ended. ``error`` is the failed stage's one line."""

    exit_code: int
    error: str
    folder: Path
    seconds: float


def pipeline_file() -> Path:
    """The compiled pipeline: inside an installed package, or in the repository."""
    packaged = Path(__file__).with_name("distillation.yaml")
    return packaged if packaged.is_file() else Path(__file__).parents[3] / "pipelines" / "distillation.yaml"


def run_pipeline(
    parameters: Mapping[str, Any], space: Workspace, run_name: str, *, listener: Callable[[dict[str, Any]], None]
) -> Outcome:
    """Run the pipeline to its end; events of the stages reach ``listener`` as they happen.

    Needs the parent MLflow run's id in the environment (``STILLHOUSE_PARENT_RUN_ID``) for child runs to be nested.
    """
    folder = space.run(run_name)
    folder.mkdir(parents=True, exist_ok=True)
    events = folder / "events.jsonl"
    events.touch()
    os.environ[EVENTS_ENV] = str(events)
    errors: list[dict[str, Any]] = []

    def hear(event: dict[str, Any]) -> None:
        if event["kind"] == "error":
            errors.append(event)
        listener(event)

    started = time.monotonic()
    try:
        with _following(events, hear), (folder / "run.log").open("a", encoding="utf-8") as log:
            failure = _call(dict(parameters, workspace=str(space.root), run_name=run_name), space, log)
    finally:
        os.environ.pop(EVENTS_ENV, None)
    seconds = time.monotonic() - started
    if errors:
        return Outcome(errors[0]["exit_code"], f"{errors[0]['stage']}: {errors[0]['text']}", folder, seconds)
    if failure:
        text = f"{failure}; the traceback is in {folder / 'run.log'}"
        return Outcome(EXIT_BUG, text, folder, seconds)
    return Outcome(EXIT_OK, "", folder, seconds)


def _call(arguments: dict[str, Any], space: Workspace, log: io.TextIOBase) -> str:
    """Load the compiled YAML and run it; returns the runner's word for a failure, or nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from kfp import components, local

        runner = local.SubprocessRunner(use_venv=False)
        with contextlib.redirect_stdout(log), _quiet_root_logger():
            local.init(runner=runner, pipeline_root=str(space.kfp), enable_caching=True, raise_on_error=True)
            try:
                components.load_component_from_file(str(pipeline_file()))(**arguments)
            except RuntimeError as error:
                if "finished with status" not in str(error):
                    raise
                return _plain(str(error))
    return ""


@contextlib.contextmanager
def _quiet_root_logger() -> Iterator[None]:
    """KFP logs to the root logger; its handlers write to the redirected stdout, others stay out of it."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    root.handlers = []
    try:
        yield
    finally:
        root.handlers = before
        root.setLevel(level)


def _plain(text: str) -> str:
    """Without terminal colours."""
    import re

    return re.sub(r"\x1b\[[0-9;]*m", "", text)


@contextlib.contextmanager
def _following(path: Path, hear: Callable[[dict[str, Any]], None]) -> Iterator[None]:
    """Call ``hear`` for each JSON line that is appended to ``path``, until the block ends."""
    stop = Event()

    def follow() -> None:
        with path.open(encoding="utf-8") as stream:
            stream.seek(0, io.SEEK_END)
            ready.set()
            rest = ""
            while True:
                ending = stop.is_set()
                rest += stream.read()
                *lines, rest = rest.split("\n")
                for line in lines:
                    hear(json.loads(line))
                if ending:
                    return
                stop.wait(_POLL_S)

    ready = Event()
    thread = Thread(target=follow, name="stage-events")
    thread.start()
    ready.wait()
    try:
        yield
    finally:
        stop.set()
        thread.join()
