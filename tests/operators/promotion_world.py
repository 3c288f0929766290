"""A real ``mlflow server`` with students in it, and a door before it through which the operator must go.

The door forwards everything; a test may have it refuse, answer with a status, or lose answers of calls that were made.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

import httpx
from aiohttp import web

from stillhouse.digest import sha256_text
from stillhouse.recipe.evaluation import Gate
from stillhouse.registry.evidence import write_evidence
from stillhouse.registry.gate import UNTRAINED, Check, Verdict

START_S = 90.0
_NAMES = count(1)


@contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """The address of a server with a database and artifacts in ``folder``; it ends with the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", "--serve-artifacts",
        "--artifacts-destination", str(folder / "artifacts"),
    ]  # fmt: skip
    env = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, cwd=folder, env=env)
        try:
            _await(server, f"http://127.0.0.1:{port}", folder / "server.log")
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()


def _await(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    give_up = time.monotonic() + START_S
    while time.monotonic() < give_up:
        if server.poll() is not None:
            break
        try:
            if httpx.get(f"{url}/health", timeout=2).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.1)
    raise AssertionError(f"mlflow server does not start: {log.read_text(errors='replace')[-2000:]}")


@dataclass
class Students:
    """Versions of one registered model, made as ``register_student`` makes them, through the real client."""

    url: str
    name: str = field(default_factory=lambda: f"math-{next(_NAMES)}")

    @cached_property
    def client(self) -> Any:
        from mlflow.tracking.client import MlflowClient

        return MlflowClient(self.url)

    def register(self, *, passed: bool = True, against: str | None = None, evidence: bool = True) -> tuple[str, str]:
        """A new version, judged against the champion of the moment; returns its number and its evidence's sha256."""
        from mlflow.exceptions import MlflowException

        try:
            self.client.create_registered_model(self.name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        rival = self.alias("champion")
        judged = against or (f"models:/{self.name}/{rival}" if rival else UNTRAINED)
        run = self.client.create_run("0").info.run_id
        sha = self._evidence(run, passed, judged, upload=evidence)
        tags = {
            "validation_status": "pending" if passed else "rejected",
            "stillhouse.gate.evidence_sha256": sha,
            "stillhouse.kfp_run_id": "kfp-1",
        }
        made = self.client.create_model_version(
            self.name, source=f"runs:/{run}/model", run_id=run, tags=tags, await_creation_for=None
        )
        for alias in ("candidate", "challenger") if passed else ("candidate",):
            self.client.set_registered_model_alias(self.name, alias, made.version)
        return str(made.version), sha

    def _evidence(self, run: str, passed: bool, against: str, *, upload: bool) -> str:
        check = Check(kind="require", metric="chain", passed=passed, text="chain: +50 points")
        verdict, gate = Verdict(passed, (check,), against), Gate.model_validate({"require": [{"metric": "chain"}]})
        with tempfile.TemporaryDirectory() as folder:
            inputs = {"model": {"weights_sha256": sha256_text(run)}}
            sha = write_evidence(Path(folder), verdict, gate=gate, seed=0, inputs=inputs, name=self.name)
            if upload:
                self.client.log_artifact(run, str(Path(folder) / "evidence.json"))
        return sha

    def spoil_evidence(self, version: str) -> None:
        """Overwrite the evidence of a version with other evidence."""
        run = self.client.get_model_version(self.name, version).run_id
        self._evidence(run, True, "models:/other/1", upload=True)

    def alias(self, alias: str) -> str | None:
        from mlflow.exceptions import MlflowException

        try:
            return str(self.client.get_model_version_by_alias(self.name, alias).version)
        except MlflowException:
            return None

    def tags(self, version: str) -> dict[str, str]:
        return dict(self.client.get_model_version(self.name, version).tags)

    def tag(self, version: str, key: str, value: str) -> None:
        self.client.set_model_version_tag(self.name, version, key, value)

    def crown(self, version: str, *, approved: bool = False) -> None:
        """Move the alias champion; ``approved``: as a pipeline does, its tag first."""
        if approved:
            self.tag(version, "validation_status", "approved")
        self.client.set_registered_model_alias(self.name, "champion", version)


Fault = Callable[[str, str], str | int | None]
"""(method, path) -> None: forward; a status: answer it; "refuse": no answer; "lose": forward, and lose the answer."""


@dataclass
class Door:
    """See the module. ``writes`` are the calls that changed something, in order."""

    url: str = ""
    fault: Fault = lambda method, path: None
    writes: list[str] = field(default_factory=list)
    after_write: Callable[[], None] = lambda: None

    def next_writes(self, what: str | int, times: int = 1) -> None:
        """The next ``times`` writes meet this fault."""
        left = [times]

        def fault(method: str, path: str) -> str | int | None:
            if method == "GET" or not left[0]:
                return None
            left[0] -= 1
            return what

        self.fault = fault


@asynccontextmanager
async def door_to(target: str) -> AsyncIterator[Door]:
    """A door to the server at ``target``."""
    door = Door()
    async with httpx.AsyncClient(base_url=target, timeout=30) as client:

        async def handle(request: web.Request) -> web.StreamResponse:
            fault = door.fault(request.method, request.path)
            if isinstance(fault, int):
                return web.Response(status=fault, text="no", headers={"Retry-After": "0"} if fault == 429 else {})
            if fault != "refuse":
                headers = {"Content-Type": request.content_type}
                answer = await client.request(
                    request.method, request.rel_url.raw_path_qs, content=await request.read(), headers=headers
                )
                if request.method != "GET":
                    door.writes.append(f"{request.method} {request.path.rpartition('mlflow/')[2]}")
                    door.after_write()
            if fault in ("refuse", "lose"):
                assert request.transport is not None
                request.transport.abort()
                raise web.HTTPServiceUnavailable
            return web.Response(status=answer.status_code, body=answer.content, content_type="application/json")

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handle)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        door.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield door
        finally:
            await runner.cleanup()


async def in_thread(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """A blocking call of the client, beside the door that it does not go through."""
    return await asyncio.to_thread(function, *args, **kwargs)
