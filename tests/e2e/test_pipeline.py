"""The whole pipeline on this machine: what it leaves behind, what it does not do twice."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.conftest import ROOT, MiniRun, command

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("mini-run")]
STAGES = [
    "select_teacher",
    "generate_traces",
    "generate_traces",
    "filter_traces",
    "train_student",
    "evaluate_student",
    "register_student",
    "promote_student",
]


def _executed(folder: Path) -> list[str]:
    """Tasks that the local runner really started, in order, by its own log."""
    log = re.sub(r"\x1b\[[0-9;]*m", "", (folder / "run.log").read_text(encoding="utf-8"))
    return re.findall(r"Executing task '([a-z-]+?)(?:-\d+)?'", log)


def test_every_stage_finishes_and_is_found_again_by_its_computed_key(mini_run: MiniRun) -> None:
    assert mini_run.answer["exit_code"] == 0
    assert [summary["stage"] for summary in mini_run.answer["summaries"]] == STAGES


def test_the_graph_that_ran_is_the_compiled_pipeline(mini_run: MiniRun) -> None:
    spec = yaml.safe_load((ROOT / "pipelines" / "distillation.yaml").read_text(encoding="utf-8"))
    compiled = {name.removeprefix("comp-") for name, item in spec["components"].items() if "executorLabel" in item}
    assert set(_executed(mini_run.folder)) == compiled


def test_every_artifact_carries_the_resolved_config_beside_it(mini_run: MiniRun) -> None:
    payloads = list((mini_run.workspace / "stages").glob("*/*/payload"))
    assert len(payloads) == len(STAGES)
    for payload in payloads:
        config = json.loads((payload / "recipe.json").read_text(encoding="utf-8"))
        assert config["library"].startswith("0.")


def test_mlflow_holds_one_parent_with_one_finished_child_for_each_task(mini_run: MiniRun) -> None:
    from mlflow.tracking.client import MlflowClient

    client = MlflowClient(f"sqlite:///{mini_run.workspace / 'mlflow' / 'mlflow.db'}")
    runs = client.search_runs([item.experiment_id for item in client.search_experiments()])
    parents = [run for run in runs if run.data.tags.get("stillhouse.run_name") == "first"]
    assert len(parents) == 1
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parents[0].info.run_id]
    assert sorted(run.data.tags["stillhouse.stage"] for run in children) == sorted(STAGES)
    assert {run.info.status for run in runs} == {"FINISHED"}


def test_the_registered_student_loads_and_is_the_champion(mini_run: MiniRun) -> None:
    from mlflow.tracking.client import MlflowClient
    from transformers import AutoModelForCausalLM

    client = MlflowClient(f"sqlite:///{mini_run.workspace / 'mlflow' / 'mlflow.db'}")
    version = client.get_model_version_by_alias("mini-student", "champion")
    registration = next(item for item in mini_run.answer["summaries"] if item["stage"] == "register_student")
    assert str(version.version) == str(registration["details"]["version"])
    assert version.tags["stillhouse.gate.evidence_sha256"] == registration["details"]["evidence_sha256"]
    trained = next((mini_run.workspace / "stages" / "train_student").glob("*/payload/model"))
    assert AutoModelForCausalLM.from_pretrained(trained).config.model_type == "llama"


def test_lineage_prints_the_chain_from_recipe_to_verdict(mini_run: MiniRun) -> None:
    uri = "models:/mini-student@champion"
    text = command("lineage", uri, "--workspace", mini_run.workspace)
    assert text.returncode == 0, text.stderr
    for word in ("recipe", "terse", "dataset", "training", "evaluation", "passed"):
        assert word in text.stdout.lower(), word
    plain = command("lineage", uri, "--workspace", mini_run.workspace, "-o", "json")
    assert json.loads(plain.stdout)["nodes"]


def test_the_report_stands_alone(mini_run: MiniRun) -> None:
    html = (mini_run.folder / "report.html").read_text(encoding="utf-8")
    assert "terse" in html
    assert not re.findall(r"""(?:src|href)=["']https?://""", html)


class TestAgain:
    """Later runs in the same workspace. The order matters little: each has its own name."""

    def test_the_same_recipe_runs_no_stage_twice_and_registers_nothing_new(self, mini_run: MiniRun) -> None:
        before = _versions(mini_run)
        answer = mini_run.again("second")
        assert _digests(answer) == _digests(mini_run.answer)
        assert set(_executed(mini_run.workspace / "runs" / "second")) <= {
            "register-student",
            "promote-student",
            "report-run",
        }
        assert _versions(mini_run) == before

    def test_another_learning_rate_trains_again_and_asks_no_teacher(self, mini_run: MiniRun) -> None:
        mini_run.again("third", "train.learning_rate=1e-3")
        ran = set(_executed(mini_run.workspace / "runs" / "third"))
        assert {"train-student", "evaluate-student", "register-student"} <= ran
        assert not {"select-teacher", "generate-traces", "filter-traces"} & ran


def _digests(answer: dict[str, Any]) -> dict[str, str]:
    return {summary["stage"] + summary["part"]: summary["digest"] for summary in answer["summaries"]}


def _versions(run: MiniRun) -> int:
    from mlflow.tracking.client import MlflowClient

    client = MlflowClient(f"sqlite:///{run.workspace / 'mlflow' / 'mlflow.db'}")
    return len(client.search_model_versions("name='mini-student'"))


def test_dry_run_starts_nothing(tmp_path: Path) -> None:
    from tests.e2e.conftest import MINI, RECIPE

    done = command("run", RECIPE, "--workspace", tmp_path / "w", "--dry-run", "-o", "json", sets=MINI)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["recipe"]["train"]["steps"] == 30
    assert [row["state"] for row in answer["plan"]] == ["to do"] * len(STAGES)
    assert answer["estimate"]
    assert not list(tmp_path.rglob("*"))
