"""The stage ``select_teacher``: candidates and the student on one probe, a ranking with reasons, a decision.

Knows the order of the steps and the decision rule: candidates whose accuracy lies more than ``within`` below the best
are out, so are those that beat the student by less than ``none_if_gain_below``; the key ranks the rest, ties go to the
cheaper one, then to the first name. Nobody left means "do not distil". Measuring is ``probe``'s and ``pilot``'s
business, sorting is ``rank``'s.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from stillhouse.digest import sha256_json
from stillhouse.errors import RecipeError
from stillhouse.recipe.stages import SelectConfig
from stillhouse.records import Problem
from stillhouse.selection.measure import Judge, Measured
from stillhouse.selection.rank import Bar, Metric, Placed, rank
from stillhouse.stage import Stage, run_stage
from stillhouse.summary import StageSummary

ACCURACY = Metric("accuracy", "accuracy", True, "{:.1%}".format)
TOKENS = Metric("tokens_per_correct", "tokens per correct trace", False, "{:.1f}".format)
KEYS = {
    "accuracy": ACCURACY,
    "tokens_per_correct": TOKENS,
    "student_nll": Metric("student_nll", "student negative log-likelihood", False, "{:.3f} nats".format),
    "pilot_gain": Metric("pilot_gain", "pilot gain", True, "{:+.1%}".format),
}
"""What can rank the teachers that pass; the names of ``teacher.select.key``."""


def run(config: SelectConfig | Mapping[str, Any], *, output: str | Path, workspace: str | Path) -> StageSummary:
    """See ``stillhouse.selection.select_teacher``."""
    return run_stage(_checked(config), _body, output=Path(output), workspace=workspace)


def _checked(config: SelectConfig | Mapping[str, Any]) -> SelectConfig:
    try:
        checked = config if isinstance(config, SelectConfig) else SelectConfig.model_validate(dict(config))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RecipeError(f"select_teacher config {where}: {first['msg']} (got {first['input']!r})") from error
    names = Counter(_name(candidate) for candidate in checked.candidates)
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise RecipeError(f"teacher.candidates: the name {twice[0]!r} stands twice; give each candidate its own")
    if checked.select.key == "pilot_gain" and (checked.select.pilot is None or checked.train is None):
        raise RecipeError("teacher.select.key pilot_gain: needs teacher.select.pilot (such as {traces: 400, steps: 200})")
    return checked


def _name(candidate: Any) -> str:
    return str(getattr(candidate, "name", "") or candidate.import_path)


def _body(stage: Stage[SelectConfig]) -> None:
    config = stage.config
    judge = Judge(config, stage.workspace, stage.work, stage.progress)
    student = judge.student()
    placed = choose(config, judge, student)
    for one in placed:
        stage.progress.say(f"{one.name}: {one.reasons[-1] if one.reasons else 'no reason'}")
    best = placed[0] if placed[0].rank == 1 else None
    chosen = next(one for one in config.candidates if _name(one) == best.name) if best else None
    stage.details = {
        "decision": "distil" if best else "do_not_distil",
        "reason": _reason(placed, student),
        "chosen": best.name if best else None,
        "key": config.select.key,
        "probe": len(judge.probe),
        "student": student.described,
        "candidates": [_row(one, judge.measured.get(one.name)) for one in placed],
    }
    stage.metrics = _metrics(student, best, judge.measured)
    stage.cost = {
        "teacher_tokens": sum(one.tokens_spent for one in judge.measured.values()),
        "teacher_requests": sum(one.requests for one in judge.measured.values()),
    }
    stage.headline = _headline(placed, stage.details["reason"])
    choice = {**stage.details, "teacher": chosen.model_dump(mode="json") if chosen else None}
    _write(stage.output, choice, judge.rows())


def choose(config: SelectConfig, judge: Judge, student: Measured) -> list[Placed[Any]]:
    """The ranking of ``config.candidates`` by the rule in this module's docstring."""
    select = config.select
    start = student.values["accuracy"] or 0.0
    words = (
        f"is less than {select.none_if_gain_below:.1%} above the student's {start:.1%}: there is too little to learn"
    )
    bars = (
        Bar(ACCURACY, within=select.within),
        Bar(ACCURACY, least=start + select.none_if_gain_below, least_words=words),
    )
    candidates = {_name(candidate): candidate for candidate in config.candidates}
    return rank(candidates, judge.teacher, (KEYS[select.key], TOKENS), select, bars)
