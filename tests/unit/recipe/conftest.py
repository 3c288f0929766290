"""A recipe small enough to read, as a file that tests may change."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from stillhouse.recipe import Recipe
from stillhouse.recipe.load import load_recipe

MINIMAL = """\
name: small
data: {problems: {type: zoo, families: {chain: 300}}, probe: 64}
teacher:
  candidates:
    - {type: transformers, name: good, model: ./teacher}
    - {type: openai, name: far, model: big, endpoints: ["http://localhost:1/v1"]}
student: {model: ./student}
evaluate:
  benchmarks:
    - {name: chain, samples: 4, problems: {type: zoo, split: eval, families: {chain: 64}}}
gate: {require: [{metric: chain, min_effect: 5}]}
register: {name: small-student}
"""


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(MINIMAL, encoding="utf-8")
    return path


@pytest.fixture
def make(recipe_file: Path) -> Callable[..., Recipe]:
    """``make("train.steps=3", …)``: the small recipe with these changes."""
    return lambda *changes: load_recipe(recipe_file, changes, {})


def write_model(folder: Path, *, vocabulary: Iterable[str] = "ab", licence: str = "", weights: bytes = b"w") -> Path:
    """Something that looks like a model folder from outside: a few bytes, no torch."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    header = json.dumps({"w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, len(weights)]}}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + weights)
    tokens = {token: index for index, token in enumerate(vocabulary)}
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": tokens}, "added_tokens": []}))
    if licence:
        (folder / "README.md").write_text(f"---\nlicense: {licence}\n---\n# A model\n")
    return folder


@pytest.fixture
def model_folder(tmp_path: Path) -> Callable[..., Path]:
    """``model_folder("name", vocabulary=…, licence=…, weights=…)``."""
    return lambda name, **parts: write_model(tmp_path / name, **parts)
