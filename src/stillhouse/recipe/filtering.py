"""Which traces are worth learning from."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from stillhouse.recipe.base import Card, Config, Custom
from stillhouse.recipe.data import ProblemSource

_PROOF = "tests/unit/filtering/"


class MathVerify(Config):
    """Compares the stated answer with the gold one as mathematics, not as text."""

    card: ClassVar[Card] = Card(
        "Answer check by math-verify: correct (bool) and the extracted answer",
        tags=("verify", "mathematics"),
        proof=_PROOF + "test_annotators.py",
    )
    type: Literal["math_verify"] = "math_verify"
    timeout_s: float = Field(default=5.0, gt=0)
    """Longest time for one comparison, in seconds; slower ones count as wrong."""


class TextStats(Config):
    """Measures length and repetition of each trace."""

    card: ClassVar[Card] = Card(
        "Length in tokens and the largest share that one repeated n-gram covers",
        tags=("statistics",),
        proof=_PROOF + "test_annotators.py",
    )
    type: Literal["text_stats"] = "text_stats"
    ngram: int = Field(default=8, ge=2)
    """Words (or characters, in text without spaces) of the n-gram whose repetition is measured."""


Annotator = Annotated[MathVerify | TextStats | Custom, Field(discriminator="type")]


class Answered(Config):
    """Drops requests that failed or got an empty reply."""

    card: ClassVar[Card] = Card("Drops failed and empty replies", ("filter",), proof=_PROOF + "test_selectors.py")
    type: Literal["answered"] = "answered"


class Truncated(Config):
    """Drops replies that hit the token limit or never closed their thoughts."""

    card: ClassVar[Card] = Card("Drops truncated replies", ("filter",), proof=_PROOF + "test_selectors.py")
    type: Literal["truncated"] = "truncated"


class Format(Config):
    """Keeps replies of the expected shape."""

    card: ClassVar[Card] = Card("Thoughts and a stated answer", ("filter",), proof=_PROOF + "test_selectors.py")
    type: Literal["format"] = "format"
    reasoning: bool = True
    """Require non-empty thoughts."""
    boxed: bool = True
    """Require a stated final answer (``\\boxed{}``, ``####`` or "answer is")."""


class Verified(Config):
    """Keeps replies whose answer is right; wrong ones become negatives."""

    card: ClassVar[Card] = Card(
        "Right answers only; wrong ones are kept as negatives", ("filter", "verify"), proof=_PROOF + "test_selectors.py"
    )
    type: Literal["verified"] = "verified"


class Length(Config):
    """Keeps replies within a length in tokens."""

    card: ClassVar[Card] = Card("Length limits", ("filter",), proof=_PROOF + "test_selectors.py")
    type: Literal["length"] = "length"
    min_tokens: int = Field(default=1, ge=0)
    """Shortest reply kept."""
    max_tokens: int = Field(default=16384, ge=1)
    """Longest reply kept."""


class Repetition(Config):
    """Drops replies that go in circles."""

    card: ClassVar[Card] = Card("Drops replies that repeat themselves", ("filter",), proof=_PROOF + "test_selectors.py")
    type: Literal["repetition"] = "repetition"
    max_share: float = Field(default=0.3, gt=0.0, le=1.0)
    """Largest share of the text that one n-gram may cover."""


class ExactDuplicates(Config):
    """Keeps one of equal replies to the same problem, and one of equal problems."""

    card: ClassVar[Card] = Card("Exact duplicates", ("filter", "dedup"), proof=_PROOF + "test_selectors.py")
    type: Literal["exact_duplicates"] = "exact_duplicates"


class HeldOut(Config):
    """Drops traces of problems that stand in an evaluation set, word for word."""

    card: ClassVar[Card] = Card(
        "Exact overlap with the evaluation problems", ("filter", "decontamination"), proof=_PROOF + "test_selectors.py"
    )
    type: Literal["held_out"] = "held_out"
    against: tuple[ProblemSource, ...] = ()
    """Problem sets to keep out; empty means every benchmark of this recipe."""


Selector = Annotated[
    Answered | Truncated | Format | Verified | Length | Repetition | ExactDuplicates | HeldOut | Custom,
    Field(discriminator="type"),
]


class FilterSection(Config):
    """Annotators first, then selectors in order; the first that drops a trace names the reason."""

    annotate: tuple[Annotator, ...] = (MathVerify(), TextStats())
    """What is measured on each trace."""
    select: tuple[Selector, ...] = (
        Answered(),
        Truncated(),
        Format(),
        Verified(),
        Length(),
        Repetition(),
        ExactDuplicates(),
        HeldOut(),
    )
    """What is kept."""
    minimum_yield: float = Field(default=0.05, ge=0.0, le=1.0)
    """The stage fails when a smaller share of the traces survives."""
