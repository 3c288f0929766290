"""Each number of the probe by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stillhouse.evaluation.benchmark import make_items
from stillhouse.evaluation.statistics import wilson
from stillhouse.models.requests import Reply
from stillhouse.prompting.base import open_prompter
from stillhouse.recipe.teacher import ModelRef
from stillhouse.recipe.traces import CotPrompter
from stillhouse.records import Problem
from stillhouse.selection.probe import Probe, probe_of, student_nll, tokenizer_match

PROMPTER = open_prompter(CotPrompter())


def make_probe(answers: list[list[str]], tokens: list[list[int]]) -> Probe:
    """Problem i has the answer i; ``answers`` and ``tokens`` by item and sample."""
    problems = [Problem(id=f"p{i}", prompt=f"q{i}", answer=str(i)) for i in range(len(answers))]
    items = make_items(problems, PROMPTER, "probe", len(answers[0]), 1)
    replies = {}
    for item, row, costs in zip(items, answers, tokens, strict=True):
        for request, answer, cost in zip(item.requests, row, costs, strict=True):
            failed = {"error": "away", "finish_reason": "error"} if answer == "error" else {}
            text = "" if failed else f"<think>steps</think>\\boxed{{{answer}}}"
            replies[request.key] = Reply(key=request.key, text=text, completion_tokens=cost, **failed)
    return probe_of(items, replies, PROMPTER)


def test_accuracy_is_the_mean_over_items_with_wilsons_interval() -> None:
    probe = make_probe([["0"], ["1"], ["9"], ["3"]], [[1]] * 4)
    estimate = probe.accuracy()
    assert (estimate.mean, estimate.n) == (0.75, 4)
    assert (estimate.low, estimate.high) == pytest.approx(wilson(3, 4))


def test_a_correct_trace_costs_the_wrong_ones_too() -> None:
    probe = make_probe([["0", "7"], ["1", "7"]], [[10, 30], [20, 40]])
    assert probe.tokens_per_correct == (10 + 30 + 20 + 40) / 2


def test_without_a_correct_trace_there_is_no_price() -> None:
    assert make_probe([["7"], ["7"]], [[10], [10]]).tokens_per_correct is None


def test_the_spread_of_lengths_leaves_failed_requests_out() -> None:
    probe = make_probe([["0"], ["1"], ["2"], ["error"]], [[10], [20], [30], [0]])
    # Of 10, 20, 30: 10 % lies at 0.2 between the first two, 90 % at 0.8 between the last two.
    assert probe.token_quantiles() == {"tokens_p10": 12.0, "tokens_p50": 20.0, "tokens_p90": 28.0}
    assert probe.accuracy().mean == 0.75


def test_correct_traces_come_in_the_spelling_of_training() -> None:
    probe = make_probe([["0"], ["7"]], [[1], [1]])
    assert probe.correct == ((({"role": "user", "content": "q0"},), "<think>steps</think>\\boxed{0}"),)


def test_rows_hold_every_reply_with_its_verdict() -> None:
    rows = list(make_probe([["0", "7"]], [[3, 4]]).rows("terse"))
    assert [(row["candidate"], row["sample_index"], row["correct"], row["tokens"]) for row in rows] == [
        ("terse", 0, True, 3), ("terse", 1, False, 4),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("teacher", "student", "match"),
    [("a", "a", "same"), ("a", "b", "different"), ("", "a", "unknown"), ("a", "", "unknown"), ("", "", "unknown")],
)
def test_tokenizers_match_by_digest(teacher: str, student: str, match: str) -> None:
    assert tokenizer_match(teacher, student) == match


def test_the_student_nll_is_the_mean_over_traces_of_what_the_model_says(tiny_model: Path) -> None:
    from stillhouse.models.loading import load
    from stillhouse.models.score import mean_nll

    student = load(ModelRef(model=str(tiny_model)))
    message = ({"role": "user", "content": "q1"},)
    examples = [(message, "<think>one</think>1"), (message, "2")]
    assert student_nll(student, examples) == pytest.approx(float(np.mean(mean_nll(student, examples, 1))), abs=1e-5)
    # An untrained model knows nothing: close to the log of its 65 characters and specials.
    assert student_nll(student, examples) == pytest.approx(np.log(student.model.config.vocab_size), abs=0.3)
    assert student_nll(student, []) is None
