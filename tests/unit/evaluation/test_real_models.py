"""The stage with real tiny models: plumbing, content identity, and numbers in their ranges."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stillhouse.errors import RecipeError
from stillhouse.evaluation import evaluate_student, score_model
from stillhouse.recipe.teacher import ModelRef


@pytest.fixture
def config(make_config: Callable[..., dict[str, Any]], tiny_model: Path) -> dict[str, Any]:
    made = make_config(samples=2, sampling={"temperature": 1.0, "max_tokens": 6}, batch_size=5)
    return {**made, "student": {"model": str(tiny_model)}}


@pytest.fixture
def trained(artifacts: dict[str, Path], tiny_model: Path, other_tiny_model: Path) -> dict[str, Path]:
    for name, source in (("model", other_tiny_model), ("control", tiny_model)):
        shutil.copytree(source, artifacts["model"] / name, dirs_exist_ok=True)
    teacher = {"type": "transformers", "name": "tiny", "model": str(tiny_model)}
    (artifacts["teacher"] / "teacher.json").write_text(json.dumps({"teacher": teacher}))
    return artifacts


def test_real_models_are_measured_in_every_arm(
    config: dict[str, Any], trained: dict[str, Path], tmp_path: Path
) -> None:
    summary = evaluate_student(config, output=tmp_path / "out", workspace=tmp_path / "w", **trained)
    rows = {row["arm"]: row for row in summary.details["results"]}
    assert set(rows) == {"before", "after", "control", "teacher"}
    # The control and the teacher have the weights of the untrained student here: same items, same seeds, same words.
    same = [
        {key: value for key, value in rows[arm].items() if key != "arm"} for arm in ("before", "control", "teacher")
    ]
    assert same[0] == same[1] == same[2]
    assert 0 < rows["after"]["tokens_per_answer"] <= 6
    lines = [json.loads(line) for line in (tmp_path / "out" / "samples.jsonl").read_text().splitlines()]
    assert len(lines) == 4 * 8 * 2
    assert {line["reply"] for line in lines if line["arm"] == "before"} != {
        line["reply"] for line in lines if line["arm"] == "after"
    }


def test_a_champion_with_known_content_is_not_loaded_again(
    config: dict[str, Any], trained: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate_student(config, output=tmp_path / "out", workspace=tmp_path / "w", **trained)
    copy = tmp_path / "elsewhere"
    shutil.copytree(trained["model"] / "model", copy)

    def never(*_args: object, **_options: object) -> None:
        raise AssertionError("its replies are known")

    monkeypatch.setattr("stillhouse.models.loading.load", never)
    table = score_model(ModelRef(model=str(copy)), config, tmp_path / "w")
    own = json.loads((tmp_path / "out" / "scores.json").read_text())["sums"]["items"]
    assert {key: item["champion"] for key, item in table["sums"]["items"].items()} == {
        key: item["after"] for key, item in own.items()
    }


def test_a_model_without_weights_is_refused_before_anything_is_asked(
    config: dict[str, Any], trained: dict[str, Path], tmp_path: Path
) -> None:
    (trained["model"] / "control" / "model.safetensors").unlink()
    with pytest.raises(RecipeError, match="has no weights"):
        evaluate_student(config, output=tmp_path / "out", workspace=tmp_path / "w", **trained)
    assert not (tmp_path / "w" / "replies").exists()


def test_prompts_longer_than_the_context_are_the_users_to_mend(
    config: dict[str, Any], trained: dict[str, Path], tmp_path: Path, problems: Path
) -> None:
    problems.write_text(json.dumps({"prompt": "7" * 300, "answer": "7"}) + "\n")
    with pytest.raises(RecipeError, match="leaves no room in a context of 256"):
        evaluate_student(config, output=tmp_path / "out", workspace=tmp_path / "w", **trained)
