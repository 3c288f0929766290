"""A Kubernetes API on loopback (kmock, in a thread of its own) in which a TrainJob lives as a test's script says."""

from __future__ import annotations

import asyncio
import copy
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp.web
import attrs
import kmock

from stillhouse.launch.kube_jobs import KubeJobs

NAMESPACE = "distil"
TRAINJOBS, PODS, EVENTS = "trainer.kubeflow.org/v1alpha1/trainjobs", "v1/pods", "v1/events"


@attrs.define(kw_only=True)
class _Emulator(kmock.KubernetesEmulator):
    """kmock, and faults: what happens to the next request that is a method on a path."""

    faults: list[tuple[str, str, Any]] = attrs.field(factory=list)
    log: list[tuple[str, str, dict[str, str]]] = attrs.field(factory=list)

    async def __call__(self, raw_request: aiohttp.web.BaseRequest) -> aiohttp.web.StreamResponse:
        self.log.append((raw_request.method, raw_request.path, dict(raw_request.query)))
        self._requests.clear()  # kmock looks through all that it has seen at every request
        fault = next((item for item in self.faults if self._hits(item, raw_request)), None)
        if fault is None:
            return await super().__call__(raw_request)
        self.faults.remove(fault)
        kind = fault[2]
        if kind == "lost":  # done, but nobody hears of it
            await super().__call__(raw_request)
        if kind in ("lost", "cut"):
            assert raw_request.transport is not None
            raw_request.transport.close()
            return aiohttp.web.Response()
        if kind == "garbage":
            return aiohttp.web.Response(text="{", content_type="application/json")
        status, message, headers = kind
        body = {"kind": "Status", "code": status, "message": message}
        return aiohttp.web.json_response(body, status=status, headers=headers)

    @staticmethod
    def _hits(fault: tuple[str, str, Any], request: aiohttp.web.BaseRequest) -> bool:
        return fault[0] == request.method and re.search(fault[1], request.path) is not None


@dataclass
class Cluster:
    """The cluster as a test sees it; every method may be called from the test's thread."""

    kube: _Emulator
    url: str
    loop: asyncio.AbstractEventLoop

    def _call(self, action: Callable[[], Any]) -> Any:
        async def run() -> Any:
            return action()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(10)

    def jobs(self) -> KubeJobs:
        from kubernetes import client

        settings = client.Configuration(host=self.url)
        settings.retries = False
        return KubeJobs(client.ApiClient(settings), NAMESPACE)

    def fault(self, method: str, path: str, kind: Any, times: int = 1) -> None:
        """``kind``: lost, cut, garbage, or (status, message, headers)."""
        self.kube.faults += [(method, path, kind)] * times

    def requests(self, method: str, path: str) -> list[tuple[str, str, dict[str, str]]]:
        return [item for item in self.kube.log if item[0] == method and re.search(path, item[1])]

    def put(self, resource: str, body: dict[str, Any]) -> None:
        name = body["metadata"]["name"]
        self._call(lambda: self.kube.objects.__setitem__((resource, NAMESPACE, name), copy.deepcopy(body)))

    def remove(self, resource: str, name: str) -> None:
        self._call(lambda: self.kube.objects[resource, NAMESPACE, name].delete())

    def get(self, resource: str, name: str) -> dict[str, Any] | None:
        def read() -> dict[str, Any] | None:
            for (kind, _, known), item in self.kube.objects.items():
                if kind == kmock.resource(resource) and known == name and not item.deleted:
                    return copy.deepcopy(dict(item.raw))
            return None

        found: dict[str, Any] | None = self._call(read)
        return found

    def jobs_there(self) -> list[str]:
        def read() -> list[str]:
            rows = self.kube.objects.items()
            return [name for (kind, _, name), item in rows if kind.plural == "trainjobs" and not item.deleted]

        names: list[str] = self._call(read)
        return names

    def patch(self, name: str, **parts: Any) -> None:
        self._call(lambda: self.kube.objects[TRAINJOBS, NAMESPACE, name].patch(parts))

    def conditions(self, name: str, *conditions: tuple[str, str, str, str]) -> None:
        """Each condition: type, status, reason, message."""
        keys = ("type", "status", "reason", "message")
        self.patch(name, status={"conditions": [dict(zip(keys, item, strict=True)) for item in conditions]})

    def pod(self, job: str, index: int = 0, **status: Any) -> str:
        name = f"{job}-node-0-{index}-abcde"
        labels = {"jobset.sigs.k8s.io/jobset-name": job}
        self.put(PODS, {"metadata": {"name": name, "namespace": NAMESPACE, "labels": labels}, "status": status})
        return name

    def event(self, about: str, message: str, kind: str = "Warning") -> None:
        name = f"event-{len(self.kube.log)}-{about}"
        self.put(
            EVENTS,
            {
                "metadata": {"name": name, "namespace": NAMESPACE},
                "involvedObject": {"name": about},
                "message": message,
                "type": kind,
                "lastTimestamp": "2026-11-24T10:00:00Z",
            },
        )


@contextmanager
def cluster() -> Iterator[Cluster]:
    """An empty cluster with Kubeflow Trainer's kinds, until the block ends."""
    ready, box = threading.Event(), {}

    async def serve() -> None:
        box["stop"], box["loop"] = asyncio.Event(), asyncio.get_running_loop()
        async with _Emulator() as kube, kmock.Server(kube) as server:
            for resource in (TRAINJOBS, PODS, EVENTS):
                kube.resources[resource] = {}
            kube["get", re.compile(r".*/log")] << b"Traceback\nValueError: a bug\n"
            box["cluster"] = Cluster(kube, str(server.url).rstrip("/"), box["loop"])
            ready.set()
            await box["stop"].wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="kmock")
    thread.start()
    assert ready.wait(20), "kmock did not start"
    try:
        yield box["cluster"]
    finally:
        box["loop"].call_soon_threadsafe(box["stop"].set)
        thread.join(20)


@dataclass
class Clock:
    """Time that passes only where the launcher sleeps; each sleep plays the next step of the script."""

    script: list[Callable[[], Any]] = field(default_factory=list)
    seconds: float = 0.0
    naps: list[float] = field(default_factory=list)

    def now(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.seconds += seconds
        assert len(self.naps) < 1000, "the launcher waits for ever"
        if self.script:
            self.script.pop(0)()
