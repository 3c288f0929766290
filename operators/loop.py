"""One reconciler per object: look, decide, write, sleep until something is due or somebody wakes it.

A reconciler is ``async (context, body) -> seconds until the next look``. It gets the object as the API has it now. What
it raises decides what follows: a RecipeError waits for an edit, everything else is tried again with growing pauses.
A bug in one object's reconciler is logged with its traceback and stops no other object.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import kopf

from operators.context import Context
from operators.errors import backoff_s, for_kopf
from operators.resources import Body, Resource
from stillhouse.errors import RecipeError, StillhouseError

Reconcile = Callable[[Context, dict[str, Any]], Awaitable[float]]
Cleanup = Callable[[Context, Body], Awaitable[None]]
LONG_S = 3600.0

log = logging.getLogger("stillhouse.operator")


def register(
    registry: kopf.OperatorRegistry, resource: Resource, reconcile: Reconcile, cleanup: Cleanup | None = None
) -> None:
    """Have ``reconcile`` look after every object of ``resource``; ``cleanup`` runs before one is gone (a finalizer)."""
    where: Any = (resource.group, resource.version, resource.plural)
    kind = resource.kind

    @kopf.daemon(*where, registry=registry, id=f"{resource.plural}-loop", cancellation_timeout=5.0)
    async def look_after(*, memo: Any, name: str, namespace: str | None, stopped: kopf.DaemonStopped, **_: Any) -> None:
        namespace = namespace or ""
        context: Context = memo.context
        wake = context.waker(kind, namespace, name)
        failures = 0
        try:
            while not stopped:
                wake.clear()
                delay, failures = await _once(context, resource, reconcile, (namespace, name), failures)
                await _sleep(delay, stopped, wake)
        finally:
            context.forget(kind, namespace, name)

    @kopf.on.event(*where, registry=registry, id=f"{resource.plural}-wake")
    async def notice(*, memo: Any, body: kopf.Body, name: str, namespace: str | None, **_: Any) -> None:
        meta = body["metadata"]
        seen = (
            meta.get("generation"),
            dict(meta.get("annotations") or {}),
            meta.get("deletionTimestamp"),
            body.get("spec"),
        )
        if getattr(memo, "seen", None) != seen:
            memo.seen = seen
            memo.context.wake(resource, namespace or "", name)

    if cleanup is not None:

        @kopf.on.delete(*where, registry=registry, id=f"{resource.plural}-cleanup")
        async def clean(*, memo: Any, body: kopf.Body, retry: int, **_: Any) -> None:
            try:
                await cleanup(memo.context, body)
            except StillhouseError as error:
                raise for_kopf(error, retry) from error


async def _once(
    context: Context, resource: Resource, reconcile: Reconcile, key: tuple[str, str], failures: int
) -> tuple[float, int]:
    """Reconcile once; returns seconds to sleep and the number of failures in a row."""
    started = time.monotonic()
    outcome, delay = "ok", LONG_S
    body: dict[str, Any] | None = None
    try:
        body = await context.kube.get(resource, *key)
        if body is not None and not body["metadata"].get("deletionTimestamp"):
            delay = await reconcile(context, body)
        failures = 0
    except RecipeError as error:
        outcome, failures = "refused", 0
        _report(context, resource, body, key, error)
    except StillhouseError as error:
        outcome, failures = "retried", failures + 1
        delay = backoff_s(failures, error)
        log.warning("%s %s/%s: %s; again in %.0f s", resource.kind, *key, error, delay)
        if failures == 3 and body is not None:
            context.tell(body, "Retrying", str(error), warning=True)
    except asyncio.CancelledError:
        raise
    except Exception:
        outcome, failures = "failed", failures + 1
        delay = backoff_s(failures)
        log.exception("%s %s/%s: a bug; again in %.0f s", resource.kind, *key, delay)
    context.metrics.reconciled(resource.kind, outcome, time.monotonic() - started)
    return delay, failures


def _report(context: Context, resource: Resource, body: Body | None, key: tuple[str, str], error: RecipeError) -> None:
    log.warning("%s %s/%s: %s; waiting for an edit", resource.kind, *key, error)
    if body is not None:
        context.tell(body, "Refused", str(error), warning=True)


async def _sleep(delay: float, stopped: kopf.DaemonStopped, wake: asyncio.Event) -> None:
    """Until ``delay`` seconds are over, the object is gone or the operator stops, or somebody calls."""
    tasks = [asyncio.ensure_future(stopped.wait(delay)), asyncio.ensure_future(wake.wait())]
    try:
        await asyncio.wait(tasks, timeout=delay, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
