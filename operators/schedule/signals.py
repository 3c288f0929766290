"""What a schedule is told from outside: the digest of what a run depends on, and what its triggers have seen.

The two ``see`` and ``served`` are pure; the rest asks the command ``stillhouse digest``, MLflow and the cluster.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from operators.context import Context
from operators.crds.schedule import RegistryTrigger, ScheduleSpec
from operators.resources import TEACHER, Body, moment, timestamp
from operators.run import recipe
from operators.run.recipe import Source
from operators.schedule.plan import Fired
from stillhouse.digest import sha256_json
from stillhouse.errors import RecipeError, TransientError

_SECONDS = {"m": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True)
class Inputs:
    """What a run depends on, by digest."""

    all: str
    data: str
    teacher: str


async def inputs(context: Context, namespace: str, source: Source) -> Inputs:
    """The digests of now.

    Raises:
        RecipeError: the recipe, its data or its models cannot be used.
        TransientError: something does not answer.
    """
    told = await recipe.ask(context, "digest", source)
    servers = served(source.tree, await context.kube.list(TEACHER, namespace))
    teacher = {"models": told.get("models") or {}, "teachers": told.get("teachers") or {}, "servers": servers}
    data = told.get("data") or {}
    return Inputs(
        sha256_json({"recipe": told.get("recipe_sha256"), "data": data, **teacher}),
        sha256_json(data),
        sha256_json(teacher),
    )


def served(tree: Mapping[str, Any], servers: Iterable[Body]) -> dict[str, Any]:
    """Model and revision of each TeacherServer that a recipe's teachers name by its host."""
    hosts = set()
    teacher = tree.get("teacher")
    candidates = teacher.get("candidates") if isinstance(teacher, Mapping) else None
    for item in candidates if isinstance(candidates, list) else ():
        endpoints = item.get("endpoints") if isinstance(item, Mapping) else None
        for url in endpoints if isinstance(endpoints, list) else ():
            hosts.add((urlsplit(str(url)).hostname or "").partition(".")[0])
    return {
        body["metadata"]["name"]: [body["spec"].get("model"), body["spec"].get("revision")]
        for body in servers
        if body["metadata"]["name"] in hosts
    }


def see(state: Mapping[str, Any], of: str, value: str, now: datetime) -> dict[str, Any]:
    """A trigger's state after it saw ``value``. The first look, and one at something else, only remembers."""
    seen = int(state.get("seen") or 0)
    if state.get("of") == of and state.get("value") and state["value"] != value:
        seen += 1
    started = int(state.get("started") or 0) if state.get("of") == of else seen
    return {"of": of, "value": value, "seen": seen, "started": started, "lastCheckTime": timestamp(now)}


class Watch:
    """The triggers of one schedule at one look: their states, what has fired, and the digests, asked for once."""

    def __init__(self, context: Context, namespace: str, spec: ScheduleSpec, source: Source | None) -> None:
        self._context, self._namespace, self._spec, self._source = context, namespace, spec, source
        self.states: dict[str, dict[str, Any]] = {}
        self.check_at: datetime | None = None
        self.inputs: Inputs | None = None
        self.asked = False
        self.refusal = ""
        """What the recipe was refused for at this look."""
        self._unheard = ""

    async def digest(self) -> str | None:
        """Of everything a run depends on; None where it is not to be had now."""
        if not self.asked and self._source is not None:
            self.asked = True
            try:
                self.inputs = await inputs(self._context, self._namespace, self._source)
            except RecipeError as error:
                self.refusal = str(error)
            except TransientError as error:
                self._unheard = str(error)
        return self.inputs.all if self.inputs else None

    async def look(self, before: Mapping[str, Any]) -> None:
        """Look at what is due to be looked at; ``before`` are the states that the status remembers."""
        triggers = self._spec.triggers
        if triggers is None:
            return
        if triggers.data_every:
            await self._look("data", "data", triggers.data_every, before, self._data)
        if triggers.teacher_every:
            await self._look("teacher", "teachers", triggers.teacher_every, before, self._teacher)
        if triggers.registry:
            of = f"models:/{triggers.registry.name}@{triggers.registry.alias or triggers.registry.event}"
            await self._look("registry", of, triggers.registry.every, before, self._registry)

    def fired(self) -> tuple[Fired, ...]:
        """The triggers that have seen a change for which no run was started."""
        return tuple(
            Fired(kind.capitalize(), int(state.get("seen") or 0), str(state.get("value") or ""))
            for kind, state in self.states.items()
            if int(state.get("seen") or 0) > int(state.get("started") or 0)
        )

    async def _look(self, kind: str, of: str, every: str, before: Mapping[str, Any], ask: Any) -> None:
        now, state = self._context.now(), dict(before.get(kind) or {})
        interval = timedelta(seconds=int(every[:-1]) * _SECONDS[every[-1]])
        last = moment(state["lastCheckTime"]) if state.get("lastCheckTime") and state.get("of") == of else None
        if not self._spec.suspend and (last is None or now >= last + interval):
            try:
                state = see(state, of, await ask(), now)
            except (RecipeError, TransientError) as error:
                state |= {"of": of, "lastCheckTime": timestamp(now), "message": str(error)[:500]}
            last = now
        self.states[kind] = state
        if last is not None:
            self.check_at = min(self.check_at or last + interval, last + interval)

    async def _data(self) -> str:
        return (await self._inputs()).data

    async def _teacher(self) -> str:
        return (await self._inputs()).teacher

    async def _inputs(self) -> Inputs:
        await self.digest()
        if self.inputs is None:
            raise TransientError(self.refusal or self._unheard or "there is no recipe to look at")
        return self.inputs

    async def _registry(self) -> str:
        watched = self._spec.triggers.registry if self._spec.triggers else None
        assert watched is not None
        return await _version(self._context, watched)


async def _version(context: Context, watched: RegistryTrigger) -> str:
    """The version that an alias points to, or the newest one; ``none`` where there is none."""
    model = await context.mlflow.model(watched.name)
    if watched.alias:
        aliases = {row["alias"]: str(row["version"]) for row in (model or {}).get("aliases") or []}
        return aliases.get(watched.alias, "none")
    return str(max((int(row["version"]) for row in (model or {}).get("latest_versions") or []), default="none"))
