"""What the student is measured on, and what it must reach to be promoted."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stillhouse.recipe.base import Config
from stillhouse.recipe.data import ProblemSource
from stillhouse.recipe.teacher import Sampling
from stillhouse.recipe.traces import CotPrompter, Prompter


class Benchmark(Config):
    """A named set of held-out problems."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    """Name in metrics and reports."""
    problems: ProblemSource
    """The items."""
    samples: int = Field(default=1, ge=1)
    """Replies of each item; reported as avg@k."""
    role: Literal["in_domain", "retention"] = "in_domain"
    """``retention`` measures what training made the student forget."""


class EvaluateSection(Config):
    """Benchmarks and how replies are drawn."""

    benchmarks: tuple[Benchmark, ...] = Field(min_length=1)
    """What is measured, on the student before and after, the control and the teacher."""
    prompter: Prompter = CotPrompter()
    """How an item is asked."""
    sampling: Sampling = Sampling()
    """How replies are drawn."""
    batch_size: int = Field(default=64, ge=1)
    """Replies generated side by side."""
    teacher: bool = True
    """Measure the teacher on the same items."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1.0)
    """Level of all intervals."""


class Requirement(Config):
    """A benchmark on which the student must beat the one it would replace."""

    metric: str
    """A benchmark's name, such as ``chain`` or ``chain.avg_at_4``."""
    min_effect: float = 0.0
    """Smallest gain, in percentage points, that the lower end of the interval must reach."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1.0)
    """Level of the paired bootstrap interval."""


class NonInferiority(Config):
    """A benchmark on which the student may lose no more than a margin."""

    metric: str
    """A benchmark's name."""
    margin: float = Field(gt=0.0)
    """Largest loss, in percentage points, at the lower end of the interval."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1.0)
    """Level of the paired bootstrap interval."""


class Limits(Config):
    """Absolute limits on the new student."""

    truncation_rate: float | None = Field(default=None, ge=0.0, le=1.0)
    """Largest share of truncated replies on any benchmark."""
    tokens_per_answer: float | None = Field(default=None, gt=0)
    """Largest mean reply, in tokens, on any in-domain benchmark."""


class Gate(Config):
    """When a student may replace the champion (the untrained student where there is none)."""

    require: tuple[Requirement, ...] = Field(min_length=1)
    """All must hold."""
    non_inferior: tuple[NonInferiority, ...] = ()
    """All must hold."""
    limits: Limits = Limits()
    """All must hold."""
    licences: tuple[str, ...] = ()
    """Allowed licences of teacher and student; empty allows any."""
    resamples: int = Field(default=10_000, ge=1_000)
    """Bootstrap resamples."""


class RegisterSection(Config):
    """The registered model and what happens to a student that passed."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Registered model name in MLflow."""
    promote: Literal["automatic", "manual"] = "manual"
    """``automatic`` moves the alias champion at once; ``manual`` stops at challenger."""
