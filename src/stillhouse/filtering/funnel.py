"""From traces to records: annotate, select, count. Pure over records; reads and writes no files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from stillhouse.digest import sha256_json, sha256_text
from stillhouse.errors import RecipeError
from stillhouse.filtering.annotators import Annotator
from stillhouse.filtering.selectors import Decision, Selector
from stillhouse.records import Record, Role

EXAMPLES_POSITIVE = 4
EXAMPLES_OF_REASON = 2
_EXAMPLE_CHARACTERS = 4_000


@dataclass(frozen=True)
class Step:
    """One row of the funnel: after ``name``, ``kept`` positives are left; ``reasons`` counts what it removed."""

    name: str
    kept: int
    reasons: Counter[str]

    def row(self) -> dict[str, Any]:
        removed = sum(self.reasons.values())
        return {"step": self.name, "kept": self.kept, "removed": removed, "reason": ", ".join(_ranked(self.reasons))}


def annotate(records: Sequence[Record], name: str, annotator: Annotator) -> list[Record]:
    """Records with the annotator's columns appended.

    Raises:
        RecipeError: an annotator (of the user's own) that breaks the contract.
    """
    columns = annotator.annotate(records)
    if len(columns) != len(records):
        raise RecipeError(
            f"filter.annotate {name}: returned {len(columns)} rows for {len(records)} records; return one dict each"
        )
    for record, row in zip(records, columns, strict=True):
        if taken := sorted(set(row) & set(record.annotations)):
            raise RecipeError(f"filter.annotate {name}: column {taken[0]} is already there; choose another name")
    return [
        replace(record, annotations={**record.annotations, **row}) for record, row in zip(records, columns, strict=True)
    ]


def select(records: Sequence[Record], name: str, selector: Selector) -> tuple[list[Record], Step]:
    """Records after the selector's decisions, and its row of the funnel. Only positives are shown to it."""
    result = list(records)
    alive = [index for index, record in enumerate(records) if record.role == "positive"]
    _check_needs(name, selector, [records[index] for index in alive])
    reasons: Counter[str] = Counter()
    for indices in _groups(records, alive, getattr(selector, "grouping", "trace")):
        decisions = list(selector.select([records[index] for index in indices]))
        _check_decisions(name, decisions, len(indices))
        for index, decision in zip(indices, decisions, strict=True):
            record = records[index]
            weight = record.weight * decision.weight
            result[index] = replace(record, role=decision.role, reason=decision.reason, weight=weight)
            if decision.role != "positive":
                reasons[decision.reason] += 1
    return result, Step(name, len(alive) - sum(reasons.values()), reasons)


def _groups(records: Sequence[Record], alive: Sequence[int], grouping: str) -> Iterable[Sequence[int]]:
    if grouping == "trace":
        return [[index] for index in alive]
    key: Callable[[int], str] = (lambda index: records[index].problem.hash) if grouping == "problem" else (lambda _: "")
    groups: dict[str, list[int]] = {}
    for index in alive:
        groups.setdefault(key(index), []).append(index)
    return groups.values()


def _check_needs(name: str, selector: Selector, records: Sequence[Record]) -> None:
    for column in getattr(selector, "needs", ()):
        if any(column not in record.annotations for record in records):
            raise RecipeError(
                f"filter.select {name}: needs the annotation {column!r}; add the annotator that writes it to "
                f"filter.annotate (correct: math_verify, repetition: text_stats)"
            )


def _check_decisions(name: str, decisions: Sequence[Decision], expected: int) -> None:
    if len(decisions) != expected:
        raise RecipeError(f"filter.select {name}: returned {len(decisions)} decisions for {expected} records")
    for decision in decisions:
        if decision.role not in get_args(Role):
            raise RecipeError(
                f"filter.select {name}: role {decision.role!r} is unknown; use {', '.join(get_args(Role))}"
            )
        if decision.role != "positive" and not decision.reason:
            raise RecipeError(f"filter.select {name}: took a trace away without a reason; give one")


def dataset_digest(records: Iterable[Record]) -> str:
    """sha256 over keys and replies of the positives, whatever their order: what the student learns from."""
    rows = [[record.trace.key, sha256_text(record.trace.reply)] for record in records if record.role == "positive"]
    return sha256_json(sorted(rows))


def describe(records: Sequence[Record], steps: Sequence[Step]) -> dict[str, Any]:
    """``details`` of the stage, as docs/architecture.md lists them."""
    roles = Counter(record.role for record in records)
    reasons = sum((step.reasons for step in steps), Counter[str]())
    return {
        "total": len(records),
        **{role: roles[role] for role in get_args(Role)},
        "dataset_digest": dataset_digest(records),
        "funnel": [Step("traces", len(records), Counter()).row(), *(step.row() for step in steps)],
        "reasons": {reason: reasons[reason] for reason in _ranked(reasons)},
        "examples": _examples(records, _ranked(reasons)),
    }


def _ranked(reasons: Counter[str]) -> list[str]:
    return sorted(reasons, key=lambda reason: (-reasons[reason], reason))


def _examples(records: Sequence[Record], reasons: Sequence[str]) -> list[dict[str, Any]]:
    """A few traces of each fate, always the same ones."""
    chosen: list[Record] = []
    for reason in ["", *reasons]:
        limit = EXAMPLES_OF_REASON if reason else EXAMPLES_POSITIVE
        same = (r for r in records if r.reason == reason and (r.role == "positive") == (not reason))
        chosen += sorted(same, key=lambda record: record.trace.key)[:limit]
    return [
        {
            "role": record.role,
            "reason": record.reason,
            "prompt": _shorten(record.problem.prompt),
            "gold": record.problem.answer,
            "reply": _shorten(record.trace.reply or record.trace.error),
            "tokens": record.trace.completion_tokens,
        }
        for record in chosen
    ]


def _shorten(text: str) -> str:
    cut = len(text) - _EXAMPLE_CHARACTERS
    return text if cut <= 0 else f"{text[:_EXAMPLE_CHARACTERS]}… [{cut} more characters]"
