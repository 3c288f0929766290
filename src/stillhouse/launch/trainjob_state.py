"""What a TrainJob, its pods and their events say about the training. Pure: observed objects in, one state out.

A TrainJob that is suspended (Kueue has not admitted it, or took its place away again), that has no status yet, or whose
pods wait for a node or for a quota, waits: that is no failure. Knows no API and no clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from stillhouse.errors import RecipeError, StillhouseError, TransientError
from stillhouse.launch.trainjob_manifest import QUEUE_LABEL

Phase = Literal["suspended", "pending", "running", "complete", "failed"]
_IMAGE = ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError")
_CONFIG = ("CreateContainerConfigError", "CreateContainerError")
_STATE = "cluster.stages.train_student"


@dataclass(frozen=True)
class Problem:
    """What is wrong with a pod. ``kind`` orders: an eviction explains a crash of the others, and not the reverse."""

    kind: Literal["evicted", "memory", "image", "start", "crash"]
    pod: str
    text: str


@dataclass(frozen=True)
class State:
    """Where a TrainJob stands: ``text`` for people, ``reason`` and ``message`` of its condition Failed."""

    phase: Phase
    text: str
    reason: str = ""
    message: str = ""


def observe(job: Mapping[str, Any], pods: Sequence[Mapping[str, Any]] = (), events: Sequence[str] = ()) -> State:
    """The state that ``job`` is in; ``events`` are messages of warnings, the newest last."""
    conditions = _conditions(job)
    if found := conditions.get("Failed"):
        reason, message = found.get("reason", ""), found.get("message", "")
        return State("failed", f"failed ({reason}: {_one_line(message)})", reason, _one_line(message))
    if "Complete" in conditions:
        return State("complete", "complete")
    queue = job.get("metadata", {}).get("labels", {}).get(QUEUE_LABEL, "")
    if "Suspended" in conditions or job.get("spec", {}).get("suspend"):
        return State("suspended", _why("waiting in the queue " + queue if queue else "suspended", events))
    ready = sum(_is_ready(pod) for pod in pods)
    nodes = job.get("spec", {}).get("trainer", {}).get("numNodes", len(pods))
    if ready:
        return State("running", f"running: {ready} of {nodes} nodes")
    causes = [cause for pod in pods if (cause := _unscheduled(pod))] or list(events)
    return State("pending", _why(f"waiting for its pods ({len(pods)} of {nodes} exist)", causes))


def pod_problems(pods: Iterable[Mapping[str, Any]]) -> list[Problem]:
    """What is or was wrong with ``pods``, the most telling first."""
    found = [problem for pod in pods for problem in _problems(pod)]
    order = ("evicted", "memory", "image", "start", "crash")
    return sorted(found, key=lambda problem: order.index(problem.kind))


def failure(
    name: str, state: State, problems: Sequence[Problem], left: StillhouseError | None, limit_s: int | None
) -> StillhouseError:
    """The error that a failed TrainJob is: by what its processes left, else by its pods, else by its own words."""
    if state.reason == "DeadlineExceeded":
        return RecipeError(
            f"TrainJob {name}: ran longer than {limit_s} s; raise {_STATE}.timeout_s, and run again to continue from "
            "the last checkpoint"
        )
    if state.reason == "TrainingRuntimeNotSupported":
        return RecipeError(f"TrainJob {name}: {state.message}; correct {_STATE}.runtime")
    first = problems[0] if problems else None
    if isinstance(left, RecipeError):
        return left
    if first and first.kind == "evicted":
        return TransientError(f"TrainJob {name}: {first.text}; run again to continue from the last checkpoint")
    if first and first.kind == "memory":
        return RecipeError(
            f"TrainJob {name}: {first.text}; raise {_STATE}.memory, or lower train.batch_size and raise "
            "train.gradient_accumulation"
        )
    if left:
        return left
    if first and first.kind in ("image", "start"):
        return stuck(name, first)
    what = f"{first.text} ({state.reason}: {state.message})" if first else f"{state.reason}: {state.message}"
    return StillhouseError(f"TrainJob {name}: failed: {what}; the log of its pods says why")


def stuck(name: str, problem: Problem) -> RecipeError:
    """The error for pods that will not start by waiting."""
    cure = (
        "correct cluster.images (or its pull_secrets)"
        if problem.kind == "image"
        else f"correct the names in cluster.secrets, cluster.workspace and {_STATE}"
    )
    return RecipeError(f"TrainJob {name}: {problem.text}; {cure}")


def _conditions(job: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Conditions that are true, by type."""
    found = job.get("status", {}).get("conditions") or []
    return {item["type"]: item for item in found if item.get("status") == "True"}


def _why(text: str, causes: Sequence[str]) -> str:
    return f"{text}: {_one_line(causes[-1])}" if causes else text


def _is_ready(pod: Mapping[str, Any]) -> bool:
    status = pod.get("status", {})
    return status.get("phase") == "Running" and any(
        item.get("type") == "Ready" and item.get("status") == "True" for item in status.get("conditions") or []
    )


def _unscheduled(pod: Mapping[str, Any]) -> str:
    for item in pod.get("status", {}).get("conditions") or []:
        if item.get("type") == "PodScheduled" and item.get("status") == "False":
            return str(item.get("message", ""))
    return ""


def _problems(pod: Mapping[str, Any]) -> list[Problem]:
    name, status = pod["metadata"]["name"], pod.get("status", {})
    found: list[Problem] = []
    disrupted = next(
        (
            item
            for item in status.get("conditions") or []
            if item.get("type") == "DisruptionTarget" and item.get("status") == "True"
        ),
        None,
    )
    if disrupted or status.get("reason") in ("Evicted", "Preempting", "NodeLost", "Shutdown"):
        cause = (disrupted or {}).get("reason") or status.get("reason")
        message = (disrupted or {}).get("message") or status.get("message") or ""
        found.append(Problem("evicted", name, f"pod {name} was taken off its node ({cause}: {_one_line(message)})"))
    for container in status.get("containerStatuses") or []:
        waiting = container.get("state", {}).get("waiting") or {}
        reason, message = waiting.get("reason", ""), _one_line(waiting.get("message", ""))
        if reason in _IMAGE:
            text = f"image {container.get('image', '')} cannot be pulled ({reason}: {message})"
            found.append(Problem("image", name, text))
        elif reason in _CONFIG:
            found.append(Problem("start", name, f"pod {name} cannot start ({reason}: {message})"))
        for ended in (container.get("state", {}).get("terminated"), container.get("lastState", {}).get("terminated")):
            if not ended or ended.get("exitCode") == 0:
                continue
            if ended.get("reason") == "OOMKilled":
                found.append(Problem("memory", name, f"pod {name} had not enough memory (OOMKilled)"))
            else:
                found.append(Problem("crash", name, f"pod {name} ended with exit code {ended.get('exitCode')}"))
    return found


def _one_line(text: str) -> str:
    return " ".join(text.split())[:500]
