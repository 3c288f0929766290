"""Twin lists that must stay twins: recipe unions, import paths, catalogue, files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from stillhouse import plugins
from stillhouse.methods import UNIONS, catalogue, members

ROOT = Path(__file__).parents[2]


def test_every_kind_has_a_union_and_a_dict() -> None:
    assert set(UNIONS) == set(plugins.KINDS)


@pytest.mark.parametrize("kind", sorted(UNIONS))
def test_union_tags_equal_dict_keys(kind: str) -> None:
    assert set(members(kind)) == set(plugins.KINDS[kind])


@pytest.mark.parametrize("kind", sorted(UNIONS))
def test_every_plug_in_can_be_imported(kind: str) -> None:
    for cls in members(kind).values():
        tag = cls.model_fields["type"].default
        config = cls.model_construct(type=tag)
        assert isinstance(plugins.plugin_class(kind, config), type)


def test_every_card_names_a_recipe_and_a_proof_that_exist() -> None:
    rows = catalogue()
    assert rows
    for row in rows:
        assert (ROOT / row["recipe"]).is_file(), row["slug"]
        assert (ROOT / row["proof"]).is_file(), row["slug"]


HEAVY = ("torch", "vllm", "transformers", "mlflow", "kfp", "pandas", "matplotlib")


@pytest.mark.parametrize(
    "code",
    [
        "import stillhouse.recipe, stillhouse.recipe.load, stillhouse.methods",
        "import stillhouse.cli.app",
        "import stillhouse.generation, stillhouse.filtering, stillhouse.training, stillhouse.evaluation",
        "import stillhouse.selection, stillhouse.registry, stillhouse.report, stillhouse.entry, stillhouse.runs",
    ],
)
def test_importing_loads_nothing_heavy(code: str) -> None:
    program = f"import sys; {code}; print([name for name in {HEAVY!r} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
