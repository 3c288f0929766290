"""Each selector: what it keeps, what it takes away, and the reason it gives."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from stillhouse.filtering import selectors
from stillhouse.filtering.selectors import KEEP, Decision
from stillhouse.recipe import filtering as recipe
from stillhouse.recipe.data import FileProblems
from stillhouse.records import Record

Make = Callable[..., Record]
GOOD = "<think>3+4=7</think>\\boxed{7}"


def fate(selector: selectors.Selector, record: Record) -> str:
    (decision,) = selector.select([record])
    return f"{decision.role}:{decision.reason}".rstrip(":")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"reply": GOOD}, "positive"),
        ({"reply": "", "error": "503", "finish_reason": "error"}, "dropped:no_reply"),
        ({"reply": "  "}, "dropped:empty_reply"),
    ],
)
def test_answered_drops_failed_and_empty_replies(make_record: Make, fields: dict[str, str], expected: str) -> None:
    assert fate(selectors.Answered(recipe.Answered()), make_record(**fields)) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"reply": GOOD}, "positive"),
        ({"reply": GOOD, "finish_reason": "length"}, "dropped:truncated"),
        ({"reply": "<think>3+4"}, "dropped:unclosed_thoughts"),
    ],
)
def test_truncated_drops_replies_that_did_not_end(make_record: Make, fields: dict[str, str], expected: str) -> None:
    assert fate(selectors.Truncated(recipe.Truncated()), make_record(**fields)) == expected


@pytest.mark.parametrize(
    ("reply", "config", "expected"),
    [
        (GOOD, {}, "positive"),
        ("\\boxed{7}", {}, "dropped:no_reasoning"),
        ("\\boxed{7}", {"reasoning": False}, "positive"),
        ("<think>3+4</think>I do not know", {}, "dropped:no_answer"),
        ("<think>3+4</think>\\boxed{}", {}, "dropped:no_answer"),
        ("<think>3+4</think>I do not know", {"boxed": False}, "positive"),
        ("<think>3+4</think>#### 7", {}, "positive"),
    ],
)
def test_format_asks_for_thoughts_and_an_answer(
    make_record: Make, reply: str, config: dict[str, bool], expected: str
) -> None:
    assert fate(selectors.Format(recipe.Format(**config)), make_record(reply)) == expected


def test_verified_keeps_wrong_answers_as_negatives(make_record: Make) -> None:
    selector = selectors.Verified(recipe.Verified())
    assert fate(selector, make_record(annotations={"correct": True})) == "positive"
    assert fate(selector, make_record(annotations={"correct": False})) == "negative:wrong_answer"


@pytest.mark.parametrize(
    ("tokens", "expected"), [(4, "dropped:too_short"), (5, "positive"), (9, "positive"), (10, "dropped:too_long")]
)
def test_length_limits_include_their_ends(make_record: Make, tokens: int, expected: str) -> None:
    selector = selectors.Length(recipe.Length(min_tokens=5, max_tokens=9))
    assert fate(selector, make_record(completion_tokens=tokens)) == expected


@pytest.mark.parametrize(("share", "expected"), [(0.3, "positive"), (0.31, "dropped:repetitive")])
def test_repetition_drops_above_the_share(make_record: Make, share: float, expected: str) -> None:
    selector = selectors.Repetition(recipe.Repetition(max_share=0.3))
    assert fate(selector, make_record(annotations={"repetition": share})) == expected


def test_of_equal_replies_the_one_with_the_lowest_sample_index_stays_whatever_the_order(make_record: Make) -> None:
    group = [
        make_record(GOOD, sample=2),
        make_record(GOOD, sample=0),
        make_record(GOOD + " ", sample=1),
        make_record("other", sample=3),
    ]
    selector = selectors.ExactDuplicates(recipe.ExactDuplicates())
    gone = Decision("dropped", "duplicate_trace")
    assert list(selector.select(group)) == [gone, KEEP, gone, KEEP]
    assert list(selector.select(group[::-1])) == [KEEP, gone, KEEP, gone]


def test_of_equal_replies_with_equal_index_the_lowest_key_stays(make_record: Make) -> None:
    group = [make_record(GOOD, key="b"), make_record(GOOD, key="a")]
    decisions = selectors.ExactDuplicates(recipe.ExactDuplicates()).select(group)
    assert [decision.role for decision in decisions] == ["dropped", "positive"]


def test_held_out_drops_problems_that_stand_in_an_evaluation_set(make_record: Make, tmp_path: Path) -> None:
    path = tmp_path / "benchmark.jsonl"
    rows = [{"prompt": "3+4?", "answer": "7"}, {"prompt": "5+5?", "answer": "10"}]
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    selector = selectors.HeldOut(recipe.HeldOut(against=(FileProblems(path=str(path)),)))
    assert fate(selector, make_record(prompt="3+4?")) == "dropped:held_out"
    assert fate(selector, make_record(prompt="3+5?")) == "positive"


def test_held_out_against_nothing_keeps_everything(make_record: Make) -> None:
    assert fate(selectors.HeldOut(recipe.HeldOut()), make_record()) == "positive"
