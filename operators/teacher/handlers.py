"""Looks at a TeacherServer and at who needs it, makes what should be, and says what is. Thin: decisions are pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import kopf

from operators import loop
from operators.context import Context
from operators.crds.base import parse
from operators.crds.teacher import TeacherServerSpec
from operators.errors import NameTaken, QuotaExceeded
from operators.resources import DEPLOYMENT, POD, SCALED_OBJECT, TEACHER, Body, Resource
from operators.teacher import completion, manifests, pod, status
from operators.teacher.plan import Plan, decide, waiting
from operators.teacher.trouble import Trouble, find, told
from stillhouse.errors import RecipeError, TransientError

Address = Callable[[Body], str]
"""Where the operator reaches the server of a TeacherServer."""


def register(registry: kopf.OperatorRegistry, address: Address = manifests.url) -> None:
    """Look after every TeacherServer; ``address`` says where its completion is asked for."""

    async def look(context: Context, body: dict[str, Any]) -> float:
        return await reconcile(context, body, address)

    loop.register(registry, TEACHER, look, forget)


async def forget(context: Context, body: Body) -> None:
    """What it made is owned by it and goes with it; here only its metric goes."""
    _measure(context, body, None)


async def reconcile(context: Context, body: dict[str, Any], address: Address = manifests.url) -> float:
    """One look. Returns seconds until the next: pods come and go without telling.

    Raises:
        RecipeError: the spec cannot be served (status Invalid); waits for an edit.
        TransientError: the API does not answer.
    """
    try:
        spec = parse(TeacherServerSpec, body)
        plan, after = await _look(context, body, spec, address)
    except RecipeError as error:
        await context.kube.set_status(TEACHER, body, status.invalid(body, error, context.now()))
        _measure(context, body, 0)
        raise
    await context.kube.set_status(TEACHER, body, after)
    told_of = status.news(body.get("status") or {}, after)
    if told_of is not None:
        reason, text, warning = told_of
        context.tell(body, reason, text, warning=warning)
    _measure(context, body, int(after["phase"] == "Ready"))
    return min(context.settings.resync_s, plan.due_s or context.settings.resync_s)


async def _look(
    context: Context, body: dict[str, Any], spec: TeacherServerSpec, address: Address
) -> tuple[Plan, dict[str, Any]]:
    """Decide, write, observe; the plan and the status after it."""
    kube, meta, before = context.kube, body["metadata"], body.get("status") or {}
    where = (meta["namespace"], meta["name"])
    needed_by = waiting(await kube.list(POD, where[0], {manifests.need_label(where[1]): "true"}))
    running = await kube.get(DEPLOYMENT, *where)
    current = ((running or {}).get("spec") or {}).get("replicas", 0)
    plan = decide(spec, before, needed_by, current, context.now())
    trouble = await _write(context, body, spec, plan)
    running = await kube.get(DEPLOYMENT, *where)
    saw = status.seen(running)
    answer = None
    if status.must_ask(before, meta.get("generation", 0), plan, saw.ready):
        answer = await completion.ask(
            address(body), pod.served_name(where[1], spec), spec.probe.prompt, spec.probe.timeout_seconds,
            wants_key=bool(spec.secrets.api_key),
        )  # fmt: skip
    if trouble is None and plan.wanted and saw.ready < plan.replicas:
        trouble = find(running, await kube.list(POD, where[0], pod.selector(where[1])))
    return plan, status.fold(body, spec, plan, status.seen(running, answer, trouble), context.now())


async def _write(context: Context, body: dict[str, Any], spec: TeacherServerSpec, plan: Plan) -> Trouble | None:
    """Make the objects as they should be; what the namespace does not allow is trouble, not an error."""
    wanted = manifests.manifests(body, spec, context.settings, replicas=plan.replicas, wanted=plan.wanted)
    for resource, manifest in wanted.items():
        try:
            if manifest is not None:
                await context.kube.apply(resource, manifest, owned=True)
            elif resource != SCALED_OBJECT or "keda" in (spec.autoscaling.type, _autoscaler(body)):
                # KEDA's kind is asked for only where it may exist: not every installation grants it.
                await _remove(context, body, resource)
        except QuotaExceeded as error:
            return told("QuotaExceeded", str(error))
        except NameTaken as error:
            return Trouble("NameTaken", str(error))
        except TransientError as error:
            if resource != SCALED_OBJECT:
                raise
            return Trouble("AutoscalerMissing", f"{error}; is KEDA installed?")
    return None


def _autoscaler(body: Body) -> str:
    return str((body.get("status") or {}).get("autoscaler", ""))


async def _remove(context: Context, body: Body, resource: Resource) -> None:
    """Delete the object of that name if it is ours."""
    meta = body["metadata"]
    there = await context.kube.get(resource, meta["namespace"], meta["name"])
    owners = [row["uid"] for row in ((there or {}).get("metadata") or {}).get("ownerReferences") or ()]
    if meta["uid"] in owners:
        await context.kube.delete(resource, meta["namespace"], meta["name"])


def _measure(context: Context, body: Body, ready: int | None) -> None:
    labels = (body["metadata"]["namespace"], body["metadata"]["name"])
    gauge = context.metrics.teachers_ready
    if ready is None:
        if labels in {tuple(sample.labels.values()) for family in gauge.collect() for sample in family.samples}:
            gauge.remove(*labels)
    else:
        gauge.labels(*labels).set(ready)
