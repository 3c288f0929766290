"""The stage: artifacts in, plain model folders out."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from stillhouse import stage as harness
from stillhouse.errors import RecipeError
from stillhouse.models.loading import LoadedModel
from stillhouse.records import Record, write_rows
from stillhouse.summary import StageSummary
from stillhouse.training import train_student
from stillhouse.training.saving import weights_sha256

TRAIN = {"steps": 4, "batch_size": 4, "learning_rate": 3e-3, "control": {}}


@dataclass
class Tape:
    """Stands where the MLflow run would."""

    metrics: dict[str, list[int]] = field(default_factory=dict)

    def start(self, config: dict[str, Any]) -> None: ...
    def finish(self, summary: StageSummary, payload: Path) -> None: ...

    def metric(self, name: str, _value: float, step: int = 0) -> None:
        self.metrics.setdefault(name, []).append(step)


@pytest.fixture(autouse=True)
def tape(monkeypatch: pytest.MonkeyPatch) -> Tape:
    tape = Tape()

    @contextmanager
    def run(*_: Any) -> Iterator[Tape]:
        yield tape

    monkeypatch.setattr(harness, "open_run", run)
    return tape


@dataclass
class Inputs:
    root: Path
    student: Path

    def run(self, train: dict[str, Any], output: str = "out") -> StageSummary:
        return train_student(
            {"student": {"model": str(self.student)}, "seed": 17.0, "train": train},
            records=self.root / "records",
            teacher=self.root / "teacher",
            output=self.root / output,
            workspace=self.root / "workspace",
        )

    def write(self, records: list[Record], teacher: dict[str, Any]) -> None:
        write_rows(self.root / "records" / "records.parquet", records, Record)
        StageSummary(stage="filter_traces", key="f").write(self.root / "records")
        (self.root / "teacher").mkdir(exist_ok=True)
        (self.root / "teacher" / "teacher.json").write_text(json.dumps(teacher))
        StageSummary(stage="select_teacher", key="s").write(self.root / "teacher")


@pytest.fixture
def inputs(tmp_path: Path, tiny_model: Path, records: list[Record]) -> Inputs:
    inputs = Inputs(tmp_path, tiny_model)
    negative = [replace(row, role="negative", weight=1.0) for row in records[:5]]
    inputs.write([*records[5:], *negative], local(tiny_model))
    return inputs


def local(folder: Path) -> dict[str, Any]:
    return {"decision": "distil", "teacher": {"type": "transformers", "name": "t", "model": str(folder)}}


def test_both_arms_become_plain_model_folders(inputs: Inputs, student: LoadedModel, tape: Tape) -> None:
    summary = inputs.run(TRAIN)
    assert summary.details["examples"] == 19
    assert {path.name for path in (inputs.root / "out").iterdir()} == {
        "model", "control", "history.json", "recipe.json", "summary.json",
    }  # fmt: skip
    for arm, folder in (("student", "model"), ("control", "control")):
        path = inputs.root / "out" / folder
        model = AutoModelForCausalLM.from_pretrained(path)
        assert weights_sha256(model.state_dict()) == summary.details["arms"][arm]["weights_sha256"]
        tokenizer = AutoTokenizer.from_pretrained(path)
        assert tokenizer.chat_template == student.tokenizer.chat_template
        assert model.generation_config.eos_token_id == tokenizer.convert_tokens_to_ids("<|end|>")
        assert str(inputs.student) not in "".join(file.read_text() for file in path.glob("*.json"))
    steps, tokens = ({arm: value[key] for arm, value in summary.details["arms"].items()} for key in ("steps", "tokens"))
    assert steps == {"student": 4, "control": 4}
    assert 0 < tokens["control"] < tokens["student"]
    assert json.loads((inputs.root / "out" / "history.json").read_text()) == {
        arm: value["history"] for arm, value in summary.details["arms"].items()
    }
    assert tape.metrics["loss"] == tape.metrics["control.loss"] == [1, 2, 3, 4]


def test_the_same_inputs_give_the_same_bytes(inputs: Inputs) -> None:
    first = inputs.run(TRAIN)
    twin = Inputs(inputs.root, inputs.student)
    again = train_student(
        {"student": {"model": str(inputs.student)}, "train": TRAIN}, records=inputs.root / "records",
        teacher=inputs.root / "teacher", output=inputs.root / "again", workspace=inputs.root / "another workspace",
    )  # fmt: skip
    assert twin.run(TRAIN, "third").finished_at == first.finished_at
    assert (again.key, again.digest) == (first.key, first.digest)


def test_lora_ends_as_a_plain_model(inputs: Inputs) -> None:
    summary = inputs.run({**TRAIN, "tuning": {"type": "lora", "rank": 2}, "control": None})
    assert summary.details["tuning"] == "lora"
    model = AutoModelForCausalLM.from_pretrained(inputs.root / "out" / "model")
    assert weights_sha256(model.state_dict()) == summary.details["weights_sha256"]
    assert not (inputs.root / "out" / "control").exists()


def test_a_teacher_that_is_the_student_leaves_kl_at_zero(inputs: Inputs) -> None:
    summary = inputs.run({**TRAIN, "objective": {"type": "kl"}, "control": None, "steps": 1})
    assert summary.metrics["final_loss"] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        ({"decision": "do_not_distil", "teacher": None}, "no teacher was chosen"),
        (
            {"decision": "distil", "teacher": {
                "type": "openai", "name": "t", "model": "m", "endpoints": ["http://localhost/v1"],
            }},
            "type openai gives none",
        ),
    ],
)  # fmt: skip
def test_kl_without_a_local_teacher_is_refused(
    inputs: Inputs, records: list[Record], teacher: dict[str, Any], message: str
) -> None:
    inputs.write(records, teacher)
    with pytest.raises(RecipeError, match=message):
        inputs.run({**TRAIN, "objective": {"type": "kl"}})
    assert inputs.run({**TRAIN, "steps": 1}).details["objective"] == "sft"


def test_records_without_a_positive_are_refused(inputs: Inputs, records: list[Record], tiny_model: Path) -> None:
    inputs.write([replace(row, role="dropped") for row in records], local(tiny_model))
    with pytest.raises(RecipeError, match=r"records\.parquet: no positive record"):
        inputs.run(TRAIN)


def test_importing_the_package_loads_no_torch() -> None:
    code = "import sys, stillhouse.training; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
