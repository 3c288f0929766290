"""What a finished pipeline run says of itself, wherever MLflow's run for it comes from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stillhouse.errors import RecipeError
from stillhouse.lineage.parents import KFP_RUN_ENV, PARENT_ENV, tell_outcome, told_error
from stillhouse.lineage.store import connect
from stillhouse.lineage.tracking import open_parent, open_run
from stillhouse.workspace import Workspace

TAGS = {"stillhouse.kind": "pipeline_run", "stillhouse.kfp_run_id": "k1", "stillhouse.outcome": "succeeded"}


def by_rest_filter(space: Workspace) -> list[Any]:
    """The search that the operator makes."""
    client = connect(space).client
    experiments = [item.experiment_id for item in client.search_experiments()]
    return list(
        client.search_runs(
            experiments, "tags.`stillhouse.kfp_run_id` = 'k1' and tags.`stillhouse.kind` = 'pipeline_run'"
        )
    )


@pytest.fixture
def report(tmp_path: Path) -> Path:
    path = tmp_path / "report.html"
    path.write_text("<html></html>", encoding="utf-8")
    return path


def test_a_launchers_parent_is_tagged_and_ended(space: Workspace, report: Path) -> None:
    parent = open_parent(space, "one", {}, "abc")
    tell_outcome(space, "one", "FINISHED", report, TAGS, {PARENT_ENV: parent, KFP_RUN_ENV: "k1"})
    (found,) = by_rest_filter(space)
    assert (found.info.run_id, found.info.status) == (parent, "FINISHED")
    assert [item.path for item in connect(space).client.list_artifacts(parent, "")][-1] == "report.html"


def test_the_run_of_kfps_plug_in_is_tagged_and_left_for_the_plug_in_to_end(space: Workspace, report: Path) -> None:
    store = connect(space)
    given = store.client.create_run(store.experiment(space)).info.run_id
    tell_outcome(space, "one", "FINISHED", report, TAGS, {"MLFLOW_RUN_ID": given, KFP_RUN_ENV: "k1"})
    (found,) = by_rest_filter(space)
    assert (found.info.run_id, found.info.status) == (given, "RUNNING")


def test_without_either_a_run_of_its_own_gathers_the_stages_and_a_second_report_finds_it(
    space: Workspace, report: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KFP_RUN_ENV, "k1")
    with open_run(space, "train_student", "", "key1") as tracker:
        assert connect(space).client.get_run(tracker.run_id).data.tags["stillhouse.kfp_run_id"] == "k1"
        stage = tracker.run_id
    failed = {**TAGS, "stillhouse.outcome": "failed", "stillhouse.error": "why"}
    tell_outcome(space, "one", "FAILED", report, failed, {KFP_RUN_ENV: "k1"})
    tell_outcome(space, "one", "FINISHED", report, {**TAGS, "stillhouse.error": ""}, {KFP_RUN_ENV: "k1"})
    (found,) = by_rest_filter(space)
    assert (found.info.run_name, found.info.status) == ("one", "FINISHED")
    assert found.data.tags["stillhouse.outcome"] == "succeeded"
    assert found.data.tags["stillhouse.error"] == ""
    assert connect(space).client.get_run(stage).data.tags["mlflow.parentRunId"] == found.info.run_id


def test_on_a_laptop_without_a_launcher_nothing_is_told(space: Workspace, report: Path) -> None:
    tell_outcome(space, "one", "FINISHED", report, TAGS, {})
    assert by_rest_filter(space) == []


def test_a_stages_own_words_are_found_by_its_key(space: Workspace) -> None:
    with pytest.raises(RecipeError), open_run(space, "train_student", "", "key1"):
        raise RecipeError("train.steps: too many")
    assert told_error(space, "key1") == "train.steps: too many"
    assert told_error(space, "key2") == ""


def test_the_pipelines_exit_handler_says_where_and_why_a_run_on_a_cluster_stopped(
    space: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stillhouse.recipe.load import load_recipe
    from stillhouse.recipe.parameters import to_parameters
    from stillhouse.recipe.stages import stage_configs
    from stillhouse.runs import report_run, stage_keys
    from stillhouse.summary import StageSummary

    recipe = load_recipe(Path(__file__).parents[3] / "recipes" / "quickstart.yaml", (), {})
    parameters = json.loads(json.dumps(to_parameters(stage_configs(recipe)))) | {"workspace": str(space.root)}
    keys = {(stage, part): key for stage, part, key in stage_keys(parameters)}
    details = {
        "decision": "distil", "chosen": "terse", "reason": "best", "key": "tokens", "probe": 8,
        "student": {"accuracy": 0.1, "interval": [0.0, 0.2], "n": 8},
        "candidates": [{"name": "terse", "type": "transformers", "model": "zoo:terse", "revision": "r1", "licence": "",
                        "accuracy": 1.0, "interval": [0.9, 1.0], "n": 8, "tokens_per_correct": 9.0, "tokens_p10": 8,
                        "tokens_p50": 9, "tokens_p90": 10, "student_nll": None, "tokenizer": "same",
                        "pilot_gain": None, "pilot_gain_per_million_tokens": None, "rank": 1, "reasons": []}],
    }  # fmt: skip
    payload = space.payload("select_teacher", keys["select_teacher", ""])
    payload.mkdir(parents=True)
    StageSummary(
        stage="select_teacher", key=keys["select_teacher", ""], part="", config={}, inputs={}, digest="d", metrics={},
        details=details, cost={"teacher_tokens": 120.0}, headline="terse", version="0.1.0", started_at="",
        finished_at="", seconds=2.5,
    ).write(payload)  # fmt: skip
    monkeypatch.setenv(KFP_RUN_ENV, "k1")
    with pytest.raises(RecipeError), open_run(space, "generate_traces", "0", keys["generate_traces", "0"]):
        raise RecipeError("the teacher's server refuses the key")
    facts = report_run(parameters, name="one", failed=True, error="task failed", page=tmp_path / "page.html")
    assert (facts.status, facts.failed_stage) == ("failed", "generate_traces")
    tags = by_rest_filter(space)[0].data.tags
    expected = {
        "outcome": "failed", "run_name": "one", "decision": "distil", "teacher": "terse", "teacher_revision": "r1",
        "student": "", "verdict": "", "gate.evidence_sha256": "", "cost.teacher_tokens": "120", "cost.seconds": "2.5",
        "failed_stage": "generate_traces", "error": "the teacher's server refuses the key",
    }  # fmt: skip
    assert {name: tags[f"stillhouse.{name}"] for name in expected} == expected
