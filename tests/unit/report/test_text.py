"""The terminal summary."""

from __future__ import annotations

from typing import Any

import pytest

from stillhouse.report import run_summary

RUNS = ("finished_run", "failed_run", "refused_run", "undistilled_run", "empty_run")


@pytest.mark.parametrize("name", RUNS)
def test_no_line_is_longer_than_a_hundred_columns(example: dict[str, Any], name: str) -> None:
    run = example[name]()
    run.error = run.error and run.error + " and then some more words about it" * 5
    lines = run_summary(run).splitlines()
    assert max(map(len, lines)) <= 100
    assert not [line for line in lines if line != line.rstrip()]


def test_the_summary_tells_the_whole_story(example: dict[str, Any]) -> None:
    text = run_summary(example["finished_run"]())
    for said in (
        "succeeded in 2 min 41 s",
        "→ terse        98.4 % [94.5, 99.6]",
        "kept 1,167 of 2,048 (57.0 %)",
        "duplicate_trace 812",
        "before              after               answers only        teacher",
        "PASSED against the untrained student",
        "evidence sha256:ee8250fb76e0",
        "106,830 teacher tokens",
        "report.html",
        "stillhouse lineage models:/arithmetic-student@champion",
    ):
        assert said in text, said


def test_results_stand_in_columns(example: dict[str, Any]) -> None:
    lines = run_summary(example["finished_run"]()).splitlines()
    head = next(line for line in lines if "right answers" in line)
    chain = next(line for line in lines if line.startswith("  chain"))
    assert head.index("after") == chain.index("96.0")
    assert head.index("teacher") == chain.index("98.5")


def test_a_refused_student_is_not_called_promoted(example: dict[str, Any]) -> None:
    text = run_summary(example["refused_run"]())
    assert "FAILED" in text
    assert "the gate did not pass" in text
    assert "champion" not in text
    assert "✗ chain" in text


def test_a_student_that_waits_for_a_human_is_told_how(example: dict[str, Any]) -> None:
    run = example["finished_run"]()
    run.summaries[-1].details["alias"] = None
    assert "stillhouse promote arithmetic-student 1 champion" in run_summary(run)


def test_a_failed_run_says_where_why_and_what_is_kept(example: dict[str, Any]) -> None:
    text = run_summary(example["failed_run"]())
    assert "failed    train_student: TransientError: /workspace/work: No space left on device" in text
    assert "finished  select_teacher, generate_traces, filter_traces" in text
    assert "gate" not in text
