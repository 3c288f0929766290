"""The operator process: kopf's settings, peering, health, and the reconcilers of the four kinds."""

from __future__ import annotations

import asyncio
import importlib
import random
import signal
from typing import Any

import kopf

from operators import command, health, logs
from operators.context import Context
from operators.kfp import KfpApi
from operators.kube import Kube
from operators.mlflow import MlflowApi
from operators.resources import CLUSTER_PEERING, GROUP, PEERING
from operators.settings import Settings

KINDS = ("schedule", "run", "promotion", "teacher")
"""The packages with a ``register``: one per kind."""


def registry() -> kopf.OperatorRegistry:
    """Every handler of the operator, in a registry of its own."""
    handlers = kopf.OperatorRegistry()
    kopf.on.login(registry=handlers)(_login)
    for kind in KINDS:
        importlib.import_module(f"operators.{kind}").register(handlers)
    return handlers


def _login(**told: Any) -> kopf.ConnectionInfo | None:
    """In a pod by its service account, elsewhere by the kubeconfig."""
    return kopf.login_with_service_account(**told) or kopf.login_with_kubeconfig(**told)


def kopf_settings(settings: Settings) -> kopf.OperatorSettings:
    """kopf's settings: state in annotations of our group, events only where a handler says so, peering by choice."""
    ours = kopf.OperatorSettings()
    # Without it kopf asks for all namespaces, which a role for a few of them forbids.
    ours.scanning.disabled = bool(settings.watch_namespaces)
    ours.persistence.finalizer = f"{GROUP}/finalizer"
    ours.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=GROUP)
    ours.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=GROUP)
    ours.posting.reporting_component = "stillhouse"
    ours.posting.event_name_prefix = "stillhouse-"
    ours.peering.standalone = not settings.peering
    if settings.peering:
        ours.peering.name = settings.peering
        ours.peering.mandatory = True
        # Equal priorities pause each other; with random ones the highest works and the others wait for it to go.
        ours.peering.priority = random.randint(0, 2**31 - 1)
    return ours


def connect(settings: Settings) -> Context:
    """The outside world, as the settings name it; nothing is asked yet."""
    return Context(settings, Kube.connect(), KfpApi.connect(settings), MlflowApi.connect(settings), command.stillhouse)


async def make_peerings(context: Context) -> None:
    """The objects through which replicas see each other; kopf pauses for ever where one is missing."""
    name = context.settings.peering
    if not name:
        return
    if not context.settings.watch_namespaces:
        await context.kube.create_cluster_wide(CLUSTER_PEERING, name)
    for namespace in context.settings.watch_namespaces:
        meta = {"name": name, "namespace": namespace}
        body = {"apiVersion": PEERING.api_version, "kind": PEERING.kind, "metadata": meta}
        await context.kube.create(PEERING, body)


async def operate(context: Context, *, stop: asyncio.Event, ready: asyncio.Event) -> None:
    """Run until ``stop`` is set."""
    settings = context.settings
    await make_peerings(context)
    await kopf.operator(
        registry=registry(),
        settings=kopf_settings(settings),
        memo=kopf.Memo(context=context),
        clusterwide=not settings.watch_namespaces,
        namespaces=settings.watch_namespaces,
        standalone=not settings.peering,
        stop_flag=stop,
        ready_flag=ready,
    )


def run(settings: Settings) -> None:
    """Run in the foreground until SIGTERM or SIGINT."""
    logs.configure(settings.log_format, settings.log_level)

    async def main() -> None:
        stop, ready = asyncio.Event(), asyncio.Event()
        for signum in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(signum, stop.set)
        context = connect(settings)
        ports = {"health_port": settings.health_port, "metrics_port": settings.metrics_port}
        async with health.serve(ready.is_set, context.metrics, **ports):
            await operate(context, stop=stop, ready=ready)

    asyncio.run(main())
