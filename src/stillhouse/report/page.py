"""The HTML pages. Views give the values, templates the words; everything is escaped, nothing is fetched.

A page is one file: style sheet and drawings inside, no scripts, and a content security policy that would refuse
both even if a reply of a model managed to smuggle one in.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from stillhouse import __version__
from stillhouse.digest import canonical_json
from stillhouse.report import formats
from stillhouse.report.facts import STAGES, RunFacts
from stillhouse.report.svg import style_sheet
from stillhouse.report.views import evaluation, gate, lineage, run, teachers, traces, training
from stillhouse.summary import StageSummary

SECTIONS = {
    "results": "Before and after",
    "gate": "Gate",
    "teachers": "Teachers",
    "traces": "Traces",
    "training": "Training",
    "answers": "Answers",
    "lineage": "Lineage",
    "cost": "Cost and time",
    "recipe": "Recipe",
}
"""Sections of the report after the verdict: id and title, in order. Each has ``templates/sections/<id>.html.j2``."""
_STAGE_SECTIONS = {
    "select_teacher": ("teachers",),
    "generate_traces": ("traces",),
    "filter_traces": ("traces",),
    "train_student": ("training",),
    "evaluate_student": ("results", "answers"),
    "register_student": ("gate",),
    "promote_student": ("gate",),
}


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("stillhouse.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in ("share", "points", "interval", "count", "duration", "short", "when", "words"):
        environment.filters[name] = getattr(formats, name)
    return environment


def run_report(facts: RunFacts) -> str:
    """See ``stillhouse.report.run_report``."""
    values = _views(facts)
    states = {state.name: state for state in facts.states()}
    return (
        _environment()
        .get_template("run.html.j2")
        .render(
            **_frame(f"{facts.name} · stillhouse report"),
            **values,
            facts=facts,
            headline=run.headline(facts),
            tiles=run.tiles(facts),
            sections=_ordered(facts, values),
            states=states,
            took=run.elapsed(facts),
            versions=sorted({summary.version for summary in facts.summaries if summary.version}),
        )
    )


def stage_page(summary: StageSummary) -> str:
    """See ``stillhouse.report.stage_page``."""
    facts = RunFacts(name=summary.key, summaries=[summary], status="running")
    values = _views(facts)
    states = {state.name: state for state in facts.states()}
    return (
        _environment()
        .get_template("stage.html.j2")
        .render(
            **_frame(f"{formats.words(summary.stage)} · stillhouse"),
            **values,
            summary=summary,
            facts=facts,
            states=states,
            metrics=sorted(summary.metrics.items()),
            config=_pretty(summary.config),
            sections={name: SECTIONS[name] for name in _STAGE_SECTIONS.get(summary.stage, ())},
        )
    )


def _frame(title: str) -> dict[str, Any]:
    return {"title": title, "style": Markup(style_sheet()), "library": __version__}


def _views(facts: RunFacts) -> dict[str, Any]:
    """All parts of the page; None or empty where a stage has not finished."""
    details = {stage: facts.details(stage) for stage in STAGES}
    promotion = details["promote_student"]
    verdict = gate.gate(details["register_student"], promotion)
    return {
        "teachers": teachers.ranking(details["select_teacher"]),
        "generation": traces.generation(facts.all("generate_traces")),
        "funnel": traces.funnel(details["filter_traces"]),
        "examples": traces.examples(details["filter_traces"]),
        "training": training.training(details["train_student"]),
        "evaluation": evaluation.evaluation(details["evaluate_student"]),
        "samples": evaluation.samples(details["evaluate_student"]),
        "gate": verdict,
        "promotion": promotion if promotion and not verdict else None,
        "lineage": lineage.lineage(facts),
        "cost": run.cost(facts),
        "recipe": _pretty(facts.recipe) if facts.recipe else "",
        "recipe_sha256": lineage.recipe_digest(facts),
    }


def _ordered(facts: RunFacts, values: dict[str, Any]) -> dict[str, str]:
    """Sections in order, those whose stage did not run last; a failed run begins with what became of each stage."""
    needs = {"results": "evaluation", "gate": "gate", "teachers": "teachers", "traces": "generation",
             "training": "training", "answers": "evaluation"}  # fmt: skip
    there = [name for name in SECTIONS if name not in needs or values[needs[name]]]
    first = ["cost"] if facts.status == "failed" else []
    order = dict.fromkeys([*first, *there, *SECTIONS])
    return {name: SECTIONS[name] for name in order}


def _pretty(value: Any) -> str:
    return json.dumps(json.loads(canonical_json(value)), indent=2, ensure_ascii=False)
