"""A teacher that starts, goes away and comes back, against a real local HTTP server on a port that opens late."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from stillhouse.errors import RecipeError, TransientError
from stillhouse.models.requests import ChatRequest, Reply
from stillhouse.recipe.teacher import OpenAITeacher as Config
from stillhouse.recipe.teacher import Sampling
from stillhouse.teachers.openai_teacher import OpenAITeacher
from stillhouse.teachers.waiting import WAIT_ENV, wait_s
from tests.unit.teachers.chat_server import completion

KEY = "sk-very-secret"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def server_at(
    port: int, models: Callable[[], int] = lambda: 200, chat: Callable[[], int] = lambda: 200
) -> Iterator[Any]:
    """Answers ``GET /v1/models`` and ``POST /v1/chat/completions`` with these statuses; yields what was asked."""
    asked: list[tuple[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def _answer(self, status: int) -> None:
            asked.append((f"{self.command} {self.path}", self.headers.get("Authorization", "")))
            content = json.dumps(completion("yes") if status == 200 else {"error": f"no, {KEY}"}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self) -> None:
            self._answer(models())

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(chat())

        def log_message(self, format: str, *args: object) -> None:
            return

    class Reopened(ThreadingHTTPServer):
        allow_reuse_address = True
        daemon_threads = True

    server = Reopened(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def url(port: int) -> str:
    return f"http://127.0.0.1:{port}/v1"


def ask(*endpoints: str, count: int = 1, **options: Any) -> list[Reply]:
    config = {"concurrency": 2, "timeout_s": 5.0, "retries": 1, "api_key_env": "TEST_KEY", **options}
    teacher = OpenAITeacher(Config(name="big", model="m", endpoints=endpoints, **config), backoff_s=0.02, poll_s=0.05)
    requests = [ChatRequest(f"k{i}", ({"role": "user", "content": f"q{i}"},), i) for i in range(count)]
    return [reply for batch in teacher.generate(requests, Sampling()) for reply in batch]


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WAIT_ENV, "20")
    monkeypatch.setenv("TEST_KEY", KEY)


def test_a_server_that_opens_late_is_waited_for_and_both_ends_of_the_wait_are_told(capfd: Any) -> None:
    port = free_port()
    replies: list[Reply] = []
    client = threading.Thread(target=lambda: replies.extend(ask(url(port))))
    client.start()
    time.sleep(0.5)
    assert client.is_alive()
    with server_at(port) as asked:
        client.join(20)
    assert [reply.text for reply in replies] == ["yes"]
    assert asked[0] == ("GET /v1/models", f"Bearer {KEY}")
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"teacher big at {url(port)} is not there (ConnectError")
    assert "waiting up to 20 s" in lines[0]
    assert lines[1].startswith("teacher big is there, after ")


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_server_that_says_it_is_starting_is_asked_again(status: int) -> None:
    said = iter([status, status, 200])
    with server_at(free := free_port(), models=lambda: next(said)) as asked:
        assert ask(url(free))[0].text == "yes"
    assert [what for what, _ in asked] == ["GET /v1/models"] * 3 + ["POST /v1/chat/completions"]


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_an_error_at_once_and_is_not_shown(status: int) -> None:
    refused = pytest.raises(RecipeError, match="TEST_KEY: its value is not accepted")
    with server_at(free := free_port(), models=lambda: status) as asked, refused as caught:
        ask(url(free))
    assert KEY not in str(caught.value)
    assert len(asked) == 1


def test_a_wrong_address_is_an_error_at_once() -> None:
    refused = pytest.raises(RecipeError, match="endpoint ends in /v1")
    with server_at(free := free_port(), models=lambda: 404, chat=lambda: 404), refused:
        ask(url(free))


@pytest.mark.parametrize("status", [404, 405, 501])
def test_a_server_without_a_list_of_models_is_there(status: int) -> None:
    with server_at(free := free_port(), models=lambda: status):
        assert ask(url(free))[0].text == "yes"


def test_the_end_of_the_wait_names_endpoint_and_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WAIT_ENV, "0.4")
    address = url(free_port())
    started = time.monotonic()
    with pytest.raises(
        TransientError, match=rf"teacher big at {address}: not there after waiting 0.4 s \(ConnectError"
    ):
        ask(address)
    assert 0.4 <= time.monotonic() - started < 5


def test_without_the_variable_nothing_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(WAIT_ENV)
    with server_at(free := free_port(), models=lambda: 503) as asked:
        assert ask(url(free))[0].text == "yes"
    assert [what for what, _ in asked] == ["POST /v1/chat/completions"]
    with pytest.raises(TransientError, match="no endpoint can be reached"):
        ask(url(free_port()))


def test_a_server_that_goes_away_in_the_middle_loses_no_request() -> None:
    port, replies = free_port(), []
    with server_at(port) as first:
        client = threading.Thread(target=lambda: replies.extend(ask(url(port), count=400, retries=0)))
        client.start()
        while len(first) < 20:
            time.sleep(0.005)
    time.sleep(0.4)
    assert client.is_alive()
    with server_at(port):
        client.join(30)
    assert len(replies) == 400
    assert {reply.error for reply in replies} == {""}


def test_away_in_the_middle_for_longer_than_the_wait_keeps_what_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WAIT_ENV, "0.3")
    statuses = iter([200] * 5)
    with server_at(free := free_port(), chat=lambda: next(statuses, 503)):
        teacher = OpenAITeacher(
            Config(name="big", model="m", endpoints=(url(free),), concurrency=1, retries=0), backoff_s=0.02, poll_s=0.05
        )
        kept: list[Reply] = []
        requests = [ChatRequest(f"k{i}", ({"role": "user", "content": "q"},), i) for i in range(9)]

        def drain() -> None:
            for batch in teacher.generate(requests, Sampling()):
                kept.extend(batch)

        with pytest.raises(TransientError, match=r"not there after waiting 0\.3 s"):
            drain()
    assert [reply.text for reply in kept] == ["yes"] * 5


def test_one_endpoint_of_two_is_enough_and_nobody_speaks_of_waiting(capfd: Any) -> None:
    with server_at(free := free_port()):
        replies = ask(url(free_port()), url(free), count=12)
    assert {reply.text for reply in replies} == {"yes"}
    assert "not there" not in capfd.readouterr().err


def test_a_request_that_fails_for_itself_still_ends_after_its_tries() -> None:
    statuses = iter([200, 500, 500])
    with server_at(free := free_port(), chat=lambda: next(statuses, 200)) as asked:
        replies = ask(url(free), count=2, concurrency=1)
    assert [reply.error[:8] for reply in replies] == ["", "HTTP 500"]
    assert "after 2 tries" in replies[1].error
    assert len(asked) == 4


@pytest.mark.parametrize(("text", "seconds"), [(None, 0.0), ("", 0.0), ("0", 0.0), (" 1800 ", 1800.0), ("0.5", 0.5)])
def test_the_wait_is_read_from_the_environment(text: str | None, seconds: float) -> None:
    assert wait_s({} if text is None else {WAIT_ENV: text}) == seconds


@pytest.mark.parametrize("text", ["soon", "-1", "inf", "nan"])
def test_a_wait_that_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(RecipeError, match="must be a number of seconds"):
        wait_s({WAIT_ENV: text})
