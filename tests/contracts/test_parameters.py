"""Stage configs survive the way through KFP's parameters, where null is unknown and numbers are floats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest

from stillhouse.recipe import Config
from stillhouse.recipe.load import load_recipe
from stillhouse.recipe.parameters import from_parameters, to_parameters
from stillhouse.recipe.stages import stage_configs

RECIPES = sorted((Path(__file__).parents[2] / "recipes").rglob("*.yaml"))


def _as_struct(value: Any) -> Any:
    """What a protobuf Struct makes of a JSON value."""
    if isinstance(value, dict):
        return {key: _as_struct(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_struct(item) for item in value]
    assert value is not None
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_configs_come_back_equal(path: Path) -> None:
    configs = stage_configs(load_recipe(path))
    parameters = _as_struct(json.loads(json.dumps(to_parameters(configs))))
    assert from_parameters(parameters) == configs


def test_a_field_that_may_be_null_is_null_by_default_so_that_leaving_it_out_means_null() -> None:
    def subclasses(cls: type) -> set[type]:
        return {cls, *(item for child in cls.__subclasses__() for item in subclasses(child))}

    optional = [
        (cls.__name__, name, field.default)
        for cls in subclasses(Config)
        for name, field in getattr(cls, "model_fields", {}).items()
        if type(None) in get_args(field.annotation)
    ]
    assert optional
    assert [item for item in optional if item[2] is not None] == []
