"""Two students side by side, item by item where they were measured on the same items. Knows scores, judges nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stillhouse.errors import RecipeError
from stillhouse.evaluation.statistics import paired_bootstrap
from stillhouse.lineage.chain import Chain
from stillhouse.lineage.lookup import CHAIN_TAG, open_registry
from stillhouse.registry.champion import read_scores
from stillhouse.registry.gate import CHALLENGER_ARM, UNTRAINED_ARM, Scores

BASE = "base"
_COUNTED = ("tokens_per_answer", "truncation_rate")


@dataclass(frozen=True)
class Side:
    """A student's scores in one arm, and what its evaluation said beside them."""

    scores: Scores
    arm: str
    facts: Mapping[str, Any]

    def mean(self, benchmark: str) -> float | None:
        items = self.items(benchmark)
        return sum(sum(replies) / len(replies) for replies in items.values()) / len(items) if items else None

    def items(self, benchmark: str) -> dict[str, list[int]]:
        rows = self.scores.get(benchmark, {}).get("items", {})
        return {key: arms[self.arm] for key, arms in rows.items() if arms.get(self.arm)}


def compare(first: str, second: str, workspace: str | Path | None = None) -> list[dict[str, Any]]:
    """See ``stillhouse.registry.compare``."""
    if first == BASE == second:
        raise RecipeError(f"{BASE} is the untrained student of the other side; name at least one model version")
    a = _side(first, workspace) if first != BASE else None
    b = _side(second, workspace) if second != BASE else None
    left = a or _untrained(b)
    right = b or _untrained(a)
    rows = []
    for benchmark in sorted({*left.scores, *right.scores}):
        rows.append(_row(benchmark, left, right))
        rows += [_counted(benchmark, name, left, right) for name in _COUNTED]
    return [row for row in rows if row["first"] is not None or row["second"] is not None]


def _side(uri: str, workspace: str | Path | None) -> Side:
    registry = open_registry(workspace)
    version = registry.resolve(uri)
    scores = read_scores(registry, version)
    if scores is None:
        raise RecipeError(f"{version.uri}: its scores.json is gone from run {version.run_id}; it cannot be compared")
    node = Chain.from_json(json.loads(version.tags.get(CHAIN_TAG, '{"nodes": []}'))).node("evaluation")
    return Side(scores, CHALLENGER_ARM, node.facts if node else {})


def _untrained(other: Side | None) -> Side:
    assert other is not None
    return Side(other.scores, UNTRAINED_ARM, {})


def _row(benchmark: str, left: Side, right: Side) -> dict[str, Any]:
    k = (left.scores.get(benchmark) or right.scores[benchmark])["k"]
    ours, theirs = left.items(benchmark), right.items(benchmark)
    row = _pair(f"{benchmark}.avg_at_{k}", left.mean(benchmark), right.mean(benchmark))
    if ours and ours.keys() == theirs.keys():
        keys = sorted(ours)
        found = paired_bootstrap([ours[key] for key in keys], [theirs[key] for key in keys])
        row |= {"low": round(found.low, 4), "high": round(found.high, 4), "items": len(keys)}
    return row


def _counted(benchmark: str, name: str, left: Side, right: Side) -> dict[str, Any]:
    return _pair(f"{benchmark}.{name}", *(side.facts.get(benchmark, {}).get(name) for side in (left, right)))


def _pair(metric: str, first: float | None, second: float | None) -> dict[str, Any]:
    difference = None if first is None or second is None else round(first - second, 4)
    shown = [None if value is None else round(value, 4) for value in (first, second)]
    return {
        "metric": metric, "first": shown[0], "second": shown[1], "difference": difference,
        "low": None, "high": None, "items": None,
    }  # fmt: skip
