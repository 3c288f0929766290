"""The MLflow of the chart, by its own command lines: migrated, started, asked by its service's name, storing in S3."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.charts.conftest import CHART, Render
from tests.charts.matrix import BUNDLED

HOST = "stillhouse-mlflow.stillhouse-system.svc:5000"
BIN = Path(sys.executable).parent


def _containers(render: Render) -> tuple[dict[str, Any], dict[str, Any]]:
    """The server's and the migrations' container."""
    objects = render(BUNDLED)
    [server] = [
        item for item in objects if item["metadata"]["name"] == "stillhouse-mlflow" and item["kind"] == "Deployment"
    ]
    [job] = [item for item in objects if item["kind"] == "Job" and "migrations" in item["metadata"]["name"]]
    return server["spec"]["template"]["spec"]["containers"][0], job["spec"]["template"]["spec"]["containers"][0]


def test_mlflow_knows_every_option_that_it_is_given(render: Render) -> None:
    server, job = _containers(render)
    program = (
        "import mlflow.cli as c\n"
        "print(*(o for p in c.server.params for o in p.opts))\n"
        "print(*c.cli.commands['db'].commands)"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=True)
    options, verbs = (line.split() for line in done.stdout.splitlines()[-2:])
    assert server["command"] == ["mlflow", "server"]
    given = {argument.partition("=")[0] for argument in server["args"]}
    assert len(given) == 6
    assert given - set(options) == set()
    assert job["command"][2] in verbs
    hosts = next(item for item in server["args"] if item.startswith("--allowed-hosts=")).partition("=")[2].split(",")
    assert HOST in hosts
    assert "*" not in hosts


@pytest.fixture
def s3() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


def _environment(container: dict[str, Any], database: str, store: str, home: Path) -> dict[str, str]:
    """The container's environment, with a database and a store of this machine, and values for what Secrets give."""
    env = {item["name"]: item.get("value", "from-a-secret") for item in container["env"]}
    here = {"MLFLOW_BACKEND_STORE_URI": database, "HOME": str(home), "TMPDIR": str(home), "PYTHONWARNINGS": "ignore"}
    env.update({key: value for key, value in here.items() if key in env or key != "MLFLOW_BACKEND_STORE_URI"})
    if "MLFLOW_S3_ENDPOINT_URL" in env:
        env["MLFLOW_S3_ENDPOINT_URL"] = store
    return {**env, "PATH": f"{BIN}:{os.environ['PATH']}"}


@pytest.mark.slow
def test_mlflow_migrates_waits_serves_by_its_services_name_and_stores_artifacts(
    render: Render, s3: str, tmp_path: Path
) -> None:
    server, job = _containers(render)
    database = f"sqlite:///{tmp_path / 'mlflow.db'}"
    env = _environment(server, database, s3, tmp_path)
    upgrade = [part.replace("$(MLFLOW_BACKEND_STORE_URI)", database) for part in job["command"]]
    subprocess.run(
        upgrade, check=True, env=_environment(job, database, s3, tmp_path), cwd=tmp_path, capture_output=True
    )
    for script in ("wait_for_schema.py", "make_bucket.py"):
        command = [sys.executable, "-W", "ignore", str(CHART / "files" / script)]
        subprocess.run(command, check=True, env={**env, "BUCKET": "stillhouse", "WAIT_S": "0"}, capture_output=True)

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    args = [{"--port=5000": f"--port={port}", "--host=0.0.0.0": "--host=127.0.0.1"}.get(a, a) for a in server["args"]]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen([*server["command"], *args], env=env, cwd=tmp_path, stdout=log, stderr=log)
        try:
            _ask(f"http://127.0.0.1:{port}", process)
        finally:
            process.terminate()
            process.wait(30)
    from minio import Minio

    store = Minio(s3.removeprefix("http://"), access_key="me", secret_key="mine", secure=False, region="us-east-1")
    names = [item.object_name for item in store.list_objects("stillhouse", recursive=True)]
    assert [name for name in names if name.startswith("mlflow/") and name.endswith("/note.txt")]


def _ask(url: str, process: subprocess.Popen[bytes]) -> None:
    with httpx.Client(base_url=url, timeout=10, headers={"Host": HOST}) as client:
        give_up = time.monotonic() + 120
        while True:
            assert process.poll() is None, "MLflow has ended"
            try:
                if client.get("/health").status_code == 200:
                    break
            except httpx.TransportError:
                assert time.monotonic() < give_up
            time.sleep(0.5)
        experiment = client.post("/api/2.0/mlflow/experiments/create", json={"name": "x"})
        assert experiment.status_code == 200, experiment.text
        other = client.get("/api/2.0/mlflow/experiments/search?max_results=1", headers={"Host": "evil.example.com"})
        assert other.status_code == 403
        put = client.put("/api/2.0/mlflow-artifacts/artifacts/x/note.txt", content=b"hello")
        assert put.status_code == 200, put.text
        assert client.get("/api/2.0/mlflow-artifacts/artifacts/x/note.txt").content == b"hello"
