"""Likelihoods against hand-made sums over the model's own logits."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from stillhouse.errors import RecipeError
from stillhouse.models.chat import encode_example
from stillhouse.models.loading import LoadedModel, load
from stillhouse.models.score import mean_nll
from stillhouse.recipe.teacher import ModelRef

EXAMPLES = [
    ([{"role": "user", "content": "1+1?"}], "2"),
    ([{"role": "user", "content": "what is the last digit of 17*3"}], "<think>7*3=21</think>1"),
    ([{"role": "user", "content": "a"}], "bcdefghijklmnopqrstuvwxyz" * 3),
]


@pytest.fixture(scope="module")
def loaded(tiny_model: Path) -> LoadedModel:
    return load(ModelRef(model=str(tiny_model)), device="cpu")


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_the_mean_is_over_the_reply_and_its_end_and_padding_takes_no_part(loaded: LoadedModel, batch_size: int) -> None:
    expected = []
    for messages, reply in EXAMPLES:
        ids, start = encode_example(loaded.tokenizer, messages, reply)
        shares = loaded.model(torch.tensor([ids])).logits[0].detach().softmax(-1)
        losses = [-math.log(shares[place - 1, ids[place]]) for place in range(start, len(ids))]
        expected.append(sum(losses) / len(losses))
    assert mean_nll(loaded, EXAMPLES, batch_size) == pytest.approx(expected, abs=1e-4)


def test_a_model_that_knows_nothing_is_off_by_the_logarithm_of_its_vocabulary(loaded: LoadedModel) -> None:
    with torch.no_grad():
        kept = loaded.model.lm_head.weight.clone()
        loaded.model.lm_head.weight.zero_()
    try:
        assert mean_nll(loaded, EXAMPLES[:1], 1) == pytest.approx([math.log(loaded.model.config.vocab_size)])
    finally:
        with torch.no_grad():
            loaded.model.lm_head.weight.copy_(kept)


def test_a_reply_beyond_the_context_is_measured_as_far_as_it_fits(loaded: LoadedModel) -> None:
    long = [([{"role": "user", "content": "a"}], "b" * 400)]
    assert math.isfinite(mean_nll(loaded, long, 1)[0])
    with pytest.raises(RecipeError, match=r"prompt of 403 tokens fills its context of 256"):
        mean_nll(loaded, [([{"role": "user", "content": "a" * 400}], "b")], 1)
