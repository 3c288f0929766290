"""Every shipped recipe loads, every field says what it is, and the schema loads in a blink."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import stillhouse.recipe
from stillhouse.recipe import Config
from stillhouse.recipe.check import check_recipe
from stillhouse.recipe.load import load_recipe

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "recipes").rglob("*.yaml"))
HEAVY = ["torch", "transformers", "mlflow", "vllm", "pyarrow", "pandas", "numpy", "kfp", "matplotlib", "minio"]


def _configs(cls: type[Config]) -> Iterator[type[Config]]:
    for child in cls.__subclasses__():
        if child.__module__.startswith("stillhouse."):
            yield child
            yield from _configs(child)


for _module in pkgutil.iter_modules(stillhouse.recipe.__path__):
    importlib.import_module(f"stillhouse.recipe.{_module.name}")
CONFIGS = sorted(set(_configs(Config)), key=lambda cls: (cls.__module__, cls.__name__))


def test_there_are_recipes_and_configs() -> None:
    assert "quickstart.yaml" in {path.name for path in RECIPES}
    assert len(CONFIGS) > 40


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_recipe_loads_and_can_work(path: Path) -> None:
    check_recipe(load_recipe(path, (), {}))


@pytest.mark.parametrize("cls", CONFIGS, ids=lambda cls: cls.__name__)
def test_every_config_and_every_field_says_what_it_is(cls: type[Config]) -> None:
    assert cls.__doc__
    assert cls.__doc__ != Config.__doc__
    # a variant's tag says what the class says
    silent = [name for name, field in cls.model_fields.items() if name != "type" and not field.description]
    assert silent == []


@pytest.mark.parametrize(
    "module",
    ["stillhouse.recipe", "stillhouse.recipe.load", "stillhouse.recipe.resolve", "stillhouse.recipe.estimate"],
)
def test_what_people_can_say_loads_no_heavy_library(module: str) -> None:
    code = f"import json, sys, {module}; print(json.dumps([name for name in {HEAVY} if name in sys.modules]))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert json.loads(done.stdout) == []
