"""YAML 1.2 scalars, and the place of whatever is wrong with a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stillhouse.errors import RecipeError
from stillhouse.recipe.document import parse_yaml, read_mapping


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E5", 1e5),
        ("-1.5e+3", -1500.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("1_000", 1000),
        ("0x1f", 31),
        ("-3", -3),
        ("017", "017"),
        ("true", True),
        ("False", False),
        ("no", "no"),
        ("on", "on"),
        ("2026-01-01", "2026-01-01"),
        ("12:30", "12:30"),
        ("'1e3'", "1e3"),
        ("null", None),
        ("~", None),
        ("", None),
        ("[1, {a: b}]", [1, {"a": "b"}]),
    ],
)
def test_scalars_are_what_people_expect(text: str, value: Any) -> None:
    found = parse_yaml(text, "here")
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 2\na: 3", "line 3, column 1: not valid YAML: the key 'a' stands here a second time"),
        ("x:\n  a: 1\n  'a': 2", "line 3, column 3: not valid YAML: the key 'a' stands"),
        ("a: b: c", "line 1, column 5: not valid YAML: mapping values are not allowed here"),
        ("a: [1", "line 1, column 6: not valid YAML"),
        ("\ta: 1", "line 1, column 1: not valid YAML"),
        ("a: !secret 1", "line 1, column 4: not valid YAML: could not determine a constructor"),
        ("a: 1\n---\nb: 2", "line 2, column 1: not valid YAML: expected a single document"),
        ("a: *nope", "undefined alias 'nope'"),
        ("a: &x [*x]", "an anchor contains itself"),
        ("a: \x01", "unacceptable character"),
    ],
)
def test_what_is_no_yaml_is_refused_with_its_place(text: str, words: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_yaml(text, "here")
    assert str(caught.value).startswith("here: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_anchors_are_written_out_and_merge_keys_may_be_overridden() -> None:
    tree = parse_yaml("a: &x {k: [1]}\nb: *x\nc: {<<: *x, m: 2}", "here")
    tree["a"]["k"].append(2)
    assert tree == {"a": {"k": [1, 2]}, "b": {"k": [1]}, "c": {"k": [1], "m": 2}}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"# only a comment\n", "is empty"),
        (b"- a\n", "holds a list; a recipe is a mapping"),
        (b"name\n", "holds a str; a recipe is a mapping"),
        (b"name: a\nseed: \xff\n", "line 2: not valid UTF-8 (byte 0xff at offset 14)"),
    ],
)
def test_a_file_that_holds_no_recipe_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "r.yaml").write_bytes(content)
    with pytest.raises(RecipeError) as caught:
        read_mapping(tmp_path / "r.yaml")
    assert str(caught.value).startswith(f"{tmp_path / 'r.yaml'}: {words}")


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"nope\.yaml: no such file"):
        read_mapping(tmp_path / "nope.yaml")
    with pytest.raises(RecipeError, match="is a folder"):
        read_mapping(tmp_path)


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_bytes(b"\xef\xbb\xbfname: a\n")
    assert read_mapping(tmp_path / "r.yaml") == {"name": "a"}
