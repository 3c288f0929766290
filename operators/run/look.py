"""What KFP, pods and MLflow say of a run, as plain facts. Pure; asks nobody."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from operators.resources import Body

PHASES = {
    "PENDING": "Submitted", "RUNNING": "Running", "PAUSED": "Running", "CANCELING": "Running",
    "SUCCEEDED": "Succeeded", "SKIPPED": "Succeeded", "FAILED": "Failed", "CANCELED": "Cancelled",
}  # fmt: skip
"""KFP's states of a run as our phases."""
STAGES = (
    "select_teacher", "generate_traces", "filter_traces", "train_student", "evaluate_student", "register_student",
    "promote_student", "report_run",
)  # fmt: skip
_CANNOT_START = (
    "ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError",
    "CreateContainerError", "RunContainerError", "CrashLoopBackOff",
)  # fmt: skip
_PULL = ("ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull")
_WORST = ("FAILED", "CANCELED", "CANCELING", "RUNNING", "PAUSED", "PENDING", "SUCCEEDED", "CACHED", "SKIPPED")


@dataclass(frozen=True)
class Trouble:
    """Why a run does not go on, though KFP has not given it up."""

    reason: str
    """ImagePullFailed, ContainerCannotStart, Unschedulable, QuotaExceeded, Queued or TaskFailing."""
    message: str


@dataclass(frozen=True)
class Run:
    """A run as KFP has it."""

    phase: str
    state: str
    message: str = ""
    created: str = ""
    finished: str = ""
    tasks: Mapping[str, str] = field(default_factory=dict)
    failed_stage: str = ""
    trouble: Trouble | None = None


def run(record: Mapping[str, Any]) -> Run:
    """The facts in a V2beta1Run."""
    state = str(record.get("state") or "PENDING")
    details = (record.get("run_details") or {}).get("task_details") or []
    tasks, errors = _tasks(details)
    failed = next((name for name, state in tasks.items() if state == "FAILED"), "")
    message = str((record.get("error") or {}).get("message") or "")
    if failed and errors.get(failed):
        message = f"{failed}: {errors[failed]}"
    quota = next((text for text in (*errors.values(), message) if "exceeded quota" in text), "")
    return Run(
        phase=PHASES.get(state, "Running"), state=state, message=message, created=str(record.get("created_at") or ""),
        finished=str(record.get("finished_at") or ""), tasks=tasks, failed_stage=failed,
        trouble=Trouble("QuotaExceeded", quota) if quota else None,
    )  # fmt: skip


def _tasks(details: Iterable[Mapping[str, Any]]) -> tuple[dict[str, str], dict[str, str]]:
    """Worst state of each stage (shards share one), and what went wrong in it."""
    states: dict[str, list[str]] = {}
    errors: dict[str, str] = {}
    for item in details:
        name = str(item.get("display_name") or "").replace("-", "_")
        stage = next((stage for stage in STAGES if name == stage or name.startswith(f"{stage}_")), "")
        if not stage or name.endswith("_driver"):
            continue
        states.setdefault(stage, []).append(str(item.get("state") or "PENDING"))
        history = [entry.get("error") for entry in item.get("state_history") or []]
        for error in (item.get("error"), *history):
            if error and error.get("message"):
                errors.setdefault(stage, str(error["message"]))
    ranked = {stage: min(found, key=_rank) for stage, found in states.items()}
    return {stage: ranked[stage] for stage in STAGES if stage in ranked}, errors


def _rank(state: str) -> int:
    return _WORST.index(state) if state in _WORST else len(_WORST)


def pod_trouble(pods: Iterable[Body]) -> Trouble | None:
    """The first thing that keeps a pod from starting; waiting in a queue comes last, it is no failure."""
    queued: Trouble | None = None
    for pod in sorted(pods, key=lambda pod: str(pod["metadata"]["name"])):
        status, name = pod.get("status") or {}, pod["metadata"]["name"]
        if status.get("phase") in ("Succeeded", "Failed"):
            continue
        if held := _held(status):
            text = f"pod {name}: {held[1]}"
            return Trouble("ImagePullFailed" if held[0] in _PULL else "ContainerCannotStart", text)
        for item in status.get("conditions") or []:
            if item["type"] != "PodScheduled" or item["status"] != "False":
                continue
            text = f"pod {name}: {item.get('message') or item.get('reason')}"
            if item.get("reason") == "SchedulingGated":
                queued = queued or Trouble("Queued", text)
            elif item.get("reason") == "Unschedulable":
                return Trouble("Unschedulable", text)
    return queued


def _held(status: Mapping[str, Any]) -> tuple[str, str] | None:
    """Reason and message of a container that waits and will not start by itself."""
    for key in ("initContainerStatuses", "containerStatuses"):
        for item in status.get(key) or []:
            waiting = (item.get("state") or {}).get("waiting") or {}
            if waiting.get("reason") in _CANNOT_START:
                image = f"image {item['image']}: " if waiting["reason"] in _PULL and item.get("image") else ""
                return waiting["reason"], f"{image}{waiting['reason']}: {waiting.get('message') or 'no message'}"
    return None


def quota_trouble(workflows: Iterable[Body]) -> Trouble | None:
    """What Argo says of a pod that it may not create yet: such a pod exists nowhere else."""
    for workflow in workflows:
        for node in ((workflow.get("status") or {}).get("nodes") or {}).values():
            text = str(node.get("message") or "")
            if node.get("phase") in ("Pending", "Error") and "exceeded quota" in text:
                return Trouble("QuotaExceeded", f"{text}; free some of the quota, or raise it")
    return None


def told(tags: Mapping[str, str], server: str) -> dict[str, Any]:
    """What a finished run says of itself in MLflow, as status fields."""
    names = {
        "decision": "stillhouse.decision", "teacher": "stillhouse.teacher", "student": "stillhouse.student",
        "verdict": "stillhouse.verdict", "evidence": "stillhouse.gate.evidence_sha256",
        "failedStage": "stillhouse.failed_stage", "message": "stillhouse.error",
    }  # fmt: skip
    row: dict[str, Any] = {key: tags[tag] for key, tag in names.items() if tags.get(tag)}
    cost = {
        "teacherTokens": _number(tags.get("stillhouse.cost.teacher_tokens"), int),
        "seconds": _number(tags.get("stillhouse.cost.seconds"), float),
    }
    if cost := {key: value for key, value in cost.items() if value is not None}:
        row["cost"] = cost
    if tags.get("run_id") and tags.get("experiment_id") and server:
        row["mlflowUrl"] = f"{server}/#/experiments/{tags['experiment_id']}/runs/{tags['run_id']}"
    return row


def _number(text: str | None, kind: type[int] | type[float]) -> float | int | None:
    try:
        return kind(float(text)) if text else None
    except (ValueError, OverflowError):
        return None
