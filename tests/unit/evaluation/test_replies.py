"""Replies are asked once, written whole, and found again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from stillhouse.errors import RecipeError, TransientError
from stillhouse.evaluation.replies import ask, stored, voice_folder
from stillhouse.models.requests import ChatRequest, Reply


def requests(count: int) -> list[ChatRequest]:
    return [ChatRequest(f"k{index}", ({"role": "user", "content": "?"},), index) for index in range(count)]


class Echo:
    """Answers with the key, in reverse and in batches of two."""

    def __init__(self, errors: Sequence[str] = ()) -> None:
        self.asked: list[str] = []
        self.errors = errors

    def __call__(self, wanted: Sequence[ChatRequest]) -> Iterator[list[Reply]]:
        backwards = list(wanted)[::-1]
        for start in range(0, len(backwards), 2):
            batch = backwards[start : start + 2]
            self.asked += [one.key for one in batch]
            yield [Reply(key=one.key, text=one.key, error="no" if one.key in self.errors else "") for one in batch]


def silent(_done: int) -> None:
    """Nobody listens to the progress."""


def test_replies_come_in_the_order_of_the_requests_and_progress_counts_up(tmp_path: Path) -> None:
    heard: list[int] = []
    replies = ask(Echo(), requests(5), tmp_path, heard.append)
    assert [reply.text for reply in replies] == ["k0", "k1", "k2", "k3", "k4"]
    assert heard == [0, 2, 4, 5]


def test_what_is_known_is_not_asked_and_a_source_with_nothing_to_do_is_not_touched(tmp_path: Path) -> None:
    echo = Echo()
    ask(echo, requests(3), tmp_path, silent)
    ask(echo, requests(5), tmp_path, silent)
    assert sorted(echo.asked) == ["k0", "k1", "k2", "k3", "k4"]

    def never(_wanted: Sequence[ChatRequest]) -> Iterator[list[Reply]]:
        raise AssertionError("nothing is missing")

    assert len(ask(never, requests(5), tmp_path, silent)) == 5


def test_a_source_that_dies_leaves_what_it_said(tmp_path: Path) -> None:
    def dies(wanted: Sequence[ChatRequest]) -> Iterator[list[Reply]]:
        yield [Reply(key=wanted[0].key, text="first")]
        raise TransientError("gone")

    with pytest.raises(TransientError, match="gone"):
        ask(dies, requests(3), tmp_path, silent)
    assert stored(tmp_path) == {"k0": Reply(key="k0", text="first")}


def test_failures_below_the_limit_are_returned_but_not_kept(tmp_path: Path) -> None:
    replies = ask(Echo(errors=["k7"]), requests(40), tmp_path, silent)
    assert [reply.key for reply in replies if reply.error] == ["k7"]
    assert len(stored(tmp_path)) == 39


def test_too_many_failures_are_the_error_that_the_caller_names(tmp_path: Path) -> None:
    for failure in (TransientError, RecipeError):
        with pytest.raises(failure, match=r"1 of 10 requests got no reply \(first: no\)"):
            ask(Echo(errors=["k7"]), requests(10), tmp_path, silent, failure)


def test_a_reply_that_never_comes_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(TransientError, match="3 of 3 requests got no reply"):
        ask(lambda _wanted: [], requests(3), tmp_path, silent)


@pytest.mark.parametrize("damage", ["", "[{]", '[{"key": "k0", "colour": 1}]', "[1]", "null"])
def test_a_damaged_file_is_asked_for_again(tmp_path: Path, damage: str) -> None:
    ask(Echo(), requests(2), tmp_path, silent)
    (path,) = tmp_path.glob("*.json")
    path.write_text(damage)
    echo = Echo()
    assert [reply.text for reply in ask(echo, requests(2), tmp_path, silent)] == ["k0", "k1"]
    assert len(echo.asked) == 2


def test_odd_text_comes_back_as_it_was(tmp_path: Path) -> None:
    odd = Reply(key="k0", text="\ud800 \u2028 ≤ \x00", reasoning_content="é", completion_tokens=3)
    ask(lambda _wanted: [[odd]], requests(1), tmp_path, silent)
    assert stored(tmp_path)["k0"] == odd


def test_voices_differ_by_content_and_by_every_setting(tmp_path: Path) -> None:
    folders = {voice_folder(tmp_path, "a", 1), voice_folder(tmp_path, "b", 1), voice_folder(tmp_path, "a", 2)}
    assert len(folders) == 3
