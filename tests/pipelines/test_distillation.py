"""The compiled pipeline: up to date, the expected graph, everything described."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def spec() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "pipelines" / "distillation.yaml").read_text(encoding="utf-8"))


def _tasks(spec: dict[str, Any], dag: dict[str, Any], path: str = "") -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for name, task in dag["tasks"].items():
        found[name] = {**task, "group": path}
        inner = spec["components"][task["componentRef"]["name"]].get("dag")
        if inner:
            found.update(_tasks(spec, inner, f"{path}/{task['taskInfo']['name']}"))
    return found


def test_the_file_is_what_the_sources_compile_to(spec: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pipelines.__main__ import compiled

        assert yaml.safe_load(compiled()) == spec


def test_its_tasks_stand_in_their_groups(spec: dict[str, Any]) -> None:
    groups = {name: task["group"] for name, task in _tasks(spec, spec["root"]["dag"]).items()}
    stages = "/stages"
    worth = f"{stages}/worth-distilling"
    assert groups["report-run"] == ""
    assert groups["select-teacher"] == stages
    assert groups["generate-traces"] == f"{worth}/shards"
    for name in ("filter-traces", "train-student", "evaluate-student", "register-student"):
        assert groups[name] == worth
    assert groups["promote-student"] == f"{worth}/gate"


def test_its_edges_are_those_of_the_stages(spec: dict[str, Any]) -> None:
    from stillhouse.runs import GRAPH

    tasks = _tasks(spec, spec["root"]["dag"])
    after = {name: set(task.get("dependentTasks", [])) for name, task in tasks.items()}
    plain = {
        stage.replace("_", "-"): {source.replace("_", "-") for source in inputs.values()}
        for stage, inputs in GRAPH.items()
    }
    for name in ("train-student", "evaluate-student", "register-student"):
        assert after[name] == plain[name] - {"select-teacher"}, name
    assert after["filter-traces"] == {"for-loop-3"} or any("for-loop" in item for item in after["filter-traces"])


def test_the_report_is_the_exit_handler_and_is_never_cached(spec: dict[str, Any]) -> None:
    task = spec["root"]["dag"]["tasks"]["report-run"]
    assert task["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"
    assert not task.get("cachingOptions", {}).get("enableCache")


def test_stages_are_cached_where_they_are_functions_of_their_inputs(spec: dict[str, Any]) -> None:
    tasks = _tasks(spec, spec["root"]["dag"])
    cached = {name for name, task in tasks.items() if task.get("cachingOptions", {}).get("enableCache")}
    assert {"select-teacher", "generate-traces", "filter-traces", "train-student", "evaluate-student"} <= cached
    assert not {"register-student", "promote-student", "report-run"} & cached


def test_every_parameter_of_the_pipeline_and_of_its_components_is_described(spec: dict[str, Any]) -> None:
    parameters = dict(spec["root"]["inputDefinitions"]["parameters"])
    assert parameters
    for name, component in spec["components"].items():
        if "executorLabel" in component:
            inputs = component["inputDefinitions"]
            parameters.update({f"{name}.{key}": value for key, value in inputs["parameters"].items()})
            parameters.update({f"{name}.{key}": value for key, value in inputs.get("artifacts", {}).items()})
    missing = [
        name for name, value in parameters.items() if not value.get("description") and not name.endswith(".status")
    ]
    assert not missing


def test_every_stage_shows_metrics_and_a_page(spec: dict[str, Any]) -> None:
    for name, component in spec["components"].items():
        if "executorLabel" not in component:
            continue
        artifacts = component["outputDefinitions"]["artifacts"]
        assert artifacts["output_report"]["artifactType"]["schemaTitle"] == "system.HTML", name
        if name != "comp-report-run":
            assert artifacts["output_metrics"]["artifactType"]["schemaTitle"] == "system.Metrics", name


def test_nothing_is_installed_at_run_time(spec: dict[str, Any]) -> None:
    text = (ROOT / "pipelines" / "distillation.yaml").read_text(encoding="utf-8")
    assert "pip install" not in text
