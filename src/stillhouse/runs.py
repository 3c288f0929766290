"""What a run made: found from the pipeline's parameters and the workspace alone.

Stage keys can be computed without running anything (``stage.stage_key``), so the exit handler, ``status`` and
the terminal summary need no word from the tasks, also when one of them died. Knows no KFP.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stillhouse.lineage.parents import PARENT_ENV, close_parent
from stillhouse.recipe.parameters import from_parameters
from stillhouse.report import RunFacts, run_report, write_facts
from stillhouse.stage import stage_key
from stillhouse.summary import FILE_NAME, StageSummary
from stillhouse.workspace import Workspace

STARTED_ENV = "STILLHOUSE_STARTED_AT"
REPORT_NAME = "report.html"
GRAPH: dict[str, dict[str, str]] = {
    "select_teacher": {},
    "generate_traces": {"teacher": "select_teacher"},
    "filter_traces": {"shards": "generate_traces"},
    "train_student": {"records": "filter_traces", "teacher": "select_teacher"},
    "evaluate_student": {"model": "train_student", "teacher": "select_teacher"},
    "register_student": {
        "model": "train_student",
        "scores": "evaluate_student",
        "records": "filter_traces",
        "teacher": "select_teacher",
    },
    "promote_student": {"registration": "register_student"},
}
"""Stages in order, each with its inputs: input name -> upstream stage."""


def stage_keys(parameters: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(stage, part, key) of every stage of a run with these pipeline parameters, in order."""
    configs = from_parameters(parameters)
    keys: dict[str, list[str]] = {}
    for stage, inputs in GRAPH.items():
        config = configs["register_student" if stage == "promote_student" else stage]
        parts = [str(shard) for shard in range(configs["filter_traces"].shards)] if stage == "generate_traces" else [""]  # type: ignore[attr-defined]
        upstream = {name: keys[source] for name, source in inputs.items()}
        keys[stage] = [stage_key(config, upstream, part) for part in parts]
        yield from ((stage, part, key) for part, key in zip(parts, keys[stage], strict=True))


def finished_stages(parameters: Mapping[str, Any], space: Workspace) -> list[StageSummary]:
    """Summaries of the stages that have finished, in order; what did not run or failed is not there."""
    folders = (space.payload(stage, key) for stage, _, key in stage_keys(parameters))
    return [StageSummary.read(folder) for folder in folders if (folder / FILE_NAME).is_file()]


def report_run(
    parameters: Mapping[str, Any], *, name: str, failed: bool, error: str = "", page: str | Path | None = None
) -> RunFacts:
    """Write the report of a run and close its MLflow runs; the body of the exit handler.

    Args:
        parameters: The pipeline's parameters, ``workspace`` among them.
        name: The run's folder in the workspace.
        failed: Whether a stage failed.
        error: What the orchestrator says about it; a stage's own line is preferred where it left one.
        page: Where a copy of the report is wanted.
    """
    space = Workspace.open(parameters["workspace"])
    folder = space.run(name)
    folder.mkdir(parents=True, exist_ok=True)
    event = _first_error(folder / "events.jsonl")
    facts = RunFacts(
        name=name,
        status="failed" if failed or event else "succeeded",
        started_at=os.environ.get(STARTED_ENV, ""),
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
        error=str(event.get("text", error)),
        failed_stage=str(event.get("stage", "")),
        recipe=_recipe(folder, parameters),
        summaries=finished_stages(parameters, space),
        path=str(folder / REPORT_NAME),
    )
    html = run_report(facts)
    for target in (folder / REPORT_NAME, *([Path(page)] if page else [])):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(html, encoding="utf-8")
    write_facts(facts, folder)
    if parent := os.environ.get(PARENT_ENV):
        close_parent(space, parent, "FAILED" if facts.status == "failed" else "FINISHED", folder / REPORT_NAME)
    return facts


def _first_error(events: Path) -> dict[str, Any]:
    """The first failure that a stage told; empty where none did."""
    if not events.is_file():
        return {}
    told = (json.loads(line) for line in events.read_text(encoding="utf-8").splitlines())
    return next((event for event in told if event["kind"] == "error"), {})


def _recipe(folder: Path, parameters: Mapping[str, Any]) -> dict[str, Any]:
    path = folder / "recipe.json"
    return dict(json.loads(path.read_text(encoding="utf-8")) if path.is_file() else parameters)
