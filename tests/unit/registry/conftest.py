"""Artifacts as the stages before would have left them, and a workspace whose MLflow is ready."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from stillhouse.digest import sha256_text
from stillhouse.lineage.tracking import prepare
from stillhouse.registry import promote_student, register_student
from stillhouse.summary import StageSummary
from stillhouse.workspace import Workspace

ITEMS = [sha256_text(f"problem {index}") for index in range(40)]
EVALUATE = {
    "benchmarks": [{"name": "chain", "problems": {"type": "zoo", "families": {"chain": 40}, "split": "eval"}}],
    "sampling": {"temperature": 0.0, "max_tokens": 4},
}


@pytest.fixture(scope="session")
def fresh_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    space = Workspace.open(tmp_path_factory.mktemp("fresh"))
    prepare(space)
    return space.mlflow / "mlflow.db"


@pytest.fixture
def space(tmp_path: Path, fresh_database: Path) -> Workspace:
    space = Workspace.open(tmp_path / "work")
    space.mlflow.mkdir()
    shutil.copyfile(fresh_database, space.mlflow / "mlflow.db")
    return space


def scores(before: int, after: int, items: list[str] = ITEMS) -> dict[str, Any]:
    """The first ``before`` items are right before training, the first ``after`` of them after it."""
    rows = {key: {"before": [int(i < before)], "after": [int(i < after)]} for i, key in enumerate(items)}
    return {"chain": {"k": 1, "items": rows}}


@dataclass
class Student:
    """One student's artifacts. Two with the same ``name`` and numbers are the same work."""

    space: Workspace
    name: str
    before: int
    after: int
    config: dict[str, Any]
    items: list[str] = field(default_factory=lambda: ITEMS)
    sampling: dict[str, Any] = field(default_factory=dict)
    model: Path | None = None

    def artifact(self, stage: str, key: str, details: dict[str, Any], **fields: Any) -> Path:
        folder = self.space.payload(stage, key)
        if not folder.exists():
            folder.mkdir(parents=True)
            StageSummary(stage=stage, key=key, digest=sha256_text(key), details=details, version="1", **fields).write(
                folder
            )
        return folder

    def artifacts(self) -> dict[str, Path]:
        chosen = {"name": "terse", "model": "zoo:terse", "revision": "r1", "licence": "Apache-2.0", "accuracy": 1.0}
        teacher = self.artifact(
            "select_teacher",
            "teach",
            {"decision": "distil", "chosen": "terse", "candidates": [chosen], "reason": "best"},
        )
        self.artifact(
            "generate_traces", "trace0", {"traces": 80, "problems": 40, "tokens": 900, "teacher": chosen},
            inputs={"teacher": ["teach"]},
        )  # fmt: skip
        records = self.artifact(
            "filter_traces",
            "filter",
            {"total": 80, "positive": 70, "negative": 9, "dropped": 1, "dataset_digest": "d" * 64,
             "reasons": {"wrong_answer": 9, "duplicate_trace": 1}},
            inputs={"shards": ["trace0"]},
        )  # fmt: skip
        model = self.artifact(
            "train_student",
            f"train-{self.name}",
            {"objective": "sft", "tuning": "full", "examples": 70, "weights_sha256": sha256_text(self.name),
             "arms": {"student": {"steps": 100, "tokens": 900, "final_loss": 0.1}}},
            inputs={"records": ["filter"], "teacher": ["teach"]},
            config={"student": {"model": "zoo:base", "revision": "b1"}},
        )  # fmt: skip
        if not (model / "model").exists():
            if self.model:
                shutil.copytree(self.model, model / "model")
            else:
                (model / "model").mkdir()
                (model / "model" / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
                (model / "model" / "model.safetensors").write_bytes(self.name.encode())
        table = scores(self.before, self.after, self.items)
        result = self.artifact(
            "evaluate_student",
            f"eval-{self.name}",
            {"results": [self.result(arm) for arm in ("before", "after")], "benchmark_digest": "b" * 64},
            inputs={"model": [f"train-{self.name}"], "teacher": ["teach"]},
            config={"evaluate": {**EVALUATE, **self.sampling}, "student": {"model": "zoo:base"}},
        )
        (result / "scores.json").write_text(json.dumps(table, sort_keys=True))
        return {"model": model, "scores": result, "records": records, "teacher": teacher}

    def result(self, arm: str) -> dict[str, Any]:
        share = getattr(self, arm) / len(self.items)
        return {
            "benchmark": "chain", "role": "in_domain", "arm": arm, "k": 1, "n": len(self.items), "avg_at_k": share,
            "stderr": 0.01, "interval": [share, share], "truncation_rate": 0.02, "tokens_per_answer": 30.0,
        }  # fmt: skip

    @property
    def output(self) -> Path:
        return self.space.root / "out" / self.name

    def register(self) -> StageSummary:
        return register_student(self.config, **self.artifacts(), output=self.output, workspace=self.space.root)

    def promote(self) -> StageSummary:
        target = self.space.root / "out" / f"{self.name}-promotion"
        return promote_student(self.config, registration=self.output, output=target, workspace=self.space.root)


Make = Callable[..., Student]


@pytest.fixture
def make(space: Workspace) -> Make:
    """Make a student: right on ``before`` of 40 items at first, on ``after`` of them in the end."""

    def student(name: str, before: int = 4, after: int = 36, promote: str = "automatic", **fields: Any) -> Student:
        config = {
            "name": "sums",
            "promote": promote,
            "student": {"model": "zoo:base", "licence": "Apache-2.0"},
            "gate": {"require": [{"metric": "chain", "min_effect": fields.pop("min_effect", 5.0)}]},
        }
        return Student(space, name, before, after, config, **fields)

    return student
