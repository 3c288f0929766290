"""The error tree and its exit codes."""

from __future__ import annotations

import pytest

from stillhouse.errors import BudgetExhausted, RecipeError, StillhouseError, TransientError, nearest


@pytest.mark.parametrize(
    ("error", "code"), [(StillhouseError, 1), (RecipeError, 2), (TransientError, 75), (BudgetExhausted, 0)]
)
def test_each_branch_has_its_exit_code(error: type[StillhouseError], code: int) -> None:
    assert error("x").exit_code == code
    assert issubclass(error, StillhouseError)


@pytest.mark.parametrize(
    ("name", "known", "words"),
    [
        ("lerning_rate", ["learning_rate", "seed"], "did you mean learning_rate?"),
        ("zzz", ["b", "a", "a"], "known: a, b"),
        ("x", [], "nothing is known here"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest_known_one(name: str, known: list[str], words: str) -> None:
    assert nearest(name, known) == words
