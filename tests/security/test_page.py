"""The security page is held to what it says: files, tests, settings and Secrets that it names exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stillhouse.recipe.cluster import Secrets

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
PLACES = sorted(set(re.findall(r"`((?:src|tests|operators|charts|scripts|docs)/[\w./-]+)`", TEXT)))
CONTROLS = [line for line in TEXT.partition("## Controls")[2].partition("## ")[0].splitlines() if line.startswith("| ")]


def test_it_names_its_places() -> None:
    assert len(PLACES) > 25
    assert len(CONTROLS) > 14


@pytest.mark.parametrize("place", PLACES)
def test_every_place_that_it_names_is_there(place: str) -> None:
    assert (ROOT / place).exists()


def test_every_control_names_a_test_that_proves_it() -> None:
    assert [line[:60] for line in CONTROLS[1:] if "tests/" not in line.split("|")[3]] == []


def test_every_test_of_this_folder_is_named_there() -> None:
    files = {path.name for path in Path(__file__).parent.glob("test_*.py")} - {Path(__file__).name}
    assert len(files) >= 8
    assert [name for name in sorted(files) if f"tests/security/{name}" not in TEXT] == []


def test_every_secret_of_a_recipe_is_listed() -> None:
    table = TEXT.partition("## Secrets")[2].partition("## ")[0]
    for name, field in Secrets.model_fields.items():
        known = (
            f"`{field.default}`" if field.default and isinstance(field.default, str) else f"`cluster.secrets.{name}`"
        )
        assert known in table, name


def test_it_is_short_and_says_how_to_report() -> None:
    assert len(TEXT.splitlines()) <= 130
    assert "Report a vulnerability" in TEXT
    assert "## Not protected" in TEXT
