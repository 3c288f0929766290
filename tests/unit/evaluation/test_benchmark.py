"""Items, seeds and verdicts; and the same through a real model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stillhouse.evaluation.benchmark import grade, make_items, measure, prepare, request_seed
from stillhouse.models.requests import Reply
from stillhouse.prompting.base import Prompter, open_prompter
from stillhouse.recipe.evaluation import Benchmark
from stillhouse.recipe.traces import CotPrompter
from stillhouse.records import Problem

PROBLEMS = [Problem(id=f"p{i}", prompt=f"q{i}", answer=str(i)) for i in range(4)]


@pytest.fixture
def prompter() -> Prompter:
    return open_prompter(CotPrompter(template="Q: {prompt}"))


def test_an_item_is_asked_k_times_in_the_prompters_words_with_seeds_of_its_own(prompter: Prompter) -> None:
    items = make_items(PROBLEMS, prompter, "sums", 3, seed=1)
    requests = [request for item in items for request in item.requests]
    assert [item.requests[0].messages[0]["content"] for item in items] == ["Q: q0", "Q: q1", "Q: q2", "Q: q3"]
    assert len({request.key for request in requests}) == len({request.seed for request in requests}) == 12
    assert all(0 <= request.seed < 2**31 for request in requests)


def test_seeds_depend_on_run_benchmark_item_and_sample_and_on_nothing_else(prompter: Prompter) -> None:
    base = request_seed(1, "sums", "hash", 0)
    others = [request_seed(2, "sums", "hash", 0), request_seed(1, "x", "hash", 0), request_seed(1, "sums", "h", 0),
              request_seed(1, "sums", "hash", 1)]  # fmt: skip
    assert len({base, *others}) == 5
    forth, back = (make_items(order, prompter, "sums", 2, 1) for order in (PROBLEMS, PROBLEMS[::-1]))
    assert {item.problem.hash: item.requests for item in forth} == {item.problem.hash: item.requests for item in back}


def test_more_samples_leave_the_first_ones_as_they_were(prompter: Prompter) -> None:
    few, many = (make_items(PROBLEMS, prompter, "sums", count, 1) for count in (1, 4))
    assert [item.requests[0] for item in few] == [item.requests[0] for item in many]


def test_equal_prompts_are_one_item(prompter: Prompter) -> None:
    again = Problem(id="other", prompt="q1", answer="1")
    assert [item.problem.id for item in make_items([*PROBLEMS, again], prompter, "s", 1, 1)] == ["p0", "p1", "p2", "p3"]


@pytest.mark.parametrize(
    ("reply", "correct", "stated"),
    [
        (Reply(key="k", text="<think>7</think>\\boxed{3}"), True, "3"),
        (Reply(key="k", text="\\boxed{3}", reasoning_content="hm"), True, "3"),
        (Reply(key="k", text="<think>3</think>"), False, ""),
        (Reply(key="k", text="<think>it is \\boxed{3}", finish_reason="length"), False, ""),
        (Reply(key="k", text="<think>a</think>\\boxed{4}"), False, "4"),
        (Reply(key="k", text="", finish_reason="error", error="HTTP 500"), False, ""),
        (Reply(key="k", text="\\boxed{3}", finish_reason="error", error="cut off"), False, "3"),
        (Reply(key="k", text=""), False, ""),
    ],
)
def test_only_a_right_answer_after_the_thoughts_is_right(
    reply: Reply, correct: bool, stated: str, prompter: Prompter
) -> None:
    graded = grade(PROBLEMS[3], reply, prompter)
    assert (graded.correct, graded.stated) == (correct, stated)


def test_truncation_and_tokens_are_means_over_all_replies(tmp_path: Path, prompter: Prompter) -> None:
    path = tmp_path / "items.jsonl"
    path.write_text("".join(json.dumps({"prompt": one.prompt, "answer": one.answer}) + "\n" for one in PROBLEMS[:2]))
    benchmark = Benchmark.model_validate({"name": "b", "problems": {"type": "file", "path": str(path)}, "samples": 2})
    questions = prepare(benchmark, prompter, seed=3)
    (a, b), (c, d) = (item.requests for item in questions.items)
    replies = {
        a.key: Reply(key=a.key, text="\\boxed{0}", completion_tokens=10),
        b.key: Reply(key=b.key, text="\\boxed{9}", completion_tokens=20),
        c.key: Reply(key=c.key, text="\\boxed{1}", completion_tokens=30),
        d.key: Reply(key=d.key, text="<think>", finish_reason="length", completion_tokens=100),
    }
    result = measure("after", questions, replies, prompter)
    assert list(result.scores.values()) == [[1, 0], [1, 0]]
    assert (result.truncation_rate, result.tokens_per_answer) == (0.25, 40.0)
