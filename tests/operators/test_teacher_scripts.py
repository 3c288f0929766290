"""The programs that run inside a teacher's pods, run as they are there: ``python3 -c TEXT ARGUMENTS``."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from operators.teacher.scripts import source
from tests.unit.teachers.chat_server import Answer, Script, always, completion, serving

KEYS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "secret-b", "AWS_REGION": "us-east-1"}


def run(name: str, *arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    whole = {"PATH": os.environ["PATH"], "PYTHONWARNINGS": "error", "PYTHONDONTWRITEBYTECODE": "1", **(env or {})}
    command = [sys.executable, "-c", source(name), *arguments]
    return subprocess.run(command, env=whole, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("script", "good", "words"),
    [
        pytest.param(always(Answer(body=completion("y"))), True, "", id="a completion"),
        pytest.param(always(Answer(body={"choices": []})), False, "IndexError", id="no choice"),
        pytest.param(always(Answer(503, {})), False, "HTTP 503", id="starting"),
        pytest.param(always(Answer(body=b"<html>")), False, "JSONDecodeError", id="no JSON"),
        pytest.param(always(Answer(hang_up=True)), False, "no completion yet", id="hangs up"),
        pytest.param(always(Answer(401, {})), False, "HTTP 401", id="wrong key"),
        pytest.param(always(Answer(body=completion("y"), delay_s=2.0)), False, "TimeoutError", id="too slow"),
    ],
)
def test_the_startup_probe_ends_with_0_only_after_a_completion(script: Script, good: bool, words: str) -> None:
    with serving(script) as server:
        done = run(
            "ask", server.url, "qwen", "say `yes` $(now)", "1", env={"VLLM_API_KEY": "k", "http_proxy": "http://x:1"}
        )
    assert (done.returncode == 0) is good, done.stderr
    assert words in done.stderr
    assert len(done.stderr.splitlines()) <= 1
    assert server.headers[0]["authorization"] == "Bearer k"
    assert server.bodies[0]["messages"][0]["content"] == "say `yes` $(now)"
    assert server.bodies[0]["max_tokens"] == 1


def test_the_startup_probe_says_that_nobody_listens() -> None:
    done = run("ask", "http://127.0.0.1:9/v1", "qwen", "yes", "1")
    assert (done.returncode, done.stderr) == (1, "no completion yet: URLError\n")


@pytest.fixture(scope="module")
def s3() -> Iterator[tuple[str, Any]]:
    """A real S3 server with a model in it; its address and a client."""
    from minio import Minio
    from moto.server import ThreadedMotoServer

    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    client = Minio(f"{host}:{port}", access_key="a", secret_key="secret-b", secure=False, region="us-east-1")
    client.make_bucket("weights")
    try:
        yield f"http://{host}:{port}", client
    finally:
        running.stop()


def put(client: Any, name: str, content: bytes) -> None:
    import io

    client.put_object("weights", name, io.BytesIO(content), len(content))


def copy(endpoint: str, folder: Path, uri: str = "s3://weights/qwen/32b") -> subprocess.CompletedProcess[str]:
    return run("copy_weights", uri, str(folder), env={**KEYS, "AWS_ENDPOINT_URL": endpoint})


def test_weights_are_copied_once_and_again_where_they_changed(s3: tuple[str, Any], tmp_path: Path) -> None:
    endpoint, client = s3
    put(client, "qwen/32b/config.json", b"{}")
    put(client, "qwen/32b/sub/model.safetensors", os.urandom(300_000))
    put(client, "qwen/32b-other/config.json", b"another model")
    folder = tmp_path / "weights"
    done = copy(endpoint, folder)
    assert done.returncode == 0, done.stderr
    assert "2 files copied, 0 were there" in done.stdout
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and "etags" not in str(path)}
    assert files == {"config.json", "sub/model.safetensors"}
    assert "0 files copied, 2 were there" in copy(endpoint, folder).stdout

    put(client, "qwen/32b/config.json", b'{"a": 1}')
    assert "1 files copied, 1 were there" in copy(endpoint, folder).stdout
    assert (folder / "config.json").read_bytes() == b'{"a": 1}'


def test_a_copy_that_was_cut_off_is_finished(s3: tuple[str, Any], tmp_path: Path) -> None:
    endpoint, client = s3
    put(client, "cut/model.safetensors", b"whole")
    # Written in part, and never marked as whole.
    (tmp_path / "model.safetensors").write_bytes(b"who")
    assert "1 files copied" in copy(endpoint, tmp_path, "s3://weights/cut/").stdout
    assert (tmp_path / "model.safetensors").read_bytes() == b"whole"
    assert not list(tmp_path.glob(".*.partial*"))


@pytest.mark.parametrize(
    ("uri", "words"),
    [("s3://weights/none", "nothing lies there; check spec.model"), ("s3://absent/x", "NoSuchBucket")],
)
def test_weights_that_are_not_there_are_named(s3: tuple[str, Any], tmp_path: Path, uri: str, words: str) -> None:
    done = copy(s3[0], tmp_path, uri)
    assert done.returncode == 1
    assert uri in done.stderr
    assert words in done.stderr
    assert "secret-b" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_store_that_cannot_be_reached_is_named(tmp_path: Path) -> None:
    env = {**KEYS, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    done = run("copy_weights", "s3://weights/x", str(tmp_path), env=env)
    assert done.returncode == 1
    assert "http://127.0.0.1:9: cannot be copied" in done.stderr
