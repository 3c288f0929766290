"""One small run of the real pipeline, shared by the tests that look at what it left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "recipes" / "quickstart.yaml"
MINI = (
    "data.problems.families={chain: 96}",
    "data.probe=8",
    "teacher.candidates=[{type: transformers, name: terse, model: 'zoo:terse'},"
    " {type: transformers, name: careless, model: 'zoo:careless'}]",
    "teacher.select.samples=1",
    "traces.samples=1",
    "train.steps=30",
    "train.checkpoint_every=10",
    "evaluate.benchmarks=[{name: chain, problems: {type: zoo, split: eval, families: {chain: 24}}},"
    " {name: facts, role: retention, problems: {type: zoo, split: eval, families: {facts: 24}}}]",
    "gate.require=[{metric: chain, min_effect: -100.0}]",
    "gate.non_inferior=[]",
    "gate.limits={}",
    "register.name=mini-student",
)


def environment(**extra: str) -> dict[str, str]:
    """The environment of a command under test: offline, nothing of the developer's own MLflow."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "STILLHOUSE_"))}
    return {**kept, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", **extra}


def command(
    *arguments: str | Path, sets: Sequence[str] = (), env: dict[str, str] | None = None, timeout_s: float = 280
) -> subprocess.CompletedProcess[str]:
    """Run ``stillhouse`` as a user would, in a process of its own."""
    options = [part for item in sets for part in ("--set", item)]
    line = [sys.executable, "-m", "stillhouse", *map(str, arguments), *options]
    return subprocess.run(line, capture_output=True, text=True, env=env or environment(), timeout=timeout_s)


@dataclass
class MiniRun:
    """A finished run: its workspace, its folder, what it printed."""

    workspace: Path
    folder: Path
    words: str
    answer: dict[str, Any]
    sets: Sequence[str] = field(default=MINI)

    def again(self, name: str, *extra: str) -> dict[str, Any]:
        """Run once more in the same workspace; returns the machine output."""
        done = command(
            "run", RECIPE, "--workspace", self.workspace, "--name", name, "-o", "json", sets=[*self.sets, *extra]
        )
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))


@pytest.fixture(scope="session")
def mini_run(tmp_path_factory: pytest.TempPathFactory) -> MiniRun:
    workspace = tmp_path_factory.mktemp("mini")
    done = command("run", RECIPE, "--workspace", workspace, "--name", "first", "-o", "json", sets=MINI)
    assert done.returncode == 0, done.stderr
    return MiniRun(workspace, workspace / "runs" / "first", done.stderr, json.loads(done.stdout))
