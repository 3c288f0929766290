"""Decisions: scenarios with known answers, and the stage's files."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stillhouse.errors import RecipeError, TransientError
from stillhouse.selection import select_teacher
from stillhouse.summary import StageSummary

Select = Callable[..., StageSummary]
TERSE = {"name": "terse", "right": 1.0, "tokens": 10}
WORDY = {"name": "wordy", "right": 1.0, "tokens": 40, "words": "so " * 20}
CARELESS = {"name": "careless", "right": 0.5, "tokens": 4}
AWAY = {"name": "away", "fails": "ask"}
BROKEN = {"name": "broken", "fails": "open"}


@pytest.fixture
def select(problems: Path, tmp_path: Path, asked: dict[str, list[str]]) -> Select:
    def call(candidates: list[dict[str, Any]], output: str = "out", **rule: Any) -> StageSummary:
        config = {
            "candidates": [
                {"type": "custom", "import_path": "fake_teachers:Oracle", "options": one} for one in candidates
            ],
            "student": {"model": "student"},
            "problems": {"type": "file", "path": str(problems)},
            "probe": 40,
            "select": {"samples": 1, **rule},
        }
        return select_teacher(config, output=tmp_path / output, workspace=tmp_path / "w")

    return call


def names(summary: StageSummary) -> list[tuple[str, int | None]]:
    return [(row["name"], row["rank"]) for row in summary.details["candidates"]]


@pytest.mark.parametrize(
    ("candidates", "rule", "student", "expected"),
    [
        pytest.param(
            [WORDY, CARELESS, TERSE], {}, 0.0, [("terse", 1), ("wordy", 2), ("careless", None)],
            id="the accurate and terse one wins by tokens, the careless one is out though it is cheapest",
        ),
        pytest.param(
            [WORDY, CARELESS, TERSE], {"within": 0.6}, 0.0, [("careless", 1), ("terse", 2), ("wordy", 3)],
            id="a wide margin lets the cheap one win",
        ),
        pytest.param(
            [CARELESS, WORDY], {"key": "accuracy", "within": 0.6}, 0.0, [("wordy", 1), ("careless", 2)],
            id="accuracy alone takes the accurate one",
        ),
        pytest.param(
            [WORDY, {**TERSE, "tokens": 90}], {"key": "student_nll"}, 0.0, [("terse", 1), ("wordy", 2)],
            id="what the student nearly says itself is learnable",
        ),
        pytest.param(
            [{**TERSE, "name": "twin"}, {**TERSE, "name": "able"}], {}, 0.0, [("able", 1), ("twin", 2)],
            id="a tie in everything goes to the first name",
        ),
        pytest.param(
            [AWAY, TERSE, BROKEN], {}, 0.0, [("terse", 1), ("away", None), ("broken", None)],
            id="those that fail are out when one remains",
        ),
        pytest.param([TERSE, WORDY], {}, 1.0, [("terse", None), ("wordy", None)], id="a student as good as they are"),
        pytest.param([TERSE], {"none_if_gain_below": -1.0}, 1.0, [("terse", 1)], id="unless the rule allows it"),
        pytest.param([{**TERSE, "right": 0.0}], {"none_if_gain_below": -1.0}, 0.0, [("terse", None)], id="never right"),
    ],
)  # fmt: skip
def test_the_rule_decides(
    candidates: list[dict[str, Any]], rule: dict[str, Any], student: float, expected: list[tuple[str, int | None]],
    select: Select, student_right: Callable[[float], None], tmp_path: Path,
) -> None:  # fmt: skip
    student_right(student)
    summary = select(candidates, **rule)
    assert names(summary) == expected
    best = expected[0] if expected[0][1] else None
    choice = json.loads((tmp_path / "out" / "teacher.json").read_text())
    assert choice["decision"] == summary.details["decision"] == ("distil" if best else "do_not_distil")
    assert (choice["teacher"]["options"]["name"] if best else choice["teacher"]) == (best[0] if best else None)
    assert all(row["reasons"] for row in summary.details["candidates"])


def test_reasons_are_plain_words(select: Select, student_right: Callable[[float], None]) -> None:
    student_right(0.0)
    summary = select([WORDY, CARELESS, TERSE, AWAY])
    reasons = {row["name"]: row["reasons"] for row in summary.details["candidates"]}
    assert reasons["terse"] == ["tokens per correct trace 10.0, best (wordy: 40.0)"]
    assert reasons["wordy"] == ["tokens per correct trace 40.0, worse than the best (terse: 10.0)"]
    assert reasons["careless"][0].startswith("out: accuracy ")
    assert reasons["careless"][0].endswith("worse than that of terse (100.0%), more than the allowed 5.0%")
    assert reasons["away"] == ["out: could not be measured: away: server unreachable; start it and run again"]


def test_do_not_distil_says_why(select: Select, student_right: Callable[[float], None]) -> None:
    student_right(1.0)
    summary = select([TERSE])
    assert summary.details["reason"] == (
        "do not distil: no candidate is worth learning from (terse out: accuracy 100.0% is less than 5.0% "
        "above the student's 100.0%: there is too little to learn)"
    )
    assert summary.headline == summary.details["reason"]
    assert summary.details["chosen"] is None


def test_the_summary_has_every_field_of_the_architecture(
    select: Select, student_right: Callable[[float], None]
) -> None:
    student_right(0.0)
    details = select([TERSE, AWAY]).details
    assert set(details) == {"decision", "reason", "chosen", "key", "probe", "student", "candidates"}
    assert set(details["student"]) == {"accuracy", "interval", "n"}
    expected = {
        "name", "type", "model", "revision", "licence", "accuracy", "interval", "n", "tokens_per_correct", "tokens_p10",
        "tokens_p50", "tokens_p90", "student_nll", "tokenizer", "pilot_gain", "pilot_gain_per_million_tokens", "rank",
        "reasons",
    }  # fmt: skip
    assert [set(row) for row in details["candidates"]] == [expected, expected]
    first = details["candidates"][0]
    assert (first["accuracy"], first["n"], first["tokens_p50"], first["revision"]) == (1.0, 40, 10.0, "terse-r1")
    assert details["probe"] == 40


def test_the_cost_is_what_all_candidates_spent(select: Select, student_right: Callable[[float], None]) -> None:
    student_right(0.0)
    assert select([TERSE, WORDY]).cost == {"teacher_tokens": 40 * (10 + 40), "teacher_requests": 80}


def test_all_probe_replies_are_kept(select: Select, student_right: Callable[[float], None], tmp_path: Path) -> None:
    student_right(0.0)
    select([TERSE, WORDY])
    rows = [json.loads(line) for line in (tmp_path / "out" / "probe.jsonl").read_text().splitlines()]
    assert len(rows) == 3 * 40
    assert [row["candidate"] for row in rows[::40]] == ["student", "terse", "wordy"]
    assert len({row["problem_hash"] for row in rows}) == 40


def test_another_candidate_or_rule_asks_nobody_again(
    select: Select, student_right: Callable[[float], None], asked: dict[str, list[str]]
) -> None:
    student_right(0.0)
    select([TERSE])
    select([TERSE, WORDY], output="two", key="accuracy")
    assert {name: len(keys) for name, keys in asked.items()} == {"terse": 40, "wordy": 40}


@pytest.mark.parametrize(("candidates", "error", "text"), [
    ([AWAY], TransientError, "server unreachable"),
    ([BROKEN, AWAY], RecipeError, "no weights"),
])  # fmt: skip
def test_when_no_candidate_can_be_measured_the_error_is_the_first_ones(
    candidates: list[dict[str, Any]], error: type[Exception], text: str, select: Select,
    student_right: Callable[[float], None],
) -> None:  # fmt: skip
    student_right(0.0)
    with pytest.raises(error, match=text):
        select(candidates)


def test_two_candidates_of_one_name_are_refused(select: Select) -> None:
    with pytest.raises(RecipeError, match=r"teacher\.candidates: the name 'terse' stands twice"):
        select([TERSE, TERSE])


def test_ranking_by_pilot_gain_needs_a_pilot(select: Select) -> None:
    with pytest.raises(RecipeError, match=r"teacher\.select\.key pilot_gain: needs teacher\.select\.pilot"):
        select([TERSE], key="pilot_gain")


def test_the_package_loads_no_torch_until_something_is_measured() -> None:
    code = "import sys, stillhouse.selection; assert not {'torch', 'transformers', 'mlflow'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
