"""Addresses of zoo models."""

from __future__ import annotations

import pytest

from stillhouse.zoo import MODELS, is_zoo_uri, model_path, resolve
from stillhouse.zoo.train import SPECS


def test_every_named_model_has_a_spec_and_the_reverse():
    assert set(MODELS) == set(SPECS)


@pytest.mark.parametrize("name", MODELS)
def test_a_name_and_its_address_lead_to_the_same_folder(name):
    assert resolve(f"zoo:{name}") == model_path(name)
    assert (model_path(name) / "config.json").is_file()


@pytest.mark.parametrize(("name", "nearest"), [("ters", "terse"), ("Base", "base"), ("carless", "careless")])
def test_an_unknown_name_is_answered_with_the_nearest(name, nearest):
    with pytest.raises(ValueError, match=f"{name!r} does not exist; the nearest is {nearest!r}"):
        resolve(f"zoo:{name}")


def test_an_empty_name_is_refused_too():
    with pytest.raises(ValueError, match="does not exist"):
        model_path("")


def test_another_scheme_is_refused_with_an_example():
    assert not is_zoo_uri("hf://terse")
    with pytest.raises(ValueError, match="write for example 'zoo:terse'"):
        resolve("hf://terse")
