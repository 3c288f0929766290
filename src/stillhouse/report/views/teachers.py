"""The teacher ranking: what ``select_teacher`` found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stillhouse.report import formats
from stillhouse.report.plots import interval_cell


def ranking(details: Mapping[str, Any]) -> dict[str, Any] | None:
    """Candidates, best first, with the student as the mark that a teacher has to beat."""
    if not details:
        return None
    student = details.get("student") or {}
    known = student.get("accuracy")
    candidates = sorted(
        details.get("candidates", []), key=lambda item: (item.get("rank") is None, item.get("rank") or 0)
    )
    return {
        "decision": details.get("decision", ""),
        "reason": details.get("reason", ""),
        "chosen": details.get("chosen", ""),
        "key": formats.words(str(details.get("key", ""))),
        "probe": details.get("probe"),
        "student": _student(student),
        "candidates": [_candidate(item, details.get("chosen"), known) for item in candidates],
        "pilot": any(item.get("pilot_gain") is not None for item in candidates),
        "nll": any(item.get("student_nll") is not None for item in candidates),
    }


def _student(student: Mapping[str, Any]) -> dict[str, Any] | None:
    if student.get("accuracy") is None:
        return None
    pair = student.get("interval") or [student["accuracy"]] * 2
    return {
        "accuracy": formats.share(student["accuracy"]),
        "interval": formats.interval(pair),
        "bar": interval_cell(student["accuracy"], pair, kind="before"),
        "n": student.get("n"),
    }


def _candidate(item: Mapping[str, Any], chosen: str | None, student: float | None) -> dict[str, Any]:
    accuracy = item.get("accuracy")
    pair = item.get("interval") or [accuracy or 0.0] * 2
    kind = "after" if item.get("name") == chosen else "teacher"
    return {
        "name": item.get("name", ""),
        "chosen": item.get("name") == chosen,
        "rank": item.get("rank") or formats.DASH,
        "out": not item.get("rank"),
        "model": item.get("model", ""),
        "revision": formats.short(item.get("revision")),
        "licence": item.get("licence") or "unknown",
        "accuracy": formats.share(accuracy),
        "interval": formats.interval(item.get("interval")),
        "n": item.get("n"),
        "bar": None if accuracy is None else interval_cell(accuracy, pair, kind=kind, reference=student),
        "tokens_per_correct": formats.count(item.get("tokens_per_correct")),
        "spread": [formats.count(item.get(f"tokens_{name}")) for name in ("p10", "p50", "p90")],
        "nll": formats.number(item.get("student_nll")),
        "tokenizer": item.get("tokenizer", "unknown"),
        "gain": formats.points(item.get("pilot_gain")),
        "reasons": list(item.get("reasons", [])),
    }
