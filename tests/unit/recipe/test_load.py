"""File, environment, ``--set``; and what a wrong field gets to hear."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stillhouse.errors import RecipeError
from stillhouse.recipe import Recipe
from stillhouse.recipe.load import load_recipe

Make = Callable[..., Recipe]


def value_at(recipe: Any, path: str) -> Any:
    for part in path.split("."):
        recipe = recipe[int(part)] if part.isdigit() else getattr(recipe, part)
    return recipe


def test_layers_are_defaults_then_file_then_environment_then_set(recipe_file: Path) -> None:
    env = {"STILLHOUSE_SET_DATA__PROBE": "32", "STILLHOUSE_SET_SEED": "5", "OTHER": "x"}
    recipe = load_recipe(recipe_file, ["seed=6", "seed=7"], env)
    assert (recipe.train.learning_rate, recipe.data.probe, recipe.seed, recipe.name) == (1e-5, 32, 7, "small")


def test_the_processes_environment_counts_unless_another_is_given(
    recipe_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STILLHOUSE_SET_SEED", "99")
    assert load_recipe(recipe_file).seed == 99
    assert load_recipe(recipe_file, (), {}).seed == 17


@pytest.mark.parametrize(
    ("change", "path", "value"),
    [
        ("train.learning_rate=1e-4", "train.learning_rate", 1e-4),
        ("train.steps=12", "train.steps", 12),
        ("train.steps=null", "train.steps", None),
        ("teacher.candidates.0.name=other", "teacher.candidates.0.name", "other"),
        (
            "teacher.candidates.1.endpoints=[http://a/v1, http://b/v1]",
            "teacher.candidates.1.endpoints.1",
            "http://b/v1",
        ),
        ("data.problems.families.chain=500", "data.problems.families", {"chain": 500}),
        ("data.problems=/x/mine.jsonl", "data.problems.path", "/x/mine.jsonl"),
        ("data.problems={path: /x/a.csv}", "data.problems.type", "file"),
        ("evaluate.benchmarks.0.problems=/x/b.jsonl", "evaluate.benchmarks.0.problems.path", "/x/b.jsonl"),
        ("filter.select.4.max_tokens=100", "filter.select.4.max_tokens", 100),
        ("filter.select.7.against=[/x/c.jsonl]", "filter.select.7.against.0.path", "/x/c.jsonl"),
        ("gate.limits.truncation_rate=.1", "gate.limits.truncation_rate", 0.1),
        ("train.objective.type=kl", "train.objective.beta", 0.0),
        ("train.control.builder.type=answer_only", "train.control.builder.type", "answer_only"),
        ("traces.prompter.system='Be brief: yes'", "traces.prompter.system", "Be brief: yes"),
        ("traces.prompter.template='a = {prompt}'", "traces.prompter.template", "a = {prompt}"),
        ("register.name=b", "register_.name", "b"),
        ("student.revision='1234567'", "student.revision", "1234567"),
    ],
)
def test_one_field_can_be_set(make: Make, change: str, path: str, value: Any) -> None:
    assert value_at(make(change), path) == value


def test_the_environment_reaches_lists_too(recipe_file: Path) -> None:
    env = {"STILLHOUSE_SET_TEACHER__CANDIDATES__1__TIMEOUT_S": "5", "stillhouse_set_train__steps": "3"}
    recipe = load_recipe(recipe_file, (), env)
    assert recipe.teacher.candidates[1].timeout_s == 5.0  # type: ignore[union-attr]
    assert recipe.train.steps == 3


REFUSALS = [
    ("train.lerning_rate=1", "train.lerning_rate = 1: no such key; did you mean learning_rate?"),
    ("learning_rate=1", "learning_rate = 1: no such key; did you mean train.learning_rate?"),
    ("bogus.a=1", "bogus = {'a': 1}: no such key; known: cluster, data, evaluate, filter, gate"),
    ("teacher.candidates.0.modell=x", "0.modell = 'x': no such key of type transformers; did you mean model?"),
    ("train.tuning.rank=4", "train.tuning.rank = 4: no such key of type full"),
    ("train.objective.type=klx", "type = 'klx': no such type; did you mean kl? (one of custom, kl, sft)"),
    ("train.objective.type=zzz", "train.objective.type = 'zzz': no such type; choose one of custom, kl, sft"),
    ("train.objective=kl", "train.objective = 'kl': must be a mapping with a type, such as {type: kl}"),
    ("train.tuning={rank: 3}", "train.tuning.type: is missing; choose one of full, lora"),
    ("filter.select.0=verified", "filter.select.0 = 'verified': must be a mapping with a type, such as {type: v"),
    ("train.schedule=cosin", "train.schedule = 'cosin': did you mean cosine? (one of cosine, linear, constant)"),
    ("train.steps=many", "train.steps = 'many': must be a whole number"),
    ("train.steps=1.5", "train.steps = 1.5: must be a whole number"),
    ("train.steps=true", "train.steps = true: must be a number, not a switch"),
    ("train.learning_rate=fast", "train.learning_rate = 'fast': must be a number"),
    ("train.learning_rate=0", "train.learning_rate = 0: must be greater than 0.0 (peak learning rate of AdamW)"),
    ("train.learning_rate=.nan", "train.learning_rate = nan: must be a finite number"),
    ("train.learning_rate=.inf", "train.learning_rate = inf: must be a finite number"),
    ("teacher.select.none_if_gain_below=.nan", "teacher.select.none_if_gain_below = nan: must be a finite number"),
    ("data.max_bad_share=2", "data.max_bad_share = 2: must be at most 1.0"),
    ("evaluate.confidence=1", "evaluate.confidence = 1: must be less than 1.0"),
    ("name=My Run", "name = 'My Run': must match ^[a-z0-9][a-z0-9-]*$ (name of the MLflow experiment"),
    ("name=null", "name = null: must be text; put it in quotes"),
    ("student.revision=1234567", "student.revision = 1234567: must be text; put it in quotes"),
    ("student={}", "student.model: is missing; it is a folder, zoo:<name> or hf://<repository>"),
    ("teacher=null", "teacher = null: must be a mapping (candidates and the choice among them)"),
    ("teacher.candidates=[]", "teacher.candidates = []: needs at least 1 entry"),
    ("teacher.candidates={}", "teacher.candidates = {}: must be a list"),
    ("evaluate.teacher=maybe", "evaluate.teacher = 'maybe': must be true or false"),
    ("data.problems.families.chian=3", "data.problems.families.chian = 'chian': did you mean chain?"),
    ("data.problems.families.swap=0", "data.problems.families.swap = 0: must be at least 1"),
    ("data.problems=7", "data.problems = 7: must be a mapping with a type"),
    ("train.objective={type: custom, import_path: nope}", "train.objective.import_path = 'nope': must match"),
    ("teacher.candidates.5.name=x", "5.name: teacher.candidates is a list; '5' should be an index from 0 to 1"),
    ("teacher.candidates.first.name=x", "'first' should be an index from 0 to 1"),
    ("seed.x=1", "--set seed.x: seed = 17 has no parts"),
    ("name.x=1", "--set name.x: name = 'small' has no parts"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "words"), REFUSALS, ids=[change for change, _ in REFUSALS])
def test_a_wrong_field_is_named_with_its_value_and_what_would_be_right(
    make: Make, recipe_file: Path, change: str, words: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        make(change)
    text = str(caught.value)
    assert text.startswith(f"{recipe_file}: ")
    assert words in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("train", "--set train: must be PATH=VALUE, such as train.learning_rate=1e-4"),
        ("=3", "--set =3: must be PATH=VALUE"),
        ("a..b=3", "must be PATH=VALUE"),
        ("train.steps=[1", "--set train.steps: line 1, column 3: not valid YAML"),
    ],
)
def test_a_malformed_set_is_refused(make: Make, change: str, words: str) -> None:
    with pytest.raises(RecipeError) as caught:
        make(change)
    assert words in str(caught.value)


def test_a_malformed_environment_name_is_refused(recipe_file: Path) -> None:
    with pytest.raises(RecipeError, match="STILLHOUSE_SET_TRAIN__: names no field"):
        load_recipe(recipe_file, (), {"STILLHOUSE_SET_TRAIN__": "1"})


def test_all_wrong_fields_come_in_one_error_a_line_each(make: Make, recipe_file: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        make("seed=-1", "train.learning_rate=x", "train.lerning_rate=1", "evaluate.benchmarks.0.role=ood")
    head, *lines = str(caught.value).split("\n")
    assert head == f"{recipe_file}: 4 problems"
    assert [line.strip().partition(" = ")[0] for line in lines] == [
        "seed", "train.learning_rate", "train.lerning_rate", "evaluate.benchmarks.0.role",
    ]  # fmt: skip


def test_every_missing_section_is_told(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("seed: 1\n")
    with pytest.raises(RecipeError) as caught:
        load_recipe(tmp_path / "r.yaml", (), {})
    missing = [line.strip().partition(":")[0] for line in str(caught.value).split("\n")[1:]]
    assert missing == ["name", "data", "teacher", "student", "evaluate", "gate", "register"]


def test_paths_of_the_file_start_at_the_file_and_those_of_set_at_the_current_folder(
    tmp_path: Path, recipe_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "named").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    text = recipe_file.read_text().replace("{type: zoo, families: {chain: 300}}", "../d/a.jsonl")
    recipe_file.write_text(text.replace("model: ./student", "model: named"))
    recipe = load_recipe(recipe_file, ["evaluate.benchmarks.0.problems=b.jsonl"], {})
    assert recipe.data.problems.path == str(tmp_path.parent / "d" / "a.jsonl")  # type: ignore[union-attr]
    assert recipe.evaluate.benchmarks[0].problems.path == str(tmp_path / "here" / "b.jsonl")  # type: ignore[union-attr]
    assert recipe.student.model == str(tmp_path / "named")
    assert recipe.teacher.candidates[0].model == str(tmp_path / "teacher")  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["zoo:base", "hf://owner/name", "owner/name", "s3://b/model"])
def test_names_of_models_that_are_no_paths_stay_as_they_are(make: Make, name: str) -> None:
    assert make(f"student.model={name}").student.model == name


def test_the_name_of_a_served_model_is_never_a_path(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "big").mkdir()
    monkeypatch.chdir(tmp_path)
    assert make().teacher.candidates[1].model == "big"  # type: ignore[union-attr]


def test_uris_of_problems_stay_as_they_are(make: Make) -> None:
    assert make("data.problems=s3://bucket/key.jsonl").data.problems.path == "s3://bucket/key.jsonl"  # type: ignore[union-attr]


def test_a_resolved_json_recipe_loads_like_the_yaml_that_it_came_from(make: Make, tmp_path: Path) -> None:
    recipe = make("train.learning_rate=1e-4")
    (tmp_path / "recipe.json").write_text(json.dumps(recipe.model_dump(mode="json", by_alias=True)))
    assert load_recipe(tmp_path / "recipe.json", (), {}) == recipe
