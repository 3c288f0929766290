"""The local backend with a real tiny model."""

from __future__ import annotations

from pathlib import Path

import pytest

from stillhouse.errors import RecipeError
from stillhouse.models.requests import ChatRequest
from stillhouse.recipe.teacher import OpenAITeacher as OpenAIConfig
from stillhouse.recipe.teacher import Sampling
from stillhouse.recipe.teacher import TransformersTeacher as Config
from stillhouse.teachers.base import open_teacher
from stillhouse.teachers.openai_teacher import OpenAITeacher
from stillhouse.teachers.transformers_teacher import TransformersTeacher

SAMPLING = Sampling(temperature=1.0, max_tokens=6)


def requests_of(count: int) -> list[ChatRequest]:
    return [ChatRequest(f"k{i}", ({"role": "user", "content": f"q{i}"},), i) for i in range(count)]


def test_replies_come_in_batches_of_the_configured_size(tiny_model: Path) -> None:
    teacher = TransformersTeacher(Config(name="t", model=str(tiny_model), batch_size=4))
    batches = list(teacher.generate(requests_of(10), SAMPLING))
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert {reply.key for batch in batches for reply in batch} == {f"k{i}" for i in range(10)}


def test_nothing_is_loaded_before_there_is_something_to_do(tiny_model: Path) -> None:
    teacher = TransformersTeacher(Config(name="t", model=str(tiny_model)))
    assert teacher.revision
    assert list(teacher.generate([], SAMPLING)) == []
    assert "loaded" not in vars(teacher)
    assert list(teacher.generate(requests_of(1), SAMPLING))
    assert "loaded" in vars(teacher)


def test_the_revision_is_the_recipes_or_else_the_contents(tiny_model: Path, other_tiny_model: Path) -> None:
    def revision(folder: Path, named: str = "") -> str:
        return TransformersTeacher(Config(name="t", model=str(folder), revision=named)).revision

    assert revision(tiny_model, "abc") == "abc"
    assert len(revision(tiny_model)) == 64
    assert revision(tiny_model) != revision(other_tiny_model)


def test_a_folder_without_weights_is_refused_when_the_teacher_is_opened(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(RecipeError, match="has no weights"):
        open_teacher(Config(name="t", model=str(tmp_path)))


def test_a_config_opens_its_backend(tiny_model: Path) -> None:
    assert isinstance(open_teacher(Config(name="t", model=str(tiny_model))), TransformersTeacher)
    remote = OpenAIConfig(name="r", model="m", endpoints=("http://127.0.0.1:9/v1",))
    assert isinstance(open_teacher(remote), OpenAITeacher)
