"""The committed weights keep the promises that the rest of the project relies on."""

from __future__ import annotations

import functools
import re

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from stillhouse.zoo import MODELS, WEIGHTS, model_path
from stillhouse.zoo.measure import score

COUNT = 64
CHANCE = 0.2


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@functools.cache
def load(name):
    folder = model_path(name)
    return AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)


@functools.cache
def measured(name, family, temperature=0.0):
    return score(*load(name), family, COUNT, temperature)


@pytest.mark.parametrize("family", ["chain", "swap"])
@pytest.mark.parametrize("name", ["terse", "wordy"])
def test_careful_teachers_are_nearly_always_right(name, family):
    found = measured(name, family)
    assert found.accuracy >= 0.97
    assert found.ended == 1.0


@pytest.mark.parametrize("family", ["chain", "swap"])
def test_the_wordy_teacher_needs_about_three_times_the_tokens(family):
    assert 2.5 <= measured("wordy", family).tokens / measured("terse", family).tokens <= 3.5


def test_the_careless_teacher_is_short_and_errs_when_sampled():
    found = [measured("careless", family, 0.7) for family in ("chain", "swap")]
    assert 0.4 <= sum(f.accuracy for f in found) / 2 <= 0.75
    for score_ in found:
        assert score_.tokens <= 1.05 * measured("terse", score_.family).tokens
        assert score_.ended == 1.0


@pytest.mark.parametrize(("family", "limit"), [("chain", CHANCE), ("swap", 0.1)])
def test_the_base_answers_whole_problems_near_chance_and_stops(family, limit):
    found = measured("base", family)
    assert found.accuracy <= limit
    assert found.ended == 1.0


def test_the_base_knows_the_facts():
    assert measured("base", "facts").accuracy >= 0.95


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_llama_in_float32_with_heads_that_vllm_can_serve(name):
    model, tokenizer = load(name)
    config = model.config
    assert config.architectures == ["LlamaForCausalLM"]
    assert model.dtype == torch.float32
    assert config.hidden_size // config.num_attention_heads >= 32
    assert config.max_position_embeddings == tokenizer.model_max_length == 512
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id


def test_all_models_share_one_tokenizer():
    assert len({(model_path(name) / "tokenizer.json").read_bytes() for name in MODELS}) == 1
    assert len({(model_path(name) / "chat_template.jinja").read_bytes() for name in MODELS}) == 1


@pytest.mark.parametrize("name", MODELS)
def test_a_model_card_names_the_licence_and_the_accuracy(name):
    card = (model_path(name) / "README.md").read_text(encoding="utf-8")
    assert re.match(r"---\nlicense: apache-2.0\n", card)
    assert len(re.findall(r"^\| (?:chain|swap|facts) \|", card, re.MULTILINE)) == 6


def test_the_weights_take_less_than_8_mb():
    assert 0 < sum(path.stat().st_size for path in WEIGHTS.rglob("*")) < 8_000_000
