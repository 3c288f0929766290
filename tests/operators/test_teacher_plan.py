"""How many replicas, until when, and what a status says: tables over the pure functions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from operators.crds.base import parse
from operators.crds.teacher import TeacherServerSpec
from operators.resources import condition, timestamp
from operators.teacher import status
from operators.teacher.completion import Answer
from operators.teacher.plan import decide, waiting
from operators.teacher.status import Seen
from operators.teacher.trouble import Trouble, find
from tests.operators.test_crd_teacher import HF

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
HPA = {**HF, "autoscaling": {"type": "hpa", "minReplicas": 2, "maxReplicas": 5}}
GOOD, BAD = Answer(True, "a completion was answered"), Answer(False, "http://x answers HTTP 500 to a completion")


def spec(**more: Any) -> TeacherServerSpec:
    return parse(TeacherServerSpec, {"spec": {**HF, **more}})


def ago(**parts: float) -> str:
    return timestamp(NOW - timedelta(**parts))


@pytest.mark.parametrize(
    ("more", "before", "pods", "current", "replicas", "wanted"),
    [
        pytest.param({}, {}, (), 0, 0, False, id="new and needed by nobody"),
        pytest.param({}, {}, ("a",), 0, 1, True, id="needed"),
        pytest.param({"replicas": 3}, {"replicas": 0}, ("a",), 0, 3, True, id="as many as asked for"),
        pytest.param({}, {"replicas": 1}, (), 1, 1, True, id="the last pod went: it stays"),
        pytest.param({}, {"replicas": 1, "idleSince": ago(seconds=599)}, (), 1, 1, True, id="inside the window"),
        pytest.param({}, {"replicas": 1, "idleSince": ago(seconds=600)}, (), 1, 0, False, id="after the window"),
        pytest.param({}, {"replicas": 0, "idleSince": ago(hours=1)}, (), 3, 0, False, id="scaled by hand while idle"),
        pytest.param({}, {"replicas": 1, "idleSince": ago(hours=1)}, ("a",), 1, 1, True, id="needed again in time"),
        pytest.param({"scaleToZero": {"idleSeconds": 0}}, {"replicas": 1}, (), 1, 0, False, id="no window"),
        pytest.param({"scaleToZero": {"enabled": False}}, {}, (), 0, 1, True, id="always on"),
        pytest.param({"suspend": True}, {"replicas": 1}, ("a",), 1, 0, False, id="suspended though needed"),
        pytest.param(HPA, {"replicas": 0}, ("a",), 0, 2, True, id="autoscaled: begins at the fewest"),
        pytest.param(HPA, {"replicas": 2}, ("a",), 4, 4, True, id="autoscaled: its choice is left alone"),
        pytest.param(HPA, {"replicas": 2}, ("a",), 9, 5, True, id="autoscaled: bounds hold"),
        pytest.param(HPA, {"replicas": 4, "idleSince": ago(hours=1)}, (), 4, 0, False, id="autoscaled: idle is zero"),
    ],
)
def test_replicas_follow_need(
    more: dict[str, Any], before: dict[str, Any], pods: tuple[str, ...], current: int, replicas: int, wanted: bool
) -> None:
    plan = decide(spec(**more), before, pods, current, NOW)
    assert (plan.replicas, plan.wanted) == (replicas, wanted)


def test_two_runs_one_after_another_never_stop_it() -> None:
    """A look every 30 s; a run of ten minutes, a pause of nine, another run, then nobody."""
    before: dict[str, Any] = {}
    history = []
    for look in range(120):
        minute = look / 2
        pods = ("a",) if minute < 10 or 19 <= minute < 30 else ()
        plan = decide(spec(), before, pods, before.get("replicas", 0), NOW + timedelta(minutes=minute))
        before = {"replicas": plan.replicas, **({"idleSince": plan.idle_since} if plan.idle_since else {})}
        history.append(plan.replicas)
    assert history == [1] * 80 + [0] * 40


def test_the_end_of_the_window_is_known_ahead() -> None:
    plan = decide(spec(), {"replicas": 1, "idleSince": ago(seconds=590)}, (), 1, NOW)
    assert plan.due_s == 10


def test_only_pods_that_are_not_finished_count() -> None:
    def pod(name: str, phase: str, **meta: Any) -> dict[str, Any]:
        return {"metadata": {"name": name, **meta}, "status": {"phase": phase}}

    phases = ("Pending", "Running", "Succeeded", "Failed", "Unknown")
    pods = [pod(phase.lower(), phase) for phase in phases]
    pods += [pod("going", "Running", deletionTimestamp="2026-01-01T00:00:00Z"), {"metadata": {"name": "new"}}]
    assert waiting(pods) == ("new", "pending", "running")


def fold(
    saw: Seen,
    before: dict[str, Any] | None = None,
    *,
    pods: tuple[str, ...] = ("run-1",),
    now: datetime = NOW,
    generation: int = 1,
    **more: Any,
) -> dict[str, Any]:
    chosen = spec(**more)
    meta = {"name": "qwen", "namespace": "distil", "generation": generation}
    plan = decide(chosen, before or {}, pods, (before or {}).get("replicas", 0), now)
    return status.fold({"metadata": meta, "status": before or {}}, chosen, plan, saw, now)


def said(body: dict[str, Any], kind: str) -> tuple[str, str]:
    row = condition(body["conditions"], kind)
    assert row is not None
    return row["status"], row["reason"]


STARTING = fold(Seen())
READY = fold(Seen(replicas=1, ready=1, answer=GOOD), STARTING)
STARVED = Trouble("Unschedulable", "pod q: 0/3 nodes")


@pytest.mark.parametrize(
    ("before", "saw", "more", "phase", "ready", "degraded"),
    [
        ({}, Seen(), {"pods": ()}, "Idle", ("False", "NobodyNeedsIt"), "False"),
        ({}, Seen(), {"suspend": True}, "Idle", ("False", "Suspended"), "False"),
        ({}, Seen(), {}, "Starting", ("False", "PodsStarting"), "False"),
        (STARTING, Seen(1, 1, BAD), {}, "Starting", ("False", "NoCompletion"), "False"),
        (STARTING, Seen(1, 1, GOOD), {}, "Ready", ("True", "CompletionAnswered"), "False"),
        (STARTING, Seen(1, 0, None, STARVED), {}, "Starting", ("False", "Unschedulable"), "True"),
        (STARTING, Seen(), {"now": NOW + timedelta(seconds=1799)}, "Starting", ("False", "PodsStarting"), "False"),
        (STARTING, Seen(), {"now": NOW + timedelta(seconds=1800)}, "Failed", ("False", "PodsStarting"), "True"),
        (
            STARTING,
            Seen(0, 0, None, STARVED),
            {"now": NOW + timedelta(hours=1)},
            "Failed",
            ("False", "Unschedulable"),
            "True",
        ),
        (
            STARTING,
            Seen(),
            {"now": NOW + timedelta(hours=1), "generation": 2},
            "Starting",
            ("False", "PodsStarting"),
            "False",
        ),
        (READY, Seen(1, 1), {}, "Ready", ("True", "CompletionAnswered"), "False"),
        (READY, Seen(1, 0), {}, "Starting", ("False", "PodsStarting"), "False"),
        (READY, Seen(1, 1), {"generation": 2}, "Starting", ("False", "PodsStarting"), "False"),
        (READY, Seen(1, 1), {"replicas": 2}, "Ready", ("True", "CompletionAnswered"), "True"),
        (
            READY,
            Seen(1, 1),
            {"pods": (), "scaleToZero": {"idleSeconds": 0}},
            "Stopping",
            ("False", "NobodyNeedsIt"),
            "False",
        ),
        (
            READY,
            Seen(0, 0),
            {"pods": (), "scaleToZero": {"idleSeconds": 0}},
            "Idle",
            ("False", "NobodyNeedsIt"),
            "False",
        ),
        (READY, Seen(1, 1), {"pods": ()}, "Ready", ("True", "CompletionAnswered"), "False"),
    ],
)
def test_a_status_is_a_fold_over_what_was_seen(
    before: dict[str, Any], saw: Seen, more: dict[str, Any], phase: str, ready: tuple[str, str], degraded: str
) -> None:
    after = fold(saw, before, **more)
    assert (after["phase"], said(after, "Ready"), said(after, "Degraded")[0]) == (phase, ready, degraded)
    assert after["url"] == "http://qwen.distil.svc:8000/v1"
    assert all(row["observedGeneration"] == more.get("generation", 1) for row in after["conditions"])


def test_looking_again_at_the_same_changes_nothing() -> None:
    later = NOW + timedelta(minutes=5)
    assert fold(Seen(1, 1), READY, now=later) == READY
    assert status.news(READY, fold(Seen(1, 1), READY, now=later)) is None
    assert fold(Seen(), STARTING, now=later) == STARTING


@pytest.mark.parametrize(
    ("before", "after", "reason", "warning"),
    [
        ({}, STARTING, "TeacherStarting", False),
        (STARTING, READY, "TeacherReady", False),
        (STARTING, fold(Seen(0, 0, None, STARVED), STARTING), "Unschedulable", True),
        (STARTING, fold(Seen(), STARTING, now=NOW + timedelta(hours=1)), "TeacherFailed", True),
        (READY, fold(Seen(1, 1), READY, pods=(), scaleToZero={"idleSeconds": 0}), "TeacherStopping", False),
        (READY, fold(Seen(), READY, pods=(), scaleToZero={"idleSeconds": 0}), "TeacherStopped", False),
    ],
)
def test_people_are_told_of_each_change(
    before: dict[str, Any], after: dict[str, Any], reason: str, warning: bool
) -> None:
    told = status.news(before, after)
    assert told is not None
    assert (told[0], told[2]) == (reason, warning)
    assert status.news(after, after) is None


def test_an_idle_newcomer_is_no_news() -> None:
    assert status.news({}, fold(Seen(), pods=())) is None


@pytest.mark.parametrize(
    ("observed", "ready"),
    [
        (None, 0),
        (
            {
                "metadata": {"generation": 2},
                "status": {"observedGeneration": 1, "readyReplicas": 1, "updatedReplicas": 1},
            },
            0,
        ),
        (
            {
                "metadata": {"generation": 2},
                "status": {"observedGeneration": 2, "readyReplicas": 2, "updatedReplicas": 1},
            },
            1,
        ),
        ({"metadata": {"generation": 1}, "status": {"observedGeneration": 1}}, 0),
    ],
)
def test_pods_of_an_older_template_do_not_count_as_ready(observed: Any, ready: int) -> None:
    assert status.seen(observed).ready == ready


@pytest.mark.parametrize(
    ("before", "generation", "ready", "pods", "due"),
    [
        ({}, 1, 1, ("a",), True),
        (READY, 1, 1, ("a",), False),
        (READY, 2, 1, ("a",), True),
        ({}, 1, 0, ("a",), False),
        ({}, 1, 1, (), False),
    ],
)
def test_a_completion_is_asked_for_once_for_each_start_and_each_edit(
    before: dict[str, Any], generation: int, ready: int, pods: tuple[str, ...], due: bool
) -> None:
    assert status.must_ask(before, generation, decide(spec(), {}, pods, 0, NOW), ready) is due


def pod(container: dict[str, Any] | None = None, *, init: bool = False, **more: Any) -> dict[str, Any]:
    rows = [{"name": "vllm", "ready": False, **container}] if container else []
    key = "initContainerStatuses" if init else "containerStatuses"
    return {"metadata": {"name": "qwen-1", **more.pop("meta", {})}, "status": {key: rows, **more}}


def waits(reason: str, message: str = "", **more: Any) -> dict[str, Any]:
    return {"state": {"waiting": {"reason": reason, "message": message}}, **more}


CRASHED = {"terminated": {"exitCode": 1, "message": "ValueError: api_key=sk-12345678 is bad\nlast line"}}
UNSCHEDULABLE = {
    "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
    "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
}  # fmt: skip


@pytest.mark.parametrize(
    ("body", "reason", "words"),
    [
        (pod(waits("ImagePullBackOff", 'Back-off pulling image "x/y:1"')), "ImagePullBackOff", "x/y:1"),
        (pod(waits("ErrImagePull", "not found")), "ImagePullBackOff", "spec.image"),
        (pod(waits("InvalidImageName", "bad")), "ImagePullBackOff", "InvalidImageName"),
        (pod(waits("CrashLoopBackOff", lastState=CRASHED)), "CrashLoopBackOff", "last line"),
        (pod({"state": {"running": {}}, "lastState": CRASHED}), "CrashLoopBackOff", "ended with 1"),
        (pod({"state": CRASHED}, init=True), "CrashLoopBackOff", "ValueError"),
        (
            pod(waits("CrashLoopBackOff", lastState={"terminated": {"reason": "OOMKilled", "exitCode": 137}})),
            "OOMKilled",
            "memory",
        ),
        (
            pod(waits("CreateContainerConfigError", 'secret "hf-token" not found')),
            "CreateContainerConfigError",
            "hf-token",
        ),
        (pod(conditions=[UNSCHEDULABLE]), "Unschedulable", "Insufficient nvidia.com/gpu"),
    ],
)
def test_the_reason_of_a_pod_that_does_not_start_is_named(body: dict[str, Any], reason: str, words: str) -> None:
    trouble = find(None, [body])
    assert trouble is not None
    assert trouble.reason == reason
    assert words in trouble.text
    assert "sk-12345678" not in trouble.text
    assert "\n" not in trouble.text


@pytest.mark.parametrize(
    "body",
    [
        pod(waits("ContainerCreating")),
        pod(waits("PodInitializing")),
        pod({"state": {"running": {}}}),
        pod({"state": {"running": {}}, "ready": True, "lastState": CRASHED}),
        pod({"state": {"terminated": {"exitCode": 0}}}, init=True),
        pod(waits("ImagePullBackOff"), meta={"deletionTimestamp": "2026-01-01T00:00:00Z"}),
        {"metadata": {"name": "new"}},
    ],
)
def test_a_pod_on_its_way_is_no_trouble(body: dict[str, Any]) -> None:
    assert find({"status": {}}, [body]) is None


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ('pods "q" is forbidden: exceeded quota: gpus, requested: 1, used: 8, limited: 8', "QuotaExceeded"),
        ('pods "q" is forbidden: violates PodSecurity "restricted"', "FailedCreate"),
    ],
)
def test_pods_that_cannot_be_made_are_trouble(message: str, reason: str) -> None:
    row = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}
    trouble = find({"status": {"conditions": [row]}}, [])
    assert trouble is not None
    assert trouble.reason == reason
    assert message in trouble.text


def test_long_last_words_are_cut_at_their_beginning() -> None:
    words = "x" * 3000 + " the end"
    trouble = find(None, [pod(waits("CrashLoopBackOff", lastState={"terminated": {"exitCode": 1, "message": words}}))])
    assert trouble is not None
    assert "the end" in trouble.text
    assert len(trouble.text) < 800
