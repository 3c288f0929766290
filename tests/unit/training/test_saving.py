from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from transformers import GenerationConfig

from stillhouse.models.loading import LoadedModel
from stillhouse.training.saving import save_model, weights_sha256

TENSORS = {"a": torch.arange(4.0), "b": torch.ones(2, 2)}


def test_the_digest_is_of_the_weights_and_not_of_their_order_in_memory() -> None:
    strided = {"b": torch.ones(2, 2).T, "a": torch.arange(8.0)[:4].clone()}
    assert weights_sha256(strided) == weights_sha256(TENSORS)


@pytest.mark.parametrize(
    "other",
    [
        {"a": torch.arange(4.0) + 1e-7, "b": torch.ones(2, 2)},
        {"c": torch.arange(4.0), "b": torch.ones(2, 2)},
        {"a": torch.arange(4.0).reshape(2, 2), "b": torch.ones(2, 2)},
        {"a": torch.arange(4.0).view(torch.int32), "b": torch.ones(2, 2)},
        {"a": torch.arange(4.0)},
    ],
    ids=["value", "name", "shape", "type", "missing"],
)
def test_every_other_model_has_another_digest(other: dict[str, torch.Tensor]) -> None:
    assert weights_sha256(other) != weights_sha256(TENSORS)


def test_a_scalar_tensor_and_bfloat16_have_digests() -> None:
    assert weights_sha256({"s": torch.tensor(1.0), "h": torch.ones(3, dtype=torch.bfloat16)})


def test_a_published_generation_config_that_transformers_would_not_save_is_saved(
    student: LoadedModel, tmp_path: Path
) -> None:
    model = copy.deepcopy(student.model)
    model.generation_config = GenerationConfig(temperature=0.6, top_p=0.9, do_sample=False, eos_token_id=1)
    save_model(model, student.tokenizer, tmp_path)
    saved = GenerationConfig.from_pretrained(tmp_path)
    assert saved.do_sample
    assert sorted(saved.eos_token_id) == [1, student.tokenizer.convert_tokens_to_ids("<|end|>")]
