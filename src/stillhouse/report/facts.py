"""What is known about a run, and in what state each of its stages is. Plain data; reads no artifacts."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from stillhouse.summary import StageSummary

FILE_NAME = "facts.json"
STAGES = (
    "select_teacher",
    "generate_traces",
    "filter_traces",
    "train_student",
    "evaluate_student",
    "register_student",
    "promote_student",
)
RunStatus = Literal["running", "succeeded", "failed"]
State = Literal["done", "reused", "failed", "skipped", "not run"]


@dataclass(frozen=True, kw_only=True)
class StageState:
    """A stage of a run. ``reused`` means that its result was there before this run began."""

    name: str
    state: State
    summaries: tuple[StageSummary, ...] = ()
    note: str = ""

    @property
    def seconds(self) -> float:
        """Time of the work, shards added up, whether done in this run or before."""
        return sum(summary.seconds for summary in self.summaries)

    def cost(self, name: str) -> float:
        return sum(summary.cost.get(name, 0.0) for summary in self.summaries)


@dataclass(kw_only=True)
class RunFacts:
    """A run: its recipe as resolved, what finished, and how it ended.

    ``error`` is one line, ``lineage`` the chain as ``stillhouse.lineage`` records it (``{"nodes": [{"kind", "title",
    "facts"}, …]}``; the graph is drawn from the summaries where there are any), ``path`` where the report lies.
    """

    name: str
    status: RunStatus = "succeeded"
    started_at: str = ""
    finished_at: str = ""
    error: str = ""
    failed_stage: str = ""
    recipe: dict[str, Any] = field(default_factory=dict)
    summaries: list[StageSummary] = field(default_factory=list)
    lineage: dict[str, Any] = field(default_factory=dict)
    path: str = ""

    def all(self, stage: str) -> list[StageSummary]:
        return [summary for summary in self.summaries if summary.stage == stage]

    def one(self, stage: str) -> StageSummary | None:
        found = self.all(stage)
        return found[0] if found else None

    def details(self, stage: str) -> dict[str, Any]:
        """``details`` of a stage, empty where it has not finished."""
        summary = self.one(stage)
        return summary.details if summary else {}

    def broken_stage(self) -> str:
        """The stage that failed: as told, else named at the head of the error, else the first that is missing."""
        if self.status != "failed":
            return ""
        if self.failed_stage:
            return self.failed_stage
        head = self.error.partition(":")[0].partition("[")[0].strip()
        if head in STAGES:
            return head
        return next((stage for stage in STAGES if not self.all(stage)), "")

    def states(self) -> list[StageState]:
        """All stages in order, also those that did not run."""
        return [self._state(stage) for stage in STAGES]

    def _state(self, stage: str) -> StageState:
        found = tuple(self.all(stage))
        if stage == self.broken_stage():
            return StageState(name=stage, state="failed", summaries=found, note=self.error)
        if not found:
            reason = self._skipped(stage)
            return StageState(name=stage, state="skipped" if reason else "not run", note=reason)
        reused = bool(self.started_at) and all(
            summary.finished_at and summary.finished_at < self.started_at for summary in found
        )
        return StageState(name=stage, state="reused" if reused else "done", summaries=found)

    def _skipped(self, stage: str) -> str:
        """Why a stage was rightly left out, or nothing."""
        if self.details("select_teacher").get("decision") == "do_not_distil":
            return "no teacher would make this student better"
        if stage == "promote_student" and self.details("register_student").get("verdict") == "failed":
            return "the gate did not pass"
        return ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> RunFacts:
        return cls(**{**plain, "summaries": [StageSummary(**summary) for summary in plain["summaries"]]})


def write_facts(run: RunFacts, folder: Path) -> None:
    """Write ``facts.json`` into the run's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(run.to_json(), indent=1, ensure_ascii=False, allow_nan=False)
    (folder / FILE_NAME).write_text(text + "\n", encoding="utf-8")


def read_facts(folder: Path) -> RunFacts | None:
    """The facts that ``write_facts`` left in ``folder``; None where there are none."""
    path = folder / FILE_NAME
    return RunFacts.from_json(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None
