"""A small cluster in process for the operator's tests: kmock as the Kubernetes API, real kopf, a clock that tests turn.

kmock keeps objects and watches; what it leaves out of a real API server's work and our code relies on is added here:
uids, generations, creation times, server-side apply, statuses that only the subresource writes, owners that take what
they own with them, and watches that lose nothing between their first listing and their first event.
"""

from __future__ import annotations

import asyncio
import copy
import gc
import inspect
import itertools
import logging
import threading
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import kmock
import kopf
from kmock._internal import enums, rendering

from operators import app
from operators.context import Context
from operators.kfp import KfpApi
from operators.kube import Kube
from operators.mlflow import MlflowApi
from operators.resources import API_VERSION, GROUP, RESOURCES, Resource
from operators.rest import Rest
from operators.settings import Settings

logging.getLogger("kopf").setLevel(logging.ERROR)
NAMESPACE = "distil"


@attrs.define(kw_only=True)
class Cluster(kmock.KubernetesEmulator):
    """kmock's emulator with the habits of a real API server that the operator relies on."""

    _numbers: Iterator[int] = attrs.field(factory=lambda: itertools.count(1), init=False)
    moment: Callable[[], datetime] = attrs.field(default=lambda: datetime.now(UTC), init=False)

    async def _handle(self, request: rendering.Request) -> Any:
        if request.resource is not None and isinstance(request.data, list):
            self._check_json_patch(request)
        if request.resource is not None and isinstance(request.data, dict):
            if request.action == enums.action.CREATE:
                self._stamp_new(request)
            elif request.action == enums.action.UPDATE and request.name is not None:
                key = (request.resource, request.namespace, request.name)
                if "apply-patch" in request.headers.get("Content-Type", "") and not self._there(key):
                    self.objects[key] = self._stamped(copy.deepcopy(request.data))
                    await self._buses[request.resource].put({"type": "ADDED", "object": self.objects[key].last.raw})
                self._stamp_change(request, key)
        answer = await super()._handle(request)
        await self._collect_garbage()
        return answer

    async def _serve_watch(self, request: rendering.Request) -> AsyncIterator[Any]:
        bus = self._buses[request.resource]
        since = await bus.mark()
        try:
            yield b""
            async with self._lock:
                present = [(key, item.last.raw) for key, item in self.objects.items() if not item.deleted]
            for (resource, namespace, _), raw in present:
                if resource == request.resource and request.namespace in (None, namespace):
                    yield {"type": "ADDED", "object": raw}
            async for event in bus.stream(since=since):
                namespace = event.get("object", {}).get("metadata", {}).get("namespace")
                if event["type"] == "ERROR" or request.namespace in (None, namespace):
                    yield event
        finally:
            await bus.unmark(since)

    async def _collect_garbage(self) -> None:
        """What is owned by an object that is gone, goes."""
        living = {item["metadata"].get("uid") for item in self.objects.values() if not item.deleted}
        for (resource, _, _), item in list(self.objects.items()):
            owners = [] if item.deleted else item["metadata"].get("ownerReferences") or []
            if owners and not any(owner["uid"] in living for owner in owners):
                item.delete()
                await self._buses[resource].put({"type": "DELETED", "object": item.last.raw})

    def _there(self, key: Any) -> bool:
        return key in self.objects and not self.objects[key].deleted

    def _stamped(self, body: dict[str, Any]) -> dict[str, Any]:
        meta = body.setdefault("metadata", {})
        meta.setdefault("uid", f"uid-{next(self._numbers):06d}")
        meta.setdefault("creationTimestamp", self.moment().strftime("%Y-%m-%dT%H:%M:%SZ"))
        meta.setdefault("generation", 1)
        meta["resourceVersion"] = str(next(self._numbers))
        return body

    def _check_json_patch(self, request: rendering.Request) -> None:
        """A real server answers 422 to a failed test, which kopf takes as a conflict."""
        key = (request.resource, request.namespace, request.name)
        for step in request.data:
            path = step["path"].strip("/").split("/")
            tested = step["op"] == "test" and path == ["metadata", "resourceVersion"] and self._there(key)
            if tested and self.objects[key]["metadata"].get("resourceVersion") != step["value"]:
                raise kmock.KubernetesError(status=422, reason="Invalid", message="the test of a JSON patch failed")
        request.data.append({"op": "add", "path": "/metadata/resourceVersion", "value": str(next(self._numbers))})

    def _stamp_new(self, request: rendering.Request) -> None:
        if request.resource.group == GROUP:
            request.data.pop("status", None)
        meta = request.data.setdefault("metadata", {})
        meta.setdefault("namespace", request.namespace)
        if "name" not in meta and "generateName" in meta:
            meta["name"] = f"{meta['generateName']}{next(self._numbers):05d}"
        self._stamped(request.data)

    def _stamp_change(self, request: rendering.Request, key: Any) -> None:
        if not self._there(key):
            return
        patch = request.data
        if request.resource.group == GROUP:
            # A status is written by its subresource alone, and that writes nothing else but metadata.
            for part in [part for part in patch if part not in ("metadata", "apiVersion", "kind")]:
                if (part == "status") != (request.subresource == "status"):
                    patch.pop(part)
        meta = patch.setdefault("metadata", {})
        meta.pop("uid", None)
        meta["resourceVersion"] = str(next(self._numbers))
        old = self.objects[key]
        if "spec" in patch and patch["spec"] != old.get("spec"):
            meta["generation"] = int(old["metadata"].get("generation", 1)) + 1


@dataclass
class Clock:
    """A clock that stands still until a test turns it."""

    at: datetime = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.at

    def pass_(self, **parts: float) -> None:
        self.at += timedelta(**parts)


async def no_command(*arguments: str, **_: Any) -> Mapping[str, Any]:
    raise AssertionError(f"a command was run: {arguments}")


@dataclass
class World:
    """The cluster, and an operator that can be started, stopped, killed and started again.

    The operator lives in a thread with an event loop of its own, as in its own process: kopf ends whatever else it
    finds in its loop. Each start makes a new ``context``: nothing is remembered but what the cluster holds.
    """

    cluster: Cluster
    clock: Clock
    kube: Kube
    make_context: Callable[[], Context]
    registry: Callable[[], kopf.OperatorRegistry]
    context: Context | None = None
    _thread: threading.Thread | None = field(default=None, repr=False)
    _stop: threading.Event = field(default_factory=threading.Event, repr=False)
    _task: asyncio.Task[None] | None = field(default=None, repr=False)
    _loop: asyncio.AbstractEventLoop | None = field(default=None, repr=False)
    _failure: BaseException | None = field(default=None, repr=False)

    async def start(self) -> None:
        """Start the real operator; returns when it watches."""
        self._stop, ready = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._operate(ready)), name="operator")
        self._thread.start()
        await self.until(ready.is_set, "the operator is ready")

    async def _operate(self, ready: threading.Event) -> None:
        context = self.context = self.make_context()
        settings = app.kopf_settings(context.settings)
        settings.queueing.idle_timeout = settings.queueing.exit_timeout = settings.posting.idle_timeout = 0.1
        operator = kopf.operator(
            registry=self.registry(),
            settings=settings,
            memo=kopf.Memo(context=context),
            clusterwide=True,
            standalone=True,
            stop_flag=self._stop,
            ready_flag=ready,
        )
        self._loop, self._task = asyncio.get_running_loop(), asyncio.ensure_future(operator)
        try:
            await self._task
        except asyncio.CancelledError:
            pass
        except Exception as error:  # noqa: BLE001 - told to the test, whatever it is
            self._failure = error
        finally:
            await context.kube.close()
            await context.kfp.rest.close()
            await context.mlflow.rest.close()

    async def stop(self) -> None:
        """Stop it as a pod is stopped."""
        self._stop.set()
        await self._end()

    async def kill(self) -> None:
        """Stop it as a node that fails does: nothing is finished."""
        if self._loop is not None and self._task is not None:
            self._loop.call_soon_threadsafe(self._task.cancel)
            await asyncio.sleep(0.05)
        self._stop.set()  # frees the thread that waits for it
        await self._end()
        self._loop = self._task = None
        # A process that is killed closes no connection and tells nobody.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()

    async def _end(self) -> None:
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, 20)
            assert not self._thread.is_alive(), "the operator does not stop"
            self._thread = None
        if self._failure is not None:
            raise self._failure

    async def create(
        self, resource: Resource, name: str, spec: Mapping[str, Any] | None = None, **rest: Any
    ) -> dict[str, Any]:
        """Create an object as a user with kubectl would. ``rest``: labels, annotations, or top-level fields."""
        meta = {
            "name": name,
            "namespace": NAMESPACE,
            **{k: rest.pop(k) for k in ("labels", "annotations") if k in rest},
        }
        body = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": meta, **rest}
        if spec is not None:
            body["spec"] = dict(spec)
        made, _ = await self.kube.create(resource, body)
        return made

    async def get(self, resource: Resource, name: str) -> dict[str, Any] | None:
        return await self.kube.get(resource, NAMESPACE, name)

    async def names(self, resource: Resource) -> list[str]:
        return sorted(item["metadata"]["name"] for item in await self.kube.list(resource, NAMESPACE))

    async def edit(self, resource: Resource, name: str, patch: Mapping[str, Any], *, status: bool = False) -> None:
        await self.kube.patch(resource, NAMESPACE, name, patch, status=status)

    async def delete(self, resource: Resource, name: str) -> None:
        await self.kube.delete(resource, NAMESPACE, name)

    async def until(self, check: Callable[[], Any | Awaitable[Any]], what: str = "", timeout_s: float = 20.0) -> Any:
        """Wait until ``check`` is true; returns what it said."""
        give_up = asyncio.get_running_loop().time() + timeout_s
        while True:
            said = check()
            said = await said if inspect.isawaitable(said) else said
            if said:
                return said
            if self._failure is not None:
                raise self._failure
            if asyncio.get_running_loop().time() > give_up:
                raise AssertionError(f"never happened: {what or inspect.getsource(check).strip()}")
            await asyncio.sleep(0.02)

    async def settle(self, resource: Resource, name: str, key: str, value: Any) -> dict[str, Any]:
        """Wait until ``status.<key>`` of an object is ``value``; returns the object."""

        async def said() -> dict[str, Any] | None:
            body = await self.get(resource, name)
            return body if body and (body.get("status") or {}).get(key) == value else None

        body: dict[str, Any] = await self.until(said, f"{resource.kind} {name}: status.{key} = {value}")
        return body

    def events(self, name: str = "") -> list[tuple[str, str]]:
        """(reason, message) of every Kubernetes event on objects called ``name`` (on any, if empty)."""
        found = []
        for (resource, _, _), item in self.cluster.objects.items():
            if resource.plural == "events" and not item.deleted:
                body = dict(item.last.raw)
                if not name or (body.get("involvedObject") or body.get("regarding") or {}).get("name") == name:
                    found.append((body["reason"], body.get("message") or body.get("note") or ""))
        return found


@asynccontextmanager
async def world(
    *,
    registry: Callable[[], kopf.OperatorRegistry] = app.registry,
    settings: Settings | None = None,
    command: Any = no_command,
    kfp_url: str = "",
    mlflow_url: str = "",
) -> Any:
    """A cluster and an operator's context; the operator itself is started by the test."""
    cluster, clock = Cluster(), Clock()
    cluster.moment = clock
    for resource in RESOURCES:
        cluster.resources[f"{resource.plural}.{resource.version}.{resource.group}".rstrip(".")] = {
            "kind": resource.kind,
            "singular": resource.kind.lower(),
            "namespaced": True,
            "subresources": {"status"},
            "verbs": {"get", "list", "watch", "create", "patch", "delete"},
        }
    for backbone in ("namespaces.v1", "customresourcedefinitions.v1.apiextensions.k8s.io"):
        cluster.resources[backbone] = {"namespaced": False, "verbs": {"get", "list", "watch"}}
    async with cluster, kmock.Server(cluster) as server:
        url = str(server.url).rstrip("/")
        chosen = settings or Settings(resync_s=0.2)

        def make_context() -> Context:
            return Context(
                chosen,
                Kube.connect(url),
                KfpApi(Rest("KFP", kfp_url, setting="KF_PIPELINES_ENDPOINT")),
                MlflowApi(Rest("MLflow", mlflow_url, setting="MLFLOW_TRACKING_URI")),
                command,
                now=clock,
            )

        def login(**_: Any) -> kopf.ConnectionInfo:
            return kopf.ConnectionInfo(server=url)

        def with_login() -> kopf.OperatorRegistry:
            handlers = registry()
            kopf.on.login(registry=handlers)(login)
            return handlers

        here = World(cluster, clock, Kube.connect(url), make_context, with_login)
        try:
            yield here
        finally:
            await here.stop()
            await here.kube.close()


__all__ = ["API_VERSION", "NAMESPACE", "Clock", "Cluster", "World", "world"]
