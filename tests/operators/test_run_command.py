"""Runs and schedules with the real command ``stillhouse`` as a child process, and MLflow's account of a run."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from operators import command
from operators.context import Command as Ask
from operators.resources import RUN, SCHEDULE
from stillhouse.recipe.document import parse_yaml
from tests.kfp_server import KfpServer
from tests.operators.run_stage import holds, impatient, stage

ROOT = Path(__file__).parents[2]
QUICKSTART = parse_yaml((ROOT / "recipes" / "quickstart.yaml").read_text(encoding="utf-8"), "quickstart")


def real(server: KfpServer) -> Ask:
    """The command as the operator runs it, its environment naming the local server."""

    async def ask(*arguments: str, **options: Any) -> Any:
        return await command.stillhouse(*arguments, env={"KF_PIPELINES_ENDPOINT": server.url}, **options)

    return ask


def test_the_real_command_starts_one_run_though_the_answer_is_lost() -> None:
    async def story() -> None:
        async with stage(command=real) as s:
            s.kfp.drop_answer_of("create_run")
            await s.make(recipe=QUICKSTART, set=["seed=18"])
            told = await s.slowly(RUN, "one", "phase", "Submitted")
            assert len(s.kfp.runs) == 1
            assert told["runId"] == s.kfp.runs[0]["run_id"]
            assert told["runName"] == s.kfp.runs[0]["display_name"] == f"quickstart-{told['runLabel']}"
            assert json.loads(s.kfp.runs[0]["description"])["stillhouse"]["recipe_sha256"] == told["recipeSha256"]
            assert told["pipelineVersion"]
            # What is found by its name after a status was lost is the same run.
            await s.w.kill()
            await s.w.edit(RUN, "one", {"status": None}, status=True)
            await s.w.start()
            await s.slowly(RUN, "one", "runId", told["runId"])
            assert len(s.kfp.runs) == 1

    with impatient():
        asyncio.run(story())


def test_the_real_commands_refusal_names_the_field_and_no_file_of_the_operator() -> None:
    async def story() -> None:
        async with stage(command=real) as s:
            await s.make(recipe={**QUICKSTART, "sede": 18})
            told = await s.slowly(RUN, "one", "phase", "Failed")
            message = told["message"]
            assert holds(told, "RecipeValid") == "False"
            assert "sede" in message
            assert "did you mean seed?" in message
            assert "/tmp" not in message
            assert s.kfp.runs == []

    with impatient():
        asyncio.run(story())


def test_the_real_digest_checks_a_schedules_recipe_and_tells_of_its_data() -> None:
    async def story() -> None:
        async with stage(command=real) as s:
            await s.plan(recipe=QUICKSTART, schedule="0 13 * * *", triggers={"dataEvery": "1h"})
            told = await s.slowly(SCHEDULE, "nightly", "state", "Idle")
            assert holds(told, "RecipeValid") == "True"
            assert len(told["triggers"]["data"]["value"]) == 64

    with impatient():
        asyncio.run(story())


def test_a_child_does_not_outlive_a_killed_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[asyncio.subprocess.Process] = []
    original = asyncio.create_subprocess_exec

    async def watched(*line: Any, **options: Any) -> asyncio.subprocess.Process:
        child = await original("sleep", "60", **{**options, "env": None})
        started.append(child)
        return child

    async def story() -> None:
        monkeypatch.setattr(asyncio, "create_subprocess_exec", watched)
        task = asyncio.ensure_future(command.stillhouse("submit", "x"))
        while not started:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert started[0].returncode == -9

    asyncio.run(story())


TAGS = {
    "stillhouse.kind": "pipeline_run", "stillhouse.decision": "registered", "stillhouse.teacher": "terse",
    "stillhouse.student": "models:/math-student/7", "stillhouse.verdict": "passed",
    "stillhouse.gate.evidence_sha256": "9ab0" * 16, "stillhouse.cost.teacher_tokens": "12345",
    "stillhouse.cost.seconds": "61.5", "stillhouse.error": "",
}  # fmt: skip


@contextmanager
def mlflow(found: list[dict[str, str]]) -> Iterator[str]:
    """MLflow's two searches on loopback; ``found`` are the tags of the runs it finds, none while it is empty."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path.endswith("/experiments/search"):
                answer: Any = {"experiments": [{"experiment_id": "3"}]}
            else:
                assert "stillhouse.kfp_run_id" in asked["filter"]
                tags = [{"key": key, "value": value} for key, value in (found[0] if found else {}).items()]
                answer = {
                    "runs": [{"info": {"run_id": "r1", "experiment_id": "3"}, "data": {"tags": tags}}] if tags else []
                }
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize("late", [False, True])
def test_an_ended_run_tells_what_it_says_of_itself_in_mlflow(late: bool) -> None:
    found = [] if late else [TAGS]

    async def story(url: str) -> None:
        async with stage(mlflow_url=url) as s:
            await s.make()
            s.kfp.finish(await s.run_id())
            told = await s.phase("Succeeded")
            if late:
                assert "student" not in told
                found.append(TAGS)
            told = dict((await s.w.settle(RUN, "one", "toldByMlflow", True))["status"])
            assert (told["teacher"], told["student"], told["verdict"]) == ("terse", "models:/math-student/7", "passed")
            assert (told["evidence"], told["decision"]) == ("9ab0" * 16, "registered")
            assert told["cost"] == {"teacherTokens": 12345, "seconds": 61.5}
            assert told["mlflowUrl"] == f"{url}/#/experiments/3/runs/r1"
            await asyncio.sleep(0.3)
            assert await s.quiet() == []

    with mlflow(found) as url, impatient():
        asyncio.run(story(url))
