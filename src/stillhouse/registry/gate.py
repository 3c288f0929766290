"""The gate: may this student replace that one? Pure: scores in, verdict out.

Every requirement is judged by the lower end of a paired bootstrap interval over items, so that luck does not promote.
Knows neither MLflow nor models, nor where scores come from.

Shares and differences are 0..1 in data and percentage points in words and in the recipe.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from stillhouse.errors import RecipeError, nearest
from stillhouse.evaluation.statistics import paired_bootstrap
from stillhouse.recipe.evaluation import Gate, NonInferiority, Requirement

MIN_ITEMS = 20
UNTRAINED = "the untrained student"
CHALLENGER_ARM, UNTRAINED_ARM = "after", "before"
_ROUNDING = 1e-9
Kind = Literal["require", "non_inferior", "limit", "licence"]
Scores = Mapping[str, Mapping[str, Any]]
"""As in ``scores.json``: {benchmark: {``k``, ``items``: {problem hash: {arm: [0|1, ...]}}}}."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One condition of the gate with its numbers and the words for them."""

    kind: Kind
    metric: str
    passed: bool
    text: str
    threshold: float | None = None
    difference: float | None = None
    interval: list[float] | None = None
    p_value: float | None = None
    n: int | None = None


@dataclass(frozen=True)
class Verdict:
    """Passed when every check did. ``against`` is the champion's address or the words for the untrained student."""

    passed: bool
    checks: tuple[Check, ...]
    against: str

    @property
    def word(self) -> str:
        return "passed" if self.passed else "failed"

    def rows(self) -> list[dict[str, Any]]:
        return [asdict(check) for check in self.checks]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the gate must know beside scores: ``results`` of ``evaluate_student`` and licences by model."""

    results: Sequence[Mapping[str, Any]] = ()
    licences: Mapping[str, str] = field(default_factory=dict)


def judge(
    gate: Gate, scores: Scores, facts: Facts, champion: Scores | None, *, against: str = UNTRAINED, seed: int = 0
) -> Verdict:
    """Judge the student measured in ``scores`` against ``champion``, or against its untrained self without one.

    Raises:
        RecipeError: a condition names a benchmark (or an avg@k) that was not measured.
    """
    rival = scores if champion is None else champion
    arm = UNTRAINED_ARM if champion is None else CHALLENGER_ARM
    checks: list[Check] = []
    for index, wanted in enumerate(gate.require):
        paired = _pair(scores, rival, arm, f"gate.require.{index}.metric", wanted.metric)
        checks.append(_require(wanted, paired, gate.resamples, seed, against))
    for index, kept in enumerate(gate.non_inferior):
        paired = _pair(scores, rival, arm, f"gate.non_inferior.{index}.metric", kept.metric)
        checks.append(_non_inferior(kept, paired, gate.resamples, seed, against))
    checks += _limits(gate, facts)
    checks += _licences(gate, facts)
    return Verdict(all(check.passed for check in checks), tuple(checks), against)


@dataclass(frozen=True)
class Paired:
    """Scores of the same items in the same order, for both sides; ``missing`` items the rival has no score for."""

    benchmark: str
    ours: list[list[float]]
    theirs: list[list[float]]
    missing: int

    @property
    def objection(self) -> str:
        """Why these scores cannot be compared; empty when they can."""
        n = len(self.ours)
        if self.missing:
            return f"{self.missing} of {n + self.missing} items have no score on the other side"
        return f"only {n} items, at least {MIN_ITEMS} are needed" if n < MIN_ITEMS else ""


def _pair(scores: Scores, rival: Scores, arm: str, field_name: str, metric: str) -> Paired:
    benchmark, _, suffix = metric.partition(".")
    if benchmark not in scores:
        raise RecipeError(f"{field_name}: {metric!r} was not measured; {nearest(benchmark, scores)}")
    measured = scores[benchmark]
    if suffix not in ("", f"avg_at_{measured['k']}"):
        raise RecipeError(f"{field_name}: {metric!r} was not measured; write {benchmark}.avg_at_{measured['k']}")
    others = rival.get(benchmark, {}).get("items", {})
    items = measured["items"]
    both = [key for key in sorted(items) if others.get(key, {}).get(arm)]
    ours = [[float(value) for value in items[key][CHALLENGER_ARM]] for key in both]
    theirs = [[float(value) for value in others[key][arm]] for key in both]
    return Paired(benchmark, ours, theirs, len(items) - len(both))


def _require(wanted: Requirement, paired: Paired, resamples: int, seed: int, against: str) -> Check:
    return _compared(
        "require", wanted.metric, paired, wanted.min_effect, wanted.confidence, resamples, seed,
        f"over {against}; its lower end must reach {wanted.min_effect:+.1f}",
    )  # fmt: skip


def _non_inferior(kept: NonInferiority, paired: Paired, resamples: int, seed: int, against: str) -> Check:
    return _compared(
        "non_inferior", kept.metric, paired, -kept.margin, kept.confidence, resamples, seed,
        f"to {against}; its lower end may not fall below {-kept.margin:+.1f}",
    )  # fmt: skip


def _compared(
    kind: Kind, metric: str, paired: Paired, floor: float, confidence: float, resamples: int, seed: int, words: str
) -> Check:
    """One paired comparison against ``floor`` in percentage points."""
    n = len(paired.ours)
    if paired.objection:
        text = f"{metric}: cannot be judged, {paired.objection}"
        return Check(kind=kind, metric=metric, passed=False, text=text, threshold=floor / 100, n=n)
    found = paired_bootstrap(paired.ours, paired.theirs, confidence, resamples, seed)
    low, high = 100 * found.low, 100 * found.high
    passed = low >= floor - _ROUNDING
    text = (
        f"{metric}: {100 * found.difference:+.1f} points, {100 * confidence:g} % [{low:+.1f}, {high:+.1f}] "
        f"on {n} items, {words}"
    )
    return Check(
        kind=kind,
        metric=metric,
        passed=passed,
        text=text,
        threshold=floor / 100,
        difference=round(found.difference, 9),
        interval=[round(found.low, 9), round(found.high, 9)],
        p_value=round(found.p_value, 9),
        n=n,
    )


def _limits(gate: Gate, facts: Facts) -> Iterator[Check]:
    limits = (
        ("truncation_rate", gate.limits.truncation_rate, ("in_domain", "retention")),
        ("tokens_per_answer", gate.limits.tokens_per_answer, ("in_domain",)),
    )
    for name, limit, roles in limits:
        if limit is None:
            continue
        rows = [row for row in facts.results if row["arm"] == CHALLENGER_ARM and row["role"] in roles]
        if not rows:
            text = f"{name}: was not measured on any benchmark, the limit is {limit:g}"
            yield Check(kind="limit", metric=name, passed=False, text=text, threshold=limit)
        for row in rows:
            value = float(row[name])
            text = f"{row['benchmark']}.{name}: {value:.4g}, the limit is {limit:g}"
            metric = f"{row['benchmark']}.{name}"
            yield Check(
                kind="limit", metric=metric, passed=value <= limit + _ROUNDING, text=text, threshold=limit, n=row["n"]
            )


def _licences(gate: Gate, facts: Facts) -> Iterator[Check]:
    allowed = {name.lower() for name in gate.licences}
    if not allowed:
        return
    for model, licence in sorted(facts.licences.items()):
        known = licence or "not known; say it in the recipe"
        text = f"licence of the {model}: {known} (allowed: {', '.join(gate.licences)})"
        yield Check(kind="licence", metric=f"licence.{model}", passed=licence.lower() in allowed, text=text)
