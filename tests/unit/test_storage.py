"""Files by URI, against a real S3 server on loopback."""

from __future__ import annotations

import dataclasses
import socket
import ssl
import threading
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path

import pytest

from stillhouse.errors import RecipeError, StillhouseError, TransientError
from stillhouse.storage import S3Settings, cache_folder, fetch, put

KEYS = {"access_key": "key", "secret_key": "secret"}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """URL of an S3 server with an empty bucket ``team``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from moto.server import ThreadedMotoServer

        running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        running.start()
    host, port = running.get_host_and_port()
    from minio import Minio

    Minio(f"{host}:{port}", **KEYS, secure=False, region="us-east-1").make_bucket("team")
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def settings(server: str) -> S3Settings:
    return S3Settings(endpoint=server, **KEYS, retries=0)


def put_text(text: str, uri: str, settings: S3Settings, folder: Path) -> None:
    source = folder / "source.txt"
    source.write_text(text)
    put(source, uri, settings)


def test_what_was_put_is_fetched(settings: S3Settings, tmp_path: Path) -> None:
    put_text("content", "s3://team/deep/a b+c.jsonl.gz", settings, tmp_path)
    found = fetch("s3://team/deep/a b+c.jsonl.gz", tmp_path / "cache", settings)
    assert found.name == "a b+c.jsonl.gz"
    assert found.read_text() == "content"
    assert found.is_relative_to(tmp_path / "cache")
    assert [path.name for path in found.parent.iterdir()] == [found.name]


def test_an_object_is_downloaded_once_and_again_when_it_changed(settings: S3Settings, tmp_path: Path) -> None:
    put_text("one", "s3://team/a.txt", settings, tmp_path)
    first = fetch("s3://team/a.txt", tmp_path / "cache", settings)
    written = first.stat().st_mtime_ns
    assert fetch("s3://team/a.txt", tmp_path / "cache", settings) == first
    assert first.stat().st_mtime_ns == written
    put_text("two", "s3://team/a.txt", settings, tmp_path)
    second = fetch("s3://team/a.txt", tmp_path / "cache", settings)
    assert (first.read_text(), second.read_text()) == ("one", "two")


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_local_file_is_where_it_is(tmp_path: Path, scheme: str) -> None:
    put_text("content", f"{scheme}{tmp_path}/new/a.txt", S3Settings(), tmp_path)
    assert fetch(f"{scheme}{tmp_path}/new/a.txt", tmp_path / "cache") == tmp_path / "new" / "a.txt"
    assert (tmp_path / "new" / "a.txt").read_text() == "content"
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("s3://team/no.txt", "no such key"),
        ("s3://nobody/no.txt", "no such bucket"),
        ("s3://team", "must name one object, as s3://bucket/key"),
        ("s3://team/folder/", "must name one object"),
        ("gs://team/a.txt", "use a path, file:// or s3://bucket/key"),
        ("/nope/a.txt", "no such file"),
        ("file:///nope/a.txt", "no such file"),
        ("/tmp", "is a folder"),
    ],
)
def test_what_is_not_there_is_refused(settings: S3Settings, tmp_path: Path, uri: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words) as caught:
        fetch(uri, tmp_path, settings)
    assert str(caught.value).startswith(uri)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_putting_into_a_missing_bucket_or_from_a_missing_file_is_refused(settings: S3Settings, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no such bucket"):
        put_text("x", "s3://nobody/a.txt", settings, tmp_path)
    with pytest.raises(RecipeError, match="no such file; nothing was copied"):
        put(tmp_path / "no.txt", "s3://team/a.txt", settings)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"access_key": ""}, "no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        ({"ca_file": "/nope/ca.pem"}, "STILLHOUSE_S3_CA_FILE = /nope/ca.pem: no such file"),
        ({"endpoint": "localhost:9000"}, r"must be http\(s\)://host\[:port\]"),
        ({"endpoint": "http://localhost/path"}, r"must be http\(s\)://host\[:port\]"),
    ],
)
def test_settings_that_cannot_work_are_refused(tmp_path: Path, changes: dict[str, str], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        fetch("s3://team/a.txt", tmp_path, S3Settings(**{**KEYS, **changes}))  # type: ignore[arg-type]


def test_a_server_that_is_not_there_is_a_matter_of_time(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = S3Settings(endpoint=f"http://127.0.0.1:{port}", **KEYS, retries=0, timeout_s=2)
    with pytest.raises(TransientError, match="cannot be reached") as caught:
        fetch("s3://team/a.txt", tmp_path, settings)
    assert "\n" not in str(caught.value)


class Answer(BaseHTTPRequestHandler):
    """Answers every request with the server's next (status, content type, body, announced length)."""

    def do_GET(self) -> None:
        replies = self.server.replies  # type: ignore[attr-defined]
        status, kind, body, length = replies.pop(0) if len(replies) > 1 else replies[0]
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        self.send_header("ETag", '"e"')
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


class Quiet(ThreadingHTTPServer):
    """A refused handshake is what a test asks for, no news for the terminal."""

    def handle_error(self, request: object, client_address: object) -> None:
        pass


@pytest.fixture
def answering() -> Iterator[ThreadingHTTPServer]:
    server = Quiet(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def _reply(status: int, body: str = "", kind: str = "application/xml", missing: int = 0) -> tuple[int, str, bytes, int]:
    return status, kind, body.encode(), len(body) + missing


def _code(code: str) -> str:
    return f"<Error><Code>{code}</Code><Message>m</Message></Error>"


@pytest.mark.parametrize(
    ("replies", "family", "words"),
    [
        ([_reply(503, _code("SlowDown"))], TransientError, "503"),
        ([_reply(500, "oops", "text/plain")], TransientError, "500"),
        ([_reply(507, _code("Full"))], TransientError, "Full"),
        ([_reply(200, "half", missing=4)], TransientError, "cannot be reached"),
        ([_reply(403, _code("AccessDenied"))], RecipeError, r"refused \(AccessDenied\); check AWS_ACCESS_KEY_ID"),
        ([_reply(403, _code("SignatureDoesNotMatch"))], RecipeError, "refused"),
        ([_reply(404, "<html>nginx</html>", "text/html")], RecipeError, "no S3 server answers there"),
        ([_reply(400, _code("InvalidArgument"))], RecipeError, "InvalidArgument: m"),
    ],
)
def test_the_servers_troubles_are_told_apart(
    answering: ThreadingHTTPServer, tmp_path: Path, replies: list, family: type[StillhouseError], words: str
) -> None:
    answering.replies = replies  # type: ignore[attr-defined]
    settings = S3Settings(endpoint=f"http://127.0.0.1:{answering.server_port}", **KEYS, retries=0)
    with pytest.raises(family, match=words):
        fetch("s3://team/a.txt", tmp_path, settings)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_server_that_stumbles_once_is_asked_again(answering: ThreadingHTTPServer, tmp_path: Path) -> None:
    answering.replies = [_reply(503, _code("SlowDown")), _reply(200, "content")]  # type: ignore[attr-defined]
    settings = S3Settings(endpoint=f"http://127.0.0.1:{answering.server_port}", **KEYS, retries=1)
    assert fetch("s3://team/a.txt", tmp_path, settings).read_text() == "content"


def _certificate(folder: Path) -> Path:
    """A self-signed certificate for 127.0.0.1 with its key, in one file."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=key.public_key(), serial_number=1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "ca.pem").write_bytes(secret + certificate.public_bytes(pem))
    return folder / "ca.pem"


def test_a_certificate_of_ones_own_is_trusted_only_when_named(answering: ThreadingHTTPServer, tmp_path: Path) -> None:
    certificate = _certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    answering.socket = context.wrap_socket(answering.socket, server_side=True, do_handshake_on_connect=False)
    answering.replies = [_reply(200, "content")]  # type: ignore[attr-defined]
    settings = S3Settings(endpoint=f"https://127.0.0.1:{answering.server_port}", **KEYS, retries=0)
    trusting = dataclasses.replace(settings, ca_file=str(certificate))
    assert fetch("s3://team/a.txt", tmp_path / "cache", trusting).read_text() == "content"
    with pytest.raises(TransientError, match=r"cannot be reached .*CERTIFICATE_VERIFY_FAILED"):
        fetch("s3://team/a.txt", tmp_path / "other", settings)


@pytest.mark.parametrize(
    ("env", "endpoint"),
    [
        ({}, "https://s3.amazonaws.com"),
        ({"AWS_ENDPOINT_URL": "http://c"}, "http://c"),
        ({"AWS_ENDPOINT_URL": "http://c", "AWS_ENDPOINT_URL_S3": "http://b"}, "http://b"),
        ({"AWS_ENDPOINT_URL_S3": "http://b", "MLFLOW_S3_ENDPOINT_URL": "http://a"}, "http://a"),
    ],
)
def test_the_endpoint_goes_by_mlflows_name_then_by_the_aws_tools(env: dict[str, str], endpoint: str) -> None:
    assert S3Settings.from_env(env).endpoint == endpoint


def test_all_settings_come_from_the_environment() -> None:
    env = {
        "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_SESSION_TOKEN": "c", "AWS_REGION": "eu-north-1",
        "STILLHOUSE_S3_CA_FILE": "/ca.pem",
    }  # fmt: skip
    assert S3Settings.from_env(env) == S3Settings(
        access_key="a", secret_key="b", session_token="c", region="eu-north-1", ca_file="/ca.pem"
    )


def test_the_cache_is_where_the_environment_says() -> None:
    assert cache_folder({"STILLHOUSE_CACHE": "/c"}) == Path("/c")
    assert cache_folder({}) == Path.home() / ".cache" / "stillhouse"


def test_problems_are_read_from_a_bucket(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from stillhouse.data import load_problems
    from stillhouse.recipe.data import FileProblems
    from stillhouse.recipe.sources import source_digest

    names = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_ENDPOINT_URL_S3": server}
    for name, value in {**names, "STILLHOUSE_CACHE": str(tmp_path / "cache")}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MLFLOW_S3_ENDPOINT_URL", raising=False)
    put_text('{"prompt": "1+1?", "answer": 2}\n', "s3://team/problems.jsonl", S3Settings.from_env(), tmp_path)
    source = FileProblems(path="s3://team/problems.jsonl")
    sealed = source.model_copy(update={"digest": source_digest(source)})
    assert [item.answer for item in load_problems(sealed)] == ["2"]
    assert [path.name for path in (tmp_path / "cache").rglob("*.jsonl")] == ["problems.jsonl"]
