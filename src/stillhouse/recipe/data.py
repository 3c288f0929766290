"""Where problems come from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from stillhouse.recipe.base import Config

Family = Literal["chain", "swap", "facts"]
"""The families of ``stillhouse.zoo.tasks``; a contract test compares the two."""


class Columns(Config):
    """Which column of a file holds what."""

    prompt: str = "prompt"
    """The question's text."""
    answer: str = "answer"
    """The gold answer; ``\\boxed{}`` and ``#### 7`` inside it are understood."""
    id: str | None = None
    """A stable id; without it the id is made from the question's text."""
    solution: str | None = None
    """A written solution, kept for the report; never shown to the student."""


class FileProblems(Config):
    """Problems from one JSONL, Parquet or CSV file."""

    type: Literal["file"] = "file"
    path: str
    """A local path (relative to the recipe), ``file://`` or ``s3://`` URI."""
    layout: Literal["auto", "table", "gsm8k", "math"] = "auto"
    """``table`` maps columns; ``gsm8k`` and ``math`` read those benchmarks' own layouts; ``auto`` looks."""
    columns: Columns = Columns()
    """The column mapping of a ``table``."""
    limit: int | None = Field(default=None, ge=1)
    """Use at most this many, in the order of the file."""
    digest: str = ""
    """sha256 of the content; filled in when the recipe is resolved, checked when the file is read."""


class ZooProblems(Config):
    """Procedural problems that stillhouse can make itself; splits never overlap."""

    type: Literal["zoo"] = "zoo"
    families: dict[Family, Annotated[int, Field(ge=1)]] = Field(default={"chain": 256}, min_length=1)
    """How many problems of each family: chain, swap, facts."""
    split: Literal["train", "probe", "eval"] = "train"
    """Which of the disjoint splits."""
    seed: int = 0
    """Which problems of the split."""
    digest: str = ""
    """Digest of the problems; filled in when the recipe is resolved."""


ProblemSource = Annotated[FileProblems | ZooProblems, Field(discriminator="type")]


class DataConfig(Config):
    """The problems that the student learns from, and the probe that teachers are compared on."""

    problems: ProblemSource
    """Training problems. The probe is taken out of them unless it has a source of its own."""
    probe: int = Field(default=64, ge=4)
    """How many problems are held out for choosing the teacher; they are never trained on."""
    max_bad_share: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of unreadable rows (no answer, empty prompt) that is dropped with a warning instead of refused."""
