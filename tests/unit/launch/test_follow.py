"""Runs that exist: found by any of their names, shown, followed, stopped, continued."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stillhouse.errors import RecipeError, TransientError
from stillhouse.launch.client import Kfp
from stillhouse.launch.follow import cancel, find_run, follow, kubectl_logs, logs, resume, run_row, stage_rows
from stillhouse.launch.submit import Submission
from stillhouse.runs import GRAPH
from tests.kfp_server import KfpServer

Start = Callable[..., Submission]


def test_the_stages_are_those_of_the_pipeline() -> None:
    from stillhouse.launch.follow import STAGES

    assert (*GRAPH, "report_run") == STAGES


def test_a_run_is_found_by_id_name_and_label(kfp: Kfp, start: Start) -> None:
    started = start(kfp, "nightly-1")
    start(kfp, "nightly-11")
    for reference in (started.run_id, "quickstart-nightly-1", "nightly-1"):
        assert find_run(kfp, reference)["run_id"] == started.run_id


def test_a_run_that_is_not_there_names_the_nearest(kfp: Kfp, start: Start) -> None:
    start(kfp, "nightly-1")
    with pytest.raises(RecipeError, match=r"run nigthly-1: there is none .*did you mean nightly-1"):
        find_run(kfp, "nigthly-1")


def test_a_label_that_several_runs_have_asks_for_an_id(kfp: Kfp, start: Start, server: KfpServer) -> None:
    start(kfp, "a")
    start(kfp, "a", name="another")
    with pytest.raises(RecipeError, match="run a: there are 2; name one by its id: "):
        find_run(kfp, "a")


def test_shards_of_a_stage_count_together(kfp: Kfp, start: Start, server: KfpServer) -> None:
    run_id = start(kfp).run_id
    server.set_task(run_id, "select-teacher", "SUCCEEDED")
    server.set_task(run_id, "select-teacher-driver", "SUCCEEDED")
    with server.state.lock:
        run = server.run(run_id)
        for state in ("SUCCEEDED", "FAILED", "RUNNING"):
            details = {"display_name": "generate-traces", "state": state, "start_time": "2026-01-01T00:00:00Z"}
            run["run_details"]["task_details"].append({**details, "end_time": "1970-01-01T00:00:00Z"})
        run["run_details"]["task_details"][-2]["error"] = {"message": "out of memory"}
    rows = stage_rows(kfp.get_run(run_id))
    assert [(row["stage"], row["state"], row["tasks"], row["error"]) for row in rows] == [
        ("select_teacher", "SUCCEEDED", "1/1", ""),
        ("generate_traces", "FAILED", "2/3", "out of memory"),
    ]


def test_times_that_have_not_come_are_empty(kfp: Kfp, start: Start, server: KfpServer) -> None:
    run_id = start(kfp).run_id
    assert run_row(kfp, kfp.get_run(run_id))["finished_at"] == ""
    server.finish(run_id, "FAILED", error="why")
    row = run_row(kfp, kfp.get_run(run_id))
    assert row["finished_at"]
    assert (row["state"], row["error"], row["run_label"]) == ("FAILED", "why", "one")


def test_following_tells_each_change_once_and_ends_with_the_run(
    kfp: Kfp, start: Start, server: KfpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = start(kfp).run_id
    steps = iter(
        [
            lambda: server.set_task(run_id, "select-teacher", "RUNNING"),
            lambda: server.fail_next("get_run", 503, times=4),
            lambda: server.set_task(run_id, "select-teacher", "SUCCEEDED"),
            lambda: server.set_task(run_id, "train-student", "RUNNING"),
            lambda: server.finish(run_id, "FAILED", error="out of memory"),
        ]
    )
    monkeypatch.setattr("time.sleep", lambda seconds: next(steps)() if seconds == 99 else None)
    lines: list[str] = []
    run = follow(kfp, run_id, lines.append, poll_s=99)
    assert run["state"] == "FAILED"
    assert [line.split() for line in lines] == [
        ["select_teacher", "running", "0/1"],
        ["select_teacher", "succeeded", "1/1"],
        ["train_student", "running", "0/1"],
    ]


def test_a_server_that_stays_away_ends_the_following(
    kfp: Kfp, start: Start, server: KfpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = start(kfp).run_id
    monkeypatch.setattr("stillhouse.launch.follow._PATIENCE_S", 0.0)
    server.fail_next("get_run", 503, times=99)
    with pytest.raises(TransientError):
        follow(kfp, run_id, lambda line: None, poll_s=0.01)


def test_cancel_terminates_a_run_and_leaves_an_ended_one(kfp: Kfp, start: Start, server: KfpServer) -> None:
    run_id = start(kfp).run_id
    assert cancel(kfp, kfp.get_run(run_id))
    assert server.run(run_id)["state"] == "CANCELING"
    server.finish(run_id, "CANCELED")
    assert not cancel(kfp, kfp.get_run(run_id))


@pytest.mark.parametrize("fault", ["drop_answer_of", "drop_request_of", "fail_next"])
def test_cancel_survives_a_lost_answer(kfp: Kfp, start: Start, server: KfpServer, fault: str) -> None:
    run_id = start(kfp).run_id
    getattr(server, fault)("terminate_run")
    assert cancel(kfp, kfp.get_run(run_id))
    assert server.run(run_id)["state"] == "CANCELING"


def test_cancel_of_a_run_that_ends_meanwhile_is_no_error(kfp: Kfp, start: Start, server: KfpServer) -> None:
    run = kfp.get_run(start(kfp).run_id)
    server.finish(run["run_id"], "SUCCEEDED")
    assert cancel(kfp, run)


@pytest.mark.parametrize("fault", ["", "drop_answer_of", "drop_request_of", "fail_next"])
def test_resume_retries_what_failed_and_keeps_what_succeeded(
    kfp: Kfp, start: Start, server: KfpServer, fault: str
) -> None:
    run_id = start(kfp).run_id
    server.set_task(run_id, "select-teacher", "SUCCEEDED")
    server.set_task(run_id, "train-student", "FAILED")
    server.finish(run_id, "FAILED")
    if fault:
        getattr(server, fault)("retry_run")
    found = resume(kfp, kfp.get_run(run_id))
    assert (found.record["run_id"], found.created) == (run_id, False)
    states = {row["stage"]: row["state"] for row in stage_rows(server.run(run_id))}
    assert states == {"select_teacher": "SUCCEEDED", "train_student": "PENDING"}
    assert len(server.runs) == 1


def test_resume_starts_anew_with_the_same_parameters_where_kfp_cannot_retry(
    kfp: Kfp, start: Start, server: KfpServer
) -> None:
    run_id = start(kfp, "nightly").run_id
    server.finish(run_id, "FAILED")
    server.fail_next("retry_run", 500, times=9, message="does not allow retries")
    found = resume(kfp, kfp.get_run(run_id))
    new, old = server.run(found.record["run_id"]), server.run(run_id)
    assert found.created
    assert new["display_name"] == "quickstart-nightly-r1"
    assert find_run(kfp, "nightly-r1")["run_id"] == new["run_id"]
    for same in ("pipeline_version_reference", "runtime_config", "experiment_id"):
        assert new[same] == old[same]
    assert not resume(kfp, kfp.get_run(run_id)).created
    server.finish(new["run_id"], "FAILED")
    assert resume(kfp, kfp.get_run(new["run_id"])).record["display_name"] == "quickstart-nightly-r2"


@pytest.mark.parametrize(
    ("state", "words"), [("SUCCEEDED", "has succeeded"), ("RUNNING", "is running; cancel it first")]
)
def test_resume_refuses_what_has_not_failed(kfp: Kfp, start: Start, server: KfpServer, state: str, words: str) -> None:
    run_id = start(kfp).run_id
    server.finish(run_id, state)
    with pytest.raises(RecipeError, match=words):
        resume(kfp, kfp.get_run(run_id))


def test_logs_come_from_the_pods_of_the_stage(kfp: Kfp, start: Start, server: KfpServer) -> None:
    run_id = start(kfp).run_id
    server.set_task(run_id, "train-student", "RUNNING", pod="wf-abc-17", log="step 1\nstep 2\n")
    server.set_task(run_id, "select-teacher", "SUCCEEDED", pod="wf-abc-3", log="chosen\n")
    run = kfp.get_run(run_id)
    assert list(logs(kfp, run, "train_student")) == [("wf-abc-system-container-impl-17", "step 1\nstep 2\n")]
    assert [text for _, text in logs(kfp, run, "")] == ["chosen\n", "step 1\nstep 2\n"]


def test_logs_that_kfp_no_longer_has_name_the_command_that_asks_the_cluster(
    kfp: Kfp, start: Start, server: KfpServer
) -> None:
    run_id = start(kfp).run_id
    server.set_task(run_id, "train-student", "RUNNING", pod="wf-abc-17", log="step 1\n")
    server.state.logs.clear()
    command = kubectl_logs(run_id, "train_student", "distil")
    assert command.startswith(f"kubectl logs -n distil -l pipeline/runid={run_id},stillhouse.dev/stage=train-student ")
    with pytest.raises(RecipeError) as caught:
        list(logs(kfp, kfp.get_run(run_id), "train_student"))
    assert command in str(caught.value)


@pytest.mark.parametrize(
    ("stage", "words"), [("trian_student", "did you mean train_student"), ("train_student", "has not begun")]
)
def test_logs_of_a_stage_that_is_not_there(kfp: Kfp, start: Start, stage: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        list(logs(kfp, kfp.get_run(start(kfp).run_id), stage))
