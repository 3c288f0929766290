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

from stillhouse.errors import RecipeError
from stillhouse.recipe.refusal import validate
from stillhouse.recipe.stages import SelectConfig
from stillhouse.selection.measure import Judge, Measured, candidate_name
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
    checked: SelectConfig = (
        config if isinstance(config, SelectConfig) else validate(SelectConfig, dict(config), "select_teacher config")
    )
    names = Counter(candidate_name(candidate) for candidate in checked.candidates)
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise RecipeError(f"teacher.candidates: the name {twice[0]!r} stands twice; give each candidate its own")
    if checked.select.key == "pilot_gain" and (checked.select.pilot is None or checked.train is None):
        raise RecipeError(
            "teacher.select.key pilot_gain: needs teacher.select.pilot (such as {traces: 400, steps: 200})"
        )
    return checked


def _body(stage: Stage[SelectConfig]) -> None:
    config = stage.config
    judge = Judge(config, stage.workspace, stage.work, stage.progress)
    student = judge.student()
    placed = choose(config, judge, student)
    for one in placed:
        stage.progress.say(f"{one.name}: {one.reasons[-1] if one.reasons else 'no reason'}")
    best = placed[0] if placed[0].rank == 1 else None
    chosen = next(one for one in config.candidates if candidate_name(one) == best.name) if best else None
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
    candidates = {candidate_name(candidate): candidate for candidate in config.candidates}
    return rank(candidates, judge.teacher, (KEYS[select.key], TOKENS), select, bars)


def _reason(placed: Sequence[Placed[Any]], student: Measured) -> str:
    best = placed[0]
    if best.rank is None:
        return f"do not distil: no candidate is worth learning from ({'; '.join(_outs(placed))})"
    accuracy, start = ((values["accuracy"] or 0.0) for values in (best.values, student.values))
    return f"{best.name}: {best.reasons[-1]}; right on {accuracy:.1%} of the probe, the student on {start:.1%}"


def _outs(placed: Iterable[Placed[Any]]) -> list[str]:
    return [f"{one.name} {one.reasons[-1]}" for one in placed if one.rank is None]


def _row(one: Placed[Any], measured: Measured | None) -> dict[str, Any]:
    """A candidate as ``details.candidates`` has it; one that could not be measured has nulls."""
    config = one.candidate
    row: dict[str, Any] = {
        "name": one.name,
        "type": config.type,
        "model": getattr(config, "model", ""),
        "revision": getattr(config, "revision", ""),
        "licence": getattr(config, "licence", ""),
        **dict.fromkeys(("accuracy", "interval", "tokens_per_correct", "tokens_p10", "tokens_p50", "tokens_p90")),
        **dict.fromkeys(("student_nll", "pilot_gain", "pilot_gain_per_million_tokens")),
        "n": 0,
        "tokenizer": "unknown",
    }
    return {**row, **(measured.described if measured else {}), "rank": one.rank, "reasons": list(one.reasons)}


def _metrics(student: Measured, best: Placed[Any] | None, measured: Mapping[str, Measured]) -> dict[str, float]:
    metrics = {"student.accuracy": student.values["accuracy"]}
    metrics |= {f"{name}.{key}": value for name, one in measured.items() for key, value in one.values.items()}
    if best:
        metrics["chosen.accuracy"] = best.values["accuracy"]
    return {name: round(value, 6) for name, value in metrics.items() if value is not None}


def _headline(placed: Sequence[Placed[Any]], reason: str) -> str:
    best = placed[0]
    if best.rank is None:
        return reason
    others = len(placed) - 1
    return f"{best.name} teaches · {best.reasons[-1]} · {others} other candidate{'' if others == 1 else 's'}"


def _write(output: Path, choice: Mapping[str, Any], rows: Iterable[Mapping[str, Any]]) -> None:
    text = json.dumps(choice, indent=1, sort_keys=True, ensure_ascii=False)
    (output / "teacher.json").write_text(text + "\n", encoding="utf-8")
    with (output / "probe.jsonl").open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
