"""The probe against a real local HTTP server: good answers, bad ones, slow ones, none, and hostile ones."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from operators.crds.promotion import Probe
from operators.promotion import probe
from operators.promotion.situation import Answer


class Served(ThreadingHTTPServer):
    """Answers by path; remembers what it was asked."""

    daemon_threads = True
    seen: list[tuple[str, str, Any]]


class Handler(BaseHTTPRequestHandler):
    server: Served

    def log_message(self, format: str, *args: Any) -> None: ...

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        self.server.seen.append((self.command, self.path, body))
        status, content = self._content()
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/good")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            with suppress(ConnectionError):  # a client that has had enough
                self.wfile.write(content)

    do_GET = do_POST = do_HEAD = _answer  # noqa: N815

    def _content(self) -> tuple[int, bytes]:
        path = self.path.partition("?")[0]
        if path == "/slow":
            time.sleep(3)
        if path == "/huge":
            return 200, b'"' + b"x" * (2 * probe.LONGEST_ANSWER) + b'"'
        if path == "/v1/chat/completions":
            message = {"role": "assistant", "content": "The answer is 4.", "reasoning_content": "two and two"}
            return 200, json.dumps({"choices": [{"message": message}]}).encode()
        if path == "/v1/completions":
            return 200, json.dumps({"choices": [{"text": "4"}]}).encode()
        if path == "/evil/chat/completions":
            return 200, json.dumps({"choices": [{"message": {"content": "a" * 40 + "!"}}]}).encode()
        if path == "/odd/chat/completions":
            return 200, b'{"choices": [{"message": {"content": ["not", "text"]}}]}'
        if path == "/broken/chat/completions":
            return 200, b"<html>secret</html>"
        status = {"/bad": 500, "/moved": 302, "/none": 404}.get(path, 200)
        return status, json.dumps({"state": "ok", "model": {"version": "8", "secret": "s3cr3t"}}).encode()


@contextmanager
def serving() -> Iterator[Served]:
    server = Served(("127.0.0.1", 0), Handler)
    server.seen = []
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with serving() as running:
        yield running


def _ask(server: Served, fields: dict[str, Any], **rest: Any) -> Answer:
    for part in fields.values():
        part["url"] = part["url"].replace("BASE", f"http://127.0.0.1:{server.server_address[1]}")
    return asyncio.run(probe.ask(Probe.model_validate({**fields, **rest}), "8"))


def _http(path: str, **fields: Any) -> dict[str, Any]:
    return {"http": {"url": f"BASE{path}", **fields}}


def _completion(base: str = "/v1", regex: str = r"\b4\b", **fields: Any) -> dict[str, Any]:
    return {"completion": {"url": f"BASE{base}", "model": "math", "prompt": "2+2=", "expectRegex": regex, **fields}}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (_http("/good"), ""),
        (_http("/good", method="HEAD"), ""),
        (_http("/good", method="POST", body={"a": 1}), ""),
        (_http("/none", expectStatus=404), ""),
        (_http("/good", expectJson={"state": "ok"}), ""),
        (_http("/good", expectJson={"model": {"version": "$(VERSION)"}}), ""),
        (_http("/bad"), "status 500, expected 200"),
        (_http("/moved"), "status 302, expected 200"),
        (_http("/good", expectJson={"model": {"version": "7"}}), "does not contain expectJson"),
        (_http("/huge", expectJson={"a": 1}), "does not contain expectJson"),
        (_completion(), ""),
        (_completion("/v1/"), ""),
        (_completion(chat=False), ""),
        (_completion(regex="two and two"), ""),
        (_completion(regex="five"), "does not match five"),
        (_completion("/broken"), "is no completion"),
        (_completion("/odd"), "does not match"),
        (_completion("/v1", regex=r"^two.*4\.$"), ""),
        ({"http": {"url": "http://127.0.0.1:1/"}}, "no answer (ConnectError)"),
        ({"http": {"url": "http://nowhere.invalid/"}}, "no answer (ConnectError)"),
    ],
)
def test_an_answer_is_good_only_when_it_is_what_was_expected(
    server: Served, fields: dict[str, Any], message: str
) -> None:
    answer = _ask(server, fields)
    assert answer.passed is (message == "")
    assert message in answer.message


def test_a_server_that_is_too_slow_has_not_answered(server: Served) -> None:
    began = time.monotonic()
    assert _ask(server, _http("/slow"), timeoutSeconds=1) == Answer(False, "no answer within 1 s")
    assert time.monotonic() - began < 2.5


def test_a_pattern_that_never_ends_ends_with_the_time_out_and_stops_nobody_else(server: Served) -> None:
    async def story() -> tuple[Answer, int]:
        url = f"http://127.0.0.1:{server.server_address[1]}/evil"
        fields = {"url": url, "model": "m", "prompt": "p", "expectRegex": r"^(a+)+$"}
        asked = asyncio.create_task(
            probe.ask(Probe.model_validate({"completion": fields, "timeoutSeconds": 1}), version="8")
        )
        beats = 0
        while not asked.done():
            await asyncio.sleep(0.05)
            beats += 1
        return await asked, beats

    answer, beats = asyncio.run(story())
    assert answer == Answer(False, "no answer within 1 s")
    assert beats > 5, "the event loop went on"


def test_what_the_server_answers_is_never_repeated(server: Served) -> None:
    for fields in (
        _http("/bad"),
        _http("/good", expectJson={"a": 1}),
        _completion("/broken"),
        _completion(regex="five"),
    ):
        message = _ask(server, fields).message
        assert message
        for word in ("s3cr3t", "secret", "The answer is"):
            assert word not in message


def test_the_request_is_what_an_openai_compatible_server_expects(server: Served) -> None:
    server.seen.clear()
    _ask(server, _completion(model="math-v$(VERSION)", maxTokens=7))
    _ask(server, _completion(chat=False))
    _ask(server, _http("/good?v=$(VERSION)", method="POST", body={"v": ["$(VERSION)"]}))
    (_, chat_path, chat), (_, plain_path, plain), post = server.seen
    assert (chat_path, plain_path) == ("/v1/chat/completions", "/v1/completions")
    assert chat == {
        "model": "math-v8", "max_tokens": 7, "temperature": 0.0, "seed": 0,
        "messages": [{"role": "user", "content": "2+2="}],
    }  # fmt: skip
    assert plain["prompt"] == "2+2="
    assert post == ("POST", "/good?v=8", {"v": ["8"]})
