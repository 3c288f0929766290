"""Annotators: the answer check and the text statistics, against answers and numbers known beforehand."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from stillhouse.filtering.annotators import MathVerify, TextStats, repeated_share
from stillhouse.recipe import filtering as recipe
from stillhouse.records import Record

Make = Callable[..., Record]
THOUGHTS = "<think>some thoughts</think>"


def verdict(make_record: Make, reply: str, gold: str) -> dict[str, object]:
    (row,) = MathVerify(recipe.MathVerify()).annotate([make_record(reply, gold=gold)])
    return row


@pytest.mark.parametrize(
    ("gold", "reply"),
    [
        ("7", "\\boxed{7}"),
        ("12359", "\\boxed{12359}"),
        ("1/2", "so it is \\boxed{\\frac{1}{2}}"),
        ("0.5", "\\boxed{1/2}"),
        ("\\{1, 2\\}", "\\boxed{\\{2,1\\}}"),
        ("12", "\\boxed{12\\text{ cm}}"),
        ("2\\sqrt{3}", "\\boxed{\\sqrt{12}}"),
        ("#### 18", "The work.\n#### 18"),
        ("\\boxed{42}", "\\boxed{42}"),
        ("72", "first \\boxed{3}, no: \\boxed{72}"),
        ("5", "The final answer is 5."),
        ("12", "After giving three away she has exactly 12 apples left in her basket"),
        ("yes", "\\boxed{\\text{Yes}}"),
    ],
)
def test_right_answers_are_right_however_they_are_written(make_record: Make, gold: str, reply: str) -> None:
    assert verdict(make_record, THOUGHTS + reply, gold)["correct"] is True


@pytest.mark.parametrize(
    ("gold", "reply"),
    [
        ("12359", "\\boxed{12395}"),
        ("12359", "\\boxed{1, 2, 3, 5, 9}"),
        ("1/2", "\\boxed{\\frac{2}{1}}"),
        ("3", "\\boxed{}"),
        ("3", ""),
        ("3", "\\boxed{\\frac{"),
        ("3", "}{}{ \x00 \\boxed{\\begin{matrix}}"),
        ("3", "9" * 6000),
        ("3", "\\boxed{" + "(" * 500 + "3" + ")" * 500 + "}"),
    ],
)
def test_wrong_answers_and_garbage_are_wrong_and_never_crash(make_record: Make, gold: str, reply: str) -> None:
    assert verdict(make_record, THOUGHTS + reply, gold)["correct"] is False


def test_an_answer_that_stands_only_in_the_thoughts_does_not_count(make_record: Make) -> None:
    assert verdict(make_record, "<think>\\boxed{7}</think>", "7") == {"correct": False, "extracted": ""}


def test_the_extracted_answer_is_kept_as_written(make_record: Make) -> None:
    assert verdict(make_record, THOUGHTS + "\\boxed{\\frac{1}{2}}", "0.5")["extracted"] == "\\frac{1}{2}"


def test_the_answer_check_works_outside_the_main_thread(make_record: Make) -> None:
    rows: list[dict[str, object]] = []
    record = make_record(THOUGHTS + "\\boxed{\\frac{3}{9}}", gold="1/3")
    thread = threading.Thread(target=lambda: rows.extend(MathVerify(recipe.MathVerify()).annotate([record])))
    thread.start()
    thread.join()
    assert rows == [{"correct": True, "extracted": "\\frac{3}{9}"}]


def test_a_tower_of_powers_is_wrong_and_does_not_hang(make_record: Make) -> None:
    started = time.monotonic()
    assert verdict(make_record, THOUGHTS + "\\boxed{9^{9^{9^9}}}", "1")["correct"] is False
    assert time.monotonic() - started < 10


def test_four_thousand_traces_are_checked_in_seconds(make_record: Make) -> None:
    records = [
        make_record(
            THOUGHTS + f"\\boxed{{{n % 50}/{n % 7 + 1}}}", gold=f"\\frac{{{n % 50}}}{{{n % 7 + 1}}}", prompt=f"{n}"
        )
        for n in range(4000)
    ]
    started = time.monotonic()
    rows = MathVerify(recipe.MathVerify()).annotate(records)
    assert all(row["correct"] for row in rows)
    assert time.monotonic() - started < 15


@pytest.mark.parametrize(
    ("text", "ngram", "share"),
    [
        ("a b a b a b a b", 2, 1.0),  # "a b" four times covers all
        ("a b x a b y a b z", 2, 6 / 9),  # "a b" three times covers 6 of 9 words
        ("a b x y a b z w", 2, 0.0),  # twice is a check, not a circle
        ("one two three four five six", 2, 0.0),
        ("ab" * 5, 4, 1.0),  # no spaces: characters
        ("xyzxyzxyz--------"[:9] + "abcdefghi", 3, 0.5),  # "xyz" three times covers 9 of 18 characters
        ("short", 8, 0.0),
        ("", 8, 0.0),
    ],
)
def test_repetition_is_the_share_that_the_most_frequent_ngram_covers(text: str, ngram: int, share: float) -> None:
    assert repeated_share(text, ngram) == pytest.approx(share)


def test_text_stats_give_tokens_and_repetition(make_record: Make) -> None:
    looping = "<think>" + "wait let me think about it again now " * 30 + "</think>\\boxed{7}"
    rows = TextStats(recipe.TextStats()).annotate([make_record(looping), make_record("<think>3+4=7</think>\\boxed{7}")])
    assert rows[0]["tokens"] == 30 * 8 + 1
    assert rows[0]["repetition"] > 0.9
    assert rows[1]["repetition"] == 0.0
