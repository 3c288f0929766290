"""What a schedule's status says: a fold over its runs, the plan, and what was found out. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from operators.crds.schedule import ScheduleSpec
from operators.resources import Body, set_condition, timestamp
from operators.schedule.cron import cron
from operators.schedule.history import Child, last_success
from operators.schedule.plan import Plan
from operators.schedule.times import Timing
from stillhouse.errors import RecipeError


@dataclass(frozen=True)
class Verdict:
    """Whether something is as it should be; ``holds`` None: not known."""

    holds: bool | None
    reason: str
    message: str = ""


@dataclass(frozen=True)
class Findings:
    """What the handler found out."""

    recipe: Verdict
    recipe_check: Mapping[str, Any] | None = None
    triggers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """State by trigger, as the status writes it."""


def schedule_verdict(spec: ScheduleSpec) -> Verdict:
    """Whether times can be read from the schedule."""
    try:
        if spec.schedule:
            cron(spec.schedule, spec.time_zone)
        else:
            cron("0 0 * * *", spec.time_zone)
    except RecipeError as error:
        return Verdict(False, "Invalid", str(error))
    return Verdict(True, "Valid" if spec.schedule else "TriggersOnly")


def fold(
    body: Body, spec: ScheduleSpec, plan: Plan, children: Sequence[Child], findings: Findings, now: datetime
) -> dict[str, Any]:
    """The status that follows from what is. Fields without a value are left out."""
    before: Mapping[str, Any] = body.get("status") or {}
    cancelled = {*plan.cancel}
    active = [child.name for child in children if not child.finished and child.name not in cancelled]
    active += [made.name for made in plan.create if made.name not in active]
    success, digest = last_success(before, children)
    times = [child.scheduled for child in children] + [made.scheduled for made in plan.create]
    scheduled = [timestamp(time) for time in times if time]
    row: dict[str, Any] = {
        "active": active,
        "lastRun": _last_run(before, plan, children),
        "lastScheduleTime": max([*scheduled, before.get("lastScheduleTime") or ""]),
        "lastSuccessfulTime": timestamp(success) if success else "",
        "lastDigest": digest,
        "nextScheduleTime": timestamp(plan.next_time) if plan.next_time else "",
        "nextRun": _local(plan.next_time, spec.time_zone),
        "decidedThrough": timestamp(plan.decided) if plan.decided else "",
        "observedTiming": Timing(spec.schedule, spec.time_zone, spec.suspend).plain(),
        "waiting": [item.plain() for item in plan.waiting],
        "lastRunNow": plan.run_now,
        "triggers": _triggers(findings, plan),
        "recipeCheck": dict(findings.recipe_check) if findings.recipe_check else None,
    }
    counted = {
        "missedTimes": int(before.get("missedTimes") or 0) + plan.missed,
        "skippedUnchanged": int(before.get("skippedUnchanged") or 0) + plan.unchanged,
    }
    timing = schedule_verdict(spec)
    row = {key: value for key, value in row.items() if value not in ("", None, [], {})} | counted
    row["state"] = _state(spec, timing, findings, active)
    row["observedGeneration"] = int(body["metadata"].get("generation") or 1)
    row["conditions"] = _conditions(body, row, timing, findings, now)
    return row


def _last_run(before: Mapping[str, Any], plan: Plan, children: Sequence[Child]) -> dict[str, Any] | None:
    if plan.create:
        made = plan.create[-1]
        last = {"name": made.name, "startedBy": made.started_by, "phase": "Pending"}
        return {**last, "scheduledTime": timestamp(made.scheduled)} if made.scheduled else last
    known: dict[str, Any] | None = before.get("lastRun")
    if not children:
        return known
    child = children[-1]
    if known and known["name"] not in {one.name for one in children} and not _newer(child, before):
        return known
    last = {"name": child.name, "startedBy": child.started_by, "phase": child.phase or "Pending"}
    return {**last, "scheduledTime": timestamp(child.scheduled)} if child.scheduled else last


def _newer(child: Child, before: Mapping[str, Any]) -> bool:
    """Whether a run is newer than the last one that was remembered and is gone."""
    return bool(child.scheduled) and timestamp(child.scheduled or child.created) > (
        before.get("lastScheduleTime") or ""
    )


def _triggers(findings: Findings, plan: Plan) -> dict[str, Any]:
    return {
        kind: {**state, "started": max(int(state.get("started") or 0), plan.started.get(kind.capitalize(), 0))}
        for kind, state in findings.triggers.items()
    }


def _local(time: datetime | None, zone: str) -> str:
    from zoneinfo import ZoneInfo

    return time.astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M") if time else ""


def _state(spec: ScheduleSpec, timing: Verdict, findings: Findings, active: Sequence[str]) -> str:
    if timing.holds is False or findings.recipe.holds is False:
        return "Invalid"
    if active:
        return "Running"
    return "Suspended" if spec.suspend else "Idle"


def _conditions(
    body: Body, row: Mapping[str, Any], timing: Verdict, findings: Findings, now: datetime
) -> list[dict[str, Any]]:
    unheard = [f"{kind}: {state['message']}" for kind, state in findings.triggers.items() if state.get("message")]
    verdicts = {"RecipeValid": findings.recipe, "ScheduleValid": timing}
    if findings.triggers:
        good = not unheard
        verdicts["TriggersHealthy"] = Verdict(good, "Looking" if good else "CannotLook", "; ".join(unheard))
    wrong = [verdict for verdict in (timing, findings.recipe) if verdict.holds is False]
    verdicts["Ready"] = (
        Verdict(False, "Invalid", "; ".join(verdict.message for verdict in wrong)) if wrong
        else Verdict(row["state"] != "Suspended", row["state"])
    )  # fmt: skip
    conditions: Sequence[Mapping[str, Any]] = [
        item for item in (body.get("status") or {}).get("conditions") or [] if item["type"] in verdicts
    ]
    for kind, verdict in verdicts.items():
        conditions = set_condition(
            conditions, kind, verdict.holds, verdict.reason, verdict.message,
            now=now, generation=row["observedGeneration"],
        )  # fmt: skip
    return [dict(item) for item in conditions]
