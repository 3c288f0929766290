"""The zoo's tokenizer, as it is saved beside every model."""

from __future__ import annotations

import pytest
from transformers import AutoTokenizer

from stillhouse.zoo.tasks import FAMILIES, STYLES, gold_reply, problems
from stillhouse.zoo.tokenizer import MARKS, SPECIAL_TOKENS, build_tokenizer

QUESTION = {"role": "user", "content": "mod 10: 3+4"}
ANSWER = {"role": "assistant", "content": r"<think>3+4=7</think>\boxed{7}"}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    build_tokenizer().save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


def test_the_vocabulary_is_small(tokenizer):
    assert len(tokenizer) <= 100


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("style", STYLES)
def test_every_prompt_and_reply_survives_a_round_trip(tokenizer, family, style):
    for problem in problems(family, "train", 30):
        for text in (problem["prompt"], gold_reply(problem, style)):
            ids = tokenizer(text)["input_ids"]
            assert tokenizer.decode(ids) == text
            assert tokenizer.unk_token_id not in ids


@pytest.mark.parametrize("token", [*SPECIAL_TOKENS, *MARKS])
def test_marks_and_special_tokens_are_one_token(tokenizer, token):
    assert tokenizer(token)["input_ids"] == [tokenizer.convert_tokens_to_ids(token)]


def test_marks_outlive_the_special_tokens(tokenizer):
    ids = tokenizer(f"<|bos|><|user|>{ANSWER['content']}<|end|><|pad|>")["input_ids"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == ANSWER["content"]


@pytest.mark.parametrize(
    ("text", "decoded"), [("Say", "say"), ("naïve", "na<unk>ve"), ("", ""), ("a\nb  c", "a\nb  c"), ("5 €", "5 <unk>")]
)
def test_capitals_are_lowered_and_strangers_are_unknown(tokenizer, text, decoded):
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == decoded


def test_the_chat_template_asks_for_a_reply(tokenizer):
    asked = tokenizer.apply_chat_template([QUESTION], tokenize=False, add_generation_prompt=True)
    assert asked == "<|bos|><|user|>mod 10: 3+4<|end|><|assistant|>"


def test_a_conversation_of_several_turns_begins_like_its_first_question(tokenizer):
    turns = [QUESTION, ANSWER, QUESTION]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert text == (
        "<|bos|><|user|>mod 10: 3+4<|end|><|assistant|>"
        r"<think>3+4=7</think>\boxed{7}<|end|>"
        "<|user|>mod 10: 3+4<|end|><|assistant|>"
    )
    ids = tokenizer.apply_chat_template(turns, add_generation_prompt=True)["input_ids"]
    assert tokenizer.decode(ids) == text


def test_batches_are_padded_on_the_left_for_generation(tokenizer):
    batch = tokenizer(["1", "123"], padding=True)
    assert batch["attention_mask"] == [[0, 0, 1], [1, 1, 1]]
    assert batch["input_ids"][0][:2] == [tokenizer.pad_token_id] * 2
