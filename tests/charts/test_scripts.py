"""The chart's small programs and the project's scripts around it, each run for real against what it speaks to."""

from __future__ import annotations

import http.server
import os
import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.charts.conftest import CHART, ROOT, Helm, Render
from tests.charts.matrix import AIR_GAPPED, BUNDLED, merged

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def run_file(name: str, **env: str) -> subprocess.CompletedProcess[str]:
    """One of the chart's programs, with nothing but ``env`` around it."""
    command = [sys.executable, "-W", "ignore", str(CHART / "files" / name)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env, timeout=60)


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """Address of a real S3 server on loopback."""
    from moto.server import ThreadedMotoServer

    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


def _store(address: str, **more: str) -> dict[str, str]:
    keys = {"AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": "mine-alone", "AWS_REGION": "us-east-1"}
    return {**keys, "MLFLOW_S3_ENDPOINT_URL": address, "BUCKET": "made-here", **more}


def test_the_bucket_is_made_once(s3: str) -> None:
    first, second = run_file("make_bucket.py", **_store(s3)), run_file("make_bucket.py", **_store(s3))
    assert (first.returncode, first.stdout) == (0, "bucket made-here made\n"), first.stderr
    assert (second.returncode, second.stdout) == (0, "bucket made-here is there\n")


def test_a_store_that_does_not_come_is_named_without_its_keys() -> None:
    done = run_file("make_bucket.py", **_store("http://127.0.0.1:1", WAIT_S="0"))
    assert done.returncode == 1
    assert "error: bucket made-here: 127.0.0.1:1 does not make it" in done.stderr
    assert "mine-alone" not in done.stdout + done.stderr


def test_mlflow_waits_for_its_schema(tmp_path: Path) -> None:
    database = tmp_path / "mlflow.db"
    env = {"MLFLOW_BACKEND_STORE_URI": f"sqlite:///{database}", "WAIT_S": "0"}
    old = run_file("wait_for_schema.py", **env)
    assert old.returncode == 1
    match = re.search(r"the schema is at None, this MLflow needs (\w{12}); look at the migrations Job", old.stderr)
    assert match, old.stderr
    connection = sqlite3.connect(database)
    with connection:
        connection.execute("create table alembic_version (version_num varchar(32) not null)")
        connection.execute("insert into alembic_version values (?)", (match[1],))
    connection.close()
    new = run_file("wait_for_schema.py", **env)
    assert (new.returncode, new.stdout) == (0, f"the schema is at {match[1]}\n")
    assert str(database) not in old.stdout + old.stderr + new.stderr


class _Answers(http.server.BaseHTTPRequestHandler):
    """/readyz is well, everything else is not."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/readyz" else 503)
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        """Silence."""


@pytest.fixture
def answering() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("urls", "code", "text"),
    [
        ("{0}/readyz", 0, "readyz: ok"),
        ("{0}/readyz {0}/health", 1, "health: answers 503"),
        ("http://127.0.0.1:1/health", 1, "does not answer"),
    ],
)
def test_helm_test_asks_every_address(urls: str, code: int, text: str, answering: str) -> None:
    done = run_file("check_release.py", URLS=urls.format(answering), WAIT_S="0")
    assert done.returncode == code
    assert text in done.stdout


def test_helm_test_asks_the_operator_and_mlflow_by_their_services(render: Render) -> None:
    objects = render(BUNDLED)
    [pod] = [item for item in objects if item["kind"] == "Pod"]
    urls = {env["name"]: env["value"] for env in pod["spec"]["containers"][0]["env"]}["URLS"].split()
    services = {item["metadata"]["name"]: {port["port"] for port in item["spec"]["ports"]}
                for item in objects if item["kind"] == "Service"}  # fmt: skip
    assert urls == ["http://stillhouse-operator:8080/readyz", "http://stillhouse-mlflow:5000/health"]
    for url in urls:
        host, _, rest = url.removeprefix("http://").partition(":")
        assert int(rest.partition("/")[0]) in services[host]


def _list(helm: Helm, values: dict[str, Any], tmp_path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    path = tmp_path / "values.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    env = {**os.environ, "HELM": helm.program}
    command = [sys.executable, str(ROOT / "scripts" / "list-images"), "-f", str(path), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env)


def test_an_air_gapped_installation_lists_every_image_by_digest(helm: Helm, tmp_path: Path, render: Render) -> None:
    values = merged(BUNDLED, AIR_GAPPED)
    done = _list(helm, values, tmp_path, "--require-digests")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines == sorted(
        f"registry.internal:5000/mirror/{name}@sha256:{letter * 64}"
        for name, letter in (
            ("stillhouse/stillhouse-operator", "1"),
            ("stillhouse/stillhouse-generate", "2"),
            ("stillhouse/stillhouse-train", "3"),
            ("stillhouse/stillhouse-evaluate", "4"),
            ("mlflow/mlflow", "a"),
            ("postgres", "b"),
            ("chrislusf/seaweedfs", "c"),
        )
    )


def test_an_image_without_a_digest_is_named(helm: Helm, tmp_path: Path) -> None:
    done = _list(helm, {"image": {"digests": {"train": "sha256:" + "3" * 64}}}, tmp_path, "--require-digests")
    assert done.returncode == 2
    missing = done.stderr.partition("not pinned by digest: ")[2]
    assert "stillhouse-evaluate:0.1.0" in missing
    assert "stillhouse-train" not in missing
    assert len(done.stdout.splitlines()) == 4
    assert _list(helm, {}, tmp_path).returncode == 0


def test_values_that_the_chart_refuses_list_nothing(helm: Helm, tmp_path: Path) -> None:
    done = _list(helm, {"mlflow": {"enabled": True}}, tmp_path)
    assert done.returncode not in (0, 2)
    assert done.stdout == ""
    assert "mlflow.image.digest is empty" in done.stderr


def test_an_old_helm_is_not_taken(tmp_path: Path) -> None:
    old = tmp_path / "helm"
    old.write_text("#!/bin/sh\necho v3.19.0\n", encoding="utf-8")
    old.chmod(0o755)
    (tmp_path / "scripts").mkdir()
    script = tmp_path / "scripts" / "helm"
    script.write_text((ROOT / "scripts" / "helm").read_text(encoding="utf-8"), encoding="utf-8")
    script.chmod(0o755)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path)}
    assert subprocess.run([script, "--find"], capture_output=True, text=True, env=env).returncode == 3
    old.write_text("#!/bin/sh\necho v4.2.0\n", encoding="utf-8")
    done = subprocess.run([script, "--find"], capture_output=True, text=True, env=env)
    assert (done.returncode, done.stdout.strip()) == (0, str(old))
