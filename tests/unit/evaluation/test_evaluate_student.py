"""The stage with scripted models: which number is which, what is asked once, what survives a kill."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stillhouse.errors import RecipeError, TransientError
from stillhouse.evaluation import evaluate_student, score_model
from stillhouse.recipe.teacher import ModelRef
from stillhouse.summary import StageSummary

Make = Callable[..., dict[str, Any]]


def right_below(limit: int) -> Callable[[int, int], str]:
    return lambda number, _sample: str(number) if number < limit else "999"


@pytest.fixture
def scripts(script: type, scripted_models: Callable[..., None]) -> dict[str, Any]:
    """Of eight items: before 1 right, after 6, control 2, teacher 8."""
    found = {
        "before": script(right_below(1)),
        "after": script(right_below(6), tokens=20),
        "control": script(right_below(2), tokens=5),
        "teacher": script(right_below(8), tokens=30),
    }
    scripted_models(**found)
    return found


@pytest.fixture
def evaluate(tmp_path: Path, artifacts: dict[str, Path]) -> Callable[..., StageSummary]:
    def call(config: dict[str, Any], **changes: Any) -> StageSummary:
        folders = {"output": tmp_path / "out", "workspace": tmp_path / "workspace", **artifacts, **changes}
        return evaluate_student(config, **folders)

    return call


def test_every_arm_is_measured_on_the_same_items(
    scripts: dict[str, Any], evaluate: Callable[..., StageSummary], make_config: Make, tmp_path: Path
) -> None:
    summary = evaluate(make_config())
    rows = {row["arm"]: row for row in summary.details["results"]}
    assert summary.details["arms"] == ["before", "after", "control", "teacher"]
    assert {arm: row["avg_at_k"] for arm, row in rows.items()} == {
        "before": 0.125, "after": 0.75, "control": 0.25, "teacher": 1.0,
    }  # fmt: skip
    assert {row["n"] for row in rows.values()} == {8}
    assert len({tuple(sorted(one.asked)) for one in scripts.values()}) == 1
    table = json.loads((tmp_path / "out" / "scores.json").read_text())["sums"]
    assert table["k"] == 1
    assert len(table["items"]) == 8
    assert sorted(table["items"].popitem()[1]) == ["after", "before", "control", "teacher"]


def test_metrics_have_the_names_that_gates_and_mlflow_read(
    scripts: dict[str, Any], evaluate: Callable[..., StageSummary], make_config: Make, tracker: Any
) -> None:
    summary = evaluate(make_config(samples=2))
    assert summary.metrics == {
        "sums.avg_at_2": 0.75,
        "sums.before": 0.125,
        "sums.control": 0.25,
        "sums.teacher": 1.0,
        # Item means are six 1 and two 0: s² = 1.5/7, standard error sqrt(1.5/7/8).
        "sums.stderr": pytest.approx(0.163663, abs=1e-6),
        "sums.truncation_rate": 0.0,
        "sums.tokens_per_answer": 20.0,
    }
    assert summary.cost == {"teacher_tokens": 8 * 2 * 30, "teacher_requests": 16}
    assert summary.headline.startswith("sums 12.5 → 75.0 % [")
    assert tracker.datasets == [("sums", "evaluation")]


def test_the_trained_student_is_compared_with_every_other_arm(
    scripts: dict[str, Any], evaluate: Callable[..., StageSummary], make_config: Make
) -> None:
    rows = evaluate(make_config()).details["comparisons"]
    assert {row["against"]: row["difference"] for row in rows} == {"before": 0.625, "control": 0.5, "teacher": -0.25}
    assert all(row["interval"][0] <= row["difference"] <= row["interval"][1] for row in rows)
    assert {row["arm"] for row in rows} == {"after"}


def test_samples_show_what_was_learned_and_what_was_not(
    scripts: dict[str, Any], evaluate: Callable[..., StageSummary], make_config: Make, tmp_path: Path
) -> None:
    summary = evaluate(make_config())
    verdicts = [
        (one["replies"]["before"]["correct"], one["replies"]["after"]["correct"]) for one in summary.details["samples"]
    ]
    assert verdicts == [(False, True), (False, False), (True, True), (False, True)]
    lines = [json.loads(line) for line in (tmp_path / "out" / "samples.jsonl").read_text().splitlines()]
    assert len(lines) == 4 * 8
    assert lines[0]["reply"] == "<think>thinking</think>\\boxed{0}"


def test_truncated_replies_are_wrong_and_counted(
    script: type, scripted_models: Callable[..., None], evaluate: Callable[..., StageSummary], make_config: Make
) -> None:
    cut = script(lambda number, _sample: "cut" if number < 2 else str(number))
    scripted_models(before=cut, after=cut, control=cut)
    summary = evaluate(make_config(teacher=False))
    assert summary.metrics["sums.avg_at_1"] == 0.75
    assert summary.metrics["sums.truncation_rate"] == 0.25


@pytest.mark.parametrize(("option", "choice"), [({"teacher": False}, None), ({}, {"teacher": None})])
def test_no_teacher_is_measured_where_none_is_wanted_or_chosen(
    option: dict[str, Any], choice: Any, scripts: dict[str, Any], evaluate: Callable[..., StageSummary],
    make_config: Make, artifacts: dict[str, Path],
) -> None:  # fmt: skip
    if choice:
        (artifacts["teacher"] / "teacher.json").write_text(json.dumps(choice))
    assert evaluate(make_config(**option)).details["arms"] == ["before", "after", "control"]
    assert not scripts["teacher"].asked


def test_another_training_does_not_measure_the_start_and_the_teacher_again(
    scripts: dict[str, Any], evaluate: Callable[..., StageSummary], make_config: Make, tmp_path: Path
) -> None:
    evaluate(make_config())
    retrained = tmp_path / "retrained"
    (retrained / "model").mkdir(parents=True)
    StageSummary(stage="train_student", key="other").write(retrained)
    evaluate(make_config(), model=retrained)
    assert {name: len(one.asked) for name, one in scripts.items()} == {
        "before": 8, "after": 16, "control": 8, "teacher": 8,
    }  # fmt: skip


@pytest.mark.parametrize("change", [{"sampling": {"temperature": 0.1}}, {"samples": 2}])
def test_another_way_of_asking_is_asked_anew(
    change: dict[str, Any], scripts: dict[str, Any], evaluate: Callable[..., StageSummary], make_config: Make
) -> None:
    evaluate(make_config())
    evaluate(make_config(**change))
    assert len(scripts["before"].asked) == 16
    assert len(set(scripts["before"].asked)) == (8 if "sampling" in change else 16)


def test_a_killed_evaluation_goes_on_where_it_stopped(
    scripts: dict[str, Any], evaluate: Callable[..., StageSummary], make_config: Make
) -> None:
    scripts["after"].fail_after = 6
    with pytest.raises(KeyboardInterrupt):
        evaluate(make_config())
    scripts["after"].fail_after = None
    summary = evaluate(make_config())
    assert len(scripts["after"].asked) == len(set(scripts["after"].asked)) == 8
    assert len(scripts["before"].asked) == 8
    assert summary.metrics["sums.avg_at_1"] == 0.75


def test_a_teacher_that_fails_too_often_is_no_measurement_and_keeps_its_other_replies(
    scripts: dict[str, Any], evaluate: Callable[..., StageSummary], make_config: Make
) -> None:
    scripts["teacher"].answers = lambda number, _sample: "error" if number == 3 else str(number)
    with pytest.raises(TransientError, match=r"1 of 8 requests got no reply \(first: HTTP 500\)"):
        evaluate(make_config())
    scripts["teacher"].answers = right_below(8)
    assert evaluate(make_config()).metrics["sums.teacher"] == 1.0
    assert len(scripts["teacher"].asked) == 9


def test_the_same_run_in_another_workspace_writes_the_same_bytes(
    scripts: dict[str, Any], evaluate: Callable[..., StageSummary], make_config: Make, tmp_path: Path
) -> None:
    first = evaluate(make_config(), output=tmp_path / "a", workspace=tmp_path / "w1")
    scripts["after"].batch = 5
    second = evaluate(make_config(), output=tmp_path / "b", workspace=tmp_path / "w2")
    assert first.digest == second.digest
    assert (tmp_path / "a/samples.jsonl").read_bytes() == (tmp_path / "b/samples.jsonl").read_bytes()


def test_the_champion_is_scored_on_the_same_items_and_costs_nothing_twice(
    script: type, scripts: dict[str, Any], scripted_models: Callable[..., None], make_config: Make,
    evaluate: Callable[..., StageSummary], tmp_path: Path,
) -> None:  # fmt: skip
    evaluate(make_config())
    champion = script(right_below(4))
    scripted_models(champion=champion)
    for _ in range(2):
        table = score_model(ModelRef(model="champion"), make_config(), tmp_path / "workspace")
    own = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert table["sums"]["k"] == own["sums"]["k"]
    assert table["sums"]["items"].keys() == own["sums"]["items"].keys()
    assert sum(item["champion"][0] for item in table["sums"]["items"].values()) == 4
    assert sorted(champion.asked) == sorted(scripts["after"].asked)


def test_two_benchmarks_of_one_name_are_refused(evaluate: Callable[..., StageSummary], make_config: Make) -> None:
    config = make_config()
    config["evaluate"]["benchmarks"] *= 2
    with pytest.raises(RecipeError, match=r"evaluate\.benchmarks: the name sums stands twice"):
        evaluate(config)


def test_a_misspelt_key_names_its_path(evaluate: Callable[..., StageSummary], make_config: Make) -> None:
    with pytest.raises(RecipeError, match=r"evaluate\.batch_sise"):
        evaluate(make_config(batch_sise=3))


def test_a_folder_that_is_no_teacher_choice_is_refused(
    scripts: dict[str, Any], evaluate: Callable[..., StageSummary], make_config: Make, artifacts: dict[str, Path]
) -> None:
    (artifacts["teacher"] / "teacher.json").unlink()
    with pytest.raises(RecipeError, match=r"teacher\.json: not the choice of a teacher"):
        evaluate(make_config())


def test_the_package_loads_no_torch_until_something_is_measured() -> None:
    code = "import sys, stillhouse.evaluation; assert not {'torch', 'transformers', 'mlflow'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
