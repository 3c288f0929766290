"""What observed objects mean; no API."""

from __future__ import annotations

from typing import Any

import pytest

from stillhouse.errors import RecipeError, StillhouseError, TransientError
from stillhouse.launch.trainjob_state import Problem, State, failure, observe, pod_problems, stuck

READY = {"metadata": {"name": "p"}, "status": {
    "phase": "Running", "conditions": [{"type": "Ready", "status": "True"}],
}}  # fmt: skip
UNSCHEDULED = {"metadata": {"name": "p"}, "status": {
    "phase": "Pending",
    "conditions": [{"type": "PodScheduled", "status": "False", "message": "3 Insufficient gpu"}],
}}  # fmt: skip


def job(*conditions: tuple[str, str], **spec: Any) -> dict[str, Any]:
    rows = [{"type": kind, "status": status, "reason": "R", "message": "m\n n"} for kind, status in conditions]
    return {"metadata": {}, "spec": {"trainer": {"numNodes": 2}, **spec}, "status": {"conditions": rows}}


@pytest.mark.parametrize(
    ("observed", "pods", "phase", "text"),
    [
        ({"metadata": {}}, [], "pending", "waiting for its pods (0 of 0 exist)"),
        ({"metadata": {}, "status": {}}, [], "pending", "waiting for its pods (0 of 0 exist)"),
        ({"metadata": {}, "status": {"conditions": None}}, [], "pending", "waiting for its pods (0 of 0 exist)"),
        (job(("Created", "True")), [], "pending", "waiting for its pods (0 of 2 exist)"),
        (job(("Suspended", "True")), [], "suspended", "suspended"),
        (job(suspend=True), [], "suspended", "suspended"),
        (job(("Suspended", "False")), [READY], "running", "running: 1 of 2 nodes"),
        # Preempted by Kueue: its pods may still be ending.
        (job(("Suspended", "True")), [READY], "suspended", "suspended"),
        (job(), [UNSCHEDULED], "pending", "waiting for its pods (1 of 2 exist): 3 Insufficient gpu"),
        (job(("Complete", "True")), [], "complete", "complete"),
        (job(("Complete", "False")), [], "pending", "waiting for its pods (0 of 2 exist)"),
        (job(("Failed", "True")), [READY], "failed", "failed (R: m n)"),
        (job(("Failed", "False")), [READY], "running", "running: 1 of 2 nodes"),
        (job(("Suspended", "True"), ("Failed", "True")), [], "failed", "failed (R: m n)"),
    ],
)  # fmt: skip
def test_waiting_is_not_failing(observed: dict[str, Any], pods: list[Any], phase: str, text: str) -> None:
    state = observe(observed, pods)
    assert (state.phase, state.text) == (phase, text)


def test_a_queue_and_the_last_warning_are_named() -> None:
    waiting = job(("Suspended", "True"))
    waiting["metadata"] = {"labels": {"kueue.x-k8s.io/queue-name": "team-a"}}
    state = observe(waiting, [], ["old", "couldn't assign flavors:\n insufficient quota"])
    assert state.text == "waiting in the queue team-a: couldn't assign flavors: insufficient quota"


def pod(name: str, **status: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "status": status}


def container(**state: Any) -> list[dict[str, Any]]:
    return [{"name": "node", "image": "i:1", **state}]


@pytest.mark.parametrize(
    ("status", "kinds"),
    [
        ({}, []),
        ({"containerStatuses": None}, []),
        ({"containerStatuses": container(state={"waiting": {"reason": "ContainerCreating"}})}, []),
        ({"containerStatuses": container(state={"terminated": {"exitCode": 0, "reason": "Completed"}})}, []),
        ({"containerStatuses": container(state={"waiting": {"reason": "InvalidImageName"}})}, ["image"]),
        ({"containerStatuses": container(state={"waiting": {"reason": "CreateContainerConfigError"}})}, ["start"]),
        # Restarted in place: what ended it before is under lastState.
        (
            {"containerStatuses": container(
                state={"waiting": {"reason": "CrashLoopBackOff"}},
                lastState={"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
            )},
            ["memory"],
        ),
        ({"reason": "Evicted"}, ["evicted"]),
        (
            {"conditions": [{"type": "DisruptionTarget", "status": "False", "reason": "x"}]},
            [],
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_pod(status: dict[str, Any], kinds: list[str]) -> None:
    assert [problem.kind for problem in pod_problems([pod("p", **status)])] == kinds


def test_an_eviction_explains_the_crash_of_the_others() -> None:
    crashed = pod("a", containerStatuses=container(state={"terminated": {"exitCode": 1, "reason": "Error"}}))
    problems = pod_problems([crashed, pod("b", reason="Evicted", message="low on memory")])
    assert [problem.kind for problem in problems] == ["evicted", "crash"]
    error = failure("n/j", State("failed", "", "FailedJobs", "m"), problems, None, None)
    assert isinstance(error, TransientError)


@pytest.mark.parametrize(
    ("problems", "left", "expected"),
    [
        ([Problem("evicted", "p", "evicted")], RecipeError("mine"), RecipeError),
        ([Problem("evicted", "p", "evicted")], TransientError("disk"), TransientError),
        ([Problem("memory", "p", "memory")], TransientError("disk"), RecipeError),
        ([Problem("crash", "p", "code 75")], TransientError("disk"), TransientError),
        ([Problem("image", "p", "image")], None, RecipeError),
        ([Problem("crash", "p", "code 1")], None, StillhouseError),
        ([], None, StillhouseError),
    ],
)
def test_the_cause_goes_before_its_consequences(problems: Any, left: Any, expected: type) -> None:
    error = failure("n/j", State("failed", "", "FailedJobs", "m"), problems, left, None)
    assert type(error) is expected
    assert "\n" not in str(error)


def test_pods_that_will_not_start_name_the_recipes_field() -> None:
    assert "cluster.images" in str(stuck("n/j", Problem("image", "p", "image x")))
    assert "cluster.secrets" in str(stuck("n/j", Problem("start", "p", "secret y")))
