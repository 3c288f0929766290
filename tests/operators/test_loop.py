"""One reconciler per object, under real kopf: edits wake it, errors decide what follows, bugs stay where they are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import kmock
import kopf

from operators import loop
from operators.context import Context
from operators.resources import SCHEDULE, Body
from operators.settings import Settings
from stillhouse.errors import RecipeError, TransientError
from tests.operators.world import world


def _only(reconcile: loop.Reconcile, cleanup: loop.Cleanup | None = None) -> Callable[[], kopf.OperatorRegistry]:
    def registry() -> kopf.OperatorRegistry:
        handlers = kopf.OperatorRegistry()
        loop.register(handlers, SCHEDULE, reconcile, cleanup)
        return handlers

    return registry


def test_an_edit_wakes_a_sleeping_reconciler_and_a_status_does_not() -> None:
    looks: list[int] = []

    async def reconcile(context: Context, body: dict[str, Any]) -> float:
        looks.append(body["metadata"]["generation"])
        await context.kube.set_status(SCHEDULE, body, {"seen": body["metadata"]["generation"]})
        return 3600

    async def story() -> None:
        async with world(registry=_only(reconcile)) as w:
            await w.create(SCHEDULE, "a", {"x": 1})
            await w.start()
            await w.settle(SCHEDULE, "a", "seen", 1)
            await w.edit(SCHEDULE, "a", {"spec": {"x": 2}})
            await w.settle(SCHEDULE, "a", "seen", 2)
            await asyncio.sleep(0.3)
            assert looks.count(2) <= 2
            await w.edit(SCHEDULE, "a", {"metadata": {"annotations": {"stillhouse.dev/run-now": "1"}}})
            before = len(looks)
            await w.until(lambda: len(looks) > before, "an annotation wakes it")

    asyncio.run(story())


def test_the_users_error_waits_for_an_edit_and_a_passing_one_is_tried_again(monkeypatch: Any) -> None:
    monkeypatch.setattr("operators.errors.FIRST_S", 0.01)
    tries: dict[str, int] = {"bad": 0, "shaky": 0}

    async def reconcile(context: Context, body: dict[str, Any]) -> float:
        name = body["metadata"]["name"]
        tries[name] += 1
        if name == "bad" and body["spec"]["x"] == 1:
            raise RecipeError("spec.x = 1: must be 2")
        if name == "shaky" and tries[name] < 5:
            raise TransientError("KFP does not answer")
        await context.kube.set_status(SCHEDULE, body, {"state": "good"})
        return 3600

    async def story() -> None:
        async with world(registry=_only(reconcile)) as w:
            await w.create(SCHEDULE, "bad", {"x": 1})
            await w.create(SCHEDULE, "shaky", {"x": 1})
            await w.start()
            await w.settle(SCHEDULE, "shaky", "state", "good")
            assert tries["shaky"] == 5
            await w.until(lambda: w.events("bad"))
            assert ("Refused", "spec.x = 1: must be 2") in w.events("bad")
            assert tries["bad"] <= 2
            await w.edit(SCHEDULE, "bad", {"spec": {"x": 2}})
            await w.settle(SCHEDULE, "bad", "state", "good")

    asyncio.run(story())


def test_a_bug_in_one_object_stops_no_other_and_is_counted(monkeypatch: Any) -> None:
    monkeypatch.setattr("operators.errors.FIRST_S", 0.01)

    async def reconcile(context: Context, body: dict[str, Any]) -> float:
        if body["metadata"]["name"] == "broken":
            raise ZeroDivisionError
        await context.kube.set_status(SCHEDULE, body, {"state": "good"})
        return 3600

    async def story() -> None:
        async with world(registry=_only(reconcile)) as w:
            await w.create(SCHEDULE, "broken", {})
            await w.start()
            await w.until(lambda: w.context and b'outcome="failed"' in w.context.metrics.text())
            await w.create(SCHEDULE, "fine", {})
            await w.settle(SCHEDULE, "fine", "state", "good")

    asyncio.run(story())


def test_an_object_is_gone_only_after_its_cleanup_succeeded(monkeypatch: Any) -> None:
    monkeypatch.setattr("operators.errors.FIRST_S", 0.01)
    tries: list[str] = []

    async def reconcile(context: Context, body: dict[str, Any]) -> float:
        await context.kube.set_status(SCHEDULE, body, {"state": "good"})
        return 3600

    async def cleanup(context: Context, body: Body) -> None:
        tries.append(body["metadata"]["name"])
        if len(tries) < 3:
            raise TransientError("KFP does not answer")

    async def story() -> None:
        async with world(registry=_only(reconcile, cleanup)) as w:
            await w.create(SCHEDULE, "a", {})
            await w.start()
            await w.settle(SCHEDULE, "a", "state", "good")
            await w.delete(SCHEDULE, "a")

            async def gone() -> bool:
                return await w.get(SCHEDULE, "a") is None

            await w.until(gone)
            assert len(tries) == 3

    asyncio.run(story())


def test_a_watch_that_ends_with_410_is_opened_again() -> None:
    async def reconcile(context: Context, body: dict[str, Any]) -> float:
        await context.kube.set_status(SCHEDULE, body, {"seen": body["spec"]["x"]})
        return 3600

    async def story() -> None:
        async with world(registry=_only(reconcile)) as w:
            await w.create(SCHEDULE, "a", {"x": 1})
            await w.start()
            await w.settle(SCHEDULE, "a", "seen", 1)
            gone = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "old"}}
            for bus in list(w.cluster._buses.values()):
                await bus.put(gone)
            await w.edit(SCHEDULE, "a", {"spec": {"x": 2}})
            await w.settle(SCHEDULE, "a", "seen", 2)
            assert len(w.cluster[kmock.action.WATCH]) >= 3

    asyncio.run(story())


def test_a_killed_operator_goes_on_where_the_cluster_stands() -> None:
    async def reconcile(context: Context, body: dict[str, Any]) -> float:
        count = (body.get("status") or {}).get("count", 0)
        await context.kube.set_status(SCHEDULE, body, {"count": count + 1})
        return 3600

    async def story() -> None:
        async with world(registry=_only(reconcile), settings=Settings()) as w:
            await w.create(SCHEDULE, "a", {"x": 1})
            await w.start()
            await w.until(lambda: w.get(SCHEDULE, "a"))

            async def counted() -> int:
                body = await w.get(SCHEDULE, "a") or {}
                return int((body.get("status") or {}).get("count", 0))

            await w.until(counted)
            await w.kill()
            before = await counted()
            await w.start()

            async def more() -> bool:
                return await counted() > before

            await w.until(more)

    asyncio.run(story())
