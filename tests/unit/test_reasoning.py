"""Every spelling of thoughts and answers, made up and real."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillhouse.reasoning import TAGS, Reply, final_answer, join_reply, last_boxed, split_reply

REPLIES = Path(__file__).parents[1] / "data" / "r1_replies" / "replies.jsonl"
SHARED = Path(__file__).parents[3] / "shared" / "data" / "r1_samples"

SPELLINGS = [
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
]


@pytest.mark.parametrize(("opening", "closing"), SPELLINGS)
def test_every_spelling_is_split_into_thoughts_and_answer(opening: str, closing: str) -> None:
    assert split_reply(f"{opening}\n 2+2=4 \n{closing}\n\nIt is 4.") == Reply("2+2=4", "It is 4.", True)


@pytest.mark.parametrize(("opening", "closing"), SPELLINGS)
def test_an_opening_tag_swallowed_by_the_chat_template_is_no_loss(opening: str, closing: str) -> None:
    assert split_reply(f"2+2=4{closing}4") == Reply("2+2=4", "4", True)


@pytest.mark.parametrize(("opening", "closing"), SPELLINGS)
def test_a_thought_that_never_ends_is_all_thought(opening: str, closing: str) -> None:
    assert split_reply(f"{opening}2+2=") == Reply("2+2=", "", False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4", Reply("", "4", True)),
        ("", Reply("", "", True)),
        ("<think></think>4", Reply("", "4", True)),
        ("Sure. <think>a</think>4", Reply("a", "Sure.\n4", True)),
        ("<think>a</think>b<think>c</think>d", Reply("a</think>b<think>c", "d", True)),
        ("<think>a</think>4 <think>again", Reply("a", "4", False)),
        (
            "<|begin_of_thought|>a<|end_of_thought|>\n<|begin_of_solution|>4<|end_of_solution|>",
            Reply("a", "4", True),
        ),
        ("<|begin_of_solution|>4", Reply("", "4", True)),
        ("half \ud83d<think>", Reply("", "", False)),
    ],
)
def test_edges_of_a_reply(text: str, expected: Reply) -> None:
    assert split_reply(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4", Reply("a", "4", True)),
        ("<think></think>4", Reply("a", "4", True)),
        ("<think>b</think>4", Reply("a", "4", True)),
        ("<think>b", Reply("a", "", False)),
    ],
)
def test_reasoning_content_is_the_thoughts_and_no_tag_reaches_the_answer(text: str, expected: Reply) -> None:
    assert split_reply(text, " a ") == expected


def test_half_a_surrogate_pair_becomes_text_that_a_file_can_hold() -> None:
    reply = split_reply("<think>\ud83d</think>4\udc00", None)
    assert reply == Reply("?", "4?", True)


_PLAIN = (
    st.text(st.characters(codec="utf-8"), max_size=60).map(str.strip).filter(lambda t: not any(x in t for x in TAGS))
)


@given(reasoning=_PLAIN, answer=_PLAIN)
@settings(deadline=None, derandomize=True, database=None)
def test_a_written_reply_is_read_back(reasoning: str, answer: str) -> None:
    assert split_reply(join_reply(reasoning, answer)) == Reply(reasoning, answer, True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"so \boxed{4}", "4"),
        (r"\boxed{ \frac{1}{2} } it is", r"\frac{1}{2}"),
        (r"\boxed{3}, no: \boxed{4}", "4"),
        (r"\boxed{\boxed{4}}", "4"),
        (r"\boxed{4}, or \boxed{5", "4"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed {4} } {", "4"),
        (r"\fbox{4}", "4"),
        (r"\boxed{4", None),
        ("4", None),
    ],
)
def test_the_last_complete_box_is_the_answer(text: str, expected: str | None) -> None:
    assert last_boxed(text) == expected


def test_a_reply_that_opens_boxes_without_end_is_read_in_linear_time() -> None:
    assert last_boxed(r"\boxed{" * 100_000) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"The answer is 3. \boxed{4}", "4"),
        ("Half is 24.\n#### 72", "72"),
        ("#### 1\n#### 2", "2"),
        ("So the answer is 42.", "42"),
        ("Answer: 42", "42"),
        ("The final answer is: 42.", "42"),
        ("The answer is **42**.", "42"),
        ("**Answer:** 42", "42"),
        ("The answer is $3.5$.", "3.5"),
        ("The answer is 42. I am sure of it.", "42"),
        ("The answer is:\n\n42\n", "42"),
        ("No number here", None),
        ("", None),
    ],
)
def test_a_stated_answer_is_found(text: str, expected: str | None) -> None:
    assert final_answer(text) == expected


def _real_replies() -> list[dict[str, str]]:
    return [json.loads(line) for line in REPLIES.read_text(encoding="utf-8").split("\n") if line]


@pytest.mark.parametrize("row", _real_replies(), ids=lambda row: row["id"])
def test_ends_of_real_deepseek_replies_are_read_in_both_transports(row: dict[str, str]) -> None:
    expected = Reply(row["thinking"].strip(), row["content"].strip(), True)
    assert split_reply(f"<think>\n{row['thinking']}</think>\n\n{row['content']}") == expected
    assert split_reply(f"{row['thinking']}</think>\n\n{row['content']}") == expected
    assert split_reply(row["content"], row["thinking"]) == expected
    assert final_answer(expected.answer) == row["answer"]


def test_whole_real_deepseek_replies_state_the_gold_answer() -> None:
    if not SHARED.is_dir():
        pytest.skip("the shared development data is not beside this checkout")
    rows = [row for path in sorted(SHARED.glob("*.json")) for row in json.loads(path.read_text(encoding="utf-8"))]
    assert len(rows) == 10
    for row in rows:
        reply = split_reply(f"<think>\n{row['message_thinking']}\n</think>\n\n{row['message_content']}")
        assert reply == Reply(row["message_thinking"].strip(), row["message_content"].strip(), True)
        assert final_answer(reply.answer) == row["gtruth_answer"]
