"""Addresses, folders that are not whole, and what loading refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from stillhouse.errors import RecipeError, TransientError
from stillhouse.models.loading import content_revision, load, model_folder
from stillhouse.recipe.teacher import ModelRef


@pytest.fixture
def copy(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def _truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


def _unknown_architecture(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "clairvoyant"}))


def _empty_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), r"has no weights \(\*\.safetensors"),
        (_empty_weights, "has no weights"),
        (lambda folder: (folder / "config.json").unlink(), r"has no config\.json"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "has no tokenizer"),
        (shutil.rmtree, "no such folder"),
    ],
)
def test_a_folder_that_is_not_whole_is_refused_before_anything_is_loaded(
    copy: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(copy)
    with pytest.raises(RecipeError, match=message):
        model_folder(ModelRef(model=str(copy)))


@pytest.mark.parametrize("damage", [_truncate, _unknown_architecture])
def test_a_folder_that_transformers_cannot_read_is_one_clear_line(copy: Path, damage: Callable[[Path], None]) -> None:
    damage(copy)
    with pytest.raises(RecipeError, match="transformers cannot load") as caught:
        load(ModelRef(model=str(copy)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("s3://bucket/model", "unknown kind of address"),
        ("zoo:ters", "'?terse'?"),
        ("nowhere/at/all", "no such folder"),
    ],
)
def test_an_address_that_leads_nowhere_is_refused_with_what_would_be_right(address: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        model_folder(ModelRef(model=address))


def test_a_hub_that_cannot_be_reached_may_be_tried_again() -> None:
    with pytest.raises(TransientError, match=r"hf://nobody/nothing-at-all: the hub cannot be reached.*name the folder"):
        model_folder(ModelRef(model="hf://nobody/nothing-at-all"))


def test_a_file_uri_is_a_folder(tiny_model: Path) -> None:
    assert model_folder(ModelRef(model=f"file://{tiny_model}")) == tiny_model


def test_a_model_without_a_key_value_cache_is_refused(copy: Path) -> None:
    from transformers import MambaConfig, MambaForCausalLM

    (copy / "model.safetensors").unlink()
    MambaForCausalLM(MambaConfig(vocab_size=80, hidden_size=16, num_hidden_layers=1)).save_pretrained(copy)
    with pytest.raises(RecipeError, match="MambaForCausalLM keeps no key-value cache"):
        load(ModelRef(model=str(copy)), device="cpu")


def test_a_tokenizer_without_padding_pads_with_its_end(copy: Path) -> None:
    config = json.loads((copy / "tokenizer_config.json").read_text())
    config.pop("pad_token")
    (copy / "tokenizer_config.json").write_text(json.dumps(config))
    loaded = load(ModelRef(model=str(copy)), device="cpu")
    assert loaded.tokenizer.pad_token_id == loaded.tokenizer.eos_token_id


def test_the_asked_precision_is_the_models(tiny_model: Path) -> None:
    loaded = load(ModelRef(model=str(tiny_model)), dtype="bfloat16", device="cpu")
    assert loaded.model.dtype == torch.bfloat16
    assert not loaded.model.training


def test_the_content_revision_follows_weights_and_template_and_not_the_place(copy: Path, tiny_model: Path) -> None:
    before = content_revision(tiny_model)
    assert content_revision(copy) == before
    (copy / "README.txt.bak").write_text("irrelevant")
    assert content_revision(copy) == before
    template = copy / "chat_template.jinja"
    template.write_text(template.read_text() + " ")
    assert content_revision(copy) != before
