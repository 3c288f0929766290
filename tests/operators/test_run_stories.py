"""Stories of runs under real kopf: from creation to their end, with everything in the way that may be in the way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from operators.resources import CONFIG_MAP, POD, RUN, WORKFLOW, timestamp
from operators.run import handlers, status
from tests.operators.run_stage import RECIPE, Stage, holds, impatient, shaky, stage

FROM = {"recipeFrom": {"configMapKeyRef": {"name": "recipes", "key": "math.yaml"}}}
Story = Callable[[Stage], Awaitable[None]]


def play(story: Story, **kwargs: Any) -> None:
    async def all_of_it() -> None:
        async with stage(**kwargs) as s:
            await story(s)

    with impatient():
        asyncio.run(all_of_it())


def test_a_run_from_its_creation_to_its_success() -> None:
    async def story(s: Stage) -> None:
        await s.make(set=["seed=7"], deadlineSeconds=3600)
        told = await s.phase("Submitted")
        run_id = await s.run_id()
        assert told["runId"] == run_id
        assert told["url"].endswith(f"/#/runs/details/{run_id}")
        assert s.kfp.runs[0]["display_name"] == f"math-{told['runLabel']}"
        assert (holds(told, "RecipeValid"), holds(told, "Submitted"), holds(told, "Complete")) == ("True", "True", "")
        assert s.command.calls == [("submit", "--run-label", told["runLabel"], "--set=seed=7")]
        s.kfp.start(run_id)
        s.kfp.set_task(run_id, "select-teacher", "SUCCEEDED")
        s.kfp.set_task(run_id, "generate-traces", "RUNNING")
        told = await s.phase("Running")

        async def mirrored() -> bool:
            body = await s.w.get(RUN, "one") or {}
            return bool(body["status"].get("tasks") == {"select_teacher": "SUCCEEDED", "generate_traces": "RUNNING"})

        await s.w.until(mirrored)
        s.kfp.finish(run_id)
        told = await s.phase("Succeeded")
        assert (holds(told, "Complete"), holds(told, "Failed"), holds(told, "Progressing")) == (
            "True",
            "False",
            "False",
        )
        assert told["completionTime"]
        await s.w.until(lambda: "Succeeded" in [reason for reason, _ in s.w.events("one")])
        assert [reason for reason, _ in s.w.events("one")] == ["Submitted", "Running", "Succeeded"]
        assert s.w.context is not None
        assert b'stillhouse_runs_ended_total{phase="Succeeded"} 1.0' in s.w.context.metrics.text()

    play(story)


def test_a_failed_run_names_its_stage_and_a_cancelled_one_is_cancelled() -> None:
    async def story(s: Stage) -> None:
        await s.make("bad")
        bad = await s.run_id()
        s.kfp.set_task(bad, "train-student", "FAILED", error="CUDA out of memory")
        s.kfp.finish(bad, "FAILED", error="a task failed")
        told = await s.phase("Failed", "bad")
        assert (told["failedStage"], told["message"]) == ("train_student", "train_student: CUDA out of memory")
        assert (holds(told, "Failed"), holds(told, "Complete")) == ("True", "False")
        await s.make("stopped")
        s.kfp.finish(await s.run_id(1), "CANCELED")
        await s.phase("Cancelled", "stopped")

    play(story)


def test_a_second_look_writes_nothing_at_any_phase() -> None:
    async def story(s: Stage) -> None:
        await s.make()
        await s.phase("Submitted")
        await asyncio.sleep(0.3)
        assert await s.quiet() == []
        run_id = await s.run_id()
        s.kfp.start(run_id)
        await s.phase("Running")
        await asyncio.sleep(0.3)
        assert await s.quiet() == []
        s.kfp.finish(run_id)
        await s.phase("Succeeded")
        await asyncio.sleep(0.3)
        assert await s.quiet() == []

    play(story)


@pytest.mark.parametrize("end", ["stop", "kill"])
@pytest.mark.parametrize("step", ["before", "answered", "unanswered", "running", "ended"])
def test_the_operator_may_end_at_every_step(step: str, end: str) -> None:
    async def story(s: Stage) -> None:
        if step == "unanswered":
            s.command.faults = ["hangs"]
        if step == "before":
            await getattr(s.w, end)()
        await s.make()
        if step != "before":
            run_id = await s.run_id()
            if step != "unanswered":
                await s.phase("Submitted")
            if step == "running":
                s.kfp.start(run_id)
                await s.phase("Running")
            await getattr(s.w, end)()
            if step == "ended":
                s.kfp.finish(run_id)
        await s.w.start()
        run_id = await s.run_id()
        if step != "ended":
            s.kfp.start(run_id)
            await s.phase("Running")
            s.kfp.finish(run_id)
        await s.phase("Succeeded")
        assert len(s.kfp.runs) == 1

    play(story)


@pytest.mark.parametrize("faults", [["lost"], ["down", "lost"], ["lost", "down", "lost"], ["down"] * 4])
def test_a_submission_without_an_answer_never_starts_a_second_run(faults: list[str]) -> None:
    async def story(s: Stage) -> None:
        s.command.faults = list(faults)
        await s.make()
        await s.phase("Submitted")
        assert len(s.kfp.runs) == 1
        labels = {call[2] for call in s.command.calls}
        assert len(labels) == 1
        assert len(s.command.calls) == len(faults) + 1

    play(story)


def test_a_namesake_made_later_is_another_run() -> None:
    async def story(s: Stage) -> None:
        await s.make()
        first = await s.run_id()
        await s.phase("Submitted")
        await s.w.delete(RUN, "one")
        await s.gone()
        assert s.kfp.run(first)["state"] == "CANCELING"
        await s.make()
        await s.run_id(1)
        names = [run["display_name"] for run in s.kfp.runs]
        assert len(set(names)) == 2

    play(story)


@pytest.mark.parametrize("phase", ["Submitted", "Running"])
def test_deleting_it_terminates_the_run(phase: str) -> None:
    async def story(s: Stage) -> None:
        await s.make()
        run_id = await s.run_id()
        if phase == "Running":
            s.kfp.start(run_id)
        await s.phase(phase)
        s.kfp.fail_next("get_run", 503, times=2)
        await s.w.delete(RUN, "one")
        await s.gone()
        assert s.kfp.run(run_id)["state"] == "CANCELING"

    play(story)


def test_deleting_an_ended_one_asks_kfp_nothing() -> None:
    async def story(s: Stage) -> None:
        await s.make()
        s.kfp.finish(await s.run_id())
        await s.phase("Succeeded")
        await asyncio.sleep(0.2)
        asked = len(s.kfp.requests)
        await s.w.delete(RUN, "one")
        await s.gone()
        assert len(s.kfp.requests) == asked

    play(story)


@pytest.mark.parametrize("restart", [False, True])
def test_deleting_one_whose_start_was_never_answered_terminates_what_was_started(restart: bool) -> None:
    async def story(s: Stage) -> None:
        s.command.faults = ["lost", *["down"] * 500]
        await s.make()
        run_id = await s.run_id()
        await s.reason("Retrying")
        if restart:
            await s.w.kill()
            await s.w.delete(RUN, "one")
            await s.w.start()
        else:
            await s.w.delete(RUN, "one")
        await s.gone()
        assert s.kfp.run(run_id)["state"] == "CANCELING"

    play(story)


@pytest.mark.parametrize("restart", [False, True])
def test_deleting_one_whose_start_still_runs_or_died_with_the_operator_terminates_it(restart: bool) -> None:
    async def story(s: Stage) -> None:
        s.command.faults = ["hangs"]
        await s.make()
        run_id = await s.run_id()
        if restart:
            await s.w.kill()
            await s.w.delete(RUN, "one")
            await s.w.start()
        else:
            await s.w.delete(RUN, "one")
        await s.gone()
        assert s.kfp.run(run_id)["state"] == "CANCELING"

    play(story)


def test_nothing_is_started_before_deleting_it_would_be_noticed() -> None:
    async def story(s: Stage) -> None:
        def adds_the_finalizer(request: Any) -> bool:
            return bool(
                request.method.value == "PATCH"
                and request.resource.plural == "distillationruns"
                and request.subresource is None
            )

        with shaky(adds_the_finalizer, 500, 1_000) as left:
            await s.make()
            await s.w.until(lambda: left[0] < 1_000)
            await asyncio.sleep(0.5)
            assert s.command.calls == []
            left[0] = 0
            await s.phase("Submitted")

    play(story)


def test_deleting_one_while_its_start_is_under_way_waits_for_what_comes_of_it() -> None:
    async def story(s: Stage) -> None:
        s.command.faults = ["down"] * 500
        await s.make()
        told = await s.reason("Retrying")
        await s.w.delete(RUN, "one")
        await asyncio.sleep(0.4)
        assert await s.w.get(RUN, "one") is not None
        late = s.kfp.state.create_run({"display_name": told["runName"], "pipeline_spec": {"root": {}}})
        await s.gone()
        assert s.kfp.run(late["run_id"])["state"] == "CANCELING"

    play(story)


def test_deleting_one_that_never_reached_kfp_does_not_take_for_ever() -> None:
    async def story(s: Stage) -> None:
        s.command.faults = ["down"] * 500
        await s.make()
        await s.reason("Retrying")
        await s.w.delete(RUN, "one")
        await asyncio.sleep(0.2)
        s.w.clock.pass_(seconds=331)
        await s.gone()
        assert s.kfp.runs == []

    play(story)


def test_a_run_beyond_its_deadline_is_stopped() -> None:
    async def story(s: Stage) -> None:
        await s.make(deadlineSeconds=600)
        run_id = await s.run_id()
        s.kfp.start(run_id)
        await s.phase("Running")
        s.w.clock.pass_(seconds=601)
        told = await s.phase("TimedOut")
        assert (told["reason"], holds(told, "Failed")) == ("DeadlineExceeded", "True")
        assert s.kfp.run(run_id)["state"] == "CANCELING"

    play(story)


@pytest.mark.parametrize("faults", [["down"] * 500, ["lost", *["down"] * 500]])
def test_a_deadline_also_ends_what_was_never_answered(faults: list[str]) -> None:
    async def story(s: Stage) -> None:
        s.command.faults = list(faults)
        await s.make(deadlineSeconds=600)
        await s.reason("Retrying")
        s.w.clock.pass_(seconds=700)
        await s.phase("TimedOut")
        assert [run["state"] for run in s.kfp.runs] == (["CANCELING"] if faults[0] == "lost" else [])

    play(story)


def test_a_run_that_somebody_deleted_at_kfp_has_failed() -> None:
    async def story(s: Stage) -> None:
        await s.make()
        run_id = await s.run_id()
        await s.phase("Submitted")
        s.kfp.state.runs.pop(run_id)
        told = await s.phase("Failed")
        assert told["reason"] == "RunVanished"
        assert run_id in told["message"]
        assert len(s.command.calls) == 1

    play(story)


def test_a_recipe_that_does_not_validate_is_told_with_the_fields_message() -> None:
    async def story(s: Stage) -> None:
        s.command.faults = ["refused"]
        await s.make()
        told = await s.phase("Failed")
        assert holds(told, "RecipeValid") == "False"
        assert told["message"] == "spec.recipe: train.epochs = 'many': must be a number"
        assert len(s.command.calls) == 1
        await s.w.until(lambda: ("Failed", told["message"]) in s.w.events("one"))

    play(story)


def test_a_recipe_that_became_unreadable_after_its_run_was_started_keeps_the_run() -> None:
    async def story(s: Stage) -> None:
        s.command.faults = ["lost", "refused"]
        await s.make()
        told = await s.phase("Submitted")
        assert told["runId"] == await s.run_id()

    play(story)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (None, "there is no such ConfigMap in distil"),
        ({"maths.yaml": "name: math"}, "the ConfigMap has no such key; did you mean maths.yaml?"),
        ({}, "nothing is known here"),
    ],
)
def test_a_config_map_that_is_not_there_is_waited_for(data: dict[str, str] | None, words: str) -> None:
    async def story(s: Stage) -> None:
        if data is not None:
            await s.w.create(CONFIG_MAP, "recipes", data=data)
        await s.make(**FROM)
        told = await s.reason("RecipeMissing")
        assert (told["phase"], holds(told, "RecipeValid")) == ("Pending", "False")
        assert words in told["message"]
        if data is None:
            await s.w.create(CONFIG_MAP, "recipes", data={"math.yaml": "name: math\nseed: 7\n"})
        else:
            await s.w.edit(CONFIG_MAP, "recipes", {"data": {"math.yaml": "name: math\nseed: 7\n"}})
        told = await s.phase("Submitted")
        assert holds(told, "RecipeValid") == "True"
        assert s.command.recipes == [{"name": "math", "seed": 7}]

    play(story)


def test_a_config_map_that_is_deleted_later_changes_nothing_about_a_run() -> None:
    async def story(s: Stage) -> None:
        await s.w.create(CONFIG_MAP, "recipes", data={"math.yaml": "name: math"})
        await s.make(**FROM)
        run_id = await s.run_id()
        await s.phase("Submitted")
        await s.w.delete(CONFIG_MAP, "recipes")
        s.kfp.finish(run_id)
        await s.phase("Succeeded")
        await s.w.delete(RUN, "one")
        await s.gone()

    play(story)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (FROM, "line 2"),
        ({"recipe": {**RECIPE, "cluster": {"namespace": "others"}}}, "may start runs in distil only"),
        ({"set": ["cluster.namespace=others"]}, "spec.set[0]: cluster.namespace is set by the recipe itself"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_is_started(spec: dict[str, Any], words: str) -> None:
    async def story(s: Stage) -> None:
        await s.w.create(CONFIG_MAP, "recipes", data={"math.yaml": "name: math\n  - odd: [\n"})
        await s.make(**spec)
        told = await s.phase("Failed")
        assert words in told["message"]
        assert s.command.calls == []

    play(story)


def test_the_recipes_own_namespace_is_passed_on() -> None:
    async def story(s: Stage) -> None:
        await s.make(recipe={**RECIPE, "cluster": {"namespace": "distil"}})
        await s.phase("Submitted")
        assert s.command.calls[0][-2:] == ("--namespace", "distil")

    play(story)


def _pod(name: str, run_id: str, **status: Any) -> dict[str, Any]:
    return {"labels": {"pipeline/runid": run_id}, "spec": {"containers": []}, "status": status}


def _waiting(reason: str, message: str) -> dict[str, Any]:
    state = {"waiting": {"reason": reason, "message": message}}
    return {"phase": "Pending", "containerStatuses": [{"name": "main", "image": "reg/train:9", "state": state}]}


def _unscheduled(reason: str, message: str) -> dict[str, Any]:
    return {
        "phase": "Pending",
        "conditions": [{"type": "PodScheduled", "status": "False", "reason": reason, "message": message}],
    }


@pytest.mark.parametrize(
    ("pod", "reason", "words", "progressing"),
    [
        (_waiting("ImagePullBackOff", "not found"), "ImagePullFailed", "image reg/train:9: ImagePullBackOff", "False"),
        (_waiting("ErrImagePull", "denied"), "ImagePullFailed", "ErrImagePull: denied", "False"),
        (
            _waiting("CreateContainerConfigError", 'secret "hf" not found'),
            "ContainerCannotStart",
            'secret "hf" not found',
            "False",
        ),
        (_unscheduled("Unschedulable", "0/3 nodes: no GPU"), "Unschedulable", "0/3 nodes: no GPU", "False"),
        (_unscheduled("SchedulingGated", "kueue"), "Queued", "kueue", "True"),
    ],
)
def test_a_pod_that_cannot_start_is_told_while_kfp_still_says_running(
    pod: dict[str, Any], reason: str, words: str, progressing: str
) -> None:
    async def story(s: Stage) -> None:
        await s.make()
        run_id = await s.run_id()
        s.kfp.start(run_id)
        await s.phase("Running")
        await s.w.create(POD, "worker", **_pod("worker", run_id, **pod))
        told = await s.reason(reason)
        assert words in told["message"]
        assert (told["phase"], holds(told, "Progressing")) == ("Running", progressing)
        await asyncio.sleep(0.3)
        assert await s.quiet() == []
        await s.w.edit(POD, "worker", {"status": {"phase": "Running", "conditions": [], "containerStatuses": []}})
        told = await s.reason("Running")
        assert holds(told, "Progressing") == "True"
        reasons = [event for event, _ in s.w.events("one")]
        assert reasons.count(reason) == (0 if reason == "Queued" else 1)

    play(story)


@pytest.mark.parametrize("where", ["workflow", "task"])
def test_a_quota_that_is_used_up_is_told(where: str) -> None:
    text = 'pods "math-1" is forbidden: exceeded quota: gpus, requested: nvidia.com/gpu=8'

    async def story(s: Stage) -> None:
        await s.make()
        run_id = await s.run_id()
        await s.phase("Submitted")
        if where == "workflow":
            nodes = {"n": {"phase": "Pending", "message": text}}
            await s.w.create(WORKFLOW, "math-1", labels={"pipeline/runid": run_id}, status={"nodes": nodes})
        else:
            s.kfp.set_task(run_id, "train-student", "RUNNING", error=text)
        told = await s.reason("QuotaExceeded")
        assert "exceeded quota: gpus" in told["message"]
        assert (told["phase"], holds(told, "Progressing")) == ("Submitted", "False")

    play(story)


def test_pods_that_may_not_be_read_are_not_told_and_stop_nothing() -> None:
    async def story(s: Stage) -> None:
        await s.make()
        s.kfp.start(await s.run_id())
        await s.phase("Running")

    with shaky(lambda request: request.resource.plural in ("pods", "workflows"), 403, 10_000):
        play(story)


@pytest.mark.parametrize("fault", ["late", "never", "twice", "refusing", "gone"])
def test_a_kfp_that_answers_late_twice_or_never_is_only_a_delay(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("operators.rest.TIMEOUT_S", 0.5)

    async def story(s: Stage) -> None:
        await s.make()
        run_id = await s.run_id()
        await s.phase("Submitted")
        {
            "late": lambda: s.kfp.delay("get_run", 0.3, times=2),
            "never": lambda: s.kfp.never_answer("get_run", times=2),
            "twice": lambda: s.kfp.answer_twice("get_run", times=3),
            "refusing": lambda: s.kfp.fail_next("get_run", 503, times=3),
            "gone": lambda: s.kfp.drop_request_of("get_run", times=3),
        }[fault]()
        s.kfp.start(run_id)
        await s.phase("Running")
        s.kfp.finish(run_id)
        await s.phase("Succeeded")
        assert len(s.kfp.runs) == 1

    play(story)


@pytest.mark.parametrize("code", [409, 429, 500, "lost"])
def test_a_refusal_of_the_kubernetes_api_is_only_a_delay(code: int | str) -> None:
    async def story(s: Stage) -> None:
        with shaky(lambda request: request.subresource == "status", code, 2) as left:
            await s.make()
            await s.phase("Submitted")
            assert left == [0]
        s.kfp.finish(await s.run_id())
        await s.phase("Succeeded")
        assert len(s.kfp.runs) == 1

    play(story)


def test_a_watch_that_ends_loses_nothing() -> None:
    async def story(s: Stage) -> None:
        await s.make()
        await s.phase("Submitted")
        gone = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "old"}}
        for bus in list(s.w.cluster._buses.values()):
            await bus.put(gone)
        await s.make("two")
        await s.phase("Submitted", "two")
        await s.w.delete(RUN, "one")
        await s.gone()

    play(story)


def test_an_ended_run_is_deleted_when_its_time_is_over() -> None:
    async def story(s: Stage) -> None:
        await s.make(ttlSecondsAfterFinished=300, deadlineSeconds=600)
        await s.run_id()
        await s.phase("Submitted")
        s.w.clock.pass_(seconds=601)
        await s.phase("TimedOut")
        await asyncio.sleep(0.3)
        assert await s.w.get(RUN, "one") is not None
        s.w.clock.pass_(seconds=301)
        await s.w.edit(RUN, "one", {"metadata": {"annotations": {"poke": "1"}}})
        await s.gone()

    play(story)


def test_without_a_kfp_it_says_what_to_set() -> None:
    async def story(s: Stage) -> None:
        assert s.w.context is not None
        s.w.context.kfp.rest.base = ""
        await s.make()
        told = await s.reason("KfpNotConfigured")
        assert "kfp.endpoint" in told["message"]
        assert s.command.calls == []
        s.w.context.kfp.rest.base = s.kfp.url
        await s.phase("Submitted")

    play(story)


def test_labels_fit_however_long_the_name() -> None:
    label = status.run_label({"metadata": {"name": "a" * 57, "uid": "5f0c"}})
    assert len(label) == 63
    assert status.run_label({"metadata": {"name": "a" * 57, "uid": "5f0d"}}) != label


@pytest.mark.parametrize(
    ("tried", "until"),
    [
        ({"startedAt": "2026-03-02T12:00:00Z", "endedAt": "2026-03-02T12:01:00Z"}, "2026-03-02T12:01:30Z"),
        ({"startedAt": "2026-03-02T12:00:00Z"}, "2026-03-02T12:05:30Z"),
        (None, "1970-01-01T00:00:00Z"),
    ],
)
def test_a_start_without_an_answer_is_looked_for_as_long_as_it_may_still_come(
    tried: dict[str, str] | None, until: str
) -> None:
    assert timestamp(handlers._settled({"submitTry": tried})) == until
