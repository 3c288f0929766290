"""StudentPromotion: who may replace the champion of a registered model, and what happens around it."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from operators.crds.base import Column, Condition, Kind, Rule, Spec, Status
from operators.resources import PROMOTION

CheckKind = Literal["require", "non_inferior", "limit", "licence"]
Phase = Literal[
    "Idle", "AwaitingApproval", "Promoting", "Stabilizing", "Stable", "RolledBack", "Rejected", "Invalid", "Conflict"
]
Action = Literal["Promote", "RollBack", "Repair"]
_URL = r"^https?://[^\s/?#]+[^\s]*$"


class PromotionPolicy(Spec):
    """What a version's evidence must say, beside a passed gate, before it may become champion."""

    require_verdict: Literal["Passed"] = "Passed"
    """Verdict of the gate. There is no other: a student that failed its gate is never promoted by a resource."""
    require_checks: tuple[CheckKind, ...] = Field(default=(), max_length=4)
    """Kinds of checks that the gate must have made, so that a recipe with a laxer gate is not enough."""
    max_age_seconds: int | None = Field(default=None, ge=1)
    """Oldest version, by its creation in MLflow, that is still promoted; unset: any."""
    evidence_file: Literal["IfReadable", "Required"] = "IfReadable"
    """Required refuses where evidence.json cannot be read through MLflow; else the version's tags decide then."""


class HttpProbe(Spec):
    """A request whose answer says whether the champion serves well. $(VERSION) stands for the new champion's number."""

    cel = (Rule("!has(self.body) || self.method == 'POST'", "body needs method POST", ".body"),)

    url: str = Field(pattern=_URL, max_length=2048)
    """Address, http or https; redirects are not followed."""
    method: Literal["GET", "HEAD", "POST"] = "GET"
    """HTTP method."""
    body: dict[str, Any] | None = None
    """JSON object to send with POST."""
    expect_status: int = Field(default=200, ge=100, le=599)
    """Status of a good answer."""
    expect_json: dict[str, Any] | None = None
    """What a good answer's JSON must contain; fields that are not named do not matter."""

    @model_validator(mode="after")
    def _body_is_posted(self) -> HttpProbe:
        if self.body is not None and self.method != "POST":
            raise ValueError("body needs method POST")
        return self


class CompletionProbe(Spec):
    """A real completion of an OpenAI-compatible server. $(VERSION) stands for the new champion's number."""

    url: str = Field(pattern=_URL, max_length=2048)
    """Base address, ending in /v1."""
    model: str = Field(min_length=1, max_length=256)
    """Model name as the server knows it."""
    prompt: str = Field(min_length=1, max_length=4096)
    """What the student is asked."""
    expect_regex: str = Field(min_length=1, max_length=512)
    """Python regular expression that must be found in the reply (reasoning included)."""
    max_tokens: int = Field(default=64, ge=1, le=4096)
    """Longest reply."""
    chat: bool = True
    """Ask /chat/completions; else /completions."""

    @field_validator("expect_regex")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"not a regular expression ({error})") from error
        return value


class Probe(Spec):
    """How the new champion is tried: exactly one of http and completion."""

    cel = (Rule("has(self.http) != has(self.completion)", "set exactly one of http and completion"),)

    http: HttpProbe | None = None
    """A plain request."""
    completion: CompletionProbe | None = None
    """A completion."""
    timeout_seconds: int = Field(default=10, ge=1, le=60)
    """Longest wait for one answer."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Probe:
        if (self.http is None) == (self.completion is None):
            raise ValueError("set exactly one of http and completion")
        return self


class Stabilization(Spec):
    """A new champion's trial."""

    cel = (Rule("self.periodSeconds <= self.windowSeconds", "periodSeconds may not exceed windowSeconds"),)

    window_seconds: int = Field(default=1800, ge=1, le=2_592_000)
    """How long the trial takes; what waits for promotion waits that long."""
    probe: Probe | None = None
    """What is asked during the trial; without one the window only gives people time."""
    initial_delay_seconds: int = Field(default=0, ge=0, le=86_400)
    """Time before the first probe, for servers that must load the new champion."""
    period_seconds: int = Field(default=30, ge=1, le=86_400)
    """Time between two probes."""
    failure_threshold: int = Field(default=3, ge=1, le=100)
    """Failed probes in a row that end the trial."""

    @model_validator(mode="after")
    def _period_fits(self) -> Stabilization:
        if self.period_seconds > self.window_seconds:
            raise ValueError("periodSeconds may not exceed windowSeconds")
        return self


class Rollback(Spec):
    """What a failed trial leads to."""

    automatic: bool = True
    """Give the alias back to the previous champion; else only say so."""


class PromotionSpec(Spec):
    """The champion of one registered model: promoted on approval, tried, rolled back, and protected."""

    cel = (Rule("self.student == oldSelf.student", "student cannot change; make another StudentPromotion", ".student"),)

    student: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=200)
    """Registered model in MLflow, as the recipe's register.name."""
    mode: Literal["Manual", "Automatic"] = "Manual"
    """Manual waits for the annotation stillhouse.dev/approve; Automatic promotes whatever passed its gate."""
    policy: PromotionPolicy = PromotionPolicy()
    """What the evidence must say."""
    stabilization: Stabilization | None = None
    """The new champion's trial; unset: a promotion is final at once."""
    rollback: Rollback = Rollback()
    """What a failed trial leads to."""
    drift: Literal["Repair", "Report", "Ignore"] = "Repair"
    """When the alias champion is moved by others: put it back, only say so, or take it as it is."""
    suspend: bool = False
    """Move nothing; the status still says what is."""
    history_limit: int = Field(default=10, ge=1, le=100)
    """Entries kept in status.history."""


class EvidenceRef(Status):
    """The challenger's evidence."""

    short: str
    """The first 12 digits."""
    sha256: str
    """What an approval must name."""


class ProbeResult(Status):
    """The last probe of the trial."""

    at: str
    """When it was asked."""
    passed: bool
    """Whether the answer was good."""
    message: str
    """What was wrong."""


class PendingMove(Status):
    """A move of the alias that has been decided and is being made; it survives any crash of the operator."""

    action: Action
    """What is being done."""
    version: str
    """Who becomes champion, or none."""
    over: str
    """Who was champion when this was decided, or none."""
    evidence: str
    """sha256 of the evidence it rests on; empty for rollbacks and repairs."""
    rejects: tuple[str, ...]
    """Versions that a rollback marks as rejected."""
    by: str
    """annotation, automatic, probe or operator."""
    reason: str
    """Why."""
    at: str
    """When it was decided."""


class HistoryEntry(Status):
    """Something that was done."""

    version: str
    """The champion from then on, or none."""
    action: Literal["Promoted", "Stable", "RolledBack", "Repaired", "Adopted"]
    """What was done."""
    at: str
    """When."""
    evidence: str
    """sha256 of the evidence it rests on, if any."""
    by: str
    """annotation, automatic, probe, operator, pipeline, or others."""
    reason: str
    """Why."""


class PromotionStatus(Status):
    """What the operator saw and did. Versions are written as v7, no champion as none."""

    observed_generation: int = 0
    """Generation of the spec that this speaks of."""
    phase: Phase = "Idle"
    """Where the resource stands."""
    conditions: tuple[Condition, ...] = ()
    """Ready, VersionFound, GatePassed, Approved, Stable, Drifted, Conflict."""
    champion: str | None = None
    """The champion in MLflow."""
    challenger: str | None = None
    """The version that wants to replace it."""
    verdict: Literal["Passed", "Failed", "Unknown"] | None = None
    """The challenger's gate."""
    evidence: EvidenceRef | None = None
    """The challenger's evidence."""
    approval: str | None = None
    """What the challenger waits for, or who approved it."""
    expected_champion: str | None = None
    """The champion that this resource promoted, adopted or restored; drift is measured against it."""
    previous_champion: str | None = None
    """Whom a rollback restores."""
    stabilizing_since: str | None = None
    """Begin of the running trial."""
    failures: int | None = None
    """Failed probes in a row."""
    last_probe: ProbeResult | None = None
    """The last probe of the running trial."""
    pending: PendingMove | None = None
    """A move that is being made."""
    history: tuple[HistoryEntry, ...] = ()
    """What was done, the newest last."""


KIND = Kind(
    resource=PROMOTION,
    short_names=("sprom",),
    spec=PromotionSpec,
    status=PromotionStatus,
    columns=(
        Column("Champion", ".status.champion"),
        Column("Challenger", ".status.challenger"),
        Column("Verdict", ".status.verdict"),
        Column("Approval", ".status.approval"),
        Column("Phase", ".status.phase", priority=1),
        Column("Previous", ".status.previousChampion", priority=1),
        Column("Age", ".metadata.creationTimestamp", type="date"),
    ),
    description="Promotes students of one registered model to champion, tries them, and rolls back.",
)
