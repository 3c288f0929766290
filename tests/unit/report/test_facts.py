"""What became of each stage of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stillhouse.report import RunFacts, read_facts, write_facts


def states(run: RunFacts) -> dict[str, str]:
    return {state.name: state.state for state in run.states()}


def test_all_stages_of_a_finished_run_are_done(example: dict[str, Any]) -> None:
    assert set(states(example["finished_run"]()).values()) == {"done"}


def test_a_failed_run_names_the_stage_and_what_did_not_run(example: dict[str, Any]) -> None:
    assert states(example["failed_run"]()) == {
        "select_teacher": "done", "generate_traces": "done", "filter_traces": "done", "train_student": "failed",
        "evaluate_student": "not run", "register_student": "not run", "promote_student": "not run",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"failed_stage": "filter_traces", "error": "train_student: x"}, "filter_traces"),
        ({"error": "generate_traces[1]: TransientError: x"}, "generate_traces"),
        ({"error": "Task finished with status FAILED"}, "train_student"),
    ],
)
def test_the_broken_stage_is_the_one_told_or_named_or_the_first_missing(
    example: dict[str, Any], fields: dict[str, str], expected: str
) -> None:
    run = example["failed_run"]()
    run.error = ""
    for name, value in fields.items():
        setattr(run, name, value)
    assert run.broken_stage() == expected


def test_some_shards_of_a_failed_stage_are_still_shown(example: dict[str, Any]) -> None:
    run = example["failed_run"]()
    run.summaries, run.error = run.summaries[:2], "generate_traces: TransientError: the teacher is gone"
    (state,) = [state for state in run.states() if state.name == "generate_traces"]
    assert (state.state, len(state.summaries)) == ("failed", 1)


def test_work_that_was_there_before_the_run_counts_as_reused(example: dict[str, Any]) -> None:
    run = example["finished_run"]()
    run.started_at = "2026-11-24T03:45:15+00:00"
    assert states(run)["select_teacher"] == "reused"
    assert states(run)["train_student"] == "done"


def test_a_stage_that_was_rightly_left_out_is_skipped_with_the_reason(example: dict[str, Any]) -> None:
    refused, hopeless = example["refused_run"](), example["undistilled_run"]()
    assert states(refused)["promote_student"] == "skipped"
    assert {state.note for state in hopeless.states()[1:]} == {"no teacher would make this student better"}


def test_facts_survive_writing_and_reading(example: dict[str, Any], tmp_path: Path) -> None:
    run = example["finished_run"]()
    assert read_facts(tmp_path) is None
    write_facts(run, tmp_path / "run")
    assert read_facts(tmp_path / "run") == run
