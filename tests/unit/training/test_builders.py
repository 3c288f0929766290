from __future__ import annotations

from dataclasses import replace

import pytest

from stillhouse.errors import RecipeError
from stillhouse.models.chat import encode_prompt
from stillhouse.models.loading import LoadedModel
from stillhouse.prompting.cot import CotPrompter
from stillhouse.recipe.traces import CotPrompter as CotConfig
from stillhouse.recipe.training import AnswerOnlyBuilder as AnswerOnlyConfig
from stillhouse.recipe.training import ReasoningBuilder as ReasoningConfig
from stillhouse.records import Record
from stillhouse.training.builders import AnswerOnlyBuilder, ReasoningBuilder
from stillhouse.training.data import Batches, Example, pack

REASONING, ANSWER_ONLY = ReasoningBuilder(ReasoningConfig()), AnswerOnlyBuilder(AnswerOnlyConfig())


@pytest.fixture
def record(records: list[Record]) -> Record:
    config = CotConfig(system="add", template="what is {prompt}").model_dump_json()
    return replace(records[3], trace=replace(records[3].trace, prompter=config), weight=0.5)


def supervised(example: Example, student: LoadedModel) -> str:
    """Text of the tokens that carry loss, as the loop sees them."""
    (batch,) = Batches(pack([example], 500, "fail"), seed=0, batch_size=1).step(0)
    return str(student.tokenizer.decode(batch.targets_N.tolist()))


@pytest.mark.parametrize(
    ("builder", "expected"),
    [
        (REASONING, "<think>3+3...</think>\\boxed{6}<|end|>"),
        (ANSWER_ONLY, "\\boxed{6}<|end|>"),
    ],
    ids=["reasoning", "answer_only"],
)
def test_the_loss_covers_reply_and_end_of_turn_and_nothing_else(
    builder: ReasoningBuilder | AnswerOnlyBuilder, expected: str, record: Record, student: LoadedModel
) -> None:
    assert supervised(builder.build(record, student.tokenizer), student) == expected


@pytest.mark.parametrize("builder", [REASONING, ANSWER_ONLY], ids=["reasoning", "answer_only"])
def test_the_trained_prompt_is_the_generated_prompt(
    builder: ReasoningBuilder | AnswerOnlyBuilder, record: Record, student: LoadedModel
) -> None:
    example = builder.build(record, student.tokenizer)
    asked = CotPrompter(CotConfig(system="add", template="what is {prompt}")).render(record.problem)
    assert list(example.ids[: example.prompt_length]) == encode_prompt(student.tokenizer, asked)
    assert "what is 3+3=?" in student.tokenizer.decode(example.ids)


def test_weight_and_key_come_from_the_record(record: Record, student: LoadedModel) -> None:
    example = REASONING.build(record, student.tokenizer)
    assert (example.weight, example.key) == (0.5, "trace-003")


def test_a_trace_without_a_readable_prompter_is_refused(record: Record, student: LoadedModel) -> None:
    broken = replace(record, trace=replace(record.trace, prompter='{"type":"cot","templat":"{prompt}"}'))
    with pytest.raises(RecipeError, match=r"trace\.prompter"):
        REASONING.build(broken, student.tokenizer)
