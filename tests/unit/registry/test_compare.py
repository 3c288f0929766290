"""Two students side by side."""

from __future__ import annotations

import pytest

from stillhouse.errors import RecipeError
from stillhouse.registry import compare
from stillhouse.workspace import Workspace

from .conftest import ITEMS, Make


def test_two_versions_are_compared_item_by_item(space: Workspace, make: Make) -> None:
    """Right on 36 and on 24 of the same 40 items: 12 / 40 apart."""
    make("a", after=36).register()
    make("b", after=24).register()
    row, tokens, truncated = compare("models:/sums/1", "models:/sums/2", space.root)
    assert (row["metric"], row["first"], row["second"], row["difference"]) == ("chain.avg_at_1", 0.9, 0.6, 0.3)
    assert 0.1 < row["low"] < 0.3 < row["high"] < 0.5
    assert row["items"] == 40
    assert (tokens["metric"], tokens["first"], tokens["difference"]) == ("chain.tokens_per_answer", 30.0, 0.0)
    assert truncated["second"] == 0.02


def test_base_is_the_untrained_student_of_the_other_side(space: Workspace, make: Make) -> None:
    make("a", before=4, after=36).register()
    assert compare("models:/sums/1", "base", space.root)[0]["difference"] == 0.8
    assert compare("base", "models:/sums/1", space.root)[0]["difference"] == -0.8
    with pytest.raises(RecipeError, match="name at least one model version"):
        compare("base", "base", space.root)


def test_versions_measured_on_other_items_get_no_interval(space: Workspace, make: Make) -> None:
    make("a").register()
    make("b", items=[key[::-1] for key in ITEMS]).register()
    row = compare("models:/sums/1", "models:/sums/2", space.root)[0]
    assert (row["difference"], row["low"], row["items"]) == (0.0, None, None)
