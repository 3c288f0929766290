"""One look at a StudentPromotion: read, decide, write. Thin: ``plan`` decides, ``registry`` and ``kube`` act."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from operators.context import Context
from operators.crds.base import parse
from operators.crds.promotion import PromotionSpec
from operators.errors import Conflict
from operators.promotion import probe, registry
from operators.promotion.events import events, new_entries
from operators.promotion.facts import ask
from operators.promotion.judge import standing
from operators.promotion.plan import decide
from operators.promotion.situation import Decision, Situation
from operators.promotion.status import fold, remember
from operators.resources import APPROVE, PROMOTION, ROLLBACK, Body, set_condition
from stillhouse.errors import RecipeError, StillhouseError


async def reconcile(context: Context, body: dict[str, Any]) -> float:
    """Bring the student's champion one step closer to what the resource says; seconds until the next look."""
    try:
        spec = parse(PromotionSpec, body)
    except RecipeError as error:
        await _write(context, body, hindered(body, error, context.now()))
        raise
    older = await _older(context, body, spec.student)
    if older is not None:
        await _write(context, body, conflicting(body, older, context.now()))
        return context.settings.resync_s
    it, decision = await _step(context, body, spec)
    await _write(context, body, _status(it, decision, body))
    if decision.consumed:
        await _take_away(context, body)
    wait = context.settings.resync_s
    return wait if decision.again_s is None else min(wait, decision.again_s)


async def _step(context: Context, body: Body, spec: PromotionSpec) -> tuple[Situation, Decision]:
    """Everything that speaks to MLflow: look, decide, make."""
    notes = body["metadata"].get("annotations") or {}
    asked, memory = ask(notes.get(APPROVE), notes.get(ROLLBACK)), remember(body.get("status") or {})
    try:
        facts = await registry.look(context.mlflow, spec.student, memory, asked)
        it = Situation(spec=spec, memory=memory, facts=facts, ask=asked, now=context.now())
        decision = decide(it)
        if decision.probe and spec.stabilization is not None and spec.stabilization.probe is not None:
            answer = await probe.ask(spec.stabilization.probe, facts.champion)
            it = replace(it, answer=answer, now=context.now())
            decision = decide(it)
        await registry.make(context.mlflow, spec.student, decision.writes)
    except StillhouseError as error:
        # What is known stays in the status; why it cannot be brought up to date is added.
        if not isinstance(error, Conflict):
            await _write(context, body, hindered(body, error, context.now()))
        raise
    return it, decision


def _status(it: Situation, decision: Decision, body: Body) -> dict[str, Any]:
    after = replace(it, memory=decision.memory, facts=it.facts.after(decision.writes))
    return fold(after, standing(after.spec, after.facts, after.ask, after.now), body)


async def _write(context: Context, body: Body, status: Mapping[str, Any]) -> None:
    """Write the status where it differs, then tell what has changed."""
    before = body.get("status") or {}
    await context.kube.set_status(PROMOTION, body, status)
    for reason, message, warning in events(before, status):
        context.tell(body, reason, message, warning=warning)
    for row in new_entries(before, status):
        context.metrics.promotions.labels(row["action"]).inc()


async def _take_away(context: Context, body: Body) -> None:
    """Remove the rollback annotation that was followed, unless somebody has changed the object since."""
    meta = body["metadata"]
    patch = {"metadata": {"resourceVersion": meta.get("resourceVersion"), "annotations": {ROLLBACK: None}}}
    await context.kube.patch(PROMOTION, meta["namespace"], meta["name"], patch)


async def _older(context: Context, body: Body, student: str) -> dict[str, Any] | None:
    """The oldest other StudentPromotion of this student, if it is older than ``body``: it acts, this one does not."""
    found: list[dict[str, Any]] = []
    for namespace in context.settings.watch_namespaces or ("*",):
        found += await context.kube.list(PROMOTION, namespace)
    return oldest_rival(body, found, student)


def oldest_rival(body: Body, others: list[dict[str, Any]], student: str) -> dict[str, Any] | None:
    """Pure part of ``_older``. Age is the creation time; between equals the name decides, then the namespace."""

    def age(item: Body) -> tuple[str, str, str]:
        meta = item["metadata"]
        return str(meta.get("creationTimestamp") or ""), meta["name"], meta["namespace"]

    rivals = [
        item
        for item in others
        if (item.get("spec") or {}).get("student") == student
        and not item["metadata"].get("deletionTimestamp")
        and age(item) < age(body)
    ]
    return min(rivals, key=age, default=None)


def conflicting(body: Body, older: Body, now: datetime) -> dict[str, Any]:
    """The status of a resource whose student belongs to an older one."""
    meta, generation = older["metadata"], int(body["metadata"].get("generation") or 0)
    words = (
        f"StudentPromotion {meta['namespace']}/{meta['name']} is older and looks after {older['spec']['student']}; "
        "this one does nothing. Delete one of them"
    )
    conditions: list[dict[str, Any]] = list((body.get("status") or {}).get("conditions") or [])
    for kind, holds, reason in (("Conflict", True, "OlderExists"), ("Ready", False, "Conflict")):
        conditions = set_condition(conditions, kind, holds, reason, words, now=now, generation=generation)
    return {
        **(body.get("status") or {}),
        "observedGeneration": generation,
        "phase": "Conflict",
        "conditions": conditions,
    }


def hindered(body: Body, error: StillhouseError, now: datetime) -> dict[str, Any]:
    """The status as it was, with why it is not up to date."""
    status, generation = dict(body.get("status") or {}), int(body["metadata"].get("generation") or 0)
    invalid = isinstance(error, RecipeError)
    reason = "Invalid" if invalid else "Retrying"
    conditions = set_condition(
        status.get("conditions") or [], "Ready", False, reason, str(error), now=now, generation=generation
    )
    return {**status, **({"phase": "Invalid"} if invalid else {}), "conditions": conditions}
