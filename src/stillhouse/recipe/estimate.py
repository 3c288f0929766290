"""What a run will roughly cost, for ``--dry-run``: ranges with the assumptions they rest on, never one number.

Arithmetic only: ``look`` gathers what can be known beforehand (rows, model sizes, what an earlier run measured),
``estimate`` is a pure function of the recipe and that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from stillhouse.errors import RecipeError
from stillhouse.recipe.base import Custom
from stillhouse.recipe.models import find_folder, parameter_count
from stillhouse.recipe.schema import Recipe
from stillhouse.recipe.sources import row_count
from stillhouse.recipe.teacher import ModelRef

REPLY_SHARE = (0.05, 0.25, 1.0)
"""Assumed length of a reply as a share of ``sampling.max_tokens``: low, expected, and the limit itself."""
MEASURED_SPREAD = (0.8, 1.25)
"""A mean that an earlier run measured is trusted within these factors."""
SURVIVAL = (0.8, 1.0)
"""Assumed share of the traces that filtering keeps: expected, high; ``filter.minimum_yield`` is the low end."""
LAPTOP_FLOPS = (1e10, 5e10, 2e11)
"""Assumed floating-point operations a second, low, expected and high. Small models on one or two CPU cores were
measured between 2e10 (0.2 million weights, generating) and 1.8e11 (135 million weights, training)."""
SERVER_TOKENS_PER_S = (30.0, 500.0, 5000.0)
"""Assumed speed of a teacher behind a server, all its requests together."""
_FLOPS_PER_WEIGHT = {"generate": 2.0, "train": 6.0}
"""Operations for each weight and token: forward; forward and backward (Kaplan et al. 2020, arXiv:2001.08361, 2.1)."""


@dataclass(frozen=True)
class Range:
    """A quantity that is not known: where it may lie, and a guess."""

    low: float
    expected: float
    high: float

    def __add__(self, other: Range) -> Range:
        return Range(self.low + other.low, self.expected + other.expected, self.high + other.high)

    def __mul__(self, other: Range | float) -> Range:
        """Product of two non-negative quantities."""
        by = other if isinstance(other, Range) else Range(other, other, other)
        return Range(self.low * by.low, self.expected * by.expected, self.high * by.high)

    def __truediv__(self, other: Range) -> Range:
        """Quotient of two positive quantities: the low end divides by the high one."""
        return Range(self.low / other.high, self.expected / other.expected, self.high / other.low)

    def capped(self, limit: float | None) -> Range:
        return self if limit is None else Range(*(min(value, limit) for value in (self.low, self.expected, self.high)))


ZERO = Range(0.0, 0.0, 0.0)


@dataclass(frozen=True, kw_only=True)
class Known:
    """What can be known before a run. ``None`` is unknown.

    ``problems`` counts rows, the probe included. Parameters are numbers of weights. ``tokens_per_trace`` is the
    mean that an earlier run measured (``tokens / traces`` of ``generate_traces``).
    """

    problems: int | None = None
    benchmark_items: int | None = None
    student_parameters: int | None = None
    teacher_parameters: int | None = None
    tokens_per_trace: float | None = None


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Ranges of one run. None where something that cannot be guessed is unknown."""

    problems: int | None
    traces: int | None
    teacher_tokens: Range | None
    teacher_tokens_at_most: int | None
    cost: Range | None
    train_steps: Range | None
    train_tokens: Range | None
    seconds: Range | None
    assumptions: tuple[str, ...]

    def rows(self) -> list[dict[str, Any]]:
        """One row for each quantity, as printable text; the assumptions follow as rows of their own."""
        rows = [
            ("training problems", _count(self.problems)),
            ("traces asked", _count(self.traces)),
            ("teacher tokens", _span(self.teacher_tokens)),
            ("teacher tokens at most", _count(self.teacher_tokens_at_most)),
            ("cost of the teacher", _span(self.cost, digits=2)),
            ("training steps", _span(self.train_steps)),
            ("training tokens", _span(self.train_tokens)),
            ("time", _span(self.seconds, time=True)),
        ]
        return [{"what": what, "estimate": text} for what, text in rows] + [
            {"what": "assuming", "estimate": text} for text in self.assumptions
        ]


def look(recipe: Recipe, tokens_per_trace: float | None = None) -> Known:
    """What this machine's files say about ``recipe``; models and files that are not here stay unknown."""
    local = [item for item in recipe.teacher.candidates if isinstance(item, ModelRef)]
    sizes = [_parameters(item) for item in local]
    items = [row_count(benchmark.problems) for benchmark in recipe.evaluate.benchmarks]
    samples = [benchmark.samples for benchmark in recipe.evaluate.benchmarks]
    return Known(
        problems=row_count(recipe.data.problems),
        benchmark_items=None if None in items else sum(n * k for n, k in zip(items, samples, strict=True) if n),
        student_parameters=_parameters(recipe.student),
        teacher_parameters=None if None in sizes or not sizes else max(size for size in sizes if size),
        tokens_per_trace=tokens_per_trace,
    )


def estimate(recipe: Recipe, known: Known | None = None) -> Estimate:
    """What ``recipe`` will roughly take; ``known`` is what ``look`` finds unless it is given."""
    facts = look(recipe) if known is None else known
    reply = _reply_tokens(recipe.traces.sampling.max_tokens, facts.tokens_per_trace)
    rest = None if facts.problems is None else max(0, facts.problems - recipe.data.probe)
    traces = None if rest is None else rest * recipe.traces.samples
    generated = None if traces is None else (reply * traces).capped(recipe.traces.budget.tokens)
    probe = recipe.data.probe * recipe.teacher.select.samples
    tokens = None if generated is None else generated + reply * (probe * len(recipe.teacher.candidates))
    steps = _train_steps(recipe, traces)
    batch = recipe.train.batch_size * recipe.train.gradient_accumulation
    trained = None if steps is None else steps * batch * reply.capped(recipe.train.max_length)
    return Estimate(
        problems=rest,
        traces=traces,
        teacher_tokens=tokens,
        teacher_tokens_at_most=_at_most(recipe, traces),
        cost=_cost(recipe, generated, reply * probe),
        train_steps=steps,
        train_tokens=trained,
        seconds=_seconds(recipe, facts, reply, tokens, trained),
        assumptions=_assumptions(recipe, facts),
    )


def _parameters(ref: ModelRef) -> int | None:
    try:
        folder = find_folder(ref)
        return (parameter_count(folder) or None) if folder is not None and folder.is_dir() else None
    except (RecipeError, OSError, ValueError):
        return None


def _reply_tokens(max_tokens: int, measured: float | None) -> Range:
    if measured is not None:
        low, high = MEASURED_SPREAD
        return Range(measured * low, measured, measured * high).capped(max_tokens)
    return Range(*(share * max_tokens for share in REPLY_SHARE))


def _at_most(recipe: Recipe, traces: int | None) -> int | None:
    """Upper bound of the teachers' tokens: every reply runs to its limit, within the budget."""
    if traces is None:
        return None
    limit = recipe.traces.sampling.max_tokens
    generated = min(traces * limit, recipe.traces.budget.tokens or traces * limit)
    return generated + recipe.data.probe * recipe.teacher.select.samples * len(recipe.teacher.candidates) * limit


def _cost(recipe: Recipe, generated: Range | None, probe: Range) -> Range | None:
    """Price of the teachers' tokens: every candidate answers the probe, one of them then generates."""
    prices = [getattr(item, "price_per_million_tokens", 0.0) for item in recipe.teacher.candidates]
    if generated is None or any(isinstance(item, Custom) for item in recipe.teacher.candidates):
        return None
    chosen = Range(min(prices), sum(prices) / len(prices), max(prices))
    return (generated * chosen + probe * sum(prices)) * 1e-6


def _train_steps(recipe: Recipe, traces: int | None) -> Range | None:
    train = recipe.train
    if train.steps is not None:
        return Range(train.steps, train.steps, train.steps)
    if traces is None:
        return None
    batch = train.batch_size * train.gradient_accumulation
    kept = (recipe.filter.minimum_yield, *SURVIVAL)
    return Range(*(float(math.ceil(traces * share * train.epochs / batch)) for share in kept))


def _seconds(
    recipe: Recipe, facts: Known, reply: Range, teacher_tokens: Range | None, train_tokens: Range | None
) -> Range | None:
    """Time of all stages one after another, at the assumed speeds."""
    student, items = facts.student_parameters, facts.benchmark_items
    if teacher_tokens is None or train_tokens is None or student is None or items is None:
        return None
    served = any(not isinstance(item, ModelRef) for item in recipe.teacher.candidates)
    if not served and facts.teacher_parameters is None:
        return None
    arms = 2 + (recipe.train.control is not None)
    generating = _time(reply * (arms * items), student, "generate")
    training = _time(train_tokens * (arms - 1), student, "train")
    asked = teacher_tokens + (reply * items if recipe.evaluate.teacher else ZERO)
    if served:
        return generating + training + asked / Range(*SERVER_TOKENS_PER_S)
    return generating + training + _time(asked, facts.teacher_parameters or 0, "generate")


def _time(tokens: Range, parameters: int, work: str) -> Range:
    return tokens * (_FLOPS_PER_WEIGHT[work] * parameters) / Range(*LAPTOP_FLOPS)


def _assumptions(recipe: Recipe, facts: Known) -> tuple[str, ...]:
    low, expected, high = REPLY_SHARE
    limit = recipe.traces.sampling.max_tokens
    reply = f"replies of {low:.0%} to {high:.0%} of max_tokens = {limit}, {expected:.0%} expected"
    if facts.tokens_per_trace is not None:
        reply = f"replies of about {facts.tokens_per_trace:.0f} tokens, as measured before"
    least, (expected, most) = recipe.filter.minimum_yield, SURVIVAL
    kept = f"filters keep {least:.0%} to {most:.0%} of the traces, {expected:.0%} expected"
    slow, usual, fast = (flops / 1e9 for flops in LAPTOP_FLOPS)
    speed = (
        f"this machine computes {slow:.0f} to {fast:.0f} GFLOP/s, {usual:.0f} expected; no start-up, prompts, pilots"
    )
    words = [reply, kept, speed]
    if any(not isinstance(item, ModelRef) for item in recipe.teacher.candidates):
        slow, usual, fast = SERVER_TOKENS_PER_S
        words.append(f"servers answer {slow:.0f} to {fast:.0f} tokens a second, {usual:.0f} expected")
    return tuple(words)


def _count(value: int | None) -> str:
    return "unknown" if value is None else f"{value:,}"


def _span(value: Range | None, *, digits: int = 0, time: bool = False) -> str:
    if value is None:
        return "unknown"
    show = _duration if time else lambda number: f"{_rounded(number, digits):,.{digits}f}"
    low, expected, high = (show(number) for number in (value.low, value.expected, value.high))
    return low if low == high else f"{low} to {high}, about {expected}"


def _rounded(number: float, digits: int) -> float:
    """Two significant figures: more would pretend to know. Prices keep their cents."""
    if digits or number < 100:
        return round(number, digits)
    return float(f"{number:.2g}")


def _duration(seconds: float) -> str:
    for unit, length in (("h", 3600.0), ("min", 60.0)):
        if seconds >= length:
            return f"{seconds / length:.2g} {unit}" if seconds < 100 * length else f"{seconds / length:.0f} {unit}"
    return f"{max(1, round(seconds))} s"
