"""The placed pipeline's own command lines, each executed once on this machine."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from stillhouse.launch import local
from stillhouse.launch.placement import Installation, place
from stillhouse.recipe.load import load_recipe
from stillhouse.recipe.parameters import to_parameters
from stillhouse.recipe.resolve import recipe_digest, resolve, stamp
from stillhouse.recipe.stages import stage_configs
from stillhouse.workspace import Workspace
from tests.e2e.conftest import MINI, RECIPE, ROOT, MiniRun

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("mini-run")]


def test_every_command_of_the_placed_pipeline_runs_and_finds_the_finished_work(
    mini_run: MiniRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other images than the first run's: kfp's own cache answers nothing, the workspace answers every stage."""
    recipe = resolve(load_recipe(RECIPE, [*MINI, "cluster.defaults={cpu: 1, memory: 1Gi, shared_memory: 64Mi}"], {}))
    compiled = (ROOT / "pipelines" / "distillation.yaml").read_text(encoding="utf-8")
    placed = tmp_path / "placed.yaml"
    text = place(compiled, recipe, recipe_digest(recipe), Installation(registry="registry.example/python"))
    placed.write_text(text, encoding="utf-8")
    monkeypatch.setattr(local, "pipeline_file", lambda: placed)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    parameters = to_parameters(stamp(stage_configs(recipe)))
    space = Workspace.open(mini_run.workspace)
    outcome = local.run_pipeline(parameters, space, "placed", listener=lambda event: None)
    assert (outcome.exit_code, outcome.error) == (0, "")
    log = re.sub(r"\x1b\[[0-9;]*m", "", (outcome.folder / "run.log").read_text(encoding="utf-8"))
    executors = next(yaml.safe_load_all(text))["deploymentSpec"]["executors"]
    started = re.findall(r"Executing task '([a-z-]+?)(?:-\d+)?'", log)
    assert set(started) == {name.removeprefix("exec-") for name in executors}
    events = [json.loads(line) for line in (outcome.folder / "events.jsonl").read_text().splitlines()]
    finished = {event["stage"] for event in events if event["kind"] == "finish" and "done before" in event["text"]}
    assert {"select_teacher", "generate_traces", "filter_traces", "train_student", "evaluate_student"} <= finished
