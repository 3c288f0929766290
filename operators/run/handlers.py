"""One look at a DistillationRun: submit it once, mirror what KFP says, end it in time, tell what came of it.

Nothing runs twice: the label is the object's, and ``stillhouse submit`` starts no second run of a label. What was
tried is written before it is tried, so that deleting the object finds a run whose start was never answered.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from operators.context import Context
from operators.crds.base import parse
from operators.crds.run import RunSpec
from operators.loop import LONG_S
from operators.resources import GROUP, POD, RUN, SCHEDULE, WORKFLOW, Body, condition, moment
from operators.run import look, recipe, status
from operators.run.recipe import RecipeMissing
from stillhouse.errors import RecipeError, TransientError

log = logging.getLogger("stillhouse.operator")
SUBMIT_S = 300.0
"""Longest run of the command, in seconds."""
SETTLE_S = 30.0
"""How long after an unanswered try a run may still come into being, in seconds."""
ASK_MLFLOW_S = 600.0
"""How long after its end a run's own account may still appear in MLflow, in seconds."""


async def reconcile(context: Context, body: dict[str, Any]) -> float:
    """Bring the run one step further; returns seconds until the next look."""
    spec = parse(RunSpec, body)
    row = status.before(body)
    if row["phase"] in status.ENDS:
        return await _after_the_end(context, body, spec, row)
    if f"{GROUP}/finalizer" not in (body["metadata"].get("finalizers") or []):
        return 0.2  # before it is there, deleting the object would leave the KFP run behind
    now, deadline = context.now(), _deadline(body, spec)
    if not row.get("runId"):
        if deadline is not None and now >= deadline:
            row = await _late_before_submit(context, row, now)
        else:
            row = await _submit(context, body, spec, row)
    else:
        row = await _mirror(context, body, row, deadline)
    await _write(context, body, row)
    return _next_look(context, row, deadline)


async def cleanup(context: Context, body: Body) -> None:
    """Terminate the KFP run of an object that is being deleted, also where its start was never answered.

    Raises:
        TransientError: KFP does not answer, or a start may still be under way.
    """
    meta = body["metadata"]
    fresh = await context.kube.get(RUN, meta["namespace"], meta["name"]) or body
    row: Mapping[str, Any] = fresh.get("status") or {}
    if row.get("phase") in status.ENDS and row["phase"] != "TimedOut":
        return
    run_id = row.get("runId")
    if not run_id and row.get("runName"):
        run_id = await _find(context, row)
        if not run_id and context.now() < _settled(row):
            raise TransientError(f"{meta['name']}: its start has no answer yet; looking for {row['runName']} again")
    if run_id:
        await _terminate(context, run_id)
        context.tell(body, "Terminated", f"KFP run {run_id} is being terminated")
    _wake_owner(context, body)


async def _submit(context: Context, body: dict[str, Any], spec: RunSpec, row: status.Row) -> status.Row:
    now, namespace = context.now(), body["metadata"]["namespace"]
    try:
        source = await recipe.find(context, namespace, spec)
        recipe.check_overrides(spec.set)
        where = recipe.kfp_namespace(source, namespace, context.settings.kfp_namespace)
    except RecipeMissing as error:
        return status.waits(row, "RecipeMissing", str(error), now, recipe=False)
    except RecipeError as error:
        return status.refused(row, str(error), now)
    if not context.kfp.rest.base:
        text = "the operator knows no Kubeflow Pipelines; set kfp.endpoint in the chart's values"
        return status.waits(row, "KfpNotConfigured", text, now)
    label = status.run_label(body)
    row = status.trying(row, label, f"{recipe.overridden_name(source, spec.set)}-{label}", where, now)
    await _write(context, body, row)
    options = ["--run-label", label, *(("--namespace", where) if where else ())]
    options += [f"--set={item}" for item in spec.set]
    try:
        answer = await recipe.ask(context, "submit", source, *options, timeout_s=SUBMIT_S)
    except RecipeError as error:
        # An earlier try may have started it, though the recipe has become unreadable since.
        if found := await _find(context, row):
            return status.submitted(row, {"run_id": found, "url": _url(context, found)}, now)
        return status.refused(row, str(error), context.now())
    except TransientError as error:
        await _write(context, body, status.no_answer(row, str(error), context.now()))
        raise
    return status.submitted(row, answer, context.now())


async def _late_before_submit(context: Context, row: status.Row, now: datetime) -> status.Row:
    """The deadline is over and KFP has never answered; what a try may have started is ended."""
    found = await _find(context, row) if row.get("runName") else ""
    if found:
        await _terminate(context, found)
        row = {**row, "runId": found, "url": _url(context, found)}
    elif now < _settled(row):
        raise TransientError(f"{row['runName']}: its start has no answer yet; looking again")
    return status.end(row, "TimedOut", "DeadlineExceeded", "its deadline was over before KFP had it", now)


async def _mirror(
    context: Context, body: dict[str, Any], row: status.Row, deadline: datetime | None
) -> status.Row:  # fmt: skip
    now = context.now()
    record = await context.kfp.run(row["runId"])
    if record is None:
        text = f"KFP no longer has the run {row['runId']}; somebody deleted it there"
        return status.end(row, "Failed", "RunVanished", text, now)
    run = look.run(record)
    if run.phase in status.ENDS:
        return await _told(context, status.mirrored(row, run, None, now))
    if deadline is not None and now >= deadline:
        await _terminate(context, row["runId"])
        row = status.mirrored(row, run, None, now)
        return status.end(row, "TimedOut", "DeadlineExceeded", "its deadline was over; KFP was told to stop it", now)
    return status.mirrored(row, run, run.trouble or await _trouble(context, body, row), now)


async def _trouble(context: Context, body: dict[str, Any], row: status.Row) -> look.Trouble | None:
    """What keeps its pods from starting. What the operator may not read, it does not tell."""
    namespace = row.get("kfpNamespace") or context.settings.kfp_namespace or body["metadata"]["namespace"]
    chosen = {"pipeline/runid": row["runId"]}
    try:
        pods = await context.kube.list(POD, namespace, chosen)
        if trouble := look.pod_trouble(pods):
            return trouble
        if any((pod.get("status") or {}).get("phase") == "Running" for pod in pods):
            return None
        return look.quota_trouble(await context.kube.list(WORKFLOW, namespace, chosen))
    except TransientError as error:
        log.info("%s: cannot look at its pods: %s", row["runName"], error)
        return None


async def _told(context: Context, row: status.Row) -> status.Row:
    """``row`` with what the run says of itself in MLflow; as it is where MLflow does not answer."""
    if not context.mlflow.rest.base or not row.get("runId"):
        return row
    try:
        tags = await context.mlflow.pipeline_run(row["runId"])
    except (RecipeError, TransientError) as error:
        log.info("%s: MLflow does not tell of it: %s", row.get("runName"), error)
        return row
    if not tags:
        return row
    told = look.told(tags, context.settings.mlflow_uri or context.mlflow.rest.base)
    if row["phase"] == "Succeeded" or row.get("message"):
        told.pop("message", None)
    return {**row, **told, "toldByMlflow": True}


async def _after_the_end(context: Context, body: dict[str, Any], spec: RunSpec, row: status.Row) -> float:
    now, ended = context.now(), moment(row["completionTime"])
    looks = [LONG_S]
    unheard = row.get("runId") and context.mlflow.rest.base and not row.get("toldByMlflow")
    if unheard and now < ended + timedelta(seconds=ASK_MLFLOW_S):
        row = await _told(context, row)
        looks.append(context.settings.resync_s)
    await _write(context, body, row)
    if spec.ttl_seconds_after_finished is not None:
        left = (ended + timedelta(seconds=spec.ttl_seconds_after_finished) - now).total_seconds()
        if left <= 0:
            await context.kube.delete(RUN, body["metadata"]["namespace"], body["metadata"]["name"])
        looks.append(max(1.0, left))
    return min(looks)


async def _write(context: Context, body: dict[str, Any], row: status.Row) -> None:
    """Write the status where it differs, then say what has changed; ``body`` has it from then on."""
    old: Mapping[str, Any] = body.get("status") or {}
    await context.kube.set_status(RUN, body, row)
    body["status"] = row
    phase, reason, message = row["phase"], row.get("reason", ""), row.get("message", "")
    bad = phase in ("Failed", "TimedOut")
    if phase != old.get("phase") and phase != "Pending":
        link = f": {row['url']}" if row.get("url") and phase == "Submitted" else ""
        context.tell(body, phase, f"{message or phase}{link}", warning=bad)
    elif reason != old.get("reason") and (_held(row) or (phase == "Pending" and reason)):
        context.tell(body, reason, message, warning=True)
    if phase != old.get("phase"):
        if phase in status.ENDS:
            context.metrics.runs_ended.labels(phase).inc()
        _wake_owner(context, body)


def _held(row: status.Row) -> bool:
    progressing = condition(row.get("conditions") or [], "Progressing")
    return row["phase"] not in status.ENDS and progressing is not None and progressing["status"] == "False"


def _wake_owner(context: Context, body: Body) -> None:
    for owner in body["metadata"].get("ownerReferences") or ():
        if owner.get("kind") == SCHEDULE.kind:
            context.wake(SCHEDULE, body["metadata"]["namespace"], owner["name"])


async def _terminate(context: Context, run_id: str) -> None:
    """Stop a run. One that ends in the same moment cannot be stopped any more: looking again shows that."""
    try:
        await context.kfp.terminate(run_id)
    except RecipeError as error:
        raise TransientError(str(error)) from error


async def _find(context: Context, row: Mapping[str, Any]) -> str:
    """Id of the run with the name that was tried; empty where there is none."""
    if not context.kfp.rest.base:
        return ""
    found = await context.kfp.find(row["runName"], row.get("kfpNamespace") or context.settings.kfp_namespace)
    return str(found["run_id"]) if found else ""


def _settled(row: Mapping[str, Any]) -> datetime:
    """When a run that a try may have started must have shown itself."""
    tried = row.get("submitTry") or {}
    if tried.get("endedAt"):
        return moment(tried["endedAt"]) + timedelta(seconds=SETTLE_S)
    if tried.get("startedAt"):
        return moment(tried["startedAt"]) + timedelta(seconds=SUBMIT_S + SETTLE_S)
    return moment("1970-01-01T00:00:00Z")


def _deadline(body: Body, spec: RunSpec) -> datetime | None:
    if spec.deadline_seconds is None:
        return None
    return moment(body["metadata"]["creationTimestamp"]) + timedelta(seconds=spec.deadline_seconds)


def _next_look(context: Context, row: status.Row, deadline: datetime | None) -> float:
    if row["phase"] in status.ENDS:
        return 0.0  # for what comes after the end
    looks = [context.settings.resync_s]
    if deadline is not None:
        looks.append(max(0.1, (deadline - context.now()).total_seconds()))
    return min(looks)


def _url(context: Context, run_id: str) -> str:
    return f"{context.settings.kfp_external_url or context.kfp.rest.base}/#/runs/details/{run_id}"
