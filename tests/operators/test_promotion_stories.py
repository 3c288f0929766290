"""StudentPromotions under real kopf, with a real MLflow server and a real HTTP server to probe."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import kmock
import kopf
import pytest
from aiohttp import web

from operators import promotion
from operators.resources import PROMOTION, condition, timestamp
from operators.settings import Settings
from stillhouse.registry.gate import UNTRAINED
from tests.operators.promotion_world import Door, Students, door_to, in_thread, mlflow_server
from tests.operators.world import World, world

pytestmark = pytest.mark.xdist_group("mlflow")
NAME = "math"
APPROVE, ROLLBACK = "stillhouse.dev/approve", "stillhouse.dev/rollback"


@pytest.fixture(scope="session")
def mlflow_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as url:
        yield url


@pytest.fixture
def students(mlflow_url: str) -> Students:
    return Students(mlflow_url)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("operators.errors.FIRST_S", 0.05)
    monkeypatch.setattr("operators.errors.LONGEST_S", 0.2)


def _registry() -> kopf.OperatorRegistry:
    handlers = kopf.OperatorRegistry()
    promotion.register(handlers)
    return handlers


@dataclass
class Stage:
    """The cluster, the student's registry, the door between operator and MLflow, and a server to probe."""

    w: World
    students: Students
    door: Door
    url: str = ""
    answers: int = 200
    probes: int = field(default=0)

    def trial(self, **fields: Any) -> dict[str, Any]:
        probe = {"http": {"url": f"{self.url}/health?v=$(VERSION)"}}
        rules = {"windowSeconds": 60, "periodSeconds": 10, "failureThreshold": 2, "probe": probe}
        return {"stabilization": {**rules, **fields}}

    async def make(self, name: str = NAME, **spec: Any) -> None:
        await self.w.create(PROMOTION, name, {"student": self.students.name, **spec})

    async def note(self, key: str, value: str | None) -> None:
        await self.w.edit(PROMOTION, NAME, {"metadata": {"annotations": {key: value}}})

    async def status(self, name: str = NAME) -> dict[str, Any]:
        return dict(((await self.w.get(PROMOTION, name)) or {}).get("status") or {})

    async def phase(self, phase: str, name: str = NAME) -> dict[str, Any]:
        await self.w.settle(PROMOTION, name, "phase", phase)
        return await self.status(name)

    async def told(self, kind: str, reason: str, name: str = NAME) -> str:
        """Wait until a condition has this reason; returns its message."""

        async def said() -> str | None:
            found = condition((await self.status(name)).get("conditions") or (), kind)
            return found["message"] if found and found["reason"] == reason else None

        return str(await self.w.until(said, f"{kind} is {reason}"))

    async def champion(self, version: str | None) -> None:
        async def is_it() -> bool:
            return bool(await in_thread(self.students.alias, "champion") == version)

        await self.w.until(is_it, f"champion is {version}")

    async def probed(self) -> None:
        """Wait until the probe that is due has been answered."""

        async def now() -> bool:
            return ((await self.status()).get("lastProbe") or {}).get("at") == timestamp(self.w.clock())

        await self.w.until(now, "a probe is answered")

    async def kill_after(self, number: int) -> Callable[[], Awaitable[None]]:
        """Have the operator killed after so many more writes to MLflow, and started again; await what is returned."""
        reached, before = asyncio.Event(), len(self.door.writes)

        def count() -> None:
            if len(self.door.writes) - before >= number:
                reached.set()

        self.door.after_write = count

        async def wait() -> None:
            await asyncio.wait_for(reached.wait(), 10)
            await self.w.kill()
            self.door.after_write = lambda: None
            await self.w.start()

        return wait

    async def promoted(self, version: str) -> None:
        async def is_it() -> bool:
            rows = (await self.status()).get("history", [])
            return any((row["action"], row["version"]) == ("Promoted", f"v{version}") for row in rows)

        await self.w.until(is_it, f"v{version} is promoted")

    async def actions(self) -> list[str]:
        return [row["action"] for row in (await self.status()).get("history", [])]

    async def register(self, **fields: Any) -> tuple[str, str]:
        made: tuple[str, str] = await in_thread(self.students.register, **fields)
        return made

    async def quiet(self) -> None:
        """Several looks at a steady object write nothing, to the cluster or to MLflow."""
        await asyncio.sleep(0.2)
        body, writes = await self.w.get(PROMOTION, NAME), list(self.door.writes)
        await asyncio.sleep(0.5)
        assert await self.w.get(PROMOTION, NAME) == body
        assert self.door.writes == writes


@asynccontextmanager
async def stage(students: Students, *, start: bool = True) -> AsyncIterator[Stage]:
    async with (
        door_to(students.url) as door,
        world(registry=_registry, settings=Settings(resync_s=0.15), mlflow_url=door.url) as w,
    ):
        here = Stage(w, students, door)
        app = web.Application()

        async def health(request: web.Request) -> web.Response:
            here.probes += 1
            return web.Response(status=here.answers)

        app.router.add_get("/health", health)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        here.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            if start:
                await w.start()
            yield here
        finally:
            await w.stop()
            await runner.cleanup()


def play(students: Students, story: Callable[[Stage], Awaitable[None]], *, start: bool = True) -> None:
    async def run() -> None:
        async with stage(students, start=start) as s:
            await story(s)

    asyncio.run(run())


def test_a_student_is_promoted_on_approval_tried_and_stable(students: Students) -> None:
    async def story(s: Stage) -> None:
        first, sha = await s.register()
        await s.make(**s.trial())
        status = await s.phase("AwaitingApproval")
        assert status["approval"] == f"waiting: {sha[:12]}"
        assert (status["challenger"], status["verdict"]) == (f"v{first}", "Passed")
        assert status["evidence"] == {"short": sha[:12], "sha256": sha}
        await s.quiet()
        await s.note(APPROVE, f"{first}:{sha}")
        await s.phase("Stabilizing")
        await s.champion(first)
        tags = students.tags(first)
        assert (tags["validation_status"], tags["stillhouse.promoted_over"]) == ("approved", UNTRAINED)
        await s.probed()
        await s.quiet()
        for _ in range(5):
            s.w.clock.pass_(seconds=10)
            await s.probed()
        assert s.probes == 6
        s.w.clock.pass_(seconds=10)
        status = await s.phase("Stable")
        assert [row["action"] for row in status["history"]] == ["Promoted", "Stable"]
        assert (status["champion"], status["previousChampion"]) == (f"v{first}", "none")
        await s.quiet()
        reasons = [reason for reason, _ in s.w.events(NAME)]
        assert [reason for reason in reasons if reason != "AwaitingApproval"] == ["Promoted", "Stable"]

    play(students, story)


def test_automatic_promotion_rolls_back_by_itself_and_never_tries_that_version_again(students: Students) -> None:
    async def story(s: Stage) -> None:
        await s.make(mode="Automatic", **s.trial())
        assert (await s.phase("Idle"))["expectedChampion"] == "none"
        first, _ = await s.register()
        await s.phase("Stabilizing")
        s.w.clock.pass_(seconds=61)
        await s.phase("Stable")
        s.answers = 500
        second, _ = await s.register()
        await s.phase("Stabilizing")
        await s.champion(second)

        async def failed_once() -> bool:
            return (await s.status()).get("failures") == 1

        await s.w.until(failed_once)
        await s.probed()
        s.w.clock.pass_(seconds=10)
        status = await s.phase("RolledBack")
        await s.champion(first)
        assert "2 probes in a row failed: status 500" in status["history"][-1]["reason"]
        tags = students.tags(second)
        assert tags["validation_status"] == "rejected"
        assert "status 500" in tags["stillhouse.rolled_back"]
        s.answers = 200
        s.w.clock.pass_(hours=1)
        await s.quiet()
        await s.champion(first)
        assert ("RolledBack", True) in [(reason, "v1" in text) for reason, text in s.w.events(NAME)]

    play(students, story)


@pytest.mark.parametrize("steps", [(2,), pytest.param((1, 2, 3), marks=pytest.mark.slow)])
def test_the_operator_may_be_killed_after_every_write_and_nothing_is_lost_or_repeated(
    students: Students, steps: tuple[int, ...]
) -> None:
    async def story(s: Stage) -> None:
        first, sha = await s.register()
        await s.make()
        await s.w.start()
        await s.phase("AwaitingApproval")
        for number, writes in enumerate(steps):
            if number:
                first, sha = await s.register()
            killed = await s.kill_after(writes)
            await s.note(APPROVE, f"{first}:{sha}")
            await killed()
            await s.promoted(first)
            await s.champion(first)
            await s.quiet()
        history = (await s.status())["history"]
        assert [(row["action"], row["version"]) for row in history] == [
            ("Promoted", f"v{n}") for n, _ in enumerate(steps, 1)
        ]

    play(students, story, start=False)


@pytest.mark.parametrize("steps", [(1,), pytest.param((2, 3), marks=pytest.mark.slow)])
def test_a_rollback_that_is_killed_after_every_write_is_finished_once(
    students: Students, steps: tuple[int, ...]
) -> None:
    async def story(s: Stage) -> None:
        await s.make(mode="Automatic")
        await s.w.start()
        first, _ = await s.register()
        await s.champion(first)
        for writes in steps:
            version, _ = await s.register()
            await s.champion(version)
            await s.w.settle(PROMOTION, NAME, "champion", f"v{version}")
            killed = await s.kill_after(writes)
            await s.note(ROLLBACK, first)
            await killed()
            await s.w.settle(PROMOTION, NAME, "champion", f"v{first}")
            await s.w.until(lambda: _without(s, ROLLBACK))
            await s.quiet()
            assert students.tags(version)["validation_status"] == "rejected"
        assert (await s.actions()).count("RolledBack") == len(steps)

    play(students, story, start=False)


async def _without(s: Stage, annotation: str) -> bool:
    body = await s.w.get(PROMOTION, NAME)
    return body is not None and annotation not in (body["metadata"].get("annotations") or {})


@pytest.mark.parametrize(
    "fault", ["lose", *(pytest.param(one, marks=pytest.mark.slow) for one in ("refuse", 429, 503))]
)
def test_writes_that_mlflow_refuses_or_whose_answers_are_lost_are_made_once(
    students: Students, fault: str | int
) -> None:
    async def story(s: Stage) -> None:
        version, sha = await s.register()
        await s.make()
        await s.phase("AwaitingApproval")
        s.door.next_writes(fault, times=2)
        await s.note(APPROVE, f"{version}:{sha}")
        await s.phase("Stable")
        await s.champion(version)
        assert await s.actions() == ["Promoted"]
        await s.quiet()

    play(students, story)


def test_while_mlflow_is_away_the_status_stays_and_says_so(students: Students) -> None:
    async def story(s: Stage) -> None:
        version, sha = await s.register()
        await s.make()
        before = await s.phase("AwaitingApproval")
        s.door.fault = lambda method, path: "refuse"
        message = await s.told("Ready", "Retrying")
        assert "MLflow" in message
        assert "does not answer" in message
        after = await s.status()
        assert {**after, "conditions": []} == {**before, "conditions": []}
        await s.note(APPROVE, f"{version}:{sha}")
        s.door.fault = lambda method, path: None
        await s.phase("Stable")
        await s.champion(version)
        assert (await s.told("Ready", "AsWanted")) == f"v{version} is champion"

    play(students, story)


@pytest.mark.slow
def test_mlflow_goes_away_in_the_middle_of_a_promotion(students: Students) -> None:
    async def story(s: Stage) -> None:
        version, sha = await s.register()
        await s.make()
        await s.phase("AwaitingApproval")
        down = [False]

        def fault(method: str, path: str) -> str | None:
            if method == "POST" and path.endswith("/registered-models/alias"):
                down[0] = True
            return "refuse" if down[0] else None

        s.door.fault = fault
        await s.note(APPROVE, f"{version}:{sha}")
        await s.told("Ready", "Retrying")
        status = await s.status()
        assert (status["phase"], status["pending"]["version"]) == ("Promoting", f"v{version}")
        assert students.alias("champion") is None
        s.door.fault = lambda method, path: None
        await s.phase("Stable")
        assert await s.actions() == ["Promoted"]

    play(students, story)


@pytest.mark.parametrize("code", [429, *(pytest.param(one, marks=pytest.mark.slow) for one in (409, 500))])
def test_a_refusal_of_the_kubernetes_api_is_only_a_delay(
    students: Students, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    async def story(s: Stage) -> None:
        version, sha = await s.register()
        await s.make()
        await s.phase("AwaitingApproval")
        left, original = [3], type(s.w.cluster)._handle

        async def shaky(cluster: Any, request: Any) -> Any:
            ours = request.resource is not None and request.resource.plural == "studentpromotions"
            if ours and request.subresource == "status" and left[0]:
                left[0] -= 1
                raise kmock.KubernetesError(status=code, reason="No", message="not now")
            return await original(cluster, request)

        monkeypatch.setattr(type(s.w.cluster), "_handle", shaky)
        await s.note(APPROVE, f"{version}:{sha}")
        await s.phase("Stable")
        assert left == [0]
        assert await s.actions() == ["Promoted"]

    play(students, story)


async def _wrong_hash(s: Stage, version: str, sha: str) -> None:
    await s.note(APPROVE, f"{version}:{'0' * 64}")


async def _prefix(s: Stage, version: str, sha: str) -> None:
    await s.note(APPROVE, f"{version}:{sha[:12]}")


async def _no_such_version(s: Stage, version: str, sha: str) -> None:
    await s.note(APPROVE, f"99:{sha}")


async def _stale(s: Stage, version: str, sha: str) -> None:
    other, other_sha = await s.register(against=f"models:/{s.students.name}/99")
    await s.note(APPROVE, f"{other}:{other_sha}")


async def _superseded(s: Stage, version: str, sha: str) -> None:
    await s.register()
    await s.note(APPROVE, f"{version}:{sha}")


async def _rejected(s: Stage, version: str, sha: str) -> None:
    await in_thread(s.students.tag, version, "validation_status", "rejected")
    await s.note(APPROVE, f"{version}:{sha}")


async def _changed(s: Stage, version: str, sha: str) -> None:
    await in_thread(s.students.spoil_evidence, version)
    await s.note(APPROVE, f"{version}:{sha}")


async def _other_tag(s: Stage, version: str, sha: str) -> None:
    await in_thread(s.students.tag, version, "stillhouse.gate.evidence_sha256", "1" * 64)
    await s.note(APPROVE, f"{version}:{'1' * 64}")


async def _no_file(s: Stage, version: str, sha: str) -> None:
    other, other_sha = await s.register(evidence=False)
    await s.note(APPROVE, f"{other}:{other_sha}")


@pytest.mark.parametrize(
    ("ask", "reason", "words"),
    [
        (_wrong_hash, "OtherEvidence", "names other evidence (000000000000…)"),
        pytest.param(_prefix, "Malformed", "must be <version>:<sha256 of the evidence>", marks=pytest.mark.slow),
        (_no_such_version, "NoSuchVersion", "v99, which is not in the registry; the challenger is v1"),
        (_stale, "Stale", "but the champion is now none"),
        pytest.param(
            _superseded, "OtherVersion", "the approval is for v1, but the challenger is v2", marks=pytest.mark.slow
        ),
        pytest.param(_rejected, "Rejected", "is rejected", marks=pytest.mark.slow),
        (_changed, "EvidenceChanged", "somebody changed one of them"),
        pytest.param(_other_tag, "EvidenceChanged", "somebody changed one of them", marks=pytest.mark.slow),
        pytest.param(_no_file, "EvidenceGone", "evidence.json is gone", marks=pytest.mark.slow),
    ],
)
def test_an_approval_of_anything_else_is_refused_with_what_is_right(
    students: Students, ask: Callable[[Stage, str, str], Awaitable[None]], reason: str, words: str
) -> None:
    async def story(s: Stage) -> None:
        version, sha = await s.register()
        await s.make()
        await s.phase("AwaitingApproval")
        await ask(s, version, sha)
        assert words in await s.told("Approved", reason)
        await s.quiet()
        assert students.alias("champion") is None
        assert s.door.writes == []
        if reason == "NoSuchVersion":
            await s.told("VersionFound", "NoSuchVersion")

    play(students, story)


def test_where_mlflow_cannot_serve_artifacts_the_tags_decide_and_the_condition_says_so(students: Students) -> None:
    lineage = (
        '{"nodes": [{"kind": "verdict", "facts": {"verdict": "passed", "against": "%s", "evidence_sha256": "%s"}}]}'
    )

    async def story(s: Stage) -> None:
        version, sha = await s.register()
        s.door.fault = lambda method, path: 500 if "artifact" in path else None
        await s.make()
        assert "its lineage tag does not say" in await s.told("GatePassed", "EvidenceUnreadable")
        await in_thread(students.tag, version, "stillhouse.lineage", lineage % (UNTRAINED, sha))
        assert "cannot be read through MLflow" in await s.told("GatePassed", "TagsOnly")
        await s.note(APPROVE, f"{version}:{sha}")
        await s.phase("Stable")
        await s.champion(version)

    play(students, story)


def test_of_two_resources_for_one_student_the_younger_does_nothing_until_the_older_is_gone(students: Students) -> None:
    async def story(s: Stage) -> None:
        await s.make("older")
        s.w.clock.pass_(minutes=1)
        await s.make(NAME, mode="Automatic")
        await s.register()
        await s.phase("AwaitingApproval", "older")
        status = await s.phase("Conflict")
        assert "distil/older is older" in (condition(status["conditions"], "Conflict") or {})["message"]
        await s.quiet()
        assert students.alias("champion") is None
        await s.w.delete(PROMOTION, "older")
        await s.phase("Stable")
        await s.champion("1")

    play(students, story)


def test_a_model_that_does_not_exist_is_waited_for(students: Students) -> None:
    async def story(s: Stage) -> None:
        await s.make()
        assert "the first run of its recipe makes it" in await s.told("VersionFound", "ModelNotFound")
        await s.quiet()
        await s.register()
        await s.phase("AwaitingApproval")
        await s.told("VersionFound", "Found")

    play(students, story)


async def _crowned(s: Stage, **spec: Any) -> tuple[str, str]:
    """v1 is champion by this resource, v2 waits."""
    first, sha = await s.register()
    await s.make(**spec)
    if spec.get("mode") != "Automatic":
        await s.note(APPROVE, f"{first}:{sha}")
    await s.phase("Stable")
    await s.champion(first)
    return first, sha


def test_a_champion_that_somebody_moved_is_put_back(students: Students) -> None:
    async def story(s: Stage) -> None:
        first, _ = await _crowned(s)
        second, _ = await s.register()
        await s.phase("AwaitingApproval")
        await in_thread(students.crown, second)
        await s.w.until(lambda: _repaired(s))
        await s.champion(first)
        await in_thread(students.client.delete_registered_model_alias, students.name, "champion")
        await s.champion(first)
        await s.phase("AwaitingApproval")
        assert {"Drifted", "Repaired"} <= {reason for reason, _ in s.w.events(NAME)}
        await s.quiet()

    async def _repaired(s: Stage) -> bool:
        return "Repaired" in await s.actions()

    play(students, story)


@pytest.mark.slow
def test_a_move_that_is_only_reported_is_left_alone_until_a_person_decides(students: Students) -> None:
    async def story(s: Stage) -> None:
        first, _ = await _crowned(s, drift="Report")
        second, _ = await s.register()
        await in_thread(students.crown, second)
        assert f"is on v{second}, expected is v{first}" in await s.told("Drifted", "Moved")
        await s.quiet()
        await s.champion(second)
        await s.note(ROLLBACK, first)
        await s.told("Drifted", "InPlace")
        await s.champion(first)
        await s.w.until(lambda: _without(s, ROLLBACK))

    play(students, story)


@pytest.mark.slow
def test_what_an_automatic_pipeline_promoted_is_adopted_and_tried_not_fought(students: Students) -> None:
    async def story(s: Stage) -> None:
        first, _ = await _crowned(s, mode="Automatic")
        await s.w.edit(PROMOTION, NAME, {"spec": {"suspend": True, **s.trial()}})
        await s.told("Ready", "Suspended")
        second, _ = await s.register()
        await in_thread(students.crown, second, approved=True)
        await s.told("Drifted", "Moved")
        await s.quiet()
        await s.w.edit(PROMOTION, NAME, {"spec": {"suspend": False}})
        status = await s.phase("Stabilizing")
        assert (status["history"][-1]["action"], status["history"][-1]["by"]) == ("Adopted", "pipeline")
        assert status["previousChampion"] == f"v{first}"
        await s.champion(second)

    play(students, story)


@pytest.mark.slow
def test_in_manual_mode_a_pipeline_that_promotes_itself_is_put_back_and_waits_for_approval(students: Students) -> None:
    async def story(s: Stage) -> None:
        first, _ = await _crowned(s)
        second, sha = await s.register()
        await in_thread(students.crown, second, approved=True)
        await s.champion(first)
        assert (await s.phase("AwaitingApproval"))["challenger"] == f"v{second}"
        await s.note(APPROVE, f"{second}:{sha}")
        await s.champion(second)

    play(students, story)


@pytest.mark.slow
def test_a_spec_that_cannot_be_used_and_a_rollback_that_cannot_be_made_say_why(students: Students) -> None:
    async def story(s: Stage) -> None:
        await _crowned(s)
        await s.note(ROLLBACK, "99")
        assert "no such version" in await s.told("Ready", "RollbackRefused")
        assert (await s.status())["phase"] == "Invalid"
        await s.note(ROLLBACK, None)
        await s.phase("Stable")
        await s.w.edit(PROMOTION, NAME, {"spec": {"stabilization": {"windowSeconds": 5, "periodSeconds": 9}}})
        assert "periodSeconds may not exceed windowSeconds" in await s.told("Ready", "Invalid")
        assert (await s.status())["champion"] == "v1"
        await s.w.edit(PROMOTION, NAME, {"spec": {"stabilization": None}})
        await s.phase("Stable")

    play(students, story)


def test_a_student_that_the_real_stages_registered_is_approved_and_the_next_one_adopted(
    mlflow_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``register_student`` and ``promote_student`` themselves, on the same server."""
    from stillhouse.workspace import Workspace
    from tests.unit.registry.conftest import Student

    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_url)
    students = Students(mlflow_url)
    space = Workspace.open(tmp_path / "work")

    def made(name: str, after: int) -> Student:
        config = {
            "name": students.name, "promote": "automatic", "student": {"model": "zoo:base", "licence": "Apache-2.0"},
            "gate": {"require": [{"metric": "chain", "min_effect": 1.0}], "licences": ["apache-2.0"]},
        }  # fmt: skip
        return Student(space, name, 4, after, config)

    async def story(s: Stage) -> None:
        first = await in_thread(made("first", 20).register)
        await s.make(policy={"requireChecks": ["require", "licence"], "evidenceFile": "Required"})
        status = await s.phase("AwaitingApproval")
        assert status["evidence"]["sha256"] == first.details["evidence_sha256"]
        await s.note(APPROVE, f"1:{first.details['evidence_sha256']}")
        await s.phase("Stable")
        await s.champion("1")
        await s.w.edit(PROMOTION, NAME, {"spec": {"mode": "Automatic", "suspend": True}})
        await s.told("Ready", "Suspended")
        second = made("second", 38)
        summary = await in_thread(second.register)
        assert (summary.details["verdict"], summary.details["against"]) == ("passed", f"models:/{students.name}/1")
        await in_thread(second.promote)
        await s.w.edit(PROMOTION, NAME, {"spec": {"suspend": False}})
        await s.w.settle(PROMOTION, NAME, "expectedChampion", "v2")
        assert (await s.status())["history"][-1]["by"] == "pipeline"

    play(students, story)
