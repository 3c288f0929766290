"""A random tiny student, a teacher with the same tokenizer, and records of unequal lengths."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from stillhouse.models.loading import LoadedModel, load
from stillhouse.recipe.teacher import ModelRef
from stillhouse.records import Problem, Record, Trace


def make_records(number: int = 24) -> list[Record]:
    """Sums with their steps; the i-th has about i letters more than the first."""
    rows = []
    for i in range(number):
        problem = Problem(id=f"p{i}", prompt=f"{i}+{i}=?", answer=str(2 * i))
        trace = Trace(
            key=f"trace-{i:03d}",
            problem_id=problem.id,
            problem_hash=problem.hash,
            teacher="t",
            teacher_revision="r",
            prompter='{"type":"cot"}',
            sampling="{}",
            sample_index=0,
            seed=0,
            reasoning=f"{i}+{i}" + "." * (i % 13),
            answer=f"\\boxed{{{2 * i}}}",
        )
        rows.append(Record(problem=problem, trace=trace))
    return rows


@pytest.fixture(scope="session")
def records() -> list[Record]:
    return make_records()


@pytest.fixture(scope="session")
def student(tiny_model: Path) -> LoadedModel:
    """Shared by all tests: train copies of it."""
    return load(ModelRef(model=str(tiny_model)))


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """Other random weights, same tokenizer; peaked, so that there is something to learn."""
    make_tiny_model = next(
        module.make_tiny_model for module in list(sys.modules.values()) if hasattr(module, "make_tiny_model")
    )
    folder = make_tiny_model(tmp_path_factory.mktemp("models") / "teacher", seed=5)
    loaded = load(ModelRef(model=str(folder)))
    loaded.model.get_input_embeddings().weight.data.mul_(20.0)
    return loaded
