"""A shard in a temporary workspace, with a counted teacher and without MLflow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from stillhouse.generation import generate_traces
from stillhouse.records import Trace, read_rows
from stillhouse.summary import StageSummary
from tests.unit.generation.fakes import (
    Diary,
    ScriptedTeacher,
    custom,
    no_run,
    shard_config,
    write_problems,
    write_teacher,
)


@pytest.fixture(autouse=True)
def _no_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stillhouse.stage.open_run", no_run)


@dataclass
class Shop:
    """``run`` runs one shard; ``diary`` counts what the teacher generated."""

    root: Path
    prompts: list[str] = field(default_factory=lambda: [f"problem {index}" for index in range(20)])
    teacher_options: dict[str, Any] = field(default_factory=dict)
    runs: int = 0

    @property
    def diary(self) -> Diary:
        return Diary(self.root / "diary.txt")

    @property
    def workspace(self) -> Path:
        return self.root / "workspace"

    @property
    def parts(self) -> list[Path]:
        return sorted((self.workspace / "traces").glob("*/*.parquet"))

    def run(
        self, *, shard: int = 0, file: str = "problems", teacher: Path | None = None, **traces: Any
    ) -> StageSummary:
        problems = write_problems(self.root / f"{file}.jsonl", self.prompts)
        self.runs += 1
        folder = teacher or write_teacher(
            self.root / "teacher", custom(ScriptedTeacher, diary=str(self.diary.path), **self.teacher_options)
        )
        config = shard_config(problems, **traces)
        return generate_traces(config, shard=shard, teacher=folder, output=self.output, workspace=self.workspace)

    @property
    def output(self) -> Path:
        return self.root / f"output{self.runs}"

    @property
    def rows(self) -> list[Trace]:
        return read_rows(self.output / "traces.parquet", Trace)


@pytest.fixture
def make_shop(tmp_path: Path) -> Callable[[str], Shop]:
    def make(name: str) -> Shop:
        root = tmp_path / name
        root.mkdir()
        return Shop(root)

    return make


@pytest.fixture
def shop(make_shop: Callable[[str], Shop]) -> Shop:
    return make_shop("shop")
