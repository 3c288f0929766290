"""Warping against transformers' own warpers, drawing against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from stillhouse.models.sampling import Uniforms, choose, warp
from stillhouse.recipe.teacher import Sampling


def logits_of(*shares: float) -> torch.Tensor:
    return torch.tensor([[math.log(share) for share in shares]])


@pytest.mark.parametrize("vocabulary", [7, 80, 5000])
@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"), [(0.6, 0, 0.95), (1.0, 5, 1.0), (1.7, 3, 0.5), (2.0, 0, 0.999), (1.0, 0, 1e-6)]
)
def test_the_kept_tokens_are_those_of_transformers(
    vocabulary: int, temperature: float, top_k: int, top_p: float
) -> None:
    # In float64, because the two sum in different orders and a border may lie within float32's rounding.
    logits = torch.randn(16, vocabulary, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2
    warpers = LogitsProcessorList([TemperatureLogitsWarper(temperature)])
    if top_k:
        warpers.append(TopKLogitsWarper(top_k))
    warpers.append(TopPLogitsWarper(top_p))
    expected = warpers(torch.zeros(16, 1, dtype=torch.long), logits)
    got = warp(logits, Sampling(temperature=temperature, top_k=top_k, top_p=top_p))
    torch.testing.assert_close(got, expected)


def test_a_nucleus_wider_than_the_head_is_found_all_the_same() -> None:
    flat = torch.zeros(1, 4000) - torch.arange(4000) * 1e-4
    kept = warp(flat, Sampling(temperature=1.0, top_p=0.9)).isfinite().sum()
    mass = flat.softmax(-1).cumsum(-1)[0]
    assert int(kept) == int((mass < 0.9).sum()) + 1 > 1024


@pytest.mark.parametrize(("uniform", "token"), [(0.0, 0), (0.49, 0), (0.51, 1), (0.79, 1), (0.81, 2), (0.999999, 2)])
def test_a_draw_is_the_inverse_of_the_cumulative_distribution(uniform: float, token: int) -> None:
    sampling = Sampling(temperature=1.0, top_p=1.0)
    drawn = choose(logits_of(0.5, 0.3, 0.2), sampling, torch.tensor([uniform], dtype=torch.float64))
    assert drawn.tolist() == [token]


def test_a_draw_never_leaves_the_nucleus() -> None:
    sampling = Sampling(temperature=1.0, top_p=0.5)
    uniforms = torch.linspace(0, 1 - 1e-12, 50, dtype=torch.float64)
    drawn = choose(logits_of(0.2, 0.6, 0.2).repeat(50, 1), sampling, uniforms)
    assert set(drawn.tolist()) == {1}


def test_temperature_zero_takes_the_most_likely_token() -> None:
    assert choose(logits_of(0.2, 0.6, 0.2), Sampling(temperature=0.0), None).tolist() == [1]


def test_half_the_temperature_squares_the_odds() -> None:
    cold = warp(logits_of(0.8, 0.2), Sampling(temperature=0.5, top_p=1.0)).softmax(-1)
    torch.testing.assert_close(cold, torch.tensor([[16 / 17, 1 / 17]]))


def test_a_stream_depends_on_its_own_seed_only() -> None:
    together, alone = Uniforms([3, 5, 8]), Uniforms([5])
    for step in range(600):
        both = together.step(step, [0, 1, 2])
        assert both[1] == alone.step(step, [0])[0]
    assert len(set(both.tolist())) == 3


def test_a_stream_does_not_repeat_itself() -> None:
    stream = Uniforms([1])
    assert len({float(stream.step(step, [0])) for step in range(1000)}) == 1000
