"""A run is started once, whatever happens to the answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from stillhouse.errors import RecipeError, TransientError
from stillhouse.launch import once
from stillhouse.launch.client import Kfp
from stillhouse.launch.submit import Submission, check_label, default_label, out_of_reach, told_of
from stillhouse.recipe import Recipe
from stillhouse.recipe.parameters import to_parameters
from stillhouse.recipe.resolve import recipe_digest
from tests.kfp_server import KfpServer

Start = Callable[..., Submission]
WRITES = ("create_experiment", "create_pipeline", "upload_pipeline_version", "create_run")


@pytest.fixture(autouse=True)
def _short_settling(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run whose creation got no answer is looked for during a tenth of a second, not ten seconds."""
    original = once.start_run
    monkeypatch.setattr("stillhouse.launch.submit.start_run", lambda kfp, body: original(kfp, body, settle_s=0.1))


def test_a_run_carries_recipe_parameters_and_identity(
    kfp: Kfp, server: KfpServer, start: Start, resolved: tuple[Recipe, Any]
) -> None:
    recipe, configs = resolved
    submission = start(kfp, "nightly-7")
    (run,) = server.runs
    assert submission.created
    assert submission.run_id == run["run_id"]
    assert run["display_name"] == submission.run_name == "quickstart-nightly-7"
    assert told_of(run) == {"label": "nightly-7", "recipe_sha256": recipe_digest(recipe)}
    expected = json.loads(json.dumps({**to_parameters(configs), "workspace": "/workspace"}))
    assert run["runtime_config"]["parameters"] == {**expected, "run_name": "quickstart-nightly-7"}
    (experiment,) = server.state.experiments.values()
    assert (experiment["display_name"], experiment["namespace"]) == ("quickstart", "distil")
    assert submission.url == f"{server.url}/#/runs/details/{run['run_id']}"


def test_the_same_label_is_the_same_run(kfp: Kfp, server: KfpServer, start: Start) -> None:
    first, second, other = start(kfp, "a"), start(kfp, "a"), start(kfp, "b")
    assert (first.created, second.created, other.created) == (True, False, True)
    assert first.run_id == second.run_id != other.run_id
    assert len(server.runs) == 2


def test_a_label_whose_run_has_ended_does_not_start_again(kfp: Kfp, server: KfpServer, start: Start) -> None:
    first = start(kfp, "a")
    server.finish(first.run_id, "FAILED")
    assert start(kfp, "a") == Submission(**{**first.to_json(), "created": False})


def test_a_version_is_uploaded_only_when_its_content_is_new(kfp: Kfp, server: KfpServer, start: Start) -> None:
    first, second = start(kfp, "a"), start(kfp, "b")
    assert first.pipeline_version == second.pipeline_version
    assert server.count("upload_pipeline_version") == 1
    third = start(kfp, "c", seed=18)
    assert third.pipeline_version != first.pipeline_version
    assert server.count("upload_pipeline_version") == 2
    assert len(server.state.pipelines) == 1


@pytest.mark.parametrize("operation", WRITES)
@pytest.mark.parametrize("fault", ["drop_answer_of", "drop_request_of", "answer_twice"])
def test_an_answer_that_is_lost_or_doubled_starts_nothing_twice(
    kfp: Kfp, server: KfpServer, start: Start, operation: str, fault: str
) -> None:
    getattr(server, fault)(operation)
    submission = start(kfp, "a")
    assert submission.created
    assert [run["run_id"] for run in server.runs] == [submission.run_id]
    assert [len(server.state.experiments), len(server.state.pipelines), len(server.state.versions)] == [1, 1, 1]


@pytest.mark.parametrize("operation", WRITES)
@pytest.mark.parametrize("fault", ["delay", "never_answer"])
def test_an_answer_that_is_too_late_or_never_comes_starts_nothing_twice(
    connect: Callable[..., Kfp], server: KfpServer, start: Start, operation: str, fault: str
) -> None:
    getattr(server, fault)(operation, *([2.0] if fault == "delay" else []))
    submission = start(connect(timeout_s=1.0), "a")
    assert [run["run_id"] for run in server.runs] == [submission.run_id]
    assert len(server.state.versions) == 1


@pytest.mark.parametrize("status", [429, 500, 503, 504])
@pytest.mark.parametrize("operation", WRITES)
def test_a_busy_server_is_asked_again(kfp: Kfp, server: KfpServer, start: Start, operation: str, status: int) -> None:
    server.fail_next(operation, status, times=2)
    assert start(kfp, "a").created
    assert len(server.runs) == 1
    assert server.count(operation) == 3


def test_a_server_that_loses_every_answer_ends_in_a_transient_error_and_the_label_finds_the_run(
    kfp: Kfp, server: KfpServer, start: Start
) -> None:
    start(kfp, "before")
    server.drop_answer_of("create_run")
    server.fail_next("list_runs", 503, times=99)
    with pytest.raises(TransientError):
        start(kfp, "a")
    server.faults.clear()
    again = start(kfp, "a")
    assert len(server.runs) == 2 or not again.created
    assert [run["display_name"] for run in server.runs].count("quickstart-a") == 1


def test_a_run_that_appears_while_the_answer_is_missing_is_taken(
    kfp: Kfp, server: KfpServer, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The create is still under way at the server when its connection breaks: look before trying again."""
    start(kfp, "before")
    original = kfp.create_run
    waiting: list[Any] = []

    def lost(body: dict[str, Any]) -> dict[str, Any]:
        waiting.append(body)
        raise TransientError("the connection broke")

    def pause(tried: int, error: TransientError) -> None:
        if waiting:
            original(waiting.pop())

    monkeypatch.setattr(kfp, "create_run", lost)
    monkeypatch.setattr(kfp, "pause", pause)
    assert start(kfp, "a").created
    assert [run["display_name"] for run in server.runs].count("quickstart-a") == 1


def test_two_commands_that_race_keep_one_run(connect: Callable[..., Kfp], server: KfpServer, start: Start) -> None:
    connections = [connect() for _ in range(4)]
    start(connections[0], "before")
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda kfp: start(kfp, "a"), connections))
    alive = [run for run in server.runs if run["display_name"] == "quickstart-a" and run["state"] == "PENDING"]
    assert [run["run_id"] for run in alive] == list({item.run_id for item in found})
    assert sum(item.created for item in found) == 1


def test_a_second_run_of_the_label_is_terminated_and_told(kfp: Kfp, server: KfpServer, start: Start) -> None:
    start(kfp, "a")
    body = {**server.runs[0]}
    with server.state.lock:
        server.state.create_run(body)
    found = once._only_one(kfp, body, server.runs[1]["run_id"])
    assert found.record["run_id"] == server.runs[0]["run_id"]
    assert (found.created, found.doubles) == (False, (server.runs[1]["run_id"],))
    assert [run["state"] for run in server.runs] == ["PENDING", "CANCELING"]


def test_a_namespace_that_is_not_ours_starts_nothing(
    connect: Callable[..., Kfp], server: KfpServer, start: Start
) -> None:
    with pytest.raises(RecipeError, match="namespace other is unknown or not yours"):
        start(connect(namespace="other"))
    assert server.runs == []


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("a" * 64, "has 64 characters; 63 at most"),
        ("Nightly", "must be lower-case letters, digits and '-'"),
        ("a.b", "must be lower-case"),
        ("-a", "must be lower-case"),
        ("", "must be lower-case"),
    ],
)
def test_a_label_that_is_none_is_refused(label: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        check_label(label)


def test_the_default_label_is_one(resolved: tuple[Recipe, Any]) -> None:
    label = default_label(resolved[0])
    check_label(label)
    assert label.startswith(recipe_digest(resolved[0])[:12])


def test_problems_and_models_that_only_this_machine_can_read_are_told(
    resolved: tuple[Recipe, Any], tmp_path: Path
) -> None:
    from stillhouse.recipe.data import FileProblems

    recipe = resolved[0]
    assert list(out_of_reach(recipe)) == []
    for path, told in [("/home/me/a.jsonl", 1), ("s3://bucket/a.jsonl", 0), ("/workspace/data/a.jsonl", 0)]:
        data = recipe.data.model_copy(update={"problems": FileProblems(path=path)})
        lines = list(out_of_reach(recipe.model_copy(update={"data": data})))
        assert len(lines) == told, path
    student = recipe.student.model_copy(update={"model": "/home/me/model"})
    (line,) = out_of_reach(recipe.model_copy(update={"student": student}))
    assert line.startswith("student.model = '/home/me/model': is on this machine, and pods cannot read it")
