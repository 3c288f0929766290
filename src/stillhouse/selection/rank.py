"""The one way to choose among alternatives: measure each with the same budget, drop what is not good enough, sort.

Teachers, student architectures and whole pipelines are chosen by this function; it knows none of them. A candidate is
anything with a name, a diagnostic turns it into numbers, and the outcome says of each candidate in plain words why it
stands where it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from stillhouse.errors import StillhouseError

C = TypeVar("C")
B = TypeVar("B")
Values = Mapping[str, float | None]
"""What a diagnostic measured, by metric; None where the candidate has no such number."""
_TIE = 1e-9


@dataclass(frozen=True)
class Metric:
    """A number that candidates are compared by. ``show`` writes a value with its unit."""

    name: str
    words: str
    highest: bool
    show: Callable[[float], str] = "{:.4g}".format

    def better(self, value: float) -> float:
        """Sort order: smaller is better."""
        return -value if self.highest else value


@dataclass(frozen=True)
class Bar:
    """What comes before the sorting: at most ``within`` worse than the best one, and ``least`` at least."""

    metric: Metric
    within: float = float("inf")
    least: float | None = None
    least_words: str = ""


@dataclass(frozen=True)
class Placed(Generic[C]):
    """A candidate with its numbers, its rank (1 is best, None is out) and the reasons."""

    name: str
    candidate: C
    values: Values
    rank: int | None
    reasons: tuple[str, ...]


def rank(
    candidates: Mapping[str, C],
    diagnostic: Callable[[C, B], Values],
    key: Sequence[Metric],
    budget: B,
    bars: Sequence[Bar] = (),
) -> list[Placed[C]]:
    """Candidates from best to worst, those that are out at the end in the order in which they came.

    Args:
        candidates: by name.
        diagnostic: measures one candidate within the budget. A StillhouseError puts that candidate out.
        key: what decides, then what decides ties; after these the name does.
        budget: what may be spent on one candidate, the same for all.
        bars: conditions to be met first, each over those that met the ones before.

    Raises:
        StillhouseError: the diagnostic failed for every candidate; the first failure.
    """
    measured, reasons, failures = _measure(candidates, diagnostic, budget)
    if not measured:
        raise failures[0]
    standing = list(measured)
    for bar in bars:
        standing = _pass(bar, standing, measured, reasons)
    standing = _known(key[0], standing, measured, reasons)
    order = sorted(standing, key=lambda name: (*(_position(metric, measured[name]) for metric in key), name))
    places = {name: position for position, name in enumerate(order, start=1)}
    for name in order:
        reasons[name].append(_why(key, name, order, measured))
    names = [*order, *(name for name in candidates if name not in places)]
    return [
        Placed(name, candidates[name], measured.get(name, {}), places.get(name), tuple(reasons[name])) for name in names
    ]


def _measure(
    candidates: Mapping[str, C], diagnostic: Callable[[C, B], Values], budget: B
) -> tuple[dict[str, Values], dict[str, list[str]], list[StillhouseError]]:
    measured: dict[str, Values] = {}
    reasons: dict[str, list[str]] = {name: [] for name in candidates}
    failures: list[StillhouseError] = []
    for name, candidate in candidates.items():
        try:
            measured[name] = diagnostic(candidate, budget)
        except StillhouseError as error:
            failures.append(error)
            reasons[name].append(f"out: could not be measured: {error}")
    return measured, reasons, failures


def _pass(
    bar: Bar, standing: Sequence[str], measured: Mapping[str, Values], reasons: Mapping[str, list[str]]
) -> list[str]:
    metric = bar.metric
    known = _known(metric, standing, measured, reasons)
    if not known:
        return []
    best_name = min(known, key=lambda name: (_position(metric, measured[name]), name))
    best = measured[best_name][metric.name] or 0.0
    passed = []
    for name in known:
        value = measured[name][metric.name] or 0.0
        behind = metric.better(value) - metric.better(best)
        if behind > bar.within + _TIE:
            reasons[name].append(
                f"out: {metric.words} {metric.show(value)} is {metric.show(behind)} worse than that of {best_name} "
                f"({metric.show(best)}), more than the allowed {metric.show(bar.within)}"
            )
        elif bar.least is not None and metric.better(value) > metric.better(bar.least) + _TIE:
            reasons[name].append(f"out: {metric.words} {metric.show(value)} {bar.least_words}")
        else:
            passed.append(name)
    return passed


def _known(
    metric: Metric, standing: Sequence[str], measured: Mapping[str, Values], reasons: Mapping[str, list[str]]
) -> list[str]:
    for name in standing:
        if measured[name].get(metric.name) is None:
            reasons[name].append(f"out: it has no {metric.words}")
    return [name for name in standing if measured[name].get(metric.name) is not None]


def _position(metric: Metric, values: Values) -> float:
    """Values that differ by rounding only are ties; a missing tie-breaker comes last."""
    value = values.get(metric.name)
    return float("inf") if value is None else round(metric.better(value), 9)


def _why(key: Sequence[Metric], name: str, order: Sequence[str], measured: Mapping[str, Values]) -> str:
    """Why ``name`` stands before the next one, or behind the first."""
    first = key[0]
    own = _shown(first, measured[name])
    if len(order) == 1:
        return f"the only one left; {first.words} {own}"
    other = order[1] if name == order[0] else order[0]
    if _position(first, measured[name]) != _position(first, measured[other]):
        place = "best" if name == order[0] else "worse than the best"
        return f"{first.words} {own}, {place} ({other}: {_shown(first, measured[other])})"
    for metric in key[1:]:
        if _position(metric, measured[name]) != _position(metric, measured[other]):
            values = f"{_shown(metric, measured[name])}, {other}: {_shown(metric, measured[other])}"
            return f"{first.words} {own}, level with {other}; {metric.words} decides ({values})"
    return f"level with {other} in everything; the name decides"


def _shown(metric: Metric, values: Mapping[str, Any]) -> str:
    value = values.get(metric.name)
    return "unknown" if value is None else metric.show(value)
