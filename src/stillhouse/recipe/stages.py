"""One config per stage, cut out of a recipe.

A stage gets only what it depends on: KFP's cache key holds every input, so a stage that saw the whole recipe
would run again whenever any line of it changed. ``library`` carries the version and the fingerprint of the
code that the stage runs, so that new code is never answered from an old cache.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from stillhouse.recipe.base import Config
from stillhouse.recipe.data import ProblemSource
from stillhouse.recipe.evaluation import EvaluateSection, Gate
from stillhouse.recipe.filtering import FilterSection
from stillhouse.recipe.schema import Recipe
from stillhouse.recipe.teacher import ModelRef, Sampling, TeacherConfig, TeacherSelection
from stillhouse.recipe.traces import CotPrompter, Prompter, TracesConfig
from stillhouse.recipe.training import TrainSection


class StageConfig(Config):
    """What every stage knows."""

    stage: ClassVar[str] = ""
    seed: int = Field(default=17, ge=0)
    """The run's seed."""
    library: str = ""
    """Version and code fingerprint; filled in by ``stillhouse run`` and ``submit``."""


class SelectConfig(StageConfig):
    """Input of ``select_teacher``."""

    stage: ClassVar[str] = "select_teacher"
    candidates: tuple[TeacherConfig, ...] = Field(min_length=1)
    """Teachers to compare."""
    student: ModelRef
    """The student they are to teach."""
    problems: ProblemSource
    """Where the probe is taken from."""
    probe: int = 64
    """Size of the probe."""
    max_bad_share: float = 0.0
    """As in ``data``."""
    prompter: Prompter = CotPrompter()
    """How problems are asked."""
    sampling: Sampling = Sampling()
    """How replies are drawn."""
    select: TeacherSelection = TeacherSelection()
    """How to choose."""
    train: TrainSection | None = None
    """Training of the pilot; None without a pilot."""


class GenerateConfig(StageConfig):
    """Input of ``generate_traces``; the teacher arrives as an artifact."""

    stage: ClassVar[str] = "generate_traces"
    problems: ProblemSource
    """Training problems, probe included; the probe is left out."""
    probe: int = 64
    """Size of the probe that is left out."""
    max_bad_share: float = 0.0
    """As in ``data``."""
    traces: TracesConfig = TracesConfig()
    """How many, and how."""


class FilterConfig(StageConfig):
    """Input of ``filter_traces``."""

    stage: ClassVar[str] = "filter_traces"
    shards: int = 1
    """How many shards must arrive."""
    filter: FilterSection = FilterSection()
    """What is kept."""


class TrainConfig(StageConfig):
    """Input of ``train_student``."""

    stage: ClassVar[str] = "train_student"
    student: ModelRef
    """Where training starts."""
    train: TrainSection = TrainSection()
    """How."""


class EvaluateConfig(StageConfig):
    """Input of ``evaluate_student``."""

    stage: ClassVar[str] = "evaluate_student"
    student: ModelRef
    """The untrained student, measured as "before"."""
    evaluate: EvaluateSection
    """What is measured."""


class RegisterConfig(StageConfig):
    """Input of ``register_student`` and ``promote_student``."""

    stage: ClassVar[str] = "register_student"
    name: str
    """Registered model."""
    promote: str = "manual"
    """As in ``register``."""
    student: ModelRef
    """For its licence."""
    gate: Gate
    """Conditions."""


STAGES: dict[str, type[StageConfig]] = {
    config.stage: config
    for config in (SelectConfig, GenerateConfig, FilterConfig, TrainConfig, EvaluateConfig, RegisterConfig)
}


def stage_configs(recipe: Recipe) -> dict[str, StageConfig]:
    """The six stage configs of a recipe, without ``library``; in the order of the pipeline."""
    data: dict[str, Any] = {
        "problems": recipe.data.problems,
        "probe": recipe.data.probe,
        "max_bad_share": recipe.data.max_bad_share,
    }
    select = recipe.teacher.select
    configs = (
        SelectConfig(
            seed=recipe.seed,
            candidates=recipe.teacher.candidates,
            student=recipe.student,
            prompter=recipe.traces.prompter,
            sampling=recipe.traces.sampling,
            select=select,
            train=recipe.train.model_copy(update={"control": None}) if select.pilot else None,
            **data,
        ),
        GenerateConfig(seed=recipe.seed, traces=recipe.traces, **data),
        FilterConfig(seed=recipe.seed, shards=recipe.traces.shards, filter=_with_held_out(recipe)),
        TrainConfig(seed=recipe.seed, student=recipe.student, train=recipe.train),
        EvaluateConfig(seed=recipe.seed, student=recipe.student, evaluate=recipe.evaluate),
        RegisterConfig(
            seed=recipe.seed,
            name=recipe.register_.name,
            promote=recipe.register_.promote,
            student=recipe.student,
            gate=recipe.gate,
        ),
    )
    return {config.stage: config for config in configs}


def _with_held_out(recipe: Recipe) -> FilterSection:
    """An empty ``held_out`` selector means all benchmarks of this recipe: say which."""
    benchmarks = tuple(benchmark.problems for benchmark in recipe.evaluate.benchmarks)
    selectors = tuple(
        selector.model_copy(update={"against": benchmarks})
        if selector.type == "held_out" and not selector.against
        else selector
        for selector in recipe.filter.select
    )
    return recipe.filter.model_copy(update={"select": selectors})
