"""``DistillationRun``: one run of a recipe. What may be written and what is told, not what is done with it."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field

from operators.crds.base import Column, Condition, Kind, Rule, Spec, Status
from operators.resources import RUN

LONGEST_NAME = 57
"""Characters of a run's name; with a dash and five more it is the label of the KFP run, which has 63 at most."""
Recipe = Annotated[dict[str, Any], Field(min_length=1)]
ONE_RECIPE = Rule(
    "has(self.recipe) != has(self.recipeFrom)", "write either recipe (inline) or recipeFrom (a ConfigMap), not both"
)


class ConfigMapKeyRef(Spec):
    """A key of a ConfigMap."""

    name: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
    """Name of the ConfigMap, in the same namespace."""
    key: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")] = "recipe.yaml"
    """The key whose text is the recipe."""


class RecipeFrom(Spec):
    """Where a recipe stands that is not inline."""

    config_map_key_ref: ConfigMapKeyRef
    """A key of a ConfigMap."""


class RunSpec(Spec):
    """What to run; all but the two times is fixed once it is written."""

    recipe: Recipe | None = None
    """The recipe, inline."""
    recipe_from: RecipeFrom | None = None
    """The recipe, in a ConfigMap; read once, when the run is submitted."""
    set: Annotated[tuple[Annotated[str, Field(max_length=4096, pattern=r"^[^=\s]+=")], ...], Field(max_length=64)] = ()
    """Overrides as on the command line: ``path=value``, such as ``train.seed=7``."""
    deadline_seconds: Annotated[int, Field(ge=60, le=31_536_000)] | None = None
    """Seconds from its creation after which the run is terminated (TimedOut); never, if not given."""
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=31_536_000)] | None = None
    """Seconds after its end when the object is deleted; never, if not given."""

    cel: ClassVar[tuple[Rule, ...]] = (
        ONE_RECIPE,
        Rule(
            "has(self.recipe) == has(oldSelf.recipe) && (!has(self.recipe) || self.recipe == oldSelf.recipe)",
            "a run's recipe cannot be changed; create another DistillationRun",
        ),
        Rule(
            "has(self.recipeFrom) == has(oldSelf.recipeFrom)"
            " && (!has(self.recipeFrom) || self.recipeFrom == oldSelf.recipeFrom)",
            "a run's recipeFrom cannot be changed; create another DistillationRun",
        ),
        Rule(
            "has(self.set) == has(oldSelf.set) && (!has(self.set) || self.set == oldSelf.set)",
            "a run's overrides cannot be changed; create another DistillationRun",
        ),
    )


class RunCost(Status):
    """What it took."""

    teacher_tokens: int | None = None
    """Tokens that teachers have generated."""
    seconds: float | None = None
    """Seconds of work, cached stages not counted."""


class SubmitTry(Status):
    """The last try to submit; kept until its answer is known."""

    started_at: str
    """When it began."""
    ended_at: str | None = None
    """When it ended without an answer."""


class RunStatus(Status):
    """What became of it."""

    phase: str = ""
    """Pending, Submitted, Running, Succeeded, Failed, Cancelled or TimedOut."""
    reason: str = ""
    """Why it is in that phase, for programs."""
    message: str = ""
    """The phase in one sentence."""
    run_label: str = ""
    """Identity of the KFP run: the same label never starts a second one."""
    run_name: str = ""
    """Display name at KFP."""
    kfp_namespace: str = ""
    """KFP's namespace where it is known."""
    run_id: str = ""
    """Id at KFP."""
    url: str = ""
    """The run in KFP's pages."""
    mlflow_url: str = ""
    """The run in MLflow's pages."""
    recipe_sha256: str = ""
    """Digest of the resolved recipe."""
    pipeline_version: str = ""
    """Version of the pipeline at KFP."""
    submit_try: SubmitTry | None = None
    """The last try to submit, while KFP has not answered."""
    start_time: str | None = None
    """When KFP took it."""
    completion_time: str | None = None
    """When it ended."""
    tasks: dict[str, str] = Field(default_factory=dict)
    """State of each stage."""
    failed_stage: str = ""
    """The stage that failed."""
    decision: str = ""
    """What was decided about the student."""
    teacher: str = ""
    """The teacher that was chosen."""
    student: str = ""
    """The registered student, ``models:/<name>/<version>``."""
    verdict: str = ""
    """What the gate said."""
    evidence: str = ""
    """sha256 of the gate's evidence."""
    cost: RunCost | None = None
    """What it took."""
    told_by_mlflow: bool = False
    """Whether the run's own account was found in MLflow."""
    observed_generation: int = 0
    """The generation that this speaks of."""
    conditions: tuple[Condition, ...] = ()
    """RecipeValid, Submitted, Progressing, Complete, Failed."""


KIND = Kind(
    resource=RUN,
    short_names=("drun",),
    spec=RunSpec,
    status=RunStatus,
    columns=(
        Column("Phase", ".status.phase"),
        Column("Teacher", ".status.teacher"),
        Column("Student", ".status.student"),
        Column("Verdict", ".status.verdict"),
        Column("Reason", ".status.reason", priority=1),
        Column("URL", ".status.url", priority=1),
        Column("Age", ".metadata.creationTimestamp", "date"),
    ),
    rules=(
        Rule(
            f"size(self.metadata.name) <= {LONGEST_NAME}"
            " && self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
            f"the name becomes part of a label: at most {LONGEST_NAME} lower case letters, digits and '-'",
        ),
    ),
    description="One run of a recipe on Kubeflow Pipelines. Deleting it terminates the run.",
)
