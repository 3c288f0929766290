"""What stories of runs and schedules play on: a cluster, a KFP server, and the command ``stillhouse`` by its contract.

The command is the real one where a story says so; elsewhere ``Command`` keeps the same contract without a child process
of its own: a label is one run, a lost answer is looked for, errors are of the two families.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import kmock
import kopf
import pytest

from operators import errors, run, schedule
from operators.crds.run import KIND as RUN_KIND
from operators.crds.schedule import KIND as SCHEDULE_KIND
from operators.resources import RUN, SCHEDULE, Resource, condition
from operators.settings import Settings
from stillhouse.errors import RecipeError, TransientError
from tests.kfp_server import KfpServer
from tests.operators.crd_check import accepts
from tests.operators.world import Cluster, World, world

RECIPE = {"name": "math"}


def registry() -> kopf.OperatorRegistry:
    handlers = kopf.OperatorRegistry()
    schedule.register(handlers)
    run.register(handlers)
    return handlers


@dataclass
class Command:
    """``stillhouse submit`` and ``digest``. ``faults`` are what goes wrong with the next ones, in order."""

    server: KfpServer
    faults: list[str] = field(default_factory=list)
    calls: list[tuple[str, ...]] = field(default_factory=list)
    recipes: list[dict[str, Any]] = field(default_factory=list)
    data: str = "one"
    wrong: str = ""
    """What is wrong with every recipe that is asked about."""

    async def __call__(self, verb: str, path: str, *options: str, **_: Any) -> dict[str, Any]:
        self.calls.append((verb, *options))
        recipe = json.loads(Path(path).read_text(encoding="utf-8"))
        self.recipes.append(recipe)
        if self.wrong:
            raise RecipeError(f"{path}: {self.wrong}")
        if verb == "digest":
            sha = json.dumps(recipe, sort_keys=True)
            return {"recipe_sha256": sha, "data": {"data.problems": self.data}, "models": {}, "teachers": {}}
        return await self._submit(recipe, path, options[options.index("--run-label") + 1])

    async def _submit(self, recipe: dict[str, Any], path: str, label: str) -> dict[str, Any]:
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "refused":
            raise RecipeError(f"{path}: train.epochs = 'many': must be a number")
        if fault == "down":
            raise TransientError("Kubeflow Pipelines does not answer")
        name = f"{recipe['name']}-{label}"
        found = [run for run in self.server.runs if run["display_name"] == name]
        made = (
            found[0] if found else self.server.state.create_run({"display_name": name, "pipeline_spec": {"root": {}}})
        )
        if fault == "lost":
            raise TransientError("the answer was lost")
        if fault == "hangs":
            await asyncio.sleep(600)
        url = f"{self.server.url}/#/runs/details/{made['run_id']}"
        return {
            "run_id": made["run_id"], "run_name": name, "run_label": label, "url": url, "created": not found,
            "recipe_sha256": "a" * 64, "pipeline_version": "1-abc", "experiment_id": made["experiment_id"],
        }  # fmt: skip


@dataclass
class Stage:
    """The players."""

    w: World
    kfp: KfpServer
    command: Command

    async def make(self, name: str = "one", **spec: Any) -> dict[str, Any]:
        """Create a DistillationRun, as far as the API server takes it."""
        spec = spec if "recipeFrom" in spec else {"recipe": RECIPE, **spec}
        assert accepts(RUN_KIND, spec, metadata={"name": name}) == []
        return await self.w.create(RUN, name, spec)

    async def plan(self, name: str = "nightly", **spec: Any) -> dict[str, Any]:
        """Create a DistillationSchedule, as far as the API server takes it."""
        spec = spec if "recipeFrom" in spec else {"recipe": RECIPE, **spec}
        assert accepts(SCHEDULE_KIND, spec, metadata={"name": name}) == []
        return await self.w.create(SCHEDULE, name, spec)

    async def phase(self, phase: str, name: str = "one") -> dict[str, Any]:
        """The run's status once it is in that phase; it fits the CRD's schema."""
        body = await self.w.settle(RUN, name, "phase", phase)
        assert accepts(RUN_KIND, body["spec"], metadata={"name": name}, status=body["status"]) == []
        return dict(body["status"])

    async def slowly(self, resource: Resource, name: str, key: str, value: Any) -> dict[str, Any]:
        """The status once ``key`` is ``value``; the real command takes seconds to start."""

        async def there() -> dict[str, Any] | None:
            status = ((await self.w.get(resource, name)) or {}).get("status") or {}
            return status if status.get(key) == value else None

        return dict(await self.w.until(there, f"{resource.kind} {name}: {key} = {value}", 90))

    async def reason(self, reason: str, name: str = "one") -> dict[str, Any]:
        return dict((await self.w.settle(RUN, name, "reason", reason))["status"])

    async def state(self, state: str, name: str = "nightly") -> dict[str, Any]:
        """The schedule's status once it is in that state; it fits the CRD's schema."""
        body = await self.w.settle(SCHEDULE, name, "state", state)
        assert accepts(SCHEDULE_KIND, body["spec"], metadata={"name": name}, status=body["status"]) == []
        return dict(body["status"])

    async def gone(self, name: str = "one") -> None:
        async def absent() -> bool:
            return await self.w.get(RUN, name) is None

        await self.w.until(absent, f"{name} is gone")

    async def run_id(self, index: int = 0) -> str:
        """Id of KFP's run number ``index``, once there is one."""
        await self.w.until(lambda: len(self.kfp.runs) > index, f"KFP has {index + 1} runs")
        return str(self.kfp.runs[index]["run_id"])

    async def quiet(self, seconds: float = 0.5) -> list[str]:
        """What is written to the API within some seconds, looks going on."""
        before = len(self.w.cluster[kmock.method.PATCH]), len(self.w.cluster[kmock.method.POST])
        await asyncio.sleep(seconds)
        after = len(self.w.cluster[kmock.method.PATCH]), len(self.w.cluster[kmock.method.POST])
        return [f"{new - old} writes" for old, new in zip(before, after, strict=True) if new > old]


@asynccontextmanager
async def stage(
    *, start: bool = True, command: Callable[[KfpServer], Any] = Command, mlflow_url: str = "", **settings: Any
) -> AsyncIterator[Stage]:
    """A stage with the operator running, unless ``start`` is false."""
    with KfpServer() as kfp:
        ask = command(kfp)
        chosen = Settings(resync_s=0.05, **settings)
        async with world(registry=registry, settings=chosen, command=ask, kfp_url=kfp.url, mlflow_url=mlflow_url) as w:
            if start:
                await w.start()
            yield Stage(w, kfp, ask)


@contextmanager
def shaky(matches: Callable[[Any], bool], code: int | str, times: int) -> Iterator[list[int]]:
    """The API answers ``code`` to the next ``times`` requests that match; "lost": it does the work, then fails."""
    left, original = [times], Cluster._handle

    async def handle(cluster: Any, request: Any) -> Any:
        if left[0] and request.resource is not None and matches(request):
            left[0] -= 1
            if code == "lost":
                await original(cluster, request)
            number = code if isinstance(code, int) else 504
            text = "exceeded quota: runs" if number == 403 else "not now"
            raise kmock.KubernetesError(status=number, reason="No", message=text)
        return await original(cluster, request)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Cluster, "_handle", handle)
        yield left


@contextmanager
def impatient() -> Iterator[None]:
    """Pauses between tries are short."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(errors, "FIRST_S", 0.02)
        patch.setattr(errors, "LONGEST_S", 0.2)
        yield


def holds(status: dict[str, Any], kind: str) -> str:
    """Status of a condition, empty where it is not there."""
    found = condition(status.get("conditions") or [], kind)
    return str(found["status"]) if found else ""
