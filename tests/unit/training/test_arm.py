from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from stillhouse.errors import RecipeError
from stillhouse.models.loading import LoadedModel, load
from stillhouse.recipe.teacher import ModelRef
from stillhouse.recipe.training import AnswerOnlyBuilder, Kl, Lora, TrainSection
from stillhouse.records import Record
from stillhouse.training.arm import make_dataset, train_arm
from stillhouse.training.data import Batches
from stillhouse.training.saving import weights_sha256

SECTION = TrainSection(steps=12, batch_size=4, gradient_accumulation=2, learning_rate=3e-3, checkpoint_every=4)
LORA = SECTION.model_copy(update={"tuning": Lora(rank=4, dropout=0.1)})


@dataclass
class StopAt:
    """Stands in for a kill: raises when so many steps are done."""

    at: int

    def step(self, done: int, _total: int, _note: str = "") -> None:
        if done == self.at:
            raise KeyboardInterrupt

    def say(self, text: str) -> None:
        pass


def test_training_lowers_the_loss_and_leaves_the_model_it_was_given_alone(
    student: LoadedModel, records: list[Record]
) -> None:
    before = weights_sha256(student.model.state_dict())
    result = train_arm(student, records, SECTION, 1, steps=40)
    assert result.history[-1]["loss"] == result.final_loss < 0.7 * result.history[0]["loss"]
    assert (result.steps, result.examples, result.too_long) == (40, len(records), 0)
    assert weights_sha256(student.model.state_dict()) == before != result.weights_sha256
    assert not result.model.training


def test_the_same_seed_gives_the_same_weights_and_another_does_not(student: LoadedModel, records: list[Record]) -> None:
    state = torch.get_rng_state()
    first, again, other = (train_arm(student, records, LORA, seed, steps=3).weights_sha256 for seed in (1, 1, 2))
    assert first == again != other
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("section", [SECTION, LORA], ids=["full", "lora"])
@pytest.mark.parametrize("at", [2, 4, 7, 11])
def test_a_training_that_was_stopped_ends_as_the_one_that_was_not(
    student: LoadedModel, records: list[Record], section: TrainSection, at: int, tmp_path: Path
) -> None:
    straight = train_arm(student, records, section, 1)
    with pytest.raises(KeyboardInterrupt):
        train_arm(student, records, section, 1, work=tmp_path, progress=StopAt(at))
    resumed = train_arm(student, records, section, 1, work=tmp_path)
    # The step at which it stops is over but not yet saved.
    assert resumed.resumed_from == (at - 1) // 4 * 4
    assert resumed.weights_sha256 == straight.weights_sha256
    assert (resumed.history, resumed.tokens) == (straight.history, straight.tokens)


def test_a_finished_training_is_not_trained_again(student: LoadedModel, records: list[Record], tmp_path: Path) -> None:
    first = train_arm(student, records, SECTION, 1, work=tmp_path)
    again = train_arm(student, records, SECTION, 1, work=tmp_path, progress=StopAt(12))
    assert (again.resumed_from, again.weights_sha256, again.history) == (12, first.weights_sha256, first.history)


def test_a_lora_checkpoint_holds_adapters_only(student: LoadedModel, records: list[Record], tmp_path: Path) -> None:
    train_arm(student, records, LORA, 1, work=tmp_path)
    with safe_open(tmp_path / "checkpoint-000012" / "model.safetensors", "pt") as file:
        assert all("lora_" in name for name in file.keys())  # noqa: SIM118 (not a dict)


@pytest.mark.parametrize(
    "changes",
    [{"learning_rate": 1e-3}, {"batch_size": 8}, {"tuning": Lora(rank=2)}],
    ids=["learning_rate", "batch_size", "tuning"],
)
def test_checkpoints_of_another_training_are_refused(
    student: LoadedModel, records: list[Record], changes: dict[str, Any], tmp_path: Path
) -> None:
    train_arm(student, records, SECTION, 1, work=tmp_path, steps=4)
    with pytest.raises(RecipeError, match="belongs to another training"):
        train_arm(student, records, SECTION.model_copy(update=changes), 1, work=tmp_path, steps=4)


def test_other_records_are_another_training_and_other_checkpoint_habits_are_not(
    student: LoadedModel, records: list[Record], tmp_path: Path
) -> None:
    train_arm(student, records, SECTION, 1, work=tmp_path, steps=4)
    with pytest.raises(RecipeError, match="belongs to another training"):
        train_arm(student, records[1:], SECTION, 1, work=tmp_path, steps=4)
    habits = SECTION.model_copy(update={"checkpoint_every": 1, "keep_checkpoints": 5})
    assert train_arm(student, records, habits, 1, work=tmp_path, steps=4).resumed_from == 4


def test_a_loss_that_is_no_number_names_the_traces_and_keeps_the_last_good_checkpoint(
    student: LoadedModel, records: list[Record], tmp_path: Path
) -> None:
    """One record's weight overflows: the loss is infinite at the one step that sees it."""
    data = make_dataset(student, records, SECTION)
    order = Batches(data, seed=1, batch_size=8)
    bad_step = 10
    bad = next(row for row in order.rows(bad_step).tolist() if all(row not in order.rows(s) for s in (9,)))
    first = min(step for step in range(12) if bad in order.rows(step))
    rows = list(records)
    rows[bad] = replace(rows[bad], weight=1e38)
    with pytest.raises(RecipeError, match=f"step {first + 1} is not a finite number") as caught:
        train_arm(student, rows, SECTION.model_copy(update={"checkpoint_every": 1}), 1, work=tmp_path)
    assert rows[bad].trace.key in str(caught.value)
    saved = sorted(path.name for path in tmp_path.iterdir())
    assert saved[-1:] == ([f"checkpoint-{first:06d}"] if first else [])


def test_weights_that_explode_are_an_error_and_not_a_model(
    student: LoadedModel, records: list[Record], tmp_path: Path
) -> None:
    section = SECTION.model_copy(update={"learning_rate": 1e30, "checkpoint_every": 1, "warmup_share": 0.0})
    with pytest.raises(RecipeError, match=r"lower train\.learning_rate.*is the last good checkpoint"):
        train_arm(student, records, section, 1, work=tmp_path)


def test_a_teacher_with_another_tokenizer_is_refused_before_training(
    student: LoadedModel, other_tiny_model: Path, records: list[Record]
) -> None:
    stranger = load(ModelRef(model=str(other_tiny_model)))
    section = SECTION.model_copy(update={"objective": Kl()})
    with pytest.raises(RecipeError, match="different tokenizers"):
        train_arm(student, records, section, 1, teacher=stranger, progress=StopAt(1))


def test_a_teacher_with_a_padded_vocabulary_is_welcome(
    student: LoadedModel, teacher: LoadedModel, records: list[Record]
) -> None:
    padded = copy.deepcopy(teacher.model)
    padded.resize_token_embeddings(128, mean_resizing=False)
    section = SECTION.model_copy(update={"objective": Kl()})
    result = train_arm(student, records, section, 1, teacher=replace(teacher, model=padded), steps=2)
    plain = train_arm(student, records, section, 1, teacher=teacher, steps=2)
    assert result.final_loss == pytest.approx(plain.final_loss, rel=1e-5)


def test_an_objective_that_needs_a_teacher_says_so(student: LoadedModel, records: list[Record]) -> None:
    with pytest.raises(RecipeError, match="needs the teacher's logits"):
        train_arm(student, records, SECTION.model_copy(update={"objective": Kl()}), 1)


def test_an_example_beyond_the_models_positions_is_refused(student: LoadedModel, records: list[Record]) -> None:
    long = replace(records[0], trace=replace(records[0].trace, reasoning="1" * 300))
    with pytest.raises(RecipeError, match=r"train\.max_length: an example has \d+ tokens.*at most 256"):
        train_arm(student, [long], SECTION, 1)


def test_the_builder_can_be_replaced(student: LoadedModel, records: list[Record]) -> None:
    whole = train_arm(student, records, SECTION, 1, steps=1)
    answers = train_arm(student, records, SECTION, 1, steps=1, builder=AnswerOnlyBuilder())
    assert answers.tokens < whole.tokens


def test_bfloat16_keeps_float32_weights_and_learns(student: LoadedModel, records: list[Record]) -> None:
    section = SECTION.model_copy(update={"dtype": "bfloat16", "learning_rate": 1e-2})
    result = train_arm(student, records, section, 1, steps=25)
    assert {p.dtype for p in result.model.parameters()} == {torch.float32}
    assert result.final_loss < 0.8 * result.history[0]["loss"]
