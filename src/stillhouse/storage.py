"""Files by URI: plain paths, ``file://``, and ``s3://bucket/key`` on any server that speaks the S3 API.

Settings come from the environment, by the names that MLflow and the AWS tools use. Knows neither what a file
holds nor who asks; a download is whole or absent.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from stillhouse.errors import RecipeError, TransientError

if TYPE_CHECKING:
    from minio import Minio

CACHE_ENV = "STILLHOUSE_CACHE"
_ENDPOINTS = ("MLFLOW_S3_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
_BLOCK = 1 << 20
_LONGEST_NAME = 60
"""Characters of a downloaded file's name; the end is kept, because the suffix tells its kind."""
_CREDENTIAL_CODES = ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken")
_MISSING_CODES = {"NoSuchBucket": "no such bucket", "NoSuchKey": "no such key", "NoSuchObject": "no such key"}


@dataclass(frozen=True, kw_only=True)
class S3Settings:
    """How to reach a server. ``retries`` are tries after the first for 5xx and dropped connections."""

    endpoint: str = "https://s3.amazonaws.com"
    access_key: str = ""
    secret_key: str = ""
    session_token: str = ""
    region: str = "us-east-1"
    ca_file: str = ""
    retries: int = 3
    timeout_s: float = 60.0

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> S3Settings:
        """From ``MLFLOW_S3_ENDPOINT_URL`` (or ``AWS_ENDPOINT_URL_S3``, ``AWS_ENDPOINT_URL``), ``AWS_ACCESS_KEY_ID``,
        ``AWS_SECRET_ACCESS_KEY``, ``AWS_SESSION_TOKEN``, ``AWS_REGION`` and ``STILLHOUSE_S3_CA_FILE``.
        """
        values = os.environ if env is None else env
        endpoint = next((values[name] for name in _ENDPOINTS if values.get(name)), cls.endpoint)
        return cls(
            endpoint=endpoint,
            access_key=values.get("AWS_ACCESS_KEY_ID", ""),
            secret_key=values.get("AWS_SECRET_ACCESS_KEY", ""),
            session_token=values.get("AWS_SESSION_TOKEN", ""),
            region=values.get("AWS_REGION") or values.get("AWS_DEFAULT_REGION") or cls.region,
            ca_file=values.get("STILLHOUSE_S3_CA_FILE", ""),
        )


def cache_folder(env: Mapping[str, str] | None = None) -> Path:
    """Where downloads are kept: ``STILLHOUSE_CACHE``, else ``~/.cache/stillhouse``."""
    named = (os.environ if env is None else env).get(CACHE_ENV)
    return Path(named).expanduser() if named else Path.home() / ".cache" / "stillhouse"


def local_path(text: str) -> Path:
    """``text`` as a path of this machine, ``~`` written out.

    Raises:
        RecipeError: it can be none: a name that is too long, an unknown user, a folder that may not be entered.
    """
    try:
        path = Path(text).expanduser()
        path.exists()
    except (OSError, RuntimeError) as error:
        what = getattr(error, "strerror", None) or "no such user"
        raise RecipeError(f"{text[:80]!r}: cannot be a path here ({what})") from error
    return path


def fetch(uri: str, cache: Path, settings: S3Settings | None = None) -> Path:
    """A local file with the content of ``uri``; S3 objects are kept in ``cache`` and fetched again when changed.

    Raises:
        RecipeError: no such file, bucket or key; credentials missing or refused; another kind of URI.
        TransientError: the server cannot be reached or answers 5xx.
    """
    local = _local_path(uri)
    if local is not None:
        if not local.is_file():
            raise RecipeError(f"{uri}: {'is a folder, not a file' if local.is_dir() else 'no such file'}")
        return local
    bucket, key = _bucket_and_key(uri)
    chosen = settings or S3Settings.from_env()
    client = _client(uri, chosen)
    with _s3_errors(uri, chosen):
        response: Any = client.get_object(bucket, key)
        try:
            etag = response.headers.get("etag", "")
            place = hashlib.sha256(f"{chosen.endpoint} {bucket} {key} {etag}".encode()).hexdigest()[:16]
            target = cache / "s3" / place / Path(key).name[-_LONGEST_NAME:]
            if not target.is_file():
                _replace(target, lambda partial: _write(response, partial))
        finally:
            response.close()
            response.release_conn()
    return target


def put(path: Path, uri: str, settings: S3Settings | None = None) -> None:
    """Copy the file at ``path`` to ``uri``; readers see the old content or the new, never a part.

    Raises: as ``fetch`` does.
    """
    if not path.is_file():
        raise RecipeError(f"{path}: no such file; nothing was copied to {uri}")
    local = _local_path(uri)
    if local is not None:
        _replace(local, lambda partial: shutil.copyfile(path, partial))
        return
    bucket, key = _bucket_and_key(uri)
    chosen = settings or S3Settings.from_env()
    client = _client(uri, chosen)
    with _s3_errors(uri, chosen):
        client.fput_object(bucket, key, str(path))


def _local_path(uri: str) -> Path | None:
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return local_path(uri)
    if scheme == "file":
        return local_path(unquote(rest.removeprefix("localhost")))
    if scheme == "s3":
        return None
    raise RecipeError(f"{uri}: cannot be read; use a path, file:// or s3://bucket/key")


def _bucket_and_key(uri: str) -> tuple[str, str]:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    if not bucket or not key or key.endswith("/"):
        raise RecipeError(f"{uri}: must name one object, as s3://bucket/key")
    return bucket, key


def _client(uri: str, settings: S3Settings) -> Minio:
    import certifi
    import urllib3
    from minio import Minio

    if not settings.access_key or not settings.secret_key:
        raise RecipeError(f"{uri}: no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    if settings.ca_file and not Path(settings.ca_file).is_file():
        raise RecipeError(f"STILLHOUSE_S3_CA_FILE = {settings.ca_file}: no such file")
    server = urlsplit(settings.endpoint)
    if server.scheme not in ("http", "https") or not server.netloc or server.path.strip("/"):
        raise RecipeError(f"S3 endpoint {settings.endpoint!r}: must be http(s)://host[:port]; set {_ENDPOINTS[0]}")
    pool = urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=min(10.0, settings.timeout_s), read=settings.timeout_s),
        cert_reqs="CERT_REQUIRED",
        ca_certs=settings.ca_file or os.environ.get("SSL_CERT_FILE") or certifi.where(),
        retries=urllib3.Retry(total=settings.retries, backoff_factor=0.2, status_forcelist=[429, 500, 502, 503, 504]),
    )
    return Minio(
        server.netloc,
        access_key=settings.access_key,
        secret_key=settings.secret_key,
        session_token=settings.session_token or None,
        secure=server.scheme == "https",
        region=settings.region,
        http_client=pool,
    )


def _write(response: Any, partial: Path) -> None:
    with partial.open("wb") as stream:
        for block in response.stream(_BLOCK):
            stream.write(block)
        stream.flush()
        os.fsync(stream.fileno())


def _replace(target: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` make a file beside ``target``, then put it in place; a failure leaves nothing behind."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        write(partial)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _s3_errors(uri: str, settings: S3Settings) -> Iterator[None]:
    """The client's errors as ours: what the user can mend is a RecipeError, what time can mend a TransientError."""
    import urllib3
    from minio.error import InvalidResponseError, S3Error, ServerError

    where = f"{uri} at {settings.endpoint}"
    try:
        yield
    except S3Error as error:
        status = getattr(error.response, "status", 0)
        if error.code in _MISSING_CODES:
            raise RecipeError(f"{where}: {_MISSING_CODES[error.code]}") from error
        if error.code in _CREDENTIAL_CODES:
            hint = "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and what they may read"
            raise RecipeError(f"{where}: refused ({error.code}); {hint}") from error
        if status >= 500 or status == 429 or error.code in ("SlowDown", "RequestTimeout"):
            raise TransientError(f"{where}: {error.code or status}; the server is in trouble, run again") from error
        raise RecipeError(f"{where}: {error.code}: {error.message}") from error
    except ValueError as error:  # the client's own checks of names
        raise RecipeError(f"{where}: {error}; correct the address") from error
    except ServerError as error:
        raise TransientError(f"{where}: HTTP {error.status_code}; the server is in trouble, run again") from error
    except InvalidResponseError as error:
        raise RecipeError(f"{where}: no S3 server answers there; check {_ENDPOINTS[0]}") from error
    except urllib3.exceptions.HTTPError as error:
        reason = getattr(error, "reason", None) or error
        text = " ".join(str(reason).split())
        raise TransientError(f"{where}: cannot be reached ({text}); check the endpoint and run again") from error
