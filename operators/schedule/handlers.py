"""One look at a DistillationSchedule: read what is, plan, start and cancel, write the status, then tidy up.

The order matters: runs are created before the status says so (a run that is there is found again, one that was only
written down would be lost), and finished runs are deleted after it (what they tell is remembered first).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from operators.context import Context
from operators.crds.base import parse
from operators.crds.schedule import ScheduleSpec
from operators.resources import (
    API_VERSION,
    MANAGED_BY,
    RUN,
    RUN_NOW,
    SCHEDULE,
    SCHEDULE_LABEL,
    Body,
    moment,
    owner_reference,
    timestamp,
)
from operators.run import recipe
from operators.run.recipe import RecipeMissing, Source
from operators.schedule.history import DIGEST, SCHEDULED, STARTED_BY, Child, owned
from operators.schedule.plan import Create, Plan, Signals, plan
from operators.schedule.signals import Watch
from operators.schedule.status import Findings, Verdict, fold
from stillhouse.errors import RecipeError, TransientError

_CHECK_AGAIN = timedelta(minutes=10)
_LOOKS_BETWEEN = 4
"""An idle schedule is looked at at least every so many resyncs: clocks are set, and events can be lost."""


async def reconcile(context: Context, body: dict[str, Any]) -> float:
    """Bring the schedule to where it should be now; returns seconds until the next look."""
    spec = parse(ScheduleSpec, body)
    meta, before = body["metadata"], body.get("status") or {}
    namespace, now = meta["namespace"], context.now()
    found = await context.kube.list(RUN, namespace, {SCHEDULE_LABEL: meta["name"]})
    children = owned(found, meta["uid"])
    source, verdict = await _source(context, namespace, spec)
    watch = Watch(context, namespace, spec, source)
    verdict, check = await _checked(watch, source, verdict, before, now)
    await watch.look(before.get("triggers") or {})
    signals = Signals(
        name=meta["name"], uid=meta["uid"], created=moment(meta["creationTimestamp"]), edited=edited(body),
        recipe_ok=verdict.holds is not False, run_now=(meta.get("annotations") or {}).get(RUN_NOW, ""),
        fired=watch.fired(), check_at=watch.check_at,
    )  # fmt: skip
    done = plan(spec, before, children, now, signals)
    if done.needs_digest:
        digest = await watch.digest()
        if watch.refusal and source is not None:
            verdict, check = _found(watch, source, verdict, now)
        signals = replace(signals, digest=digest, digest_asked=True, recipe_ok=verdict.holds is not False)
        done = plan(spec, before, children, now, signals)
    for name in done.cancel:
        await context.kube.delete(RUN, namespace, name)
    for made in done.create:
        assert source is not None
        await _start(context, body, spec, source, made, signals.digest)
    findings = Findings(verdict, check, watch.states)
    row = fold(body, spec, done, children, findings, now)
    await context.kube.set_status(SCHEDULE, body, row)
    _tell(context, body, before, row, done)
    for name in done.delete:
        await context.kube.delete(RUN, namespace, name)
    return _delay(context, done, children, now)


async def _source(context: Context, namespace: str, spec: ScheduleSpec) -> tuple[Source | None, Verdict]:
    """The recipe, and whether it can be read."""
    try:
        source = await recipe.find(context, namespace, spec)
        recipe.kfp_namespace(source, namespace, context.settings.kfp_namespace)
    except RecipeMissing as error:
        return None, Verdict(False, "RecipeMissing", str(error))
    except RecipeError as error:
        return None, Verdict(False, "Refused", str(error))
    return source, Verdict(True, "Valid")


async def _checked(
    watch: Watch, source: Source | None, verdict: Verdict, before: Mapping[str, Any], now: datetime
) -> tuple[Verdict, Mapping[str, Any] | None]:
    """The command's verdict on a recipe, asked for when it is new or was refused a while ago."""
    known: Mapping[str, Any] | None = before.get("recipeCheck")
    if source is None:
        return verdict, known
    if known and known["sha256"] == source.sha256:
        if not known.get("message"):
            return verdict, known
        if now < moment(known["lastCheckTime"]) + _CHECK_AGAIN:
            return Verdict(False, "Refused", known["message"]), known
    await watch.digest()
    if watch.inputs is None and not watch.refusal:
        return Verdict(None, "NotChecked", "what the recipe needs does not answer; looking again"), known
    return _found(watch, source, verdict, now)


def _found(watch: Watch, source: Source, verdict: Verdict, now: datetime) -> tuple[Verdict, Mapping[str, Any]]:
    """What the command said of the recipe at this look."""
    check = {"sha256": source.sha256, "lastCheckTime": timestamp(now)}
    if not watch.refusal:
        return verdict, check
    return Verdict(False, "Refused", watch.refusal), {**check, "message": watch.refusal}


async def _start(
    context: Context, body: Body, spec: ScheduleSpec, source: Source, made: Create, digest: str | None
) -> None:
    """Create the run; one that is there already is the one that was meant."""
    meta, template = body["metadata"], spec.run_template
    told = {STARTED_BY: made.started_by}
    if made.scheduled:
        told[SCHEDULED] = timestamp(made.scheduled)
    if digest:
        told[DIGEST] = digest
    wanted: dict[str, Any] = {"recipe": dict(source.tree)}
    if spec.deadline_seconds is not None:
        wanted["deadlineSeconds"] = spec.deadline_seconds
    run = {
        "apiVersion": API_VERSION,
        "kind": RUN.kind,
        "metadata": {
            "name": made.name,
            "namespace": meta["namespace"],
            "labels": {**(template.labels if template else {}), **MANAGED_BY, SCHEDULE_LABEL: meta["name"]},
            "annotations": {**(template.annotations if template else {}), **told},
            "ownerReferences": [owner_reference(body)],
        },
        "spec": wanted,
    }
    there, new = await context.kube.create(RUN, run)
    if not owned([there], meta["uid"]):
        raise TransientError(
            f"DistillationRun {made.name}: is there and belongs to somebody else; delete it, or rename the schedule"
        )
    if new:
        context.metrics.runs_created.labels(made.started_by).inc()
        when = f" for {timestamp(made.scheduled)}" if made.scheduled else ""
        context.tell(body, "Started", f"DistillationRun {made.name}{when} ({made.started_by})")


def edited(body: Body) -> datetime | None:
    """When the timing was last written, as the API server remembers it; None where it does not say."""
    found = []
    for entry in body["metadata"].get("managedFields") or ():
        fields = (entry.get("fieldsV1") or {}).get("f:spec") or {}
        if (
            entry.get("time")
            and not entry.get("subresource")
            and {"f:schedule", "f:timeZone", "f:suspend"} & set(fields)
        ):
            found.append(moment(entry["time"]))
    return max(found, default=None)


def _tell(context: Context, body: Body, before: Mapping[str, Any], row: Mapping[str, Any], done: Plan) -> None:
    if done.missed:
        context.tell(body, "MissedTimes", f"{done.missed} times passed without a run", warning=True)
    if done.unchanged:
        context.tell(body, "Unchanged", "skipped: recipe, data, models and teachers are those of the last success")
    if done.cancel:
        context.tell(body, "Replaced", f"cancelled for a newer run: {', '.join(done.cancel)}")
    old = {item["type"]: item for item in before.get("conditions") or []}
    for item in row["conditions"]:
        same = old.get(item["type"], {})
        if item["status"] == "False" and item["type"] != "Ready" and item["message"] != same.get("message"):
            context.tell(body, f"{item['type']}False", item["message"], warning=True)


def _delay(context: Context, done: Plan, children: tuple[Child, ...], now: datetime) -> float:
    """Seconds until something is due; sooner while a run goes on or something is in the way."""
    resync = context.settings.resync_s
    busy = bool(done.create or done.cancel or done.blocked) or any(not child.finished for child in children)
    longest = timedelta(seconds=resync if busy else _LOOKS_BETWEEN * resync)
    wait = min(longest, max(done.wake_at - now, timedelta(0))) if done.wake_at else longest
    return max(0.05, wait.total_seconds())
