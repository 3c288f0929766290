"""The backend against a real local HTTP server."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from stillhouse.errors import RecipeError, TransientError
from stillhouse.models.requests import ChatRequest, Reply
from stillhouse.recipe.teacher import OpenAITeacher as Config
from stillhouse.recipe.teacher import Sampling
from stillhouse.teachers.openai_teacher import OpenAITeacher
from tests.unit.teachers.chat_server import Answer, always, completion, echo, serving

SAMPLING = Sampling(temperature=0.7, top_p=0.9, max_tokens=33)


def teacher_at(*urls: str, backoff_s: float = 0.01, **options: Any) -> OpenAITeacher:
    defaults = {"name": "remote", "model": "big", "concurrency": 4, "timeout_s": 5.0, "retries": 3}
    return OpenAITeacher(Config(endpoints=urls, **{**defaults, **options}), backoff_s=backoff_s)


def requests_of(count: int) -> list[ChatRequest]:
    return [ChatRequest(f"k{index}", ({"role": "user", "content": f"q{index}"},), index) for index in range(count)]


def ask(teacher: OpenAITeacher, count: int = 1, sampling: Sampling = SAMPLING) -> dict[str, Reply]:
    return {reply.key: reply for batch in teacher.generate(requests_of(count), sampling) for reply in batch}


@pytest.fixture(autouse=True)
def _no_threads_left() -> Iterator[None]:
    yield
    assert not [thread for thread in threading.enumerate() if thread.name == "stillhouse-background"]


def test_each_request_gets_its_own_reply_and_is_asked_once() -> None:
    with serving() as server:
        replies = ask(teacher_at(server.url), 30)
    assert {key: reply.text for key, reply in replies.items()} == {f"k{i}": f"re: q{i}" for i in range(30)}
    assert set(server.seen.values()) == {1}
    reply = replies["k0"]
    assert (reply.prompt_tokens, reply.completion_tokens, reply.finish_reason, reply.error) == (7, 5, "stop", "")


def test_the_body_says_model_messages_seed_and_sampling() -> None:
    with serving() as server:
        ask(teacher_at(server.url))
        ask(teacher_at(server.url), sampling=Sampling(temperature=0.0, top_k=20))
    assert server.bodies[0] == {
        "model": "big", "messages": [{"role": "user", "content": "q0"}], "seed": 0,
        "temperature": 0.7, "top_p": 0.9, "max_tokens": 33,
    }  # fmt: skip
    assert server.bodies[1]["top_k"] == 20


def test_the_number_of_requests_in_flight_is_bounded_and_used() -> None:
    with serving(always(Answer(body=completion("x"), delay_s=0.03))) as server:
        ask(teacher_at(server.url, concurrency=3), 24)
    assert server.most_at_once == 3


def test_endpoints_are_used_in_turn() -> None:
    with serving() as first, serving() as second:
        ask(teacher_at(first.url, second.url), 10)
    assert (first.total, second.total) == (5, 5)


def test_a_dead_endpoint_beside_a_living_one_costs_a_retry_and_no_reply() -> None:
    with serving() as server:
        replies = ask(teacher_at(_closed_port(), server.url), 6)
    assert [reply.error for reply in replies.values()] == [""] * 6


@pytest.mark.parametrize(
    "failure",
    [
        pytest.param(Answer(429, {"error": "slow down"}), id="429"),
        pytest.param(Answer(500, {"error": "oops"}), id="500"),
        pytest.param(Answer(503, b"<html>busy</html>"), id="503"),
        pytest.param(Answer(200, b"{not json"), id="garbage"),
        pytest.param(Answer(200, b"\xff\xfe\x00"), id="not text"),
        pytest.param(Answer(200, {"choices": []}), id="no choices"),
        pytest.param(Answer(200, [1]), id="another shape"),
        pytest.param(Answer(200, {"choices": [{"message": {"content": 3}}]}), id="no text"),
        pytest.param(Answer(hang_up=True), id="hangs up"),
        pytest.param(Answer(200, completion("late"), delay_s=0.6), id="too slow"),
    ],
)
def test_a_passing_failure_is_tried_again(failure: Any) -> None:
    with serving(lambda body, seen: failure if seen < 2 else echo(body, seen)) as server:
        replies = ask(teacher_at(server.url, timeout_s=0.3))
    assert replies["k0"].text == "re: q0"
    assert server.seen["q0"] == 3


def test_a_lasting_failure_of_one_request_is_a_sample_with_an_error() -> None:
    def script(body: dict[str, Any], seen: int) -> Any:
        bad = body["messages"][-1]["content"] == "q1"
        return Answer(500, {"error": "out of\n memory"}) if bad else echo(body, seen)

    with serving(script) as server:
        replies = ask(teacher_at(server.url, retries=2), 5)
    assert replies["k1"].error == 'HTTP 500: {"error": "out of\\n memory"} (after 3 tries)'
    assert (replies["k1"].finish_reason, replies["k1"].text) == ("error", "")
    assert server.seen["q1"] == 3
    assert sum(not reply.error for reply in replies.values()) == 4


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_is_honoured_as_seconds_and_as_a_date(as_date: bool) -> None:
    def script(body: dict[str, Any], seen: int) -> Any:
        if seen:
            return echo(body, seen)
        later = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
        return Answer(429, {}, {"Retry-After": later if as_date else "0.7"})

    with serving(script) as server:
        assert ask(teacher_at(server.url))["k0"].text == "re: q0"
    waited = server.times[1] - server.times[0]
    # An HTTP date has whole seconds: up to one of the two is cut off.
    assert 0.65 <= waited < 2.5
    assert waited >= 0.95 if as_date else waited < 1.5


def test_backoff_doubles_and_stays_within_its_jitter() -> None:
    with serving(lambda body, seen: Answer(503, {}) if seen < 3 else echo(body, seen)) as server:
        ask(teacher_at(server.url, backoff_s=0.1))
    pauses = [late - early for early, late in zip(server.times, server.times[1:], strict=False)]
    for pause, mean in zip(pauses, (0.1, 0.2, 0.4), strict=True):
        assert 0.5 * mean <= pause < 1.5 * mean + 0.25


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "TEST_KEY: its value is not accepted"),
        (403, "TEST_KEY: its value is not accepted"),
        (404, r"model's name \(big\) and that the endpoint ends in /v1"),
        (301, "check the endpoint's address"),
    ],
)
def test_what_every_request_would_meet_is_refused_at_once_and_without_the_key(
    status: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_KEY", "sk-very-secret")
    with serving(always(Answer(status, {"error": "key sk-very-secret is bad"}))) as server:
        with pytest.raises(RecipeError, match=message) as caught:
            ask(teacher_at(server.url, api_key_env="TEST_KEY"), 20)
        assert server.headers[0]["authorization"] == "Bearer sk-very-secret"
    assert "sk-very" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert server.total <= 4


def test_a_missing_key_sends_none_and_is_named_when_the_server_wants_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEST_KEY", raising=False)
    with serving(always(Answer(401, {}))) as server:
        with pytest.raises(RecipeError, match="environment variable TEST_KEY: it is not set"):
            ask(teacher_at(server.url, api_key_env="TEST_KEY"))
        assert "authorization" not in server.headers[0]


def test_a_key_with_a_line_break_is_refused_without_being_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KEY", "sk-one\nsk-two")
    with pytest.raises(RecipeError, match="TEST_KEY holds characters") as caught:
        ask(teacher_at("http://127.0.0.1:9/v1", api_key_env="TEST_KEY"))
    assert "sk-" not in str(caught.value)


def test_one_rejected_prompt_is_a_sample_with_an_error_and_is_not_tried_again() -> None:
    def script(body: dict[str, Any], seen: int) -> Any:
        bad = body["messages"][-1]["content"] == "q3"
        return Answer(400, {"error": "too long"}) if bad else echo(body, seen)

    with serving(script) as server:
        replies = ask(teacher_at(server.url), 12)
    assert replies["k3"].error == 'HTTP 400: {"error": "too long"}'
    assert server.seen["q3"] == 1


def test_a_server_that_rejects_everything_is_the_recipes_fault() -> None:
    with serving(always(Answer(400, {"error": "unknown field seed"}))) as server:
        with pytest.raises(RecipeError, match=r"rejects every request .*unknown field seed"):
            ask(teacher_at(server.url), 100)
        assert server.total < 20


def test_no_server_at_all_may_be_tried_again() -> None:
    url = _closed_port()
    with pytest.raises(TransientError, match=rf"no endpoint can be reached \(ConnectError.*{url}.*start the server"):
        ask(teacher_at(url, retries=1), 50)


def test_a_server_that_stops_answering_ends_the_run_and_keeps_what_it_said() -> None:
    def script(body: dict[str, Any], seen: int) -> Any:
        return echo(body, seen) if int(body["messages"][-1]["content"][1:]) < 10 else Answer(503, {})

    kept: list[Reply] = []

    def drain(url: str) -> None:
        for batch in teacher_at(url, retries=1, concurrency=2).generate(requests_of(500), SAMPLING):
            kept.extend(batch)

    with serving(script) as server:
        with pytest.raises(TransientError, match=r"4 requests in a row failed \(HTTP 503"):
            drain(server.url)
        assert server.total < 40
    assert sum(not reply.error for reply in kept) == 10


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (completion("4", reasoning="2+2"), ("4", "2+2", "stop")),
        (completion("4", finish="length"), ("4", None, "length")),
        (completion(None), ("", None, "stop")),
        ({"choices": [{"message": {"content": "4", "reasoning": "2+2"}, "finish_reason": None}]}, ("4", "2+2", "stop")),
        (completion("half \ud800 pair"), ("half ? pair", None, "stop")),
    ],
)
def test_replies_are_read_as_servers_write_them(body: Any, expected: tuple[str, str | None, str]) -> None:
    with serving(always(Answer(body=body))) as server:
        reply = ask(teacher_at(server.url))["k0"]
    assert (reply.text, reply.reasoning_content, reply.finish_reason) == expected
    assert reply.error == ""


def test_tokens_are_estimated_where_the_server_does_not_count_them() -> None:
    with serving(always(Answer(body=completion("twelve bytes", usage=False)))) as server:
        assert ask(teacher_at(server.url))["k0"].completion_tokens == 3


def test_a_withheld_reply_is_an_error_of_its_sample() -> None:
    with serving(always(Answer(body=completion("", finish="content_filter")))) as server:
        assert "content filter" in ask(teacher_at(server.url))["k0"].error


def test_replies_arrive_as_they_are_finished_and_not_at_the_end() -> None:
    def script(body: dict[str, Any], seen: int) -> Any:
        return Answer(body=completion("x"), delay_s=5.0 if body["messages"][-1]["content"] == "q0" else 0.0)

    with serving(script) as server:
        started = time.monotonic()
        iterator = teacher_at(server.url, concurrency=4, timeout_s=20).generate(requests_of(8), SAMPLING)
        first = next(iterator)
        assert time.monotonic() - started < 4
        assert all(reply.key != "k0" for reply in first)
        iterator.close()
        assert time.monotonic() - started < 4.5


def test_leaving_early_stops_asking() -> None:
    with serving(always(Answer(body=completion("x"), delay_s=0.02))) as server:
        for _ in teacher_at(server.url, concurrency=2).generate(requests_of(200), SAMPLING):
            break
        asked = server.total
        time.sleep(0.2)
        assert server.total == asked < 50


def test_it_works_inside_a_running_event_loop() -> None:
    async def notebook(url: str) -> dict[str, Reply]:
        return ask(teacher_at(url), 3)

    with serving() as server:
        assert len(asyncio.run(notebook(server.url))) == 3


@pytest.mark.parametrize("endpoint", ["localhost:8000/v1", "ftp://host/v1", "http:///v1", "http://host:port/v1"])
def test_an_endpoint_that_is_no_address_is_refused_when_the_teacher_is_opened(endpoint: str) -> None:
    with pytest.raises(RecipeError, match="teacher remote: endpoint"):
        teacher_at(endpoint)


def test_the_revision_changes_with_the_served_model() -> None:
    url = "http://127.0.0.1:9/v1"
    assert teacher_at(url).revision == "big"
    assert teacher_at(url, revision="2026-01").revision == "big@2026-01"


def _closed_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/v1"
