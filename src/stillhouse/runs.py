"""What a run made: found from the pipeline's parameters and the workspace alone.

Stage keys can be computed without running anything (``stage.stage_key``), so the exit handler, ``status`` and
the terminal summary need no word from the tasks, also when one of them died. Knows no KFP.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stillhouse.entry import exit_with
from stillhouse.errors import TransientError
from stillhouse.lineage.parents import KFP_RUN_ENV, KFP_RUN_TAG, KIND_TAG, tell_outcome, told_error
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
    summaries = finished_stages(parameters, space)
    if failed and not event:
        event = _found_error(parameters, summaries, space, error)
    facts = RunFacts(
        name=name,
        status="failed" if failed or event else "succeeded",
        started_at=os.environ.get(STARTED_ENV, ""),
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
        error=str(event.get("text", error)),
        failed_stage=str(event.get("stage", "")),
        recipe=_recipe(folder, parameters),
        summaries=summaries,
        path=str(folder / REPORT_NAME),
    )
    html = run_report(facts)
    for target in (folder / REPORT_NAME, *([Path(page)] if page else [])):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(html, encoding="utf-8")
    write_facts(facts, folder)
    status = "FAILED" if facts.status == "failed" else "FINISHED"
    try:
        tell_outcome(space, name, status, folder / REPORT_NAME, outcome_tags(facts, os.environ), os.environ)
    except TransientError as away:
        exit_with("report_run", TransientError(f"the report is written ({folder / REPORT_NAME}), but {away}"))
    return facts


def outcome_tags(facts: RunFacts, env: Mapping[str, str]) -> dict[str, str]:
    """What a finished run says of itself in MLflow; whoever waits for it reads these and nothing else.

    Every tag is there, empty where it has no value: a run that failed first and was resumed must not keep the old ones.
    """
    found = {summary.stage: summary for summary in facts.summaries}
    details = {stage: found[stage].details if stage in found else {} for stage in GRAPH}
    selection, registration = details["select_teacher"], details["register_student"]
    candidates: list[dict[str, Any]] = selection.get("candidates", [])
    chosen = next((row for row in candidates if row.get("name") == selection.get("chosen")), {})
    spent = [summary.cost for summary in facts.summaries]
    tags: dict[str, Any] = {
        KIND_TAG: "pipeline_run",
        KFP_RUN_TAG: env.get(KFP_RUN_ENV),
        "stillhouse.run_name": facts.name,
        "stillhouse.recipe_sha256": env.get("STILLHOUSE_RECIPE_SHA256"),
        "stillhouse.outcome": facts.status,
        "stillhouse.decision": selection.get("decision"),
        "stillhouse.teacher": selection.get("chosen"),
        "stillhouse.teacher_revision": chosen.get("revision"),
        "stillhouse.student": registration.get("model_uri"),
        "stillhouse.verdict": registration.get("verdict"),
        "stillhouse.gate.evidence_sha256": registration.get("evidence_sha256"),
        "stillhouse.cost.teacher_tokens": round(sum(cost.get("teacher_tokens", 0) for cost in spent)),
        "stillhouse.cost.seconds": round(sum(summary.seconds for summary in facts.summaries), 1),
        "stillhouse.failed_stage": facts.failed_stage,
        "stillhouse.error": " ".join(facts.error.split())[:1000],
    }
    return {name: "" if value is None else str(value) for name, value in tags.items()}


def _found_error(
    parameters: Mapping[str, Any], summaries: Sequence[StageSummary], space: Workspace, error: str
) -> dict[str, Any]:
    """Where a run without a launcher's events stopped: at its first stage that has not finished; and why."""
    done = {(summary.stage, summary.part) for summary in summaries}
    for stage, part, key in stage_keys(parameters):
        if (stage, part) in done:
            continue
        told = ""
        with suppress(TransientError):
            told = told_error(space, key) if os.environ.get(KFP_RUN_ENV) else ""
        return {"stage": stage, "text": told or error}
    return {}


def _first_error(events: Path) -> dict[str, Any]:
    """The first failure that a stage told; empty where none did."""
    if not events.is_file():
        return {}
    told = (json.loads(line) for line in events.read_text(encoding="utf-8").splitlines())
    return next((event for event in told if event["kind"] == "error"), {})


def _recipe(folder: Path, parameters: Mapping[str, Any]) -> dict[str, Any]:
    path = folder / "recipe.json"
    return dict(json.loads(path.read_text(encoding="utf-8")) if path.is_file() else parameters)
