"""What a user gets for bad input and for faults: one clear line, the documented exit code, nothing finished lost."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.e2e.conftest import MINI, RECIPE, command, environment

pytestmark = pytest.mark.e2e


def refused(tmp_path: Path, *sets: str, code: int = 2) -> str:
    """Run the recipe with these changes; it must be refused with ``code``. Returns what it said."""
    done = command("run", RECIPE, "--workspace", tmp_path / "w", sets=[*MINI, *sets])
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "w" / "stages").exists(), "refused before anything ran"
    return done.stderr


class TestData:
    def test_a_missing_file(self, tmp_path: Path) -> None:
        words = refused(tmp_path, f"data.problems={tmp_path / 'nowhere.jsonl'}")
        assert "nowhere.jsonl" in words

    def test_an_empty_problem_set(self, tmp_path: Path) -> None:
        (tmp_path / "empty.jsonl").write_text("")
        assert "empty.jsonl" in refused(tmp_path, f"data.problems={tmp_path / 'empty.jsonl'}")

    def test_a_problem_without_an_answer(self, tmp_path: Path) -> None:
        (tmp_path / "mine.jsonl").write_text('{"prompt": "1+1", "answer": "2"}\n{"prompt": "2+2", "answer": ""}\n')
        words = refused(tmp_path, f"data.problems={tmp_path / 'mine.jsonl'}")
        assert "mine.jsonl" in words
        assert "2" in words
        assert "answer" in words

    def test_a_missing_column(self, tmp_path: Path) -> None:
        (tmp_path / "mine.jsonl").write_text('{"question": "1+1", "answer": "2"}\n')
        words = refused(tmp_path, f"data.problems={tmp_path / 'mine.jsonl'}")
        assert "prompt" in words
        assert "question" in words

    def test_invalid_utf8(self, tmp_path: Path) -> None:
        (tmp_path / "mine.jsonl").write_bytes(b'{"prompt": "1+1", "answer": "2"}\n{"prompt": "\xff", "answer": "2"}\n')
        words = refused(tmp_path, f"data.problems={tmp_path / 'mine.jsonl'}")
        assert "UTF-8" in words
        assert "mine.jsonl" in words


class TestRecipe:
    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            ("train.lerning_rate=1e-4", ["train.lerning_rate", "learning_rate"]),
            ("train.learning_rate=fast", ["train.learning_rate", "fast"]),
            ("train.objective={type: klll}", ["train.objective", "klll", "kl"]),
            ("traces.shards=0", ["traces.shards", "1"]),
        ],
    )
    def test_a_wrong_line_is_named_with_what_would_be_right(
        self, tmp_path: Path, change: str, expected: list[str]
    ) -> None:
        words = refused(tmp_path, change)
        assert all(word in words for word in expected), words

    def test_logits_of_a_black_box_teacher(self, tmp_path: Path) -> None:
        black_box = "teacher.candidates=[{type: openai, name: far, model: x, endpoints: ['http://127.0.0.1:9/v1']}]"
        words = refused(tmp_path, black_box, "train.objective={type: kl}")
        assert "train.objective" in words
        assert "far" in words

    def test_a_tokenizer_mismatch(self, tmp_path: Path, other_tiny_model: Path) -> None:
        foreign = f"teacher.candidates=[{{type: transformers, name: foreign, model: '{other_tiny_model}'}}]"
        words = refused(tmp_path, foreign, "train.objective={type: kl}", "gate.licences=[]")
        assert "tokenizer" in words
        assert "foreign" in words

    def test_a_missing_recipe(self, tmp_path: Path) -> None:
        done = command("run", tmp_path / "none.yaml")
        assert done.returncode == 2
        assert "none.yaml" in done.stderr


class TestTeacher:
    def test_a_folder_without_weights(self, tmp_path: Path, tiny_model: Path) -> None:
        shutil.copytree(tiny_model, tmp_path / "teacher")
        (tmp_path / "teacher" / "model.safetensors").unlink()
        words = refused(
            tmp_path, f"teacher.candidates=[{{type: transformers, name: t, model: '{tmp_path / 'teacher'}'}}]"
        )
        assert "weights" in words
        assert str(tmp_path / "teacher") in words

    def test_a_teacher_that_returns_nothing(self, tmp_path: Path) -> None:
        with silent_server() as url:
            silent = f"teacher.candidates=[{{type: openai, name: silent, model: m, endpoints: ['{url}'], retries: 0}}]"
            done = command("run", RECIPE, "--workspace", tmp_path / "w", sets=[*MINI, silent, "gate.licences=[]"])
        assert done.returncode in (2, 75), done.stderr
        assert "silent" in done.stderr
        assert "Traceback" not in done.stderr

    def test_a_server_that_is_not_there(self, tmp_path: Path) -> None:
        where = "endpoints: ['http://127.0.0.1:9/v1'], retries: 0"
        gone = f"teacher.candidates=[{{type: openai, name: gone, model: m, {where}}}]"
        done = command("run", RECIPE, "--workspace", tmp_path / "w", sets=[*MINI, gone, "gate.licences=[]"])
        assert done.returncode == 75, done.stderr
        assert "127.0.0.1:9" in done.stderr
        report = next((tmp_path / "w" / "runs").glob("*/report.html")).read_text(encoding="utf-8")
        assert "127.0.0.1:9" in report, "the exit handler reports what failed"
        assert _statuses(tmp_path / "w" / "mlflow" / "mlflow.db") == {"FAILED"}


def _statuses(database: Path) -> set[str]:
    """How the MLflow runs ended, parent and children."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        return {row[0] for row in connection.execute("SELECT status FROM runs")}


class TestPlatform:
    def test_an_unreachable_mlflow(self, tmp_path: Path) -> None:
        env = environment(MLFLOW_TRACKING_URI="http://127.0.0.1:9")
        done = command("run", RECIPE, "--workspace", tmp_path / "w", sets=MINI, env=env)
        assert done.returncode == 75
        assert "http://127.0.0.1:9" in done.stderr
        assert "MLFLOW_TRACKING_URI" in done.stderr

    @pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small file system")
    def test_a_full_disk_keeps_what_is_finished(self, tmp_path: Path) -> None:
        disk = tmp_path / "disk"
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(disk)], check=True)
        try:
            env = environment(MLFLOW_TRACKING_URI=f"sqlite:///{tmp_path / 'mlflow.db'}")
            arguments = ("select_teacher", RECIPE, "--to", tmp_path / "select", "--workspace", disk / "w")
            first = command(*arguments, sets=MINI, env=env)
            assert first.returncode == 0, first.stderr
            with contextlib.suppress(OSError), (disk / "ballast").open("wb") as stream:
                while True:
                    stream.write(bytes(1024))
                    stream.flush()
            more = ("generate_traces", RECIPE, "--teacher", tmp_path / "select", "--to", tmp_path / "generate")
            full = command(*more, "--workspace", disk / "w", sets=MINI, env=env)
            assert full.returncode == 75, full.stderr
            assert "No space left" in full.stderr
            assert list((disk / "w" / "stages" / "select_teacher").glob("*/payload/summary.json"))
            (disk / "ballast").unlink()
            assert command(*arguments, sets=MINI, env=env).returncode == 0
        finally:
            subprocess.run(["umount", str(disk)], check=True)


@contextlib.contextmanager
def silent_server() -> Iterator[str]:
    """An OpenAI-compatible server on loopback whose replies are all empty."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            choice = {"index": 0, "message": {"role": "assistant", "content": ""}, "finish_reason": "stop"}
            body = json.dumps({"choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 0}}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
