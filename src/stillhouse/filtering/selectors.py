"""Selectors give a trace its role, with a reason. They see annotations; they measure nothing themselves.

A selector gets a group of records (one trace, all traces of a problem, or all traces) and answers with one
``Decision`` each. Only traces that are still positive are shown to it. Reasons are stable identifiers: people
filter by them and the report counts them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

from stillhouse.data import load_problems
from stillhouse.reasoning import final_answer
from stillhouse.recipe import filtering as recipe
from stillhouse.records import Record, Role

Grouping = Literal["trace", "problem", "all"]


@dataclass(frozen=True, slots=True)
class Decision:
    """``weight`` multiplies the record's; ``reason`` is required unless the role is positive."""

    role: Role = "positive"
    reason: str = ""
    weight: float = 1.0


KEEP = Decision()


class Selector(Protocol):
    """The contract. ``needs`` names the annotations that must be there; ``grouping`` says what ``select`` gets."""

    needs: ClassVar[tuple[str, ...]]
    grouping: ClassVar[Grouping]

    def select(self, group: Sequence[Record]) -> Sequence[Decision]:
        """One decision for each record of the group, in order."""
        ...


class OfOne:
    """A filter: each trace is judged for itself by ``reason`` (empty keeps it)."""

    needs: ClassVar[tuple[str, ...]] = ()
    grouping: ClassVar[Grouping] = "trace"
    role: ClassVar[Role] = "dropped"

    def select(self, group: Sequence[Record]) -> Sequence[Decision]:
        reasons = [self.reason(record) for record in group]
        return [Decision(self.role, reason) if reason else KEEP for reason in reasons]

    def reason(self, record: Record) -> str:
        raise NotImplementedError


class Answered(OfOne):
    """``no_reply``: the request failed. ``empty_reply``: the teacher said nothing."""

    def __init__(self, config: recipe.Answered) -> None:
        del config

    def reason(self, record: Record) -> str:
        if record.trace.error or record.trace.finish_reason == "error":
            return "no_reply"
        return "" if record.trace.reply.strip() else "empty_reply"


class Truncated(OfOne):
    """``truncated``: the token limit was hit. ``unclosed_thoughts``: the reply ended inside its thoughts."""

    def __init__(self, config: recipe.Truncated) -> None:
        del config

    def reason(self, record: Record) -> str:
        if record.trace.finish_reason == "length":
            return "truncated"
        return "" if record.trace.closed else "unclosed_thoughts"


class Format(OfOne):
    """``no_reasoning``: an answer without thoughts. ``no_answer``: no stated final answer."""

    def __init__(self, config: recipe.Format) -> None:
        self._config = config

    def reason(self, record: Record) -> str:
        if self._config.reasoning and not record.trace.reasoning.strip():
            return "no_reasoning"
        if self._config.boxed and not final_answer(record.trace.answer):
            return "no_answer"
        return ""


class Verified(OfOne):
    """``wrong_answer``: kept as a negative, because a wrong trace teaches what to avoid."""

    needs = ("correct",)
    role = "negative"

    def __init__(self, config: recipe.Verified) -> None:
        del config

    def reason(self, record: Record) -> str:
        return "" if record.annotations["correct"] else "wrong_answer"


class Length(OfOne):
    """``too_short`` and ``too_long``, in the teacher's tokens."""

    def __init__(self, config: recipe.Length) -> None:
        self._config = config

    def reason(self, record: Record) -> str:
        if record.trace.completion_tokens < self._config.min_tokens:
            return "too_short"
        return "too_long" if record.trace.completion_tokens > self._config.max_tokens else ""


class Repetition(OfOne):
    """``repetitive``: one n-gram covers too much of the text."""

    needs = ("repetition",)

    def __init__(self, config: recipe.Repetition) -> None:
        self._max_share = config.max_share

    def reason(self, record: Record) -> str:
        return "repetitive" if record.annotations["repetition"] > self._max_share else ""


class ExactDuplicates:
    """``duplicate_trace``: an equal reply to the same problem stays, the one with the lowest sample index, then key."""

    needs: ClassVar[tuple[str, ...]] = ()
    grouping: ClassVar[Grouping] = "problem"

    def __init__(self, config: recipe.ExactDuplicates) -> None:
        del config

    def select(self, group: Sequence[Record]) -> Sequence[Decision]:
        decisions = [KEEP] * len(group)
        seen: set[str] = set()
        for index in sorted(range(len(group)), key=lambda i: (group[i].trace.sample_index, group[i].trace.key)):
            if group[index].trace.reply in seen:
                decisions[index] = Decision("dropped", "duplicate_trace")
            seen.add(group[index].trace.reply)
        return decisions


class HeldOut(OfOne):
    """``held_out``: the problem stands, word for word, in a set that students are measured on."""

    def __init__(self, config: recipe.HeldOut) -> None:
        self._hashes = {problem.hash for source in config.against for problem in load_problems(source)}

    def reason(self, record: Record) -> str:
        return "held_out" if record.problem.hash in self._hashes else ""
