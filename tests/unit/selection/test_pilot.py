"""The pilot distillation: which traces it takes, what the gain is, and the same with real training."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stillhouse.errors import RecipeError
from stillhouse.evaluation.arms import Arm
from stillhouse.evaluation.statistics import Estimate
from stillhouse.progress import Progress
from stillhouse.recipe.stages import SelectConfig
from stillhouse.records import Problem
from stillhouse.selection import pilot as pilot_module
from stillhouse.selection import select_teacher
from stillhouse.selection.pilot import Pilot, PilotResult
from stillhouse.workspace import Workspace

PROBLEMS = [Problem(id=f"p{i}", prompt=f"q{i}", answer=str(i)) for i in range(60)]


def make_config(student: str, problems: Path, **changes: Any) -> SelectConfig:
    return SelectConfig.model_validate(
        {
            "candidates": [{"type": "custom", "import_path": "fake_teachers:Oracle", "options": {"name": "able"}}],
            "student": {"model": student},
            "problems": {"type": "file", "path": str(problems)},
            "probe": 40,
            "sampling": {"max_tokens": 8},
            "select": {"samples": 1, "pilot": {"traces": 6, "steps": 3}},
            "train": {"batch_size": 2, "learning_rate": 1e-3, "epochs": 1},
            **changes,
        }
    )


@pytest.fixture
def pilot(tmp_path: Path, problems: Path) -> Pilot:
    def never() -> None:
        raise AssertionError("no student is needed")

    config = make_config("student", problems)
    return Pilot(config, Workspace.open(tmp_path / "w"), tmp_path / "pilot", Progress("select_teacher"), never)


def test_it_takes_as_many_verified_traces_as_wanted_of_the_first_problems(
    pilot: Pilot, oracle_arm: Callable[..., Arm]
) -> None:
    records, replies = pilot.collect(oracle_arm(1.0), PROBLEMS)
    assert [record.problem.id for record in records] == ["p0", "p1", "p2", "p3", "p4", "p5"]
    assert len(replies) == 6
    assert records[0].trace.reply == "<think>so</think>\\boxed{0}"
    assert (records[0].trace.teacher, records[0].role) == ("right-1.0", "positive")


def test_wrong_traces_are_paid_for_but_not_learned_from(pilot: Pilot, oracle_arm: Callable[..., Arm]) -> None:
    # Right on p0, p1 of twenty: 6 are asked first (2 right), then 4 at a time (none), to the limit of 4 x 6 = 24.
    records, replies = pilot.collect(oracle_arm(0.1), PROBLEMS)
    assert [record.problem.id for record in records] == ["p0", "p1", "p20", "p21"]
    assert len(replies) == 24


def test_few_problems_are_all_that_is_asked(pilot: Pilot, oracle_arm: Callable[..., Arm]) -> None:
    records, replies = pilot.collect(oracle_arm(1.0), PROBLEMS[:4])
    assert len(records) == len(replies) == 4


def test_a_teacher_that_is_never_right_has_no_gain_but_a_cost(pilot: Pilot, oracle_arm: Callable[..., Arm]) -> None:
    result = pilot.run(oracle_arm(0.0), None, PROBLEMS, 0.2, lambda _arm: pytest.fail("nothing to measure"))
    assert result == PilotResult(gain=None, traces=0, requests=24, teacher_tokens=240)
    assert result.gain_per_million_tokens is None


def test_the_gain_is_accuracy_after_minus_before_and_counts_per_million_tokens(
    pilot: Pilot, oracle_arm: Callable[..., Arm], tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Half:
        def accuracy(self) -> Estimate:
            return Estimate(0.5, 0.0, 0.0, 1.0, 40)

    monkeypatch.setattr(Pilot, "_train", lambda *_rest: tiny_model)
    result = pilot.run(oracle_arm(1.0, tokens=5000), None, PROBLEMS, 0.2, lambda _arm: Half())  # type: ignore[arg-type, return-value]
    assert result == PilotResult(gain=pytest.approx(0.3), traces=6, requests=6, teacher_tokens=30_000)
    assert result.gain_per_million_tokens == pytest.approx(10.0)


def test_every_pilot_trains_for_the_pilots_steps_without_a_control(pilot: Pilot, problems: Path) -> None:
    section = pilot.section()
    assert (section.steps, section.control, section.batch_size) == (3, None, 2)


def test_logits_of_a_black_box_are_refused(tiny_model: Path, problems: Path, tmp_path: Path, oracle_arm: Any) -> None:
    config = make_config(str(tiny_model), problems, train={"objective": {"type": "kl"}})
    made = Pilot(config, Workspace.open(tmp_path / "w"), tmp_path / "p", Progress("select_teacher"), lambda: None)
    with pytest.raises(RecipeError, match="a teacher of type custom gives none"):
        made.run(oracle_arm(1.0), config.candidates[0], PROBLEMS, 0.0, lambda _arm: pytest.fail("not trained"))


def test_a_real_pilot_trains_the_student_and_ranks_by_its_gain(
    tiny_model: Path, problems: Path, tmp_path: Path, asked: dict[str, list[str]]
) -> None:
    other = {"type": "custom", "import_path": "fake_teachers:Oracle", "options": {"name": "poor", "right": 0.0}}
    config = make_config(str(tiny_model), problems)
    config = config.model_copy(
        update={
            "candidates": make_config(str(tiny_model), problems, candidates=[*config.candidates, other]).candidates,
            "select": config.select.model_copy(update={"key": "pilot_gain", "none_if_gain_below": -1.0}),
        }
    )
    summary = select_teacher(config, output=tmp_path / "out", workspace=tmp_path / "w")
    able, poor = summary.details["candidates"]
    assert (able["name"], able["rank"], poor["rank"]) == ("able", 1, None)
    assert able["pilot_gain"] == 0.0  # three steps teach a random model nothing; the number is there all the same
    assert able["pilot_gain_per_million_tokens"] == 0.0
    assert 3.0 < able["student_nll"] < 6.0
    assert poor["student_nll"] is None
    # The probe's forty, six for the pilot of the one who is right, four times six of the other.
    assert {name: len(keys) for name, keys in asked.items()} == {"able": 46, "poor": 64}
    probe = {
        row["problem_hash"] for row in map(json.loads, (tmp_path / "out" / "probe.jsonl").read_text().splitlines())
    }
    learned = {key.split("-")[0] for key in asked["able"][40:]}
    assert not any(one.startswith(key) for one in probe for key in learned)


def test_the_pilots_of_two_candidates_do_not_share_a_folder(
    tiny_model: Path, problems: Path, tmp_path: Path, asked: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Path] = []

    def remember(self: Pilot, *_rest: object) -> PilotResult:
        seen.append(self.work)
        return PilotResult(gain=0.1, teacher_tokens=10)

    monkeypatch.setattr(pilot_module.Pilot, "run", remember)
    names = ("../a", "b/c")
    candidates = [
        {"type": "custom", "import_path": "fake_teachers:Oracle", "options": {"name": name}} for name in names
    ]
    config = make_config(str(tiny_model), problems, candidates=candidates)
    summary = select_teacher(config, output=tmp_path / "out", workspace=tmp_path / "w")
    assert summary.details["candidates"][0]["pilot_gain_per_million_tokens"] == 10_000
    assert len(set(seen)) == 2
    assert {folder.parent for folder in seen} == {seen[0].parent}
