"""The status of a TeacherServer: a fold over what was seen. Pure; the clock is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from operators.crds.teacher import TeacherServerSpec
from operators.resources import Body, condition, moment, set_condition, timestamp
from operators.teacher import manifests, pod
from operators.teacher.completion import Answer
from operators.teacher.plan import Plan
from operators.teacher.trouble import Trouble

_SHOWN = 20
"""Pods named in ``neededBy``: enough to see who it is."""


@dataclass(frozen=True)
class Seen:
    """What was observed in one look."""

    replicas: int = 0
    """Pods that exist, starting, serving or stopping."""
    ready: int = 0
    """Pods of the newest template that are ready."""
    answer: Answer | None = None
    """The real completion; None where none was asked for in this look."""
    trouble: Trouble | None = None


def seen(deployment: Body | None, answer: Answer | None = None, trouble: Trouble | None = None) -> Seen:
    """What the Deployment says. While its controller has not seen the newest template, nothing is ready."""
    status = (deployment or {}).get("status") or {}
    current = status.get("observedGeneration", 0) >= ((deployment or {}).get("metadata") or {}).get("generation", 0)
    ready = min(status.get("readyReplicas", 0), status.get("updatedReplicas", 0)) if current else 0
    return Seen(status.get("replicas", 0), ready, answer, trouble)


def must_ask(before: Mapping[str, Any], generation: int, plan: Plan, ready: int) -> bool:
    """Whether a real completion is due: it is wanted, a pod is ready, and this generation never answered since."""
    return plan.wanted and ready > 0 and not _answered(before, generation)


def _answered(before: Mapping[str, Any], generation: int) -> bool:
    last = condition(before.get("conditions") or (), "Ready") or {}
    return bool(last) and last["status"] == "True" and last.get("observedGeneration") == generation


def fold(body: Body, spec: TeacherServerSpec, plan: Plan, saw: Seen, now: datetime) -> dict[str, Any]:
    """The status after this look."""
    before, generation = body.get("status") or {}, body["metadata"].get("generation", 0)
    answered = saw.answer.good if saw.answer else _answered(before, generation)
    ready = plan.wanted and saw.ready > 0 and answered
    starting = plan.wanted and not ready
    since = _starting_since(before, generation, now) if starting else None
    late = since is not None and (now - moment(since)).total_seconds() >= spec.startup_deadline_seconds
    phase = _phase(plan, saw, ready=ready, late=late)
    reason, text = _why(phase, plan, saw, spec)
    status: dict[str, Any] = {
        "phase": phase,
        "message": text[:1024],
        "url": manifests.url(body),
        "model": pod.served_name(body["metadata"]["name"], spec),
        "replicas": plan.replicas,
        "readyReplicas": saw.ready,
        "neededBy": list(plan.needed_by[:_SHOWN]),
        "observedGeneration": generation,
        "autoscaler": "" if spec.autoscaling.type == "none" else spec.autoscaling.type,
    }
    times = {"idleSince": plan.idle_since, "startingSince": since}
    status |= {key: value for key, value in times.items() if value}
    rows = before.get("conditions") or ()
    short = ready and saw.ready < plan.replicas
    degraded = phase == "Failed" or saw.trouble is not None or short
    why = saw.trouble.text if saw.trouble else text
    for kind, holds, word, words in (
        ("SpecValid", True, "Valid", "the spec can be served"),
        ("Needed", plan.needed, plan.reason, plan.text),
        ("Available", saw.ready > 0, "PodsReady" if saw.ready else "NoPodReady", f"{saw.ready} pods are ready"),
        ("Ready", ready, reason, text),
        ("Degraded", degraded, _degraded(saw, phase, short=short), why if degraded else "nothing is wrong"),
    ):
        rows = set_condition(rows, kind, holds, word, words, now=now, generation=generation)
    return {**status, "conditions": list(rows)}


def invalid(body: Body, error: Exception, now: datetime) -> dict[str, Any]:
    """The status of a spec that cannot be served; what runs by an earlier one is left as it is."""
    before, generation = body.get("status") or {}, body["metadata"].get("generation", 0)
    rows = before.get("conditions") or ()
    for kind in ("SpecValid", "Ready"):
        rows = set_condition(rows, kind, False, "Invalid", str(error), now=now, generation=generation)
    changed = {"phase": "Invalid", "message": str(error)[:1024], "observedGeneration": generation}
    return {**before, **changed, "conditions": list(rows)}


def _starting_since(before: Mapping[str, Any], generation: int, now: datetime) -> str:
    """A new spec starts anew; so does a server that was ready or idle before."""
    since = before.get("startingSince")
    return str(since) if since and before.get("observedGeneration") == generation else timestamp(now)


def _phase(plan: Plan, saw: Seen, *, ready: bool, late: bool) -> str:
    if not plan.wanted:
        return "Stopping" if saw.replicas else "Idle"
    return "Ready" if ready else "Failed" if late else "Starting"


def _why(phase: str, plan: Plan, saw: Seen, spec: TeacherServerSpec) -> tuple[str, str]:
    """Reason and message of the condition Ready, and of the phase."""
    if not plan.wanted:
        return plan.reason, plan.text
    if phase == "Ready":
        return "CompletionAnswered", f"{saw.ready} of {plan.replicas} replicas serve; {plan.text}"
    if saw.trouble is not None:
        reason, text = saw.trouble.reason, saw.trouble.text
    elif saw.answer is not None:
        reason, text = "NoCompletion", saw.answer.text
    else:
        reason, text = "PodsStarting", "no pod has answered a completion yet"
    if phase == "Failed":
        text = f"not ready within {spec.startup_deadline_seconds} s: {text}"
    return reason, text


def _degraded(saw: Seen, phase: str, *, short: bool) -> str:
    if saw.trouble is not None:
        return saw.trouble.reason
    if phase == "Failed":
        return "DeadlineExceeded"
    return "ReplicasMissing" if short else "AsExpected"


def news(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[str, str, bool] | None:
    """Reason, message and whether it is a warning, of the event that people should get; None where nothing happened.

    Once for each change of the phase, and once for each new reason while it does not start.
    """
    phase, was, trouble = after["phase"], before.get("phase", ""), _troubled(after)
    if phase != was and phase == "Failed":
        return "TeacherFailed", after["message"], True
    if trouble and trouble != _troubled(before):
        return trouble, (condition(after["conditions"], "Degraded") or {})["message"], True
    if phase == was or (phase == "Idle" and was in ("", "Stopping", "Invalid")):
        return None
    if phase == "Starting":
        need = condition(after["conditions"], "Needed") or {}
        return "TeacherStarting", f"starting {after['replicas']} replicas: {need['message']}", False
    names = {"Ready": "TeacherReady", "Idle": "TeacherStopped", "Stopping": "TeacherStopping"}
    return names[phase], after["message"], False


def _troubled(status: Mapping[str, Any]) -> str | None:
    row = condition(status.get("conditions") or (), "Degraded")
    return row["reason"] if row and row["status"] == "True" and row["reason"] != "ReplicasMissing" else None
