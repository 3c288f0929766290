"""``/healthz`` and ``/readyz`` on one port, ``/metrics`` on its own. Knows a heartbeat and a flag, no resources."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from operators.metrics import Metrics


@asynccontextmanager
async def serve(
    ready: Callable[[], bool], metrics: Metrics, *, health_port: int, metrics_port: int
) -> AsyncIterator[tuple[int, int]]:
    """Serve until the block ends; yields the ports (0 asks for free ones). Live is: the event loop answers."""

    async def live(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def is_ready(_: web.Request) -> web.Response:
        good = ready()
        return web.Response(text="ok\n" if good else "starting\n", status=200 if good else 503)

    async def measured(_: web.Request) -> web.Response:
        return web.Response(body=metrics.text(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    health, numbers = web.Application(), web.Application()
    health.router.add_get("/healthz", live)
    health.router.add_get("/readyz", is_ready)
    numbers.router.add_get("/metrics", measured)
    runners = [web.AppRunner(app, access_log=None) for app in (health, numbers)]
    ports = []
    try:
        for runner, port in zip(runners, (health_port, metrics_port), strict=True):
            await runner.setup()
            site = web.TCPSite(runner, "0.0.0.0", port)
            await site.start()
            ports.append(runner.addresses[0][1])
        yield ports[0], ports[1]
    finally:
        await asyncio.gather(*(runner.cleanup() for runner in runners))
