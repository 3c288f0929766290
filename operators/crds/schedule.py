"""``DistillationSchedule``: when a recipe runs. What may be written and what is told, not when something is due."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from operators.crds.base import Column, Condition, Kind, Rule, Spec, Status
from operators.crds.run import LONGEST_NAME, ONE_RECIPE, Recipe, RecipeFrom
from operators.resources import SCHEDULE

LONGEST_SCHEDULE_NAME = LONGEST_NAME - 10
"""Characters of a schedule's name; its runs add a dash and up to nine more."""
Interval = Annotated[str, Field(max_length=8, pattern=r"^[1-9][0-9]{0,4}[mhd]$")]
"""``15m``, ``6h`` or ``1d``."""
LabelMap = dict[str, Annotated[str, Field(max_length=4096)]]


class RegistryTrigger(Spec):
    """A model of the registry to watch."""

    name: Annotated[str, Field(min_length=1, max_length=256)]
    """Name of the registered model."""
    alias: Annotated[str, Field(max_length=256)] = ""
    """Run when this alias points to another version."""
    event: Literal["VersionCreated"] | None = None
    """Run when this happens."""
    every: Interval = "5m"
    """How often the registry is asked."""

    cel: ClassVar[tuple[Rule, ...]] = (
        Rule("(has(self.alias) && self.alias != '') != has(self.event)", "write either alias or event"),
    )


class Triggers(Spec):
    """What starts a run besides time. The first look only remembers what there is."""

    data_every: Interval | None = None
    """How often the recipe's data is looked at; a new digest starts a run."""
    teacher_every: Interval | None = None
    """How often the recipe's models and teachers are looked at; a new revision starts a run."""
    registry: RegistryTrigger | None = None
    """A registered model to watch."""

    cel: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.dataEvery) || has(self.teacherEvery) || has(self.registry)",
            "name at least one of dataEvery, teacherEvery and registry",
        ),
    )


class RunTemplate(Spec):
    """What is written on every run besides the operator's own labels."""

    labels: Annotated[LabelMap, Field(max_length=32)] = Field(default_factory=dict)
    """Labels."""
    annotations: Annotated[LabelMap, Field(max_length=32)] = Field(default_factory=dict)
    """Annotations."""


class ScheduleSpec(Spec):
    """When a recipe runs; everything may be edited at any time."""

    recipe: Recipe | None = None
    """The recipe, inline."""
    recipe_from: RecipeFrom | None = None
    """The recipe, in a ConfigMap; read anew for every run."""
    schedule: Annotated[str, Field(max_length=256)] = ""
    """Five cron fields (minute hour day-of-month month day-of-week) or @hourly, @daily, @weekly, @monthly, @yearly;
    empty where only triggers start runs."""
    time_zone: Annotated[str, Field(min_length=1, max_length=64)] = "Etc/UTC"
    """IANA name of the time zone that the schedule is meant in."""
    suspend: bool = False
    """Start nothing; a run that waits for its turn is dropped, a run that has started goes on."""
    concurrency_policy: Literal["Allow", "Forbid", "Replace"] = "Forbid"
    """What happens when a run is due while another one goes on: both run, it waits, or the older one is cancelled."""
    starting_deadline_seconds: Annotated[int, Field(ge=10, le=31_536_000)] = 3600
    """How late a run may start; after that it is counted as missed."""
    catch_up: bool = False
    """Whether all times within the deadline are made up for, or only the latest one."""
    max_catch_up: Annotated[int, Field(ge=1, le=100)] = 10
    """The most times that are made up for at once, the latest ones."""
    jitter_seconds: Annotated[int, Field(ge=0, le=86_400)] = 0
    """Start each run up to this much later, by a hash of schedule and time; at most half the way to the next one."""
    successful_runs_history_limit: Annotated[int, Field(ge=0, le=1000)] = 3
    """Finished runs to keep that have succeeded."""
    failed_runs_history_limit: Annotated[int, Field(ge=0, le=1000)] = 1
    """Finished runs to keep that have not."""
    triggers: Triggers | None = None
    """What starts a run besides time."""
    skip_if_unchanged: bool = True
    """Skip a run whose recipe, data, models and teachers are those of the last successful one."""
    run_template: RunTemplate | None = None
    """What is written on every run."""
    deadline_seconds: Annotated[int, Field(ge=60, le=31_536_000)] | None = None
    """Seconds after which a run is terminated; never, if not given."""

    cel: ClassVar[tuple[Rule, ...]] = (
        ONE_RECIPE,
        Rule(
            "(has(self.schedule) && self.schedule != '') || has(self.triggers)",
            "name a time (schedule) or what else starts runs (triggers)",
        ),
        Rule(
            "!has(self.schedule) || !self.schedule.contains('TZ=')",
            "write the time zone into timeZone, not into schedule",
        ),
    )


class Timing(Status):
    """What decides when runs are due."""

    schedule: str = ""
    """The cron expression."""
    time_zone: str = ""
    """The time zone."""
    suspend: bool = False
    """Whether it was suspended."""


class WaitingTime(Status):
    """A time whose run has not started yet."""

    scheduled_time: str
    """The time of the schedule."""
    due_time: str
    """That time and its jitter."""


class TriggerState(Status):
    """What a trigger has seen."""

    of: str = ""
    """What is watched."""
    value: str = ""
    """What was there at the last look."""
    seen: int = 0
    """How often that has changed."""
    started: int = 0
    """The change that the last run was started for."""
    last_check_time: str | None = None
    """When it was looked at."""
    message: str = ""
    """Why it could not be looked at."""


class TriggerStates(Status):
    """What the triggers have seen."""

    data: TriggerState | None = None
    """The recipe's data."""
    teacher: TriggerState | None = None
    """The recipe's models and teachers."""
    registry: TriggerState | None = None
    """The registered model."""


class RecipeCheck(Status):
    """The last check of the recipe."""

    sha256: str
    """Of its text."""
    message: str = ""
    """What is wrong with it; empty if nothing."""
    last_check_time: str
    """When it was checked; one that was refused is checked again every ten minutes."""


class LastRun(Status):
    """The newest run."""

    name: str
    """Name of the DistillationRun."""
    started_by: str
    """Time, Manual, Data, Teacher or Registry."""
    phase: str = ""
    """Its phase."""
    scheduled_time: str | None = None
    """The time of the schedule, for runs that are started by it."""


class ScheduleStatus(Status):
    """What is, and what was decided."""

    state: str = ""
    """Idle, Running, Suspended or Invalid."""
    active: tuple[str, ...] = ()
    """Runs that go on."""
    last_run: LastRun | None = None
    """The newest run."""
    last_schedule_time: str | None = None
    """The latest time of the schedule for which a run was started."""
    last_successful_time: str | None = None
    """When the last successful run ended."""
    last_digest: str = ""
    """Recipe, data, models and teachers of the last successful run, as one digest."""
    next_schedule_time: str | None = None
    """The next time of the schedule, in UTC."""
    next_run: str = ""
    """The same in the schedule's own time zone, for people."""
    decided_through: str | None = None
    """Every time up to this one was started, skipped, or stands in waiting."""
    observed_timing: Timing | None = None
    """The timing by which that was decided."""
    waiting: tuple[WaitingTime, ...] = ()
    """Times whose run waits: for its jitter, for another run to end, for a recipe that can be run."""
    missed_times: int = 0
    """Times that passed without a run."""
    skipped_unchanged: int = 0
    """Runs that were skipped because nothing had changed."""
    last_run_now: str = ""
    """The value of the run-now annotation that was answered."""
    triggers: TriggerStates | None = None
    """What the triggers have seen."""
    recipe_check: RecipeCheck | None = None
    """The last check of the recipe."""
    observed_generation: int = 0
    """The generation that this speaks of."""
    conditions: tuple[Condition, ...] = ()
    """Ready, RecipeValid, ScheduleValid, TriggersHealthy."""


KIND = Kind(
    resource=SCHEDULE,
    short_names=("dsched",),
    spec=ScheduleSpec,
    status=ScheduleStatus,
    columns=(
        Column("Schedule", ".spec.schedule"),
        Column("TimeZone", ".spec.timeZone"),
        Column("Suspend", ".spec.suspend", "boolean"),
        Column("Last Run", ".status.lastRun.phase"),
        Column("Next Run", ".status.nextRun"),
        Column("State", ".status.state"),
        Column("Missed", ".status.missedTimes", "integer", priority=1),
        Column("Last Successful", ".status.lastSuccessfulTime", "date", priority=1),
    ),
    rules=(
        Rule(
            f"size(self.metadata.name) <= {LONGEST_SCHEDULE_NAME}"
            " && self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
            f"runs are named after it: at most {LONGEST_SCHEDULE_NAME} lower case letters, digits and '-'",
        ),
    ),
    description="When a recipe runs: at times, on new data, teachers or models, or now. Editable at any time.",
)
