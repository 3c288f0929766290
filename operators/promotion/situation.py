"""What a decision rests on, what it is, and how memory changes with a champion. Pure; decides nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from operators.crds.promotion import PromotionSpec
from operators.promotion.facts import (
    NONE,
    PROMOTED_TAG,
    UNKNOWN,
    Ask,
    Entry,
    Facts,
    Memory,
    Pending,
    Version,
    Write,
    uri,
)
from operators.resources import timestamp

NOW = 0.0


@dataclass(frozen=True)
class Answer:
    """What a probe said; ``message`` is empty when it passed."""

    passed: bool
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Make ``writes``, then keep ``memory``; ``consumed``: then take the rollback annotation away.

    ``probe``: ask the probe and decide again. ``again_s``: seconds to the next look, None for the usual ones.
    """

    memory: Memory
    writes: tuple[Write, ...] = ()
    consumed: bool = False
    probe: bool = False
    again_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class Situation:
    """Everything that a decision rests on."""

    spec: PromotionSpec
    memory: Memory
    facts: Facts
    ask: Ask
    now: datetime
    answer: Answer | None = None

    @property
    def at(self) -> str:
        return timestamp(self.now)

    def began(self, pending: Pending) -> Decision:
        return Decision(memory=replace(self.memory, pending=pending), again_s=NOW)


def mark(version: Version, over: str) -> tuple[Write, ...]:
    """The tag that says: was champion; what it was approved for is spent."""
    return () if version.promoted_over is not None else (Write("tag", version.version, PROMOTED_TAG, over),)


def replaced(student: str, version: Version) -> str | None:
    """Whom a champion replaced, as its tag says; None where nobody knows."""
    told = version.promoted_over
    if told is None or told == UNKNOWN:
        return None
    number = told.rpartition("/")[2]
    return NONE if told == uri(student, NONE) else number if number.isdigit() else None


def crowned(it: Situation, champion: str, over: str, entry: Entry) -> Memory:
    """A new champion, on trial where the spec asks for one."""
    memory = settled(it.memory, champion, over, entry)
    return replace(memory, since=it.at) if it.spec.stabilization is not None else memory


def settled(memory: Memory, champion: str, previous: str | None, entry: Entry) -> Memory:
    """``champion`` is now the one that this resource stands for; no move and no trial is left."""
    memory = without_trial(replace(memory, expected=champion, previous=previous, pending=None))
    return replace(memory, history=(*memory.history, entry))


def without_trial(memory: Memory) -> Memory:
    return replace(memory, since=None, failures=0, probe=None)
