"""Copies a folder of an S3 bucket to a local folder: the init container. Arguments: s3://BUCKET/PATH FOLDER.

Server and credentials come from the environment, as for every ``s3://`` of this project. What is there already with the
same size and ETag is not copied again; each file appears whole or not at all, so that a copy can be cut off anywhere
and several pods can fill one folder.
"""

import json
import os
import sys
import uuid
from pathlib import Path
from typing import Any

from minio.error import MinioException
from urllib3.exceptions import HTTPError

from stillhouse.errors import StillhouseError
from stillhouse.storage import S3Settings

_MARKS = ".stillhouse-etags"


def client_of(settings: S3Settings) -> Any:
    """A client of the server that ``settings`` name."""
    import certifi
    import urllib3
    from minio import Minio

    scheme, _, host = settings.endpoint.rpartition("://")
    pool = urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=10.0, read=settings.timeout_s),
        cert_reqs="CERT_REQUIRED",
        ca_certs=settings.ca_file or os.environ.get("SSL_CERT_FILE") or certifi.where(),
        retries=urllib3.Retry(total=settings.retries, backoff_factor=0.5, status_forcelist=[429, 500, 502, 503, 504]),
    )
    return Minio(
        host.rstrip("/"), access_key=settings.access_key, secret_key=settings.secret_key,
        session_token=settings.session_token or None, secure=scheme != "http", region=settings.region, http_client=pool,
    )  # fmt: skip


def copy(client: Any, bucket: str, prefix: str, folder: Path) -> tuple[int, int]:
    """Make ``folder`` hold what lies under ``prefix``; returns files copied and files that were there."""
    copied = kept = 0
    for item in client.list_objects(bucket, prefix=prefix, recursive=True):
        name = item.object_name[len(prefix) :]
        target = folder / name
        if not name or name.endswith("/") or folder.resolve() not in target.resolve().parents:
            continue
        mark = folder / _MARKS / f"{name}.json"
        state = json.dumps({"etag": item.etag, "size": item.size})
        if target.is_file() and mark.is_file() and mark.read_text() == state:
            kept += 1
            continue
        partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}.partial")
        for parent in (target.parent, mark.parent):
            parent.mkdir(parents=True, exist_ok=True)
        try:
            client.fget_object(bucket, item.object_name, str(partial), tmp_file_path=f"{partial}.part")
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
            Path(f"{partial}.part").unlink(missing_ok=True)
        mark.write_text(state)
        copied += 1
    return copied, kept


def main(uri: str, folder: str) -> "str | None":
    bucket, _, path = uri.removeprefix("s3://").partition("/")
    settings = S3Settings.from_env()
    try:
        copied, kept = copy(client_of(settings), bucket, path.rstrip("/") + "/", Path(folder))
    except (StillhouseError, MinioException, HTTPError, OSError, ValueError) as error:
        words = " ".join(str(error).split())
        return f"{uri} at {settings.endpoint}: cannot be copied ({type(error).__name__}: {words[:600]})"
    if not copied + kept:
        return f"{uri} at {settings.endpoint}: nothing lies there; check spec.model"
    print(f"{uri}: {copied} files copied, {kept} were there")
    return None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
