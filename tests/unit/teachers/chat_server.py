"""A real OpenAI-compatible server in a thread, whose every answer is scripted and counted."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Answer:
    """What the server does with one request. ``body`` may be bytes that are no JSON."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    hang_up: bool = False


Script = Callable[[dict[str, Any], int], Answer]
"""From the decoded request and how often its prompt was seen before, to an answer."""


def completion(text: Any, *, reasoning: str | None = None, finish: str = "stop", usage: bool = True) -> dict[str, Any]:
    message = {"role": "assistant", "content": text} | ({"reasoning_content": reasoning} if reasoning else {})
    body: dict[str, Any] = {"choices": [{"index": 0, "message": message, "finish_reason": finish}]}
    return body | ({"usage": {"prompt_tokens": 7, "completion_tokens": 5}} if usage else {})


def echo(request: dict[str, Any], _seen: int) -> Answer:
    return Answer(body=completion("re: " + request["messages"][-1]["content"]))


def always(answer: Answer) -> Script:
    """The same answer to everything."""
    return lambda _request, _seen: answer


@dataclass
class ChatServer:
    """Counts requests by prompt, keeps their headers and bodies, and knows how many were served side by side."""

    script: Script = echo
    url: str = ""
    seen: Counter[str] = field(default_factory=Counter)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def total(self) -> int:
        return self.seen.total()

    def answer(self, path: str, headers: dict[str, str], raw: bytes) -> Answer:
        if path != "/v1/chat/completions":
            return Answer(404, {"error": f"no route {path}"})
        body = json.loads(raw)
        with self.lock:
            prompt = body["messages"][-1]["content"]
            before = self.seen[prompt]
            self.seen[prompt] += 1
            self.bodies.append(body)
            self.headers.append(headers)
            self.times.append(time.monotonic())
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            answer = self.script(body, before)
            time.sleep(answer.delay_s)
        finally:
            with self.lock:
                self.at_once -= 1
        return answer


@contextmanager
def serving(script: Script = echo) -> Iterator[ChatServer]:
    """A server on a free port of the loopback; ``url`` ends in ``/v1``."""
    state = ChatServer(script)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            answer = state.answer(self.path, {key.lower(): value for key, value in self.headers.items()}, raw)
            if answer.hang_up:
                self.close_connection = True
                return
            content = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            try:
                self.wfile.write(content)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            return

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            return

    server = Quiet(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
