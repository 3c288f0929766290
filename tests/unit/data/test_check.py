"""The problems of a recipe are read before anything starts, and what is wrong is said with the field's path."""

from __future__ import annotations

from pathlib import Path

import pytest

from stillhouse.data import check_data
from stillhouse.errors import RecipeError
from stillhouse.recipe import Recipe
from stillhouse.recipe.load import load_recipe

QUICKSTART = Path(__file__).parents[3] / "recipes" / "quickstart.yaml"


def quickstart(*changes: str) -> Recipe:
    return load_recipe(QUICKSTART, ("data.probe=4", *changes), {})


def test_the_quickstart_passes() -> None:
    check_data(quickstart("data.problems.families={chain: 8}"))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ("data.problems={path}", "data.problems"),
        ("evaluate.benchmarks.1.problems={path}", "evaluate.benchmarks.1.problems"),
    ],
)
def test_a_bad_file_is_named_with_its_field(tmp_path: Path, change: str, field: str) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text('{"prompt": "1+1", "answer": ""}\n')
    with pytest.raises(RecipeError, match=f"^{field}: .*mine.jsonl"):
        check_data(quickstart(change.format(path=path)))


def test_a_probe_that_takes_everything_is_refused_once_the_rows_are_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(f'{{"prompt": "1+{n}", "answer": "{n + 1}"}}\n' for n in range(4)))
    with pytest.raises(RecipeError, match=r"data\.probe = 4: must be smaller"):
        check_data(quickstart(f"data.problems={path}"))
