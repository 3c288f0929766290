"""Impossible combinations, each refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from stillhouse.errors import RecipeError
from stillhouse.recipe import Recipe
from stillhouse.recipe.check import check_recipe
from stillhouse.recipe.imports import find_custom

Make = Callable[..., Recipe]
ONE_LOCAL = "teacher.candidates=[{type: transformers, name: good, model: ./t}]"
CHAIN = "{name: chain, problems: {type: zoo, split: eval}}"
TWO_BENCHMARKS = f"evaluate.benchmarks=[{CHAIN}, {CHAIN}]"
KL = "train.objective={type: kl}"


def lines(recipe: Recipe) -> list[str]:
    try:
        check_recipe(recipe)
    except RecipeError as error:
        head, *rest = str(error).split("\n")
        return [line.strip() for line in rest] or [head.removeprefix(f"recipe {recipe.name}: ")]
    return []


CASES = [
    ([KL], "'kl': needs the teacher's logits, but teacher.candidates.1 (far) is of type 'openai', a black box"),
    (
        [KL, ONE_LOCAL, "teacher.candidates.0.tokenizer_digest=aaa", "student.tokenizer_digest=bbb"],
        "'kl': compares logits token by token, but teacher.candidates.0 (good) has another tokenizer",
    ),
    (["gate.require.0.metric=chian"], "gate.require.0.metric = 'chian': no such benchmark; did you mean chain?"),
    (["gate.require.0.metric=chian.avg_at_4"], "gate.require.0.metric = 'chian.avg_at_4': no such benchmark"),
    (["gate.require.0.metric=chain.avg_at_8"], "chain has samples = 4; write 'chain.avg_at_4' or change the samples"),
    (["gate.require.0.metric=chain.mean"], "must be 'chain' or 'chain.avg_at_4'"),
    (["gate.non_inferior=[{metric: x, margin: 1}]"], "non_inferior.0.metric = 'x': no such benchmark; known: chain"),
    (["teacher.candidates.1.name=good"], "teacher.candidates: the name 'good' stands there 2 times"),
    ([TWO_BENCHMARKS], "evaluate.benchmarks: the name 'chain' stands there 2 times"),
    (["evaluate.benchmarks.0.problems.split=train"], "benchmarks.0.problems (chain): split = 'train' is for training"),
    (["data.problems.split=eval"], "split = 'eval' of chain is also in data.problems"),
    (["data.problems=/x/a.jsonl", "evaluate.benchmarks.0.problems=/x/a.jsonl"], "is also data.problems.path"),
    (
        [
            "data.problems={path: /x/a.jsonl, digest: d1}",
            "evaluate.benchmarks.0.problems={path: /x/copy.jsonl, digest: d1}",
        ],
        "/x/copy.jsonl has the same content as data.problems, /x/a.jsonl",
    ),
    (["teacher.select.key=pilot_gain"], "teacher.select.key = 'pilot_gain': needs teacher.select.pilot"),
    (["data.probe=300"], "data.probe = 300: must be smaller than the number of problems, 300"),
    (["filter.annotate=[{type: text_stats}]"], "filter.select.3.type = 'verified': needs the annotator math_verify"),
    (["filter.annotate=[{type: math_verify}]"], "filter.select.5.type = 'repetition': needs the annotator text_stats"),
    (["filter.select=[{type: length, min_tokens: 9, max_tokens: 3}]"], "min_tokens = 9: must not exceed max_tokens, 3"),
    (
        ["gate.licences=[mit]", "teacher.candidates.0.licence=cc-by-nc-4.0"],
        "teacher.candidates.0.licence = 'cc-by-nc-4.0': gate.licences allows only mit",
    ),
    (["gate.licences=[mit]", "student.licence=other"], "student.licence = 'other': gate.licences allows only mit"),
    (
        ["train.objective={type: custom, import_path: 'no_such_package.sub:Thing'}"],
        "train.objective.import_path = 'no_such_package.sub:Thing': no module no_such_package.sub",
    ),
    (
        ["teacher.candidates.1={type: custom, import_path: 'nope:Thing'}"],
        "teacher.candidates.1.import_path = 'nope:Thing': no module nope",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "words"), CASES, ids=[words[:60] for _, words in CASES])
def test_what_cannot_work_is_refused_in_one_line(make: Make, changes: list[str], words: str) -> None:
    (line,) = lines(make(*changes))
    assert words in line


FINE = [
    [],
    [KL, ONE_LOCAL],
    [KL, ONE_LOCAL, "teacher.candidates.0.tokenizer_digest=aaa"],
    [KL, ONE_LOCAL, "teacher.candidates.0.tokenizer_digest=aaa", "student.tokenizer_digest=aaa"],
    ["teacher.candidates.0.tokenizer_digest=aaa", "student.tokenizer_digest=bbb"],
    [KL, "teacher.candidates=[{type: custom, import_path: 'json:JSONDecoder'}]"],
    ["train.objective={type: custom, import_path: 'json:JSONDecoder'}"],
    ["gate.require.0.metric=chain.avg_at_4"],
    ["evaluate.benchmarks.0.problems.split=train", "evaluate.benchmarks.0.role=retention", "data.problems.split=probe"],
    ["data.problems.split=eval", "data.problems.families={swap: 300}"],
    ["teacher.select.key=pilot_gain", "teacher.select.pilot={steps: 3}"],
    ["data.probe=299"],
    ["filter.annotate=[{type: custom, import_path: 'json:JSONDecoder'}]"],
    ["filter.annotate=[]", "filter.select=[{type: answered}]"],
    ["gate.licences=[Apache-2.0]", "teacher.candidates.0.licence=apache-2.0"],
    ["data.problems=/x/not-here-yet.jsonl"],
]


@pytest.mark.parametrize("changes", FINE, ids=str)
def test_what_can_work_passes(make: Make, changes: list[str]) -> None:
    assert lines(make(*changes)) == []


def test_the_probe_is_compared_with_the_rows_of_a_file(make: Make, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("{}\n\n" * 10)
    recipe = make(f"data.problems={tmp_path / 'a.jsonl'}", "data.probe=10")
    assert lines(recipe) == ["data.probe = 10: must be smaller than the number of problems, 10"]
    assert lines(make(f"data.problems={tmp_path / 'a.jsonl'}", "data.probe=9")) == []
    assert lines(make(f"data.problems={{path: {tmp_path / 'a.jsonl'}, limit: 5}}", "data.probe=9")) != []


def test_everything_is_told_at_once(make: Make) -> None:
    found = lines(make(KL, "gate.require.0.metric=x", "data.probe=500", "teacher.select.key=pilot_gain"))
    assert [line.partition(" ")[0] for line in found] == [
        "train.objective.type", "gate.require.0.metric", "teacher.select.key", "data.probe",
    ]  # fmt: skip


def test_custom_plugins_are_found_wherever_they_stand(make: Make) -> None:
    custom = "{type: custom, import_path: 'a:B'}"
    places = [
        "teacher.candidates.1", "traces.prompter", "filter.annotate.0", "filter.select.2", "train.objective",
        "train.builder", "train.control.builder", "evaluate.prompter",
    ]  # fmt: skip
    recipe = make(*(f"{place}={custom}" for place in places))
    assert sorted(path for path, _ in find_custom(recipe)) == sorted(places)
