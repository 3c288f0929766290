"""Estimates against numbers worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from stillhouse.recipe import Recipe
from stillhouse.recipe.estimate import Known, Range, estimate, look

Make = Callable[..., Recipe]
SMALL = (
    "teacher.candidates=[{type: openai, name: a, model: a, endpoints: [x], price_per_million_tokens: 2},"
    " {type: openai, name: b, model: b, endpoints: [x], price_per_million_tokens: 6}]",
    "traces.samples=2",
    "traces.sampling.max_tokens=100",
    "data.probe=50",
    "teacher.select.samples=2",
)
KNOWN = Known(problems=300, benchmark_items=256, student_parameters=1_000_000)


def test_tokens_of_the_teacher_are_those_of_the_probe_and_of_the_rest(make: Make) -> None:
    found = estimate(make(*SMALL), KNOWN)
    # 250 problems x 2 samples; probe 50 x 2 samples x 2 candidates; replies of 5, 25, 100 tokens
    assert (found.problems, found.traces) == (250, 500)
    assert found.teacher_tokens == Range(700 * 5, 700 * 25, 700 * 100)
    assert found.teacher_tokens_at_most == 70_000


def test_a_measured_length_narrows_the_range(make: Make) -> None:
    found = estimate(make(*SMALL), Known(problems=300, tokens_per_trace=40))
    assert found.teacher_tokens == Range(700 * 32, 700 * 40, 700 * 50)
    assert found.teacher_tokens_at_most == 70_000
    assert "replies of about 40 tokens, as measured before" in found.assumptions


def test_no_reply_is_longer_than_its_limit(make: Make) -> None:
    found = estimate(make(*SMALL), Known(problems=300, tokens_per_trace=90))
    assert found.teacher_tokens == Range(700 * 72, 700 * 90, 700 * 100)


def test_the_budget_caps_generation_but_not_the_probe(make: Make) -> None:
    found = estimate(make(*SMALL, "traces.budget.tokens=10000"), KNOWN)
    assert found.teacher_tokens == Range(500 * 5 + 200 * 5, 10_000 + 200 * 25, 10_000 + 200 * 100)
    assert found.teacher_tokens_at_most == 10_000 + 200 * 100


def test_every_candidate_is_paid_for_the_probe_and_one_of_them_for_the_traces(make: Make) -> None:
    cost = estimate(make(*SMALL), KNOWN).cost
    assert cost is not None
    # per million: probe 100 replies x (2 + 6); traces 500 replies x 2, 4 (mean) or 6
    assert cost.low == pytest.approx((100 * 5 * 8 + 500 * 5 * 2) / 1e6)
    assert cost.expected == pytest.approx((100 * 25 * 8 + 500 * 25 * 4) / 1e6)
    assert cost.high == pytest.approx((100 * 100 * 8 + 500 * 100 * 6) / 1e6)


def test_steps_follow_from_epochs_and_survival(make: Make) -> None:
    found = estimate(make(*SMALL, "train.epochs=2", "train.batch_size=8", "train.gradient_accumulation=2"), KNOWN)
    # 500 traces x 5 %, 80 %, 100 % x 2 epochs / 16, rounded up
    assert found.train_steps == Range(4, 50, 63)
    assert found.train_tokens == Range(4 * 16 * 5, 50 * 16 * 25, 63 * 16 * 100)


def test_steps_that_the_recipe_states_are_no_guess(make: Make) -> None:
    found = estimate(make(*SMALL, "train.steps=30", "train.batch_size=4", "train.max_length=50"), KNOWN)
    assert found.train_steps == Range(30, 30, 30)
    assert found.train_tokens == Range(30 * 4 * 5, 30 * 4 * 25, 30 * 4 * 50)


def test_time_is_tokens_times_weights_over_the_assumed_speed(make: Make) -> None:
    recipe = make(*SMALL, "train.steps=10", "train.batch_size=1", "evaluate.teacher=false")
    seconds = estimate(recipe, KNOWN).seconds
    assert seconds is not None
    # 2 arms x 256 items x 25 tokens x 2e6 + 250 tokens x 6e6 operations at 5e10; 17,500 tokens at 500 a second
    assert seconds.expected == pytest.approx((12_800 * 2e6 + 250 * 6e6) / 5e10 + 17_500 / 500)
    assert seconds.low == pytest.approx((2_560 * 2e6 + 50 * 6e6) / 2e11 + 3_500 / 5_000)
    assert seconds.high == pytest.approx((51_200 * 2e6 + 1_000 * 6e6) / 1e10 + 70_000 / 30)


def test_a_control_student_is_trained_and_measured_too(make: Make) -> None:
    one = estimate(make(*SMALL, "train.steps=10"), KNOWN).seconds
    two = estimate(make(*SMALL, "train.steps=10", "train.control={}"), KNOWN).seconds
    assert one is not None
    assert two is not None
    assert two.expected > one.expected


def test_what_cannot_be_known_is_called_unknown(make: Make) -> None:
    rows = {row["what"]: row["estimate"] for row in estimate(make("data.problems=s3://b/k.jsonl"), Known()).rows()}
    assert rows["traces asked"] == rows["teacher tokens"] == rows["time"] == "unknown"


def test_rows_give_ranges_and_say_what_they_assume(make: Make) -> None:
    rows = estimate(make(*SMALL), KNOWN).rows()
    told = {row["what"]: row["estimate"] for row in rows}
    assert told["teacher tokens"] == "3,500 to 70,000, about 18,000"
    assert told["teacher tokens at most"] == "70,000"
    assert told["cost of the teacher"] == "0.01 to 0.38, about 0.07"
    assuming = [row["estimate"] for row in rows if row["what"] == "assuming"]
    assert assuming[0] == "replies of 5% to 100% of max_tokens = 100, 25% expected"
    assert any("servers answer 30 to 5000 tokens a second" in line for line in assuming)


def test_what_lies_on_this_machine_is_looked_up(make: Make, model_folder: Callable[..., Path]) -> None:
    model_folder("teacher")
    model_folder("student")
    assert look(make(), tokens_per_trace=9.0) == Known(
        problems=300, benchmark_items=256, student_parameters=6, teacher_parameters=6, tokens_per_trace=9.0
    )


def test_what_does_not_stays_unknown(make: Make) -> None:
    assert look(make("student.model=hf://owner/name")) == Known(problems=300, benchmark_items=256)
