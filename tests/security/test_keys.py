"""A teacher's key reaches its server and nothing else: no trace, log, error, MLflow entry or page."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stillhouse.errors import RecipeError
from stillhouse.models.requests import ChatRequest
from stillhouse.recipe.teacher import OpenAITeacher as Config
from stillhouse.recipe.teacher import Sampling
from stillhouse.teachers.openai_teacher import OpenAITeacher
from stillhouse.workspace import Workspace
from tests.unit.generation.fakes import write_problems, write_teacher
from tests.unit.teachers.chat_server import Answer, ChatServer, completion, serving

KEY = "sk-hush-0123456789abcdef"
STAGE = """
import json, sys
from pathlib import Path
from stillhouse.entry import run_component

class Artifact:
    def __init__(self, path):
        self.path, self.metadata = path, {}
    def log_metric(self, name, value):
        self.metadata[name] = value

config, root = json.loads(sys.argv[1]), Path(sys.argv[2])
output, metrics, report = (Artifact(str(root / name)) for name in ("output", "metrics", "report.html"))
run_component("generate_traces", config, output=output, metrics=metrics, report=report,
              workspace=str(root / "work"), shard=0, teacher=root / "teacher")
"""
"""The very call that a KFP component makes."""


def told_everywhere(root: Path, needle: str) -> list[str]:
    """Files below ``root`` that hold ``needle``; Parquet is read, because it is compressed."""
    import pyarrow.parquet as pq

    found, seen = [], 0
    for path in (path for path in root.rglob("*") if path.is_file()):
        seen += 1
        text = path.read_bytes().decode("utf-8", "replace")
        if path.suffix == ".parquet":
            text += json.dumps(pq.read_table(path).to_pylist(), default=str)
        if needle in text:
            found.append(str(path.relative_to(root)))
    assert seen > 3, "nothing was written, so nothing was proved"
    return found


def run(root: Path, server: ChatServer, database: Path) -> subprocess.CompletedProcess[str]:
    """One shard in a process of its own, with the key in its environment."""
    space = Workspace.open(root / "work")
    space.mlflow.mkdir()
    (space.mlflow / "mlflow.db").write_bytes(database.read_bytes())
    problems = write_problems(root / "problems.jsonl", [f"problem {index}" for index in range(12)])
    teacher = {
        "type": "openai", "name": "far", "model": "big", "endpoints": [server.url], "api_key_env": "TEACHER_KEY",
        "retries": 0, "concurrency": 8, "timeout_s": 60,
    }  # fmt: skip
    write_teacher(root / "teacher", teacher)
    source = {"type": "file", "path": str(problems), "columns": {"id": "id"}}
    config = {"problems": source, "probe": 4, "traces": {"shards": 1, "max_error_share": 1.0}}
    env = {**os.environ, "TEACHER_KEY": KEY, "STILLHOUSE_EVENTS": str(root / "events.jsonl")}
    (root / "events.jsonl").touch()
    return subprocess.run(
        [sys.executable, "-c", STAGE, json.dumps(config), str(root)], env=env, capture_output=True, text=True
    )


def echoing(status: int, **headers: str) -> Callable[[dict[str, Any], int], Answer]:
    """Every third answer is good; the others say what the request's headers were, as debugging proxies do."""
    counted = iter(range(10_000))

    def answer(_request: dict[str, Any], _seen: int) -> Answer:
        if next(counted) % 3 == 0:
            return Answer(body=completion("\\boxed{1}"))
        told = {
            "error": {"message": f"refused: Authorization: Bearer {KEY}", "headers": {"authorization": f"Bearer {KEY}"}}
        }
        return Answer(status, told, headers={**headers, "X-Echo": f"Bearer {KEY}"})

    return answer


SLOW = [pytest.param(status, marks=pytest.mark.slow) for status in (400, 401, 404, 500)]


@pytest.mark.parametrize("status", [429, *SLOW])
def test_an_error_that_repeats_the_key_tells_it_nobody(status: int, tmp_path: Path, database: Path) -> None:
    with serving(echoing(status)) as server:
        done = run(tmp_path, server, database)
    assert any(headers.get("authorization") == f"Bearer {KEY}" for headers in server.headers), "it was not even sent"
    assert done.returncode == (2 if status in (401, 404) else 0), done.stderr
    assert "***" in (tmp_path / "events.jsonl").read_text() + done.stderr or status in (400, 429, 500)
    assert "Traceback" not in done.stderr
    assert KEY not in done.stdout + done.stderr
    assert told_everywhere(tmp_path, KEY) == []
    assert told_everywhere(tmp_path, KEY[3:20]) == []


@pytest.mark.slow
def test_the_search_would_find_a_key_in_a_trace(tmp_path: Path, database: Path) -> None:
    """What the teacher says is data: a server that writes keys into its replies is beyond help, and found by this."""
    with serving(lambda _request, _seen: Answer(body=completion(f"\\boxed{{{KEY}}}"))) as server:
        assert run(tmp_path, server, database).returncode == 0
    assert [name for name in told_everywhere(tmp_path, KEY) if name.endswith("traces.parquet")]


def ask(url: str) -> list[str]:
    teacher = OpenAITeacher(Config(name="far", model="m", endpoints=(url,), api_key_env="TEACHER_KEY"))
    request = ChatRequest(key="k", messages=[{"role": "user", "content": "q"}], seed=1)
    return [reply.text for batch in teacher.generate([request], Sampling()) for reply in batch]


@pytest.mark.parametrize("value", [KEY + "\x07", "ключ-" + KEY, KEY + "\r\nX-Evil: 1"])
def test_a_key_that_no_header_can_carry_is_not_repeated(
    value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TEACHER_KEY", value)
    with serving() as server, pytest.raises(RecipeError, match="TEACHER_KEY") as caught:
        ask(server.url)
    assert server.total == 0
    assert KEY not in str(caught.value) + capsys.readouterr().err


def test_a_line_break_behind_a_key_is_no_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEACHER_KEY", KEY + "\n")
    with serving() as server:
        assert ask(server.url) == ["re: q"]
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"


def test_a_redirect_is_not_followed_with_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEACHER_KEY", KEY)
    with serving() as elsewhere:
        away = Answer(307, {}, headers={"Location": f"{elsewhere.url}/chat/completions"})
        with serving(lambda *_: away) as server, pytest.raises(RecipeError, match="HTTP 307"):
            ask(server.url)
        assert elsewhere.total == 0


def test_the_doctor_says_that_a_key_is_set_and_not_which(tmp_path: Path) -> None:
    with serving() as server:
        recipe = tmp_path / "small.yaml"
        recipe.write_text(
            "name: small\ndata: {problems: {type: zoo, families: {chain: 300}}, probe: 64}\n"
            "teacher: {candidates: [{type: openai, name: far, model: m, api_key_env: TEACHER_KEY, endpoints: "
            f"['{server.url}']}}]}}\n"
            "student: {model: 'zoo:base'}\nregister: {name: s}\ngate: {require: [{metric: chain}]}\n"
            "evaluate: {benchmarks: [{name: chain, problems: {type: zoo, split: eval, families: {chain: 64}}}]}\n"
        )
        env = {**os.environ, "TEACHER_KEY": KEY}
        command = [sys.executable, "-m", "stillhouse", "doctor", str(recipe), "--workspace", str(tmp_path)]
        done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert "TEACHER_KEY is set" in done.stdout
    assert KEY not in done.stdout + done.stderr
