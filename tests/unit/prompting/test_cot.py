"""Rendering and parsing, by hand-written examples."""

from __future__ import annotations

import pytest

from stillhouse.models.requests import Reply
from stillhouse.prompting.base import open_prompter
from stillhouse.prompting.cot import CotPrompter
from stillhouse.recipe.traces import CotPrompter as Config
from stillhouse.records import Problem

PROBLEM = Problem(id="1", prompt="What is {x} if \\boxed{7}?", answer="7")


def test_the_problem_stands_where_the_template_says_and_braces_stay() -> None:
    prompter = CotPrompter(Config(template="Answer in \\boxed{}. {prompt}"))
    assert prompter.render(PROBLEM) == [
        {"role": "user", "content": "Answer in \\boxed{}. What is {x} if \\boxed{7}?"},
    ]


def test_a_system_message_comes_first_and_an_empty_one_not_at_all() -> None:
    assert [m["role"] for m in CotPrompter(Config(system="Think.")).render(PROBLEM)] == ["system", "user"]
    assert [m["role"] for m in CotPrompter(Config()).render(PROBLEM)] == ["user"]


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply(key="k", text="<think>a</think>b"), ("a", "b", True)),
        (Reply(key="k", text="b", reasoning_content="a"), ("a", "b", True)),
        (Reply(key="k", text="<think>a", finish_reason="length"), ("a", "", False)),
        (Reply(key="k", text="b"), ("", "b", True)),
        (Reply(key="k", error="HTTP 500", finish_reason="error"), ("", "", True)),
    ],
)
def test_a_reply_becomes_thoughts_and_answer(reply: Reply, expected: tuple[str, str, bool]) -> None:
    assert CotPrompter(Config()).parse(reply) == expected


def test_a_config_opens_its_prompter() -> None:
    assert isinstance(open_prompter(Config()), CotPrompter)
