"""Stories of schedules under real kopf, their runs included: time passes because the test turns the clock."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from operators.resources import CONFIG_MAP, RUN, RUN_NOW, SCHEDULE, TEACHER
from operators.schedule.signals import served
from tests.operators.run_stage import RECIPE, Stage, holds, impatient, shaky, stage

HOURLY = {"schedule": "0 * * * *", "concurrencyPolicy": "Allow"}
ONE_PM, TWO_PM = "nightly-29540940", "nightly-29541000"
"""The clock starts on 2026-03-02 at 12:00 UTC."""
Story = Callable[[Stage], Awaitable[None]]


def play(story: Story, **kwargs: Any) -> None:
    async def all_of_it() -> None:
        async with stage(**kwargs) as s:
            await story(s)

    with impatient():
        asyncio.run(all_of_it())


async def runs(s: Stage, *names: str) -> None:
    """Wait until there are exactly these runs, and a little longer."""

    async def there() -> bool:
        return await s.w.names(RUN) == sorted(names)

    await s.w.until(there, f"the runs are {names}")
    await asyncio.sleep(0.25)
    assert await s.w.names(RUN) == sorted(names)


async def finish(s: Stage, name: str, state: str = "SUCCEEDED") -> None:
    told = await s.phase("Submitted", name)
    s.kfp.finish(told["runId"], state)
    await s.phase("Succeeded" if state == "SUCCEEDED" else "Failed", name)


async def poke(s: Stage) -> None:
    """Have the schedule looked at."""
    await s.w.edit(SCHEDULE, "nightly", {"metadata": {"annotations": {"poke": str(asyncio.get_running_loop().time())}}})


def test_a_schedule_runs_at_its_time_and_tells_of_its_last_run() -> None:
    async def story(s: Stage) -> None:
        await s.plan(
            **HOURLY, timeZone="Europe/Berlin", deadlineSeconds=7200,
            runTemplate={"labels": {"team": "a"}, "annotations": {"note": "b"}},
        )  # fmt: skip
        told = await s.state("Idle")
        assert (told["nextScheduleTime"], told["nextRun"]) == ("2026-03-02T13:00:00Z", "2026-03-02 14:00")
        assert [holds(told, kind) for kind in ("Ready", "RecipeValid", "ScheduleValid")] == ["True"] * 3
        await runs(s)
        s.w.clock.pass_(minutes=60, seconds=2)
        told = await s.state("Running")
        assert told["active"] == [ONE_PM]
        body = await s.w.get(RUN, ONE_PM) or {}
        assert body["spec"] == {"recipe": RECIPE, "deadlineSeconds": 7200}
        assert body["metadata"]["labels"] == {
            "team": "a", "app.kubernetes.io/managed-by": "stillhouse", "stillhouse.dev/schedule": "nightly",
        }  # fmt: skip
        assert body["metadata"]["annotations"]["note"] == "b"
        assert body["metadata"]["ownerReferences"][0]["name"] == "nightly"
        await finish(s, ONE_PM)
        told = await s.state("Idle")
        assert told["lastRun"] == {
            "name": ONE_PM, "startedBy": "Time", "phase": "Succeeded", "scheduledTime": "2026-03-02T13:00:00Z",
        }  # fmt: skip
        assert told["lastScheduleTime"] == "2026-03-02T13:00:00Z"
        assert told["lastSuccessfulTime"]
        assert told["nextScheduleTime"] == "2026-03-02T14:00:00Z"
        assert "Started" in [reason for reason, _ in s.w.events("nightly")]
        assert s.w.context is not None
        assert b'stillhouse_runs_created_total{trigger="Time"} 1.0' in s.w.context.metrics.text()

    play(story)


@pytest.mark.parametrize("suspended", [False, True])
def test_a_schedule_that_waits_writes_nothing(suspended: bool) -> None:
    async def story(s: Stage) -> None:
        await s.plan(**HOURLY, suspend=suspended)
        await s.state("Suspended" if suspended else "Idle")
        await asyncio.sleep(0.3)
        assert await s.quiet(0.7) == []
        assert len(s.command.calls) == 1

    play(story)


def test_an_edit_changes_the_future_and_suspension_stops_it() -> None:
    async def story(s: Stage) -> None:
        await s.plan(**HOURLY)
        await s.state("Idle")
        s.w.clock.pass_(minutes=30)
        await s.w.edit(SCHEDULE, "nightly", {"spec": {"schedule": "15 * * * *"}})
        told = await s.w.settle(SCHEDULE, "nightly", "nextScheduleTime", "2026-03-02T13:15:00Z")
        await runs(s)
        await s.w.edit(SCHEDULE, "nightly", {"spec": {"suspend": True}})
        told = await s.state("Suspended")
        assert "nextScheduleTime" not in told
        s.w.clock.pass_(minutes=60)
        await poke(s)
        await runs(s)
        await s.w.edit(SCHEDULE, "nightly", {"spec": {"suspend": False}})
        told = await s.state("Idle")
        assert (told["nextScheduleTime"], told["missedTimes"]) == ("2026-03-02T14:15:00Z", 0)
        s.w.clock.pass_(minutes=46)
        await runs(s, "nightly-29541015")

    play(story)


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_an_operator_that_was_away_at_the_time_starts_the_run_when_it_is_back(end: str) -> None:
    async def story(s: Stage) -> None:
        await s.plan(**HOURLY)
        await s.state("Idle")
        await getattr(s.w, end)()
        s.w.clock.pass_(minutes=90)
        await s.w.start()
        await runs(s, ONE_PM)
        await getattr(s.w, end)()
        await s.w.start()
        await runs(s, ONE_PM)

    play(story)


def test_what_was_missed_is_counted_or_made_up_for() -> None:
    async def story(s: Stage) -> None:
        await s.plan(**HOURLY, startingDeadlineSeconds=86_400)
        await s.plan("patient", **HOURLY, startingDeadlineSeconds=86_400, catchUp=True)
        await s.state("Idle")
        await s.state("Idle", "patient")
        await s.w.stop()
        s.w.clock.pass_(minutes=190)
        await s.w.start()
        await runs(s, "nightly-29541060", "patient-29540940", "patient-29541000", "patient-29541060")
        told = await s.state("Running")
        assert told["missedTimes"] == 2
        assert ("MissedTimes", "2 times passed without a run") in s.w.events("nightly")

    play(story)


def _creates(request: Any) -> bool:
    return bool(request.method.value == "POST" and request.resource.plural == "distillationruns")


def _writes_status(request: Any) -> bool:
    return bool(request.subresource == "status" and request.resource.plural == "distillationschedules")


@pytest.mark.parametrize("code", [409, 429, 500, "lost"])
@pytest.mark.parametrize("what", [_creates, _writes_status], ids=["creation", "status"])
def test_a_lost_or_refused_answer_neither_loses_nor_doubles_a_run(what: Callable[[Any], bool], code: int | str) -> None:
    async def story(s: Stage) -> None:
        await s.plan(**HOURLY)
        await s.state("Idle")
        with shaky(what, code, 2) as left:
            s.w.clock.pass_(minutes=61)
            await s.w.until(lambda: left == [0] or (what is _creates and code == "lost" and left == [1]))
            await runs(s, ONE_PM)
        told = await s.state("Running")
        assert (told["lastScheduleTime"], told["missedTimes"]) == ("2026-03-02T13:00:00Z", 0)
        assert len(s.kfp.runs) == 1

    play(story)


def test_a_status_that_cannot_be_written_keeps_the_history_until_it_can() -> None:
    async def story(s: Stage) -> None:
        await s.plan(**HOURLY, successfulRunsHistoryLimit=0)
        await s.state("Idle")
        s.w.clock.pass_(minutes=61)
        await s.state("Running")
        with shaky(_writes_status, 500, 6) as left:
            await finish(s, ONE_PM)
            await s.w.until(lambda: left == [0])
        await runs(s)
        told = await s.state("Idle")
        assert (told["lastRun"]["name"], told["lastRun"]["phase"]) == (ONE_PM, "Succeeded")
        assert told["lastSuccessfulTime"]
        await poke(s)
        await runs(s)

    play(story)


def test_a_watch_that_ends_loses_nothing() -> None:
    async def story(s: Stage) -> None:
        await s.plan(**HOURLY)
        await s.state("Idle")
        gone = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "old"}}
        for bus in list(s.w.cluster._buses.values()):
            await bus.put(gone)
        await s.w.edit(SCHEDULE, "nightly", {"spec": {"schedule": "30 * * * *"}})
        await s.w.settle(SCHEDULE, "nightly", "nextScheduleTime", "2026-03-02T12:30:00Z")

    play(story)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"schedule": "0 0 31 2 *"}, "spec.schedule = '0 0 31 2 *': never comes; none of its months has day 31"),
        ({"schedule": "61 * * * *"}, "spec.schedule = '61 * * * *': bad minute '61'; use 0-59"),
        (
            {"schedule": "0 2 * * *", "timeZone": "Europe/Berln"},
            "spec.timeZone = 'Europe/Berln': no such time zone; did you mean Europe/Berlin?",
        ),
    ],
)
def test_a_time_that_cannot_be_is_told_and_mended_by_an_edit(spec: dict[str, Any], words: str) -> None:
    async def story(s: Stage) -> None:
        await s.plan(**spec)
        told = await s.state("Invalid")
        assert (holds(told, "ScheduleValid"), holds(told, "Ready"), holds(told, "RecipeValid")) == (
            "False", "False", "True",
        )  # fmt: skip
        assert words in [item["message"] for item in told["conditions"]]
        await s.w.until(lambda: ("ScheduleValidFalse", words) in s.w.events("nightly"))
        await s.w.edit(SCHEDULE, "nightly", {"spec": {"schedule": "0 * * * *", "timeZone": "Etc/UTC"}})
        await s.state("Idle")
        s.w.clock.pass_(minutes=61)
        await runs(s, ONE_PM)

    play(story)


def test_a_recipe_that_does_not_validate_starts_nothing_and_runs_once_mended() -> None:
    async def story(s: Stage) -> None:
        s.command.wrong = "train.epochs = 'many': must be a number"
        await s.plan(**HOURLY)
        told = await s.state("Invalid")
        assert holds(told, "RecipeValid") == "False"
        assert "spec.recipe: train.epochs = 'many': must be a number" in [c["message"] for c in told["conditions"]]
        asked = len(s.command.calls)
        s.w.clock.pass_(minutes=61)
        await asyncio.sleep(0.4)
        assert await s.w.names(RUN) == []
        assert len(s.command.calls) <= asked + 1
        s.command.wrong = ""
        await s.w.edit(SCHEDULE, "nightly", {"spec": {"recipe": {"name": "mended"}}})
        await runs(s, ONE_PM)

    play(story)


@pytest.mark.parametrize("gone", ["map", "key"])
def test_a_config_map_that_is_deleted_is_told_and_waited_for(gone: str) -> None:
    async def story(s: Stage) -> None:
        await s.w.create(CONFIG_MAP, "recipes", data={"math.yaml": "name: math", "other": "x"})
        await s.plan(**HOURLY, recipeFrom={"configMapKeyRef": {"name": "recipes", "key": "math.yaml"}})
        await s.state("Idle")
        if gone == "map":
            await s.w.delete(CONFIG_MAP, "recipes")
        else:
            await s.w.edit(CONFIG_MAP, "recipes", {"data": {"math.yaml": None}})
        s.w.clock.pass_(minutes=61)
        told = await s.state("Invalid")
        assert holds(told, "RecipeValid") == "False"
        words = "there is no such ConfigMap" if gone == "map" else "the ConfigMap has no such key"
        assert words in "".join(item["message"] for item in told["conditions"])
        assert await s.w.names(RUN) == []
        if gone == "map":
            await s.w.create(CONFIG_MAP, "recipes", data={"math.yaml": "name: math\nseed: 9"})
        else:
            await s.w.edit(CONFIG_MAP, "recipes", {"data": {"math.yaml": "name: math\nseed: 9"}})
        await runs(s, ONE_PM)
        body = await s.w.get(RUN, ONE_PM) or {}
        assert body["spec"]["recipe"] == {"name": "math", "seed": 9}

    play(story)


def test_what_is_unchanged_is_skipped_until_its_data_changes() -> None:
    async def story(s: Stage) -> None:
        await s.plan(**HOURLY)
        await s.state("Idle")
        s.w.clock.pass_(minutes=61)
        await runs(s, ONE_PM)
        await finish(s, ONE_PM)
        s.w.clock.pass_(minutes=60)
        await s.w.settle(SCHEDULE, "nightly", "skippedUnchanged", 1)
        await runs(s, ONE_PM)
        assert "Unchanged" in [reason for reason, _ in s.w.events("nightly")]
        s.command.data = "two"
        s.w.clock.pass_(minutes=60)
        await runs(s, ONE_PM, "nightly-29541060")

    play(story)


def test_run_now_runs_once_for_each_value_even_suspended_and_unchanged() -> None:
    async def story(s: Stage) -> None:
        await s.plan(**HOURLY, suspend=True)
        await s.state("Suspended")
        await s.w.edit(SCHEDULE, "nightly", {"metadata": {"annotations": {RUN_NOW: "monday"}}})
        await s.w.settle(SCHEDULE, "nightly", "lastRunNow", "monday")
        (first,) = await s.w.names(RUN)
        await finish(s, first)
        await s.w.kill()
        await s.w.start()
        await poke(s)
        await runs(s, first)
        await s.w.edit(SCHEDULE, "nightly", {"metadata": {"annotations": {RUN_NOW: "tuesday"}}})
        await s.w.settle(SCHEDULE, "nightly", "lastRunNow", "tuesday")
        assert len(await s.w.names(RUN)) == 2

    play(story)


def test_new_data_starts_a_run_at_the_next_look_and_only_one() -> None:
    async def story(s: Stage) -> None:
        await s.plan(triggers={"dataEvery": "15m"}, concurrencyPolicy="Allow")
        await s.state("Idle")
        await runs(s)
        s.command.data = "two"
        await poke(s)
        await runs(s)
        s.w.clock.pass_(minutes=16)
        told = await s.state("Running")
        assert told["lastRun"]["startedBy"] == "Data"
        assert told["triggers"]["data"]["seen"] == told["triggers"]["data"]["started"] == 1
        (name,) = await s.w.names(RUN)
        s.w.clock.pass_(minutes=16)
        await poke(s)
        await runs(s, name)

    play(story)


def test_another_revision_of_a_served_teacher_starts_a_run() -> None:
    recipe = {**RECIPE, "teacher": {"candidates": [{"type": "openai", "endpoints": ["http://qwen.distil:8000/v1"]}]}}

    async def story(s: Stage) -> None:
        await s.w.create(TEACHER, "qwen", {"model": "hf://Qwen/Qwen3", "revision": "1"})
        await s.w.create(TEACHER, "other", {"model": "hf://x/y", "revision": "1"})
        await s.plan(recipe=recipe, triggers={"teacherEvery": "15m"}, concurrencyPolicy="Allow")
        await s.state("Idle")
        await s.w.edit(TEACHER, "other", {"spec": {"revision": "2"}})
        s.w.clock.pass_(minutes=16)
        await poke(s)
        await runs(s)
        await s.w.edit(TEACHER, "qwen", {"spec": {"revision": "2"}})
        s.w.clock.pass_(minutes=16)
        told = await s.state("Running")
        assert told["lastRun"]["startedBy"] == "Teacher"

    play(story)


@pytest.mark.parametrize(
    "tree",
    [{}, {"teacher": None}, {"teacher": {"candidates": "x"}}, {"teacher": {"candidates": [1, {"endpoints": "y"}]}}],
)
def test_a_recipe_of_any_shape_names_no_servers(tree: dict[str, Any]) -> None:
    assert served(tree, [{"metadata": {"name": "qwen"}, "spec": {}}]) == {}


@pytest.mark.parametrize("watched", [{"alias": "champion"}, {"event": "VersionCreated"}])
def test_a_registry_event_starts_a_run_and_a_silent_registry_is_told(
    watched: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model: dict[str, Any] = {"aliases": [{"alias": "champion", "version": "1"}], "latest_versions": [{"version": "1"}]}

    async def story(s: Stage) -> None:
        async def read(self: Any, name: str) -> dict[str, Any] | None:
            assert name == "base"
            return model

        monkeypatch.setattr("operators.mlflow.MlflowApi.model", read)
        trigger = {"registry": {"name": "base", **watched, "every": "15m"}}
        await s.plan(triggers=trigger, skipIfUnchanged=False)
        await s.state("Idle")
        model["aliases"] = [{"alias": "champion", "version": "2"}]
        model["latest_versions"] = [{"version": "2"}]
        s.w.clock.pass_(minutes=16)
        told = await s.state("Running")
        assert told["lastRun"]["startedBy"] == "Registry"
        monkeypatch.undo()
        s.w.clock.pass_(minutes=16)

        async def told_so() -> bool:
            body = await s.w.get(SCHEDULE, "nightly") or {}
            return holds(body["status"], "TriggersHealthy") == "False"

        await s.w.until(told_so)

    play(story)


def test_a_newer_run_replaces_an_older_one_which_kfp_is_told_to_stop() -> None:
    async def story(s: Stage) -> None:
        await s.plan(schedule="0 * * * *", concurrencyPolicy="Replace")
        await s.state("Idle")
        s.w.clock.pass_(minutes=61)
        await runs(s, ONE_PM)
        first = (await s.phase("Submitted", ONE_PM))["runId"]
        s.command.data = "two"
        s.w.clock.pass_(minutes=60)
        await runs(s, TWO_PM)
        assert s.kfp.run(first)["state"] == "CANCELING"
        assert "Replaced" in [reason for reason, _ in s.w.events("nightly")]

    play(story)


def test_a_run_waits_for_the_one_before_it_and_starts_as_soon_as_that_ends() -> None:
    async def story(s: Stage) -> None:
        await s.plan(schedule="0 * * * *", skipIfUnchanged=False)
        await s.state("Idle")
        s.w.clock.pass_(minutes=61)
        await runs(s, ONE_PM)
        s.w.clock.pass_(minutes=60)
        body = await s.w.settle(
            SCHEDULE, "nightly", "waiting",
            [{"scheduledTime": "2026-03-02T14:00:00Z", "dueTime": "2026-03-02T14:00:00Z"}],
        )  # fmt: skip
        assert body["status"]["active"] == [ONE_PM]
        await runs(s, ONE_PM)
        await finish(s, ONE_PM)
        await runs(s, ONE_PM, TWO_PM)

    play(story)


def test_deleting_a_schedule_takes_its_runs_with_it() -> None:
    async def story(s: Stage) -> None:
        await s.plan(**HOURLY)
        await s.state("Idle")
        s.w.clock.pass_(minutes=61)
        await runs(s, ONE_PM)
        await s.w.delete(SCHEDULE, "nightly")

        async def gone() -> bool:
            return await s.w.get(SCHEDULE, "nightly") is None and await s.w.names(RUN) == []

        await s.w.until(gone)

    play(story)


def test_a_run_of_somebody_else_with_that_name_is_left_alone_and_told() -> None:
    async def story(s: Stage) -> None:
        await s.make(ONE_PM)
        await s.plan(**HOURLY)
        await s.state("Idle")
        s.w.clock.pass_(minutes=61)
        await s.w.until(lambda: any("belongs to somebody else" in text for _, text in s.w.events("nightly")))
        await s.w.delete(RUN, ONE_PM)

        async def ours() -> bool:
            body = await s.w.get(RUN, ONE_PM)
            return bool(body and body["metadata"].get("ownerReferences"))

        await s.w.until(ours, "our own run took its place")

    play(story)


def test_a_quota_that_forbids_a_run_delays_it() -> None:
    async def story(s: Stage) -> None:
        await s.plan(**HOURLY)
        await s.state("Idle")
        with shaky(_creates, 403, 4):
            s.w.clock.pass_(minutes=61)
            await s.w.until(lambda: any("free some of the quota" in text for _, text in s.w.events("nightly")))
        await runs(s, ONE_PM)

    play(story)
