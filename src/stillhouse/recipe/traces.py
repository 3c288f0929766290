"""How the teacher is asked for traces."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from stillhouse.recipe.base import Card, Config, Custom
from stillhouse.recipe.teacher import Sampling


class CotPrompter(Config):
    """One turn: the problem, and a request to think step by step."""

    card: ClassVar[Card] = Card(
        "Plain chain of thought in one turn",
        tags=("prompting", "chain-of-thought"),
        access="black",
        paper="Wei et al. 2022, Chain-of-Thought Prompting, arXiv:2201.11903",
        proof="tests/unit/prompting/test_cot.py",
    )
    type: Literal["cot"] = "cot"
    system: str = ""
    """System message; empty is none."""
    template: str = Field(default="{prompt}", pattern=r"\{prompt\}")
    """The user's turn; ``{prompt}`` stands for the problem."""


Prompter = Annotated[CotPrompter | Custom, Field(discriminator="type")]


class Budget(Config):
    """Caps on the teacher. Reaching one ends the stage cleanly with what there is."""

    tokens: int | None = Field(default=None, ge=1)
    """Completion tokens at most, over all shards."""


class TracesConfig(Config):
    """How many traces, how they are asked for, and how the work is divided."""

    prompter: Prompter = CotPrompter()
    """Turns a problem into a request and a reply into a trace."""
    samples: int = Field(default=1, ge=1)
    """Traces of each problem."""
    sampling: Sampling = Sampling()
    """How the teacher draws tokens."""
    shards: int = Field(default=2, ge=1, le=1024)
    """Independent parts of the work; each is a task of its own."""
    budget: Budget = Budget()
    """Caps on the teacher."""
    max_error_share: float = Field(default=0.05, ge=0.0, le=1.0)
    """The stage fails when a larger share of the requests got no reply."""
