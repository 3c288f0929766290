"""How many replicas there should be, and until when. Pure: observed pods, the last status and a clock in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from operators.crds.teacher import TeacherServerSpec
from operators.resources import Body, moment, timestamp

_UNFINISHED = ("Pending", "Running")


@dataclass(frozen=True)
class Plan:
    """What is decided. ``reason`` and ``text`` say why."""

    replicas: int
    wanted: bool
    """Whether it should be up: it is needed, or was a moment ago."""
    needed: bool
    """Whether somebody needs it now."""
    reason: str
    text: str
    needed_by: tuple[str, ...] = ()
    idle_since: str | None = None
    due_s: float | None = None
    """Seconds until the decision may change by time alone."""


def waiting(pods: Iterable[Body]) -> tuple[str, ...]:
    """Names of the pods that are not finished: finished ones stay in the namespace as Succeeded or Failed."""
    return tuple(
        sorted(
            pod["metadata"]["name"]
            for pod in pods
            if (pod.get("status") or {}).get("phase", "Pending") in _UNFINISHED
            and not pod["metadata"].get("deletionTimestamp")
        )
    )


def decide(
    spec: TeacherServerSpec, before: Mapping[str, Any], needed_by: tuple[str, ...], current: int, now: datetime
) -> Plan:
    """``before`` is the last status, ``current`` the replicas that the Deployment asks for now."""
    up = _replicas(spec, current)
    if spec.suspend:
        return Plan(0, False, False, "Suspended", "spec.suspend is true", needed_by)
    if needed_by:
        many = f"{needed_by[0]}" + (f" and {len(needed_by) - 1} more" if len(needed_by) > 1 else "")
        return Plan(up, True, True, "PodsNeedIt", f"needed by {many}", needed_by)
    if not spec.scale_to_zero.enabled:
        return Plan(up, True, True, "AlwaysOn", "scaleToZero is off")
    since = before.get("idleSince")
    if not before.get("replicas"):
        return Plan(0, False, False, "NobodyNeedsIt", "no pod needs it", idle_since=since)
    since = since or timestamp(now)
    left = spec.scale_to_zero.idle_seconds - (now - moment(since)).total_seconds()
    if left > 0:
        return Plan(up, True, False, "IdleWindow", f"no pod needs it since {since}", idle_since=since, due_s=left)
    return Plan(0, False, False, "NobodyNeedsIt", f"no pod needs it since {since}", idle_since=since)


def _replicas(spec: TeacherServerSpec, current: int) -> int:
    """Replicas while it is wanted: between its bounds an autoscaler's choice is left alone."""
    scaling = spec.autoscaling
    if scaling.type == "none":
        return spec.replicas
    return min(max(current, scaling.min_replicas), scaling.max_replicas)
