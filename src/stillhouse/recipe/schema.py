"""The recipe: one file that says everything a run needs."""

from __future__ import annotations

from pydantic import Field

from stillhouse.recipe.base import Config
from stillhouse.recipe.cluster import ClusterSection
from stillhouse.recipe.data import DataConfig
from stillhouse.recipe.evaluation import EvaluateSection, Gate, RegisterSection
from stillhouse.recipe.filtering import FilterSection
from stillhouse.recipe.teacher import ModelRef, TeacherSection
from stillhouse.recipe.traces import TracesConfig
from stillhouse.recipe.training import TrainSection


class Recipe(Config):
    """A complete recipe. Layering: defaults < file < environment < ``--set``."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    """Name of the MLflow experiment and prefix of the runs."""
    seed: int = Field(default=17, ge=0)
    """All randomness comes from it."""
    data: DataConfig
    """Problems."""
    teacher: TeacherSection
    """Candidates and the choice among them."""
    traces: TracesConfig = TracesConfig()
    """Generation."""
    filter: FilterSection = FilterSection()
    """Quality filtering."""
    student: ModelRef
    """The model that learns."""
    train: TrainSection = TrainSection()
    """Training."""
    evaluate: EvaluateSection
    """Benchmarks."""
    gate: Gate
    """Conditions of promotion."""
    register_: RegisterSection = Field(alias="register")
    """Registration and promotion."""
    cluster: ClusterSection = ClusterSection()
    """Where a run runs on Kubernetes; no part of what it makes."""
