"""The one door into a stage for callers outside the library: KFP components and CLI commands.

It finds the stage's function, hands it paths, publishes what KFP's UI shows, and is the boundary where errors
become one line and an exit code. It imports a stage only when that stage runs, and never imports kfp: artifacts
are anything with a ``path``.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stillhouse.errors import StillhouseError, printable
from stillhouse.progress import EVENTS_ENV, Progress
from stillhouse.summary import StageSummary

FUNCTIONS = {
    "select_teacher": "stillhouse.selection",
    "generate_traces": "stillhouse.generation",
    "filter_traces": "stillhouse.filtering",
    "train_student": "stillhouse.training",
    "evaluate_student": "stillhouse.evaluation",
    "register_student": "stillhouse.registry",
    "promote_student": "stillhouse.registry",
}


def stage_function(name: str) -> Any:
    """The library function of stage ``name``, imported now."""
    return getattr(importlib.import_module(FUNCTIONS[name]), name)


def run_component(
    name: str,
    config: Mapping[str, Any],
    *,
    output: Any,
    metrics: Any,
    report: Any,
    workspace: str,
    **inputs: Any,
) -> StageSummary:
    """Run stage ``name`` as a KFP task: artifacts in, artifacts out, exit code by the error tree.

    ``output``, ``report`` and every input are KFP artifacts (or lists of them); other inputs pass as they are.
    """
    _stop_with_parent()
    try:
        paths = {key: _as_path(value) for key, value in inputs.items()}
        summary: StageSummary = stage_function(name)(
            dict(config), output=Path(output.path), workspace=workspace, **paths
        )
    except StillhouseError as error:
        exit_with(name, error)
    _publish(summary, output, metrics, report)
    return summary


def exit_with(stage: str, error: StillhouseError) -> None:
    """One line for people, one event for the launcher, and the exit code of the error's family."""
    text = f"{type(error).__name__}: {error}"
    Progress(stage).fail(text, error.exit_code)
    if not os.environ.get(EVENTS_ENV):
        print(printable(f"{stage}: {text}"), file=sys.stderr)
    raise SystemExit(error.exit_code) from error


def _as_path(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_as_path(item) for item in value]
    return Path(value.path) if hasattr(value, "path") else value


def _publish(summary: StageSummary, output: Any, metrics: Any, report: Any) -> None:
    from stillhouse.report import stage_page

    output.metadata.update(stillhouse_stage=summary.stage, stillhouse_key=summary.key, digest=summary.digest)
    for name, value in summary.metrics.items():
        metrics.log_metric(name, float(value))
    # KFP keeps metrics as metadata and writes no file; its local cache takes a missing file for a lost artifact.
    path = Path(metrics.path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(summary.metrics, sort_keys=True) + "\n", encoding="utf-8")
    page = Path(report.path)
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(stage_page(summary), encoding="utf-8")


def _stop_with_parent(interval_s: float = 0.5) -> None:
    """On a laptop, end this process when the launcher is gone: a killed run must not go on in the background.

    KFP's local runner starts tasks as plain subprocesses, which would outlive it. In a pod there is no launcher.
    """
    if not os.environ.get(EVENTS_ENV):
        return
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(interval_s)
        os._exit(75)

    threading.Thread(target=watch, daemon=True, name="launcher-watch").start()
