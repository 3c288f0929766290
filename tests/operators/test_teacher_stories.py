"""TeacherServers under real kopf in a cluster in process, with a real HTTP server behind the Service's address."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import kmock
import kopf
import pytest

from operators.resources import (
    AUTOSCALER,
    DEPLOYMENT,
    DISRUPTION_BUDGET,
    NETWORK_POLICY,
    POD,
    SCALED_OBJECT,
    SERVICE,
    TEACHER,
    condition,
)
from operators.settings import Settings
from operators.teacher import handlers
from tests.operators.test_crd_teacher import HF
from tests.operators.world import NAMESPACE, World, world

LABEL = "teacher.stillhouse.dev/qwen"


@dataclass
class Vllm:
    """Answers like vLLM; ``completes`` says what a completion gets, ``/health`` is always fine."""

    url: str = ""
    completes: Callable[[str], tuple[int, Any]] = lambda path: (200, {"choices": [{"message": {"content": "y"}}]})
    asked: list[tuple[str, Any]] = field(default_factory=list)


@contextmanager
def vllm() -> Iterator[Vllm]:
    state = Vllm()

    class Handler(BaseHTTPRequestHandler):
        def _say(self, status: int, body: Any) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self) -> None:
            self._say(200, {})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            state.asked.append((self.path, body))
            self._say(*state.completes(self.path))

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class Stage:
    """A world with teachers, and what a real cluster's controllers would do in it."""

    w: World
    server: Vllm

    async def run_pod(self, name: str = "run-1", phase: str = "Running") -> None:
        """A task of a run that asks the teacher."""
        await self.w.create(POD, name, labels={LABEL: "true"}, status={"phase": phase})

    async def finish(self, name: str = "run-1") -> None:
        await self.w.edit(POD, name, {"status": {"phase": "Succeeded"}}, status=True)

    async def deployment(self) -> dict[str, Any]:
        found = await self.w.get(DEPLOYMENT, "qwen")
        assert found is not None
        return found

    async def scaled_to(self, replicas: int) -> dict[str, Any]:
        async def check() -> dict[str, Any] | None:
            found = await self.w.get(DEPLOYMENT, "qwen")
            return found if found and found["spec"]["replicas"] == replicas else None

        found: dict[str, Any] = await self.w.until(check, f"the Deployment asks for {replicas}")
        return found

    async def controller(self, ready: int | None = None) -> None:
        """The Deployment's controller: as many pods as asked for, ``ready`` of them ready (all, if None)."""
        body = await self.deployment()
        wanted = body["spec"]["replicas"]
        ready = wanted if ready is None else ready
        status = {
            "observedGeneration": body["metadata"]["generation"], "replicas": wanted, "updatedReplicas": wanted,
            "readyReplicas": ready, "conditions": [],
        }  # fmt: skip
        await self.w.edit(DEPLOYMENT, "qwen", {"status": status}, status=True)

    async def phase(self, phase: str) -> dict[str, Any]:
        return await self.w.settle(TEACHER, "qwen", "phase", phase)

    async def ready(self, spec: dict[str, Any] | None = None) -> None:
        """From nothing to a teacher that is needed and ready."""
        await self.w.create(TEACHER, "qwen", spec or HF)
        await self.run_pod()
        await self.scaled_to(1)
        await self.controller()
        await self.phase("Ready")

    def looks(self) -> float:
        """How often the operator has looked at a teacher since it was started."""
        labels = {"kind": "TeacherServer", "outcome": "ok"}
        assert self.w.context is not None
        return self.w.context.metrics.registry.get_sample_value("stillhouse_operator_reconciles_total", labels) or 0

    def reasons(self) -> list[str]:
        return [reason for reason, _ in self.w.events("qwen")]


@asynccontextmanager
async def stage(monkeypatch: pytest.MonkeyPatch, *, start: bool = True) -> AsyncIterator[Stage]:
    monkeypatch.setattr("operators.errors.FIRST_S", 0.02)
    with vllm() as server:

        def registry() -> kopf.OperatorRegistry:
            found = kopf.OperatorRegistry()
            handlers.register(found, lambda body: server.url)
            return found

        async with world(registry=registry, settings=Settings(resync_s=0.1, namespace="stillhouse")) as w:
            if start:
                await w.start()
            yield Stage(w, server)


def why(body: dict[str, Any], kind: str) -> tuple[str, str, str]:
    row = condition(body["status"]["conditions"], kind)
    assert row is not None
    return row["status"], row["reason"], row["message"]


def test_from_idle_to_ready_and_back_to_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with stage(monkeypatch) as s:
            await s.w.create(TEACHER, "qwen", HF)
            body = await s.phase("Idle")
            assert body["status"]["url"] == "http://qwen.distil.svc:8000/v1"
            assert (await s.deployment())["spec"]["replicas"] == 0
            for kind in (SERVICE, DISRUPTION_BUDGET, NETWORK_POLICY):
                assert await s.w.names(kind) == ["qwen"]

            await s.run_pod(phase="Pending")
            body = await s.phase("Starting")
            assert body["status"]["neededBy"] == ["run-1"]
            await s.scaled_to(1)
            await s.controller(ready=0)
            await asyncio.sleep(0.3)
            assert s.server.asked == []
            await s.controller()
            body = await s.phase("Ready")
            path, asked = s.server.asked[0]
            assert path == "/v1/chat/completions"
            assert (asked["model"], asked["max_tokens"]) == ("qwen", 1)
            assert why(body, "Ready")[:2] == ("True", "CompletionAnswered")
            assert len(s.server.asked) == 1

            await s.finish()
            await s.w.until(lambda: _status(s, "idleSince"), "it is idle")
            assert (await s.deployment())["spec"]["replicas"] == 1
            s.w.clock.pass_(seconds=601)
            await s.scaled_to(0)
            await s.phase("Stopping")
            await s.controller()
            body = await s.phase("Idle")
            assert why(body, "Needed")[:2] == ("False", "NobodyNeedsIt")
            assert s.reasons() == ["TeacherStarting", "TeacherReady", "TeacherStopping"]

    asyncio.run(story())


async def _status(s: Stage, key: str) -> Any:
    body = await s.w.get(TEACHER, "qwen")
    return body and (body.get("status") or {}).get(key)


def test_a_second_look_writes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with stage(monkeypatch) as s:
            await s.ready()
            await asyncio.sleep(0.3)
            versions = {key: item.last.raw["metadata"]["resourceVersion"] for key, item in s.w.cluster.objects.items()}
            looks = s.looks()
            await s.w.until(lambda: s.looks() >= looks + 3, "it is looked at again")
            after = {key: item.last.raw["metadata"]["resourceVersion"] for key, item in s.w.cluster.objects.items()}
            assert after == versions
            assert len(s.server.asked) == 1

    asyncio.run(story())


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (200, {"choices": []}, "without a completion"),
        (200, {}, "without a completion"),
        (500, {"error": "engine died"}, "HTTP 500"),
        (401, {"error": "no key"}, "HTTP 401"),
    ],
)
def test_health_alone_makes_nothing_ready(
    monkeypatch: pytest.MonkeyPatch, status: int, body: dict[str, Any], words: str
) -> None:
    async def story() -> None:
        async with stage(monkeypatch) as s:
            s.server.completes = lambda path: (status, body)
            await s.w.create(TEACHER, "qwen", HF)
            await s.run_pod()
            await s.scaled_to(1)
            await s.controller()
            await s.w.until(lambda: len(s.server.asked) >= 3, "it is asked again")
            found = await s.phase("Starting")
            assert why(found, "Ready")[:2] == ("False", "NoCompletion")
            assert words in why(found, "Ready")[2]
            s.server.completes = Vllm.completes
            await s.phase("Ready")

    asyncio.run(story())


def test_a_base_model_without_a_chat_template_is_asked_for_a_plain_completion(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with stage(monkeypatch) as s:
            s.server.completes = lambda path: (400, {}) if "chat" in path else (200, {"choices": [{"text": "y"}]})
            await s.ready()
            assert [path for path, _ in s.server.asked] == ["/v1/chat/completions", "/v1/completions"]

    asyncio.run(story())


def test_a_server_with_a_key_is_ready_when_it_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with stage(monkeypatch) as s:
            s.server.completes = lambda path: (401, {"error": "no key"})
            await s.ready({**HF, "secrets": {"apiKey": "teacher-secret"}})

    asyncio.run(story())


def test_an_edit_of_the_model_rolls_out_and_must_answer_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with stage(monkeypatch) as s:
            await s.ready()
            await s.w.edit(TEACHER, "qwen", {"spec": {"model": "hf://Qwen/Qwen3-8B"}})
            await s.phase("Starting")

            async def new_model() -> bool:
                args = (await s.deployment())["spec"]["template"]["spec"]["containers"][0]["args"]
                return "Qwen/Qwen3-8B" in args

            await s.w.until(new_model)
            assert len(s.server.asked) == 1
            await s.controller()
            await s.phase("Ready")
            assert len(s.server.asked) == 2

    asyncio.run(story())


def test_delete_takes_everything_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with stage(monkeypatch) as s:
            await s.ready({**HF, "autoscaling": {"type": "hpa", "maxReplicas": 3}})
            assert await s.w.names(AUTOSCALER) == ["qwen"]
            await s.w.delete(TEACHER, "qwen")

            async def gone() -> bool:
                kinds = (TEACHER, DEPLOYMENT, SERVICE, DISRUPTION_BUDGET, NETWORK_POLICY, AUTOSCALER)
                return not any([await s.w.names(kind) for kind in kinds])

            await s.w.until(gone)
            assert await s.w.names(POD) == ["run-1"]

            def forgotten() -> bool:
                return s.w.context is not None and b"stillhouse_teacher_ready{" not in s.w.context.metrics.text()

            await s.w.until(forgotten, "its metric is gone")

    asyncio.run(story())


@pytest.mark.parametrize(
    ("patch", "was"),
    [
        ({"spec": {"replicas": 7}}, lambda body: body["spec"]["replicas"] == 1),
        (
            {"spec": {"template": {"spec": {"enableServiceLinks": True}}}},
            lambda body: body["spec"]["template"]["spec"]["enableServiceLinks"] is False,
        ),
        (
            {"metadata": {"labels": {"app.kubernetes.io/managed-by": "me"}}},
            lambda body: body["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "stillhouse",
        ),
    ],
    ids=["scaled by hand", "edited by hand", "relabelled"],
)
def test_drift_is_repaired(monkeypatch: pytest.MonkeyPatch, patch: dict[str, Any], was: Callable[[Any], bool]) -> None:
    async def story() -> None:
        async with stage(monkeypatch) as s:
            await s.ready()
            await s.w.edit(DEPLOYMENT, "qwen", patch)

            async def repaired() -> bool:
                return was(await s.deployment())

            await s.w.until(repaired)

    asyncio.run(story())


def test_what_is_deleted_by_hand_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with stage(monkeypatch) as s:
            await s.ready()
            for kind in (SERVICE, NETWORK_POLICY, DISRUPTION_BUDGET, DEPLOYMENT):
                await s.w.delete(kind, "qwen")

                async def back(kind: Any = kind) -> bool:
                    return await s.w.names(kind) == ["qwen"]

                await s.w.until(back)

    asyncio.run(story())


def test_a_policy_that_is_switched_off_is_removed_and_another_owners_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story() -> None:
        async with stage(monkeypatch) as s:
            await s.w.create(AUTOSCALER, "qwen", {"maxReplicas": 3})
            await s.ready()
            await s.w.edit(TEACHER, "qwen", {"spec": {"networkPolicy": {"enabled": False}}})

            async def gone() -> bool:
                return await s.w.names(NETWORK_POLICY) == []

            await s.w.until(gone)
            assert await s.w.names(AUTOSCALER) == ["qwen"]

    asyncio.run(story())


def test_a_deployment_of_somebody_else_is_never_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with stage(monkeypatch) as s:
            await s.w.create(DEPLOYMENT, "qwen", {"replicas": 2})
            await s.w.create(TEACHER, "qwen", HF)
            await s.run_pod()
            await s.w.until(lambda: "NameTaken" in s.reasons())
            assert (await s.deployment())["spec"] == {"replicas": 2}
            body = await s.phase("Starting")
            assert why(body, "Degraded")[1] == "NameTaken"
            await s.w.delete(DEPLOYMENT, "qwen")
            await s.scaled_to(1)

    asyncio.run(story())


@pytest.mark.parametrize("end", [pytest.param("stop", marks=pytest.mark.slow), "kill"])
def test_the_operator_may_end_at_every_step(monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    async def story() -> None:
        async with stage(monkeypatch, start=False) as s:

            async def again() -> None:
                await getattr(s.w, end)()
                await s.w.start()

            await s.w.create(TEACHER, "qwen", HF)
            await s.w.start()
            await s.w.until(lambda: _there(s), "the Deployment")
            await again()
            await s.phase("Idle")
            await s.run_pod()
            await again()
            await s.scaled_to(1)
            await again()
            await s.controller()
            await again()
            await s.phase("Ready")
            await again()
            await s.finish()
            await s.w.until(lambda: _status(s, "idleSince"))
            await again()
            s.w.clock.pass_(seconds=601)
            await s.scaled_to(0)
            await again()
            await s.controller()
            await s.phase("Idle")
            # An event may be lost with the process that was to send it; it is never told twice.
            assert max(s.reasons().count(reason) for reason in set(s.reasons())) == 1

    asyncio.run(story())


async def _there(s: Stage) -> bool:
    return await s.w.names(DEPLOYMENT) == ["qwen"]


def test_two_runs_one_after_another_leave_the_deployment_untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with stage(monkeypatch) as s:
            await s.ready()
            before = (await s.deployment())["metadata"]["generation"]
            await s.finish()
            await s.w.until(lambda: _status(s, "idleSince"))
            s.w.clock.pass_(seconds=500)
            await s.run_pod("run-2")
            await s.w.until(lambda: _needed_by(s, ["run-2"]))
            assert await _status(s, "idleSince") is None
            s.w.clock.pass_(seconds=500)
            await s.finish("run-2")
            await s.w.until(lambda: _status(s, "idleSince"))
            s.w.clock.pass_(seconds=300)
            await asyncio.sleep(0.3)
            assert (await s.deployment())["metadata"]["generation"] == before
            assert len(s.server.asked) == 1

    asyncio.run(story())


async def _needed_by(s: Stage, names: list[str]) -> bool:
    return await _status(s, "neededBy") == names


def test_suspend_stops_it_though_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with stage(monkeypatch) as s:
            await s.ready()
            await s.w.edit(TEACHER, "qwen", {"spec": {"suspend": True}})
            await s.scaled_to(0)
            await s.controller()
            assert why(await s.phase("Idle"), "Ready")[1] == "Suspended"

    asyncio.run(story())


def test_an_autoscalers_choice_stays_and_idle_is_still_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with stage(monkeypatch) as s:
            await s.ready({**HF, "autoscaling": {"type": "hpa", "minReplicas": 1, "maxReplicas": 4}})
            await s.w.edit(DEPLOYMENT, "qwen", {"spec": {"replicas": 3}})
            await s.controller()
            await s.w.until(lambda: _replicas(s, 3))
            await asyncio.sleep(0.3)
            await s.scaled_to(3)
            await s.finish()
            await s.w.until(lambda: _status(s, "idleSince"))
            s.w.clock.pass_(seconds=601)
            await s.scaled_to(0)

    asyncio.run(story())


async def _replicas(s: Stage, count: int) -> bool:
    return bool(await _status(s, "readyReplicas") == count)


def test_keda_is_there_only_while_the_teacher_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = {**HF, "autoscaling": {"type": "keda", "triggers": [{"type": "cpu", "metadata": {"value": "80"}}]}}

    async def story() -> None:
        async with stage(monkeypatch) as s:
            await s.ready(spec)
            assert await s.w.names(SCALED_OBJECT) == ["qwen"]
            await s.finish()
            await s.w.until(lambda: _status(s, "idleSince"))
            s.w.clock.pass_(seconds=601)
            await s.scaled_to(0)

            async def gone() -> bool:
                return await s.w.names(SCALED_OBJECT) == []

            await s.w.until(gone)

    asyncio.run(story())


@pytest.mark.parametrize("status", [409, 429, 500])
def test_a_refusal_of_the_api_is_only_a_delay(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    async def story() -> None:
        async with stage(monkeypatch, start=False) as s:
            left = [2]
            original = type(s.w.cluster)._handle

            async def shaky(cluster: Any, request: Any) -> Any:
                writes = request.method.value in ("PATCH", "POST") and request.resource is not None
                if writes and request.resource.plural in ("deployments", "services", "teacherservers") and left[0]:
                    left[0] -= 1
                    raise kmock.KubernetesError(status=status, reason="No", message="not now")
                return await original(cluster, request)

            await s.w.create(TEACHER, "qwen", HF)
            monkeypatch.setattr(type(s.w.cluster), "_handle", shaky)
            await s.w.start()
            await s.run_pod()
            await s.scaled_to(1)
            await s.controller()
            await s.phase("Ready")
            assert left == [0]

    asyncio.run(story())


def test_a_watch_that_ends_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with stage(monkeypatch) as s:
            await s.w.create(TEACHER, "qwen", HF)
            await s.phase("Idle")
            gone = {"kind": "Status", "apiVersion": "v1", "code": 410, "reason": "Expired", "message": "too old"}
            for resource, bus in list(s.w.cluster._buses.items()):
                if resource.plural == "teacherservers":
                    await bus.put({"type": "ERROR", "object": gone})
            await s.w.edit(TEACHER, "qwen", {"spec": {"servedModelName": "after"}})
            await s.w.settle(TEACHER, "qwen", "model", "after")
            await s.run_pod()
            await s.scaled_to(1)

    asyncio.run(story())


def trouble_pod(state: dict[str, Any]) -> dict[str, Any]:
    return {"phase": "Pending", "containerStatuses": [{"name": "vllm", "ready": False, "state": state}]}


def test_a_teacher_that_never_becomes_ready_fails_with_its_reason_and_may_recover(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story() -> None:
        async with stage(monkeypatch) as s:
            await s.w.create(TEACHER, "qwen", HF)
            await s.run_pod()
            await s.scaled_to(1)
            await s.controller(ready=0)
            words = {"exitCode": 1, "message": "ValueError: unknown quantization fp7"}
            crash = {**trouble_pod({"waiting": {"reason": "CrashLoopBackOff"}})}
            crash["containerStatuses"][0]["lastState"] = {"terminated": words}
            own = {"stillhouse.dev/teacher-server": "qwen"}
            await s.w.create(POD, "qwen-1", labels=own, status=crash)
            await s.w.until(lambda: "CrashLoopBackOff" in s.reasons())
            await s.phase("Starting")
            s.w.clock.pass_(seconds=1800)
            body = await s.phase("Failed")
            assert body["status"]["message"].startswith("not ready within 1800 s: pod qwen-1")
            assert "unknown quantization fp7" in body["status"]["message"]
            await asyncio.sleep(0.3)
            assert s.reasons().count("TeacherFailed") == s.reasons().count("CrashLoopBackOff") == 1
            await s.w.edit(POD, "qwen-1", {"status": {"containerStatuses": []}}, status=True)
            await s.controller()
            await s.phase("Ready")

    asyncio.run(story())


def test_an_image_that_cannot_be_pulled_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with stage(monkeypatch) as s:
            await s.w.create(TEACHER, "qwen", {**HF, "image": "reg/none:1"})
            await s.run_pod()
            await s.scaled_to(1)
            state = {"waiting": {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "reg/none:1"'}}
            await s.w.create(POD, "qwen-1", labels={"stillhouse.dev/teacher-server": "qwen"}, status=trouble_pod(state))
            await s.w.until(lambda: "ImagePullBackOff" in s.reasons())
            found = why(await s.phase("Starting"), "Ready")
            assert found[1] == "ImagePullBackOff"
            assert "reg/none:1" in found[2]
            assert "spec.image" in found[2]

    asyncio.run(story())


def test_a_quota_that_is_used_up_is_named_and_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    text = 'pods "qwen-1" is forbidden: exceeded quota: gpus, requested: 1, used: 8, limited: 8'

    async def story() -> None:
        async with stage(monkeypatch) as s:
            await s.w.create(TEACHER, "qwen", HF)
            await s.run_pod()
            await s.scaled_to(1)
            await s.controller(ready=0)
            row = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": text}
            await s.w.edit(DEPLOYMENT, "qwen", {"status": {"replicas": 0, "conditions": [row]}}, status=True)
            await s.w.until(lambda: "QuotaExceeded" in s.reasons())
            found = why(await s.phase("Starting"), "Degraded")
            assert found[:2] == ("True", "QuotaExceeded")
            assert "exceeded quota: gpus" in found[2]
            await s.controller()
            await s.phase("Ready")

    asyncio.run(story())


def test_objects_that_the_quota_forbids_are_trouble_and_not_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with stage(monkeypatch, start=False) as s:
            forbidden = [True]
            original = type(s.w.cluster)._handle

            async def full(cluster: Any, request: Any) -> Any:
                if forbidden[0] and request.method.value == "PATCH" and request.resource.plural == "deployments":
                    raise kmock.KubernetesError(status=403, reason="Forbidden", message="exceeded quota: objects")
                return await original(cluster, request)

            monkeypatch.setattr(type(s.w.cluster), "_handle", full)
            await s.w.create(TEACHER, "qwen", HF)
            await s.w.start()
            await s.w.until(lambda: "QuotaExceeded" in s.reasons())
            assert why(await s.phase("Idle"), "Degraded")[:2] == ("True", "QuotaExceeded")
            forbidden[0] = False
            await s.w.until(lambda: _there(s))

    asyncio.run(story())


def test_a_spec_that_cannot_be_served_says_so_and_waits_for_an_edit(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with stage(monkeypatch) as s:
            # What a real API server refuses: a mock takes it, as an older CRD would.
            await s.w.create(TEACHER, "qwen", {**HF, "args": ["--hos", "::"]})
            body = await s.phase("Invalid")
            assert why(body, "SpecValid")[0] == "False"
            assert "spec.args" in body["status"]["message"]
            await s.w.until(lambda: "Refused" in s.reasons())
            await s.w.edit(TEACHER, "qwen", {"spec": {"args": []}})
            body = await s.phase("Idle")
            assert why(body, "SpecValid")[0] == "True"

    asyncio.run(story())


def test_pods_of_other_teachers_and_other_namespaces_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with stage(monkeypatch) as s:
            await s.w.create(TEACHER, "qwen", HF)
            await s.phase("Idle")
            await s.w.create(POD, "a", labels={"teacher.stillhouse.dev/other": "true"}, status={"phase": "Running"})
            meta = {"name": "b", "namespace": f"{NAMESPACE}-2", "labels": {LABEL: "true"}}
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "status": {"phase": "Running"}}
            await s.w.kube.create(POD, pod)
            await asyncio.sleep(0.4)
            assert (await s.deployment())["spec"]["replicas"] == 0

    asyncio.run(story())
