"""What is told of model folders without loading them, and which folders are refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stillhouse.errors import RecipeError
from stillhouse.recipe import models
from stillhouse.recipe.models import (
    card_licence,
    check_folder,
    content_revision,
    describe,
    find_folder,
    parameter_count,
)
from stillhouse.recipe.sources import tokenizer_digest
from stillhouse.recipe.teacher import ModelRef

Folder = Callable[..., Path]


def test_a_folder_tells_revision_tokenizer_and_licence(model_folder: Folder) -> None:
    folder = model_folder("m", licence="mit")
    told = describe(ModelRef(model=str(folder)))
    assert told["licence"] == "mit"
    assert told["revision"] == content_revision(folder)
    assert told["tokenizer_digest"] == tokenizer_digest(folder) != ""
    assert len(told["revision"]) == 64


def test_a_licence_in_the_recipe_is_not_overruled_by_the_card(model_folder: Folder) -> None:
    assert describe(ModelRef(model=str(model_folder("m", licence="mit")), licence="x"))["licence"] == "x"


@pytest.mark.parametrize("change", ["weights", "config.json", "tokenizer.json", "chat_template.jinja"])
def test_the_revision_changes_with_everything_that_decides_what_the_model_says(
    model_folder: Folder, change: str
) -> None:
    folder, other = model_folder("a"), model_folder("b", weights=b"v" if change == "weights" else b"w")
    if change != "weights":
        assert content_revision(folder) == content_revision(other)
        (other / change).write_text('{"x": 1}')
    assert content_revision(folder) != content_revision(other)


def test_the_card_is_no_part_of_the_revision(model_folder: Folder) -> None:
    assert content_revision(model_folder("a", licence="mit")) == content_revision(model_folder("b"))


def test_a_revision_that_is_not_the_content_is_refused(model_folder: Folder) -> None:
    folder = model_folder("m")
    revision = content_revision(folder)
    assert describe(ModelRef(model=str(folder), revision=revision))["revision"] == revision
    with pytest.raises(RecipeError, match=r"revision = 'v1': the content of .* is " + revision[:12]):
        describe(ModelRef(model=str(folder), revision="v1"))


def test_large_folders_are_known_by_the_ends_of_their_files(
    model_folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "FULL_HASH_BELOW", 10)
    monkeypatch.setattr(models, "_END", 200)
    one = content_revision(model_folder("a", weights=b"a" * 300 + b"b" * 300 + b"c" * 300))
    middle = content_revision(model_folder("b", weights=b"a" * 300 + b"x" * 300 + b"c" * 300))
    end = content_revision(model_folder("c", weights=b"a" * 300 + b"b" * 300 + b"x" * 300))
    short = content_revision(model_folder("d", weights=b"a" * 300 + b"c" * 300))
    assert one == middle
    assert len({one, end, short}) == 3


def _drop(name: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).unlink()


def _index(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"w": "model-00002-of-00002.safetensors"}}')


def _gguf(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model.gguf")


BROKEN = [
    (shutil.rmtree, "no such folder"),
    (_drop("model.safetensors"), "the folder has no weights; put *.safetensors or pytorch_model*.bin there"),
    (_gguf, "a GGUF file must be converted first"),
    (_drop("config.json"), "the folder has no config.json"),
    (lambda folder: (folder / "model.safetensors").write_bytes(b""), "model.safetensors is empty"),
    (
        lambda folder: (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n"),
        "model.safetensors is a Git LFS pointer, not weights",
    ),
    (_index, "names model-00002-of-00002.safetensors, which is not there"),
    (lambda folder: (folder / "tokenizer.json").write_text("{}"), "is not a tokenizer"),
]


@pytest.mark.parametrize(("damage", "words"), BROKEN, ids=[words for _, words in BROKEN])
def test_a_folder_that_cannot_be_a_model_is_refused(
    model_folder: Folder, damage: Callable[[Path], Any], words: str
) -> None:
    folder = model_folder("m")
    damage(folder)
    with pytest.raises(RecipeError) as caught:
        describe(ModelRef(model=str(folder)))
    assert words in str(caught.value)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_name_like_the_hubs_is_told_how_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="for a model of the hub write hf://owner/name"):
        check_folder("owner/name", tmp_path / "owner" / "name")


@pytest.mark.parametrize(
    ("name", "words"),
    [("zoo:", "zoo"), ("s3://bucket/model", "use a folder, zoo:<name> or hf://<repository>")],
)
def test_other_addresses_are_refused(name: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        find_folder(ModelRef(model=name))


def test_zoo_models_are_found_where_the_zoo_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from stillhouse import zoo

    assert models.ZOO / "weights" == zoo.WEIGHTS
    monkeypatch.setattr(models, "ZOO", tmp_path)
    (tmp_path / "weights" / "terse").mkdir(parents=True)
    assert find_folder(ModelRef(model="zoo:terse")) == tmp_path / "weights" / "terse"
    with pytest.raises(RecipeError, match="did you mean terse"):
        find_folder(ModelRef(model="zoo:terze"))


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: apache-2.0\n---\n# x", "apache-2.0"),
        ("---\r\nlicense: mit\r\n---\r\n", "mit"),
        ("---\nlicense:\n- mit\n- apache-2.0\n---\n", "mit"),
        ("---\nlicense: other\nlicense_name: llama3\n---\n", "llama3"),
        ("---\nlicense: other\n---\n", "other"),
        ("---\ntags: [a]\n---\n", ""),
        ("---\n- a\n---\n", ""),
        ("# license: mit\n", ""),
        ("", ""),
    ],
)
def test_the_licence_is_read_from_the_front_matter(tmp_path: Path, card: str, licence: str) -> None:
    (tmp_path / "README.md").write_bytes(card.encode())
    assert card_licence(tmp_path) == licence


def test_a_folder_without_a_card_has_no_known_licence(tmp_path: Path) -> None:
    assert card_licence(tmp_path) == ""


def test_weights_are_counted_from_the_headers(model_folder: Folder) -> None:
    assert parameter_count(model_folder("m")) == 6


def test_the_weights_of_a_real_model_are_counted(tiny_model: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    assert parameter_count(tiny_model) == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("tree", "same"),
    [
        ({"model": {"vocab": {"b": 1, "a": 0}}}, True),
        ({"model": {"vocab": {"a": 0}}, "added_tokens": [{"id": 1, "content": "b", "special": True}]}, True),
        ({"model": {"vocab": {"a": 0, "b": 1}}, "added_tokens": [{"id": 1, "content": "b"}]}, True),
        ({"model": {"vocab": [["a", -1.0], ["b", -2.0]]}}, True),
        ({"model": {"vocab": {"a": 0, "b": 1}, "merges": ["a b"]}}, True),
        ({"model": {"vocab": {"a": 1, "b": 0}}}, False),
        ({"model": {"vocab": {"a": 0, "b": 1, "c": 2}}}, False),
        ({"model": {"vocab": {"a": 0, "b": 1}}, "added_tokens": [{"id": 2, "content": "<x>"}]}, False),
    ],
)
def test_tokenizers_agree_where_ids_mean_the_same_tokens(tmp_path: Path, tree: dict[str, Any], same: bool) -> None:
    for name, content in (("one", {"model": {"vocab": {"a": 0, "b": 1}}}), ("two", tree)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tokenizer.json").write_text(json.dumps(content))
    assert (tokenizer_digest(tmp_path / "one") == tokenizer_digest(tmp_path / "two")) is same


def test_two_saves_of_a_real_tokenizer_agree_and_another_one_differs(
    tiny_model: Path, other_tiny_model: Path, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(tmp_path)
    assert tokenizer_digest(tmp_path) == tokenizer_digest(tiny_model) != ""
    assert tokenizer_digest(other_tiny_model) != tokenizer_digest(tiny_model)


def test_a_folder_without_tokenizer_json_has_no_known_tokenizer(tmp_path: Path) -> None:
    assert tokenizer_digest(tmp_path) == ""


COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub_cache(model_folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache with owner/name at ``COMMIT``, its main branch."""
    from huggingface_hub import constants

    repository = tmp_path / "hub" / "models--owner--name"
    snapshot = model_folder(f"hub/models--owner--name/snapshots/{COMMIT}", licence="mit")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return snapshot


@pytest.mark.parametrize("revision", ["", "main", COMMIT])
def test_a_hub_model_in_the_local_cache_is_pinned_to_its_commit(hub_cache: Path, revision: str) -> None:
    told = describe(ModelRef(model="hf://owner/name", revision=revision))
    assert told == {"revision": COMMIT, "tokenizer_digest": tokenizer_digest(hub_cache), "licence": "mit"}


def test_a_hub_model_that_is_not_in_the_cache_stays_open(hub_cache: Path) -> None:
    assert describe(ModelRef(model="hf://owner/other")) == {}
    assert describe(ModelRef(model="hf://owner/name", revision="dev")) == {}


def test_a_name_that_the_hub_would_not_take_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"must be hf://<owner>/<name>"):
        describe(ModelRef(model="hf://a/b/c/d"))
