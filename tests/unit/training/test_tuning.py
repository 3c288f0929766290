from __future__ import annotations

import copy

import pytest
import torch

from stillhouse.errors import RecipeError
from stillhouse.models.loading import LoadedModel
from stillhouse.recipe.training import FullTuning, Lora
from stillhouse.training.tuning import finish, prepare

IDS = torch.arange(8, 24)[None]


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=IDS, use_cache=False).logits
    return found


def test_full_tuning_trains_everything_in_float32(student: LoadedModel) -> None:
    model = copy.deepcopy(student.model).to(torch.bfloat16)
    trained = prepare(model, FullTuning())
    assert all(p.requires_grad and p.dtype == torch.float32 for p in trained.parameters())
    assert trained.training


def test_tied_weights_stay_tied(student: LoadedModel) -> None:
    model = copy.deepcopy(student.model)
    prepare(model, FullTuning())
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight


def test_lora_trains_adapters_only_and_merges_into_what_they_say(student: LoadedModel) -> None:
    trained = prepare(copy.deepcopy(student.model), Lora(rank=4, alpha=8))
    names = [name for name, p in trained.named_parameters() if p.requires_grad]
    assert names
    assert all("lora_" in name for name in names)
    frozen = {name: p.detach().clone() for name, p in trained.named_parameters() if not p.requires_grad}
    optimizer = torch.optim.AdamW([p for p in trained.parameters() if p.requires_grad], lr=0.05)
    for _ in range(3):
        trained(input_ids=IDS, labels=IDS).loss.backward()
        optimizer.step()
    after = dict(trained.named_parameters())
    assert all(torch.equal(after[name], value) for name, value in frozen.items())
    adapted = logits(trained.eval())
    plain = finish(trained)
    assert type(plain) is type(student.model)
    assert not any("lora_" in name for name, _ in plain.named_parameters())
    torch.testing.assert_close(logits(plain), adapted, rtol=0, atol=1e-5)
    assert (adapted - logits(student.model)).abs().max() > 0.01


def test_adapters_start_as_nothing(student: LoadedModel) -> None:
    trained = prepare(copy.deepcopy(student.model), Lora(rank=4))
    torch.testing.assert_close(logits(trained.eval()), logits(student.model), rtol=0, atol=1e-6)


def test_target_modules_that_do_not_exist_are_refused_with_those_that_do(student: LoadedModel) -> None:
    with pytest.raises(RecipeError, match=r"target_modules.*down_proj, gate_proj.*v_proj"):
        prepare(copy.deepcopy(student.model), Lora(target_modules=("c_attn",)))
