"""HTTP around the state: authentication, routing, faults, and the knobs that tests turn."""

from __future__ import annotations

import json
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.kfp_server.faults import Fault, Faults
from tests.kfp_server.operations import perform
from tests.kfp_server.routes import find
from tests.kfp_server.state import Refused, State
from tests.kfp_server.tls import Certificates, make_certificates


class KfpServer:
    """A KFP API server for tests, running from ``with`` to its end.

    Args:
        namespaces: the tokens that may use each namespace; None is a single-user installation without tokens.
        tls: serve HTTPS with a certificate of ``ca_file``'s authority.
        prefix: path before the API, as behind an ingress (``/pipeline``).
    """

    def __init__(
        self, *, namespaces: Mapping[str, set[str]] | None = None, tls: bool = False, prefix: str = ""
    ) -> None:
        self.namespaces = {name: set(tokens) for name, tokens in (namespaces or {}).items()}
        self.multi_user = namespaces is not None
        self.prefix = prefix
        self.state = State(multi_user=self.multi_user)
        self.faults = Faults()
        self.requests: list[tuple[str, str]] = []
        """Operation and path of every request that arrived, in order."""
        self.ending = threading.Event()
        self._folder = tempfile.TemporaryDirectory(prefix="kfp-server-")
        self.certificates: Certificates | None = make_certificates(Path(self._folder.name)) if tls else None
        self._http = _Server(("127.0.0.1", 0), _Handler)
        self._http.owner = self
        if self.certificates:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certificates.chain, self.certificates.key)
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), name="kfp-server")

    def __enter__(self) -> KfpServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ending.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()
        self._folder.cleanup()

    @property
    def url(self) -> str:
        """Where clients find it; what ``KF_PIPELINES_ENDPOINT`` would say."""
        return f"{'https' if self.certificates else 'http'}://127.0.0.1:{self._http.server_address[1]}{self.prefix}"

    @property
    def ca_file(self) -> str:
        """The authority that clients must trust."""
        assert self.certificates, "without tls there is no authority"
        return str(self.certificates.ca)

    # What goes wrong: each takes an operation of ``routes.ROUTES``, or "*" for whatever comes next.

    def fail_next(
        self, operation: str = "*", status: int = 503, *, times: int = 1, retry_after: str = "", message: str = ""
    ) -> None:
        """Refuse with ``status``; nothing is done."""
        self.faults.add(Fault(operation, "fail", times, status, message, retry_after))

    def drop_answer_of(self, operation: str, *, times: int = 1) -> None:
        """Do the work, then close the connection without an answer."""
        self.faults.add(Fault(operation, "drop_answer", times))

    def drop_request_of(self, operation: str, *, times: int = 1) -> None:
        """Close the connection before anything is done."""
        self.faults.add(Fault(operation, "drop_request", times))

    def delay(self, operation: str, seconds: float, *, times: int = 1) -> None:
        """Do the work at once, answer ``seconds`` later."""
        self.faults.add(Fault(operation, "delay", times, seconds=seconds))

    def never_answer(self, operation: str, *, times: int = 1) -> None:
        """Do the work and keep the connection open without a word, until the server ends."""
        self.faults.add(Fault(operation, "never", times))

    def answer_twice(self, operation: str, *, times: int = 1) -> None:
        """Do the work once and send the same answer two times over."""
        self.faults.add(Fault(operation, "twice", times))

    # What runs do.

    @property
    def runs(self) -> list[dict[str, Any]]:
        """All runs as the API shows them, oldest first."""
        return list(self.state.runs.values())

    def run(self, run_id: str) -> dict[str, Any]:
        return self.state.get("runs", run_id)

    def start(self, run_id: str) -> None:
        """The run's first pod is there."""
        self._move(run_id, "RUNNING")

    def finish(self, run_id: str, state: str = "SUCCEEDED", *, error: str = "") -> None:
        """The run ends: SUCCEEDED, FAILED, CANCELED or SKIPPED."""
        self._move(run_id, state, error)

    def set_task(self, run_id: str, name: str, state: str, *, pod: str = "", error: str = "", log: str = "") -> None:
        """A task's state, its pod (by Argo's id of the node) and what it has printed; made by the first call."""
        with self.state.lock:
            self.state.set_task(run_id, name, state, pod=pod, error=error)
            if pod:
                workflow, _, number = pod.rpartition("-")
                self.state.logs[f"{workflow}-system-container-impl-{number}"] = log

    def count(self, operation: str) -> int:
        """How many requests for ``operation`` arrived."""
        return sum(name == operation for name, _ in self.requests)

    def _move(self, run_id: str, state: str, error: str = "") -> None:
        with self.state.lock:
            self.state.move_run(run_id, state, error)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    owner: KfpServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up (or do not trust the certificate) are part of the tests."""
        import sys

        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body leave together: two small packets cost 40 ms of delayed acknowledgement
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_DELETE = do_GET  # noqa: N815

    def _answer(self) -> None:
        owner = self.server.owner
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        address = urlsplit(self.path)
        path = unquote(address.path)
        found = find(self.command, path.removeprefix(owner.prefix)) if path.startswith(owner.prefix) else None
        if found is None:
            owner.requests.append(("unknown", f"{self.command} {path}"))
            self._send(404, "404 page not found\n")
            return
        operation, names = found
        owner.requests.append((operation, path))
        fault = owner.faults.take(operation)
        if fault and fault.kind == "drop_request":
            self._hang_up()
            return
        if fault and fault.kind == "fail":
            headers = {"Retry-After": fault.retry_after} if fault.retry_after else {}
            self._send(fault.status, _error(2, fault.message or f"made to fail with {fault.status}"), headers)
            return
        query = dict(parse_qsl(address.query, keep_blank_values=True))
        status, answer = self._perform(operation, names, query, body)
        if fault and fault.kind == "drop_answer":
            self._hang_up()
        elif fault and fault.kind == "never":
            owner.ending.wait()
            self._hang_up()
        else:
            if fault and fault.kind == "delay":
                owner.ending.wait(fault.seconds)
            for _ in range(2 if fault and fault.kind == "twice" else 1):
                self._send(status, answer)

    def _perform(self, operation: str, names: dict[str, str], query: dict[str, str], body: bytes) -> tuple[int, Any]:
        owner = self.server.owner
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ").strip()
        try:
            with owner.state.lock:
                return 200, perform(owner, operation, {**query, **names}, (self.headers, body), token)
        except Refused as refused:
            if operation.startswith("upload"):  # a plain handler, which tells refused access as 400
                status = 400 if refused.status in (401, 403, 404) else refused.status
                return status, {"error_message": refused.message, "error_details": refused.message}
            return refused.status, _error(refused.code, refused.message)

    def _send(self, status: int, answer: Any, headers: Mapping[str, str] | None = None) -> None:
        text = answer if isinstance(answer, str) else json.dumps(answer)
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain" if isinstance(answer, str) else "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)
        self.wfile.flush()

    def _hang_up(self) -> None:
        self.close_connection = True
        time.sleep(0.01)  # let a client finish its own sending, or it sees a reset instead of a lost answer
        self.connection.shutdown(socket.SHUT_RDWR)


def _error(code: int, message: str) -> dict[str, Any]:
    return {"error": message, "code": code, "message": message, "details": []}
