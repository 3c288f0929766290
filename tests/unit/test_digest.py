"""Digests that survive KFP's protobuf structs, file orders and moves."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from stillhouse.digest import canonical_json, sha256_file, sha256_files, sha256_json, sha256_text, sha256_tree


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (4, 4.0),
        ({"a": 1, "b": [2.0, (3.0,)]}, {"b": [2, [3]], "a": 1.0}),
        (-0.0, 0),
        (1e20, 100000000000000000000),
        ({1: "a"}, {"1": "a"}),
    ],
)
def test_equal_values_hash_alike(one: object, other: object) -> None:
    assert sha256_json(one) == sha256_json(other)


@pytest.mark.parametrize(
    ("one", "other"), [(4, 4.5), (True, 1), ("4", 4), (None, 0), ([1, 2], [2, 1]), ({"a": None}, {}), (0.1, 0.2)]
)
def test_different_values_do_not(one: object, other: object) -> None:
    assert sha256_json(one) != sha256_json(other)


def test_canonical_json_is_compact_sorted_and_keeps_letters() -> None:
    assert canonical_json({"b": 1.0, "a": ["é", True, 0.5]}) == '{"a":["é",true,0.5],"b":1}'


def test_text_is_hashed_as_utf8_and_half_surrogates_do_not_fail() -> None:
    assert sha256_text("é") == hashlib.sha256(b"\xc3\xa9").hexdigest()
    assert sha256_text("\ud83d") == hashlib.sha256(b"\xed\xa0\xbd").hexdigest()


def test_a_file_is_hashed_whole(tmp_path: Path) -> None:
    content = b"x" * ((1 << 20) + 1)
    (tmp_path / "a").write_bytes(content)
    assert sha256_file(tmp_path / "a") == hashlib.sha256(content).hexdigest()


def test_a_folder_hashes_alike_wherever_it_lies_and_not_after_a_rename(tmp_path: Path) -> None:
    for root in (tmp_path / "one", tmp_path / "two"):
        (root / "sub").mkdir(parents=True)
        (root / "sub" / "b").write_text("2")
        (root / "a").write_text("1")
    one, two = tmp_path / "one", tmp_path / "two"
    assert sha256_tree(one) == sha256_tree(two)
    assert sha256_files([one / "sub" / "b", one / "a"], one) == sha256_tree(one)
    (two / "a").rename(two / "c")
    assert sha256_tree(one) != sha256_tree(two)
