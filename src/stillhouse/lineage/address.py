"""Which MLflow, and where: addresses, without importing mlflow.

Knows environment variables and URIs. That a user's password may stand in one of them is why every message about MLflow
goes through ``redacted``.
"""

from __future__ import annotations

import os
import re
import socket
import sqlite3
import urllib.request
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

from stillhouse.digest import sha256_text
from stillhouse.errors import RecipeError, TransientError
from stillhouse.workspace import Workspace

PROBE_TIMEOUT_S = 4.0
_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}


def tracking_uri(space: Workspace | None) -> str:
    """``MLFLOW_TRACKING_URI``, else the database in the workspace."""
    if given := os.environ.get("MLFLOW_TRACKING_URI"):
        return given
    if space is None:
        raise RecipeError("no MLflow to ask: set MLFLOW_TRACKING_URI or name a workspace")
    return f"sqlite:///{space.mlflow / 'mlflow.db'}"


def tracking_id(space: Workspace) -> str:
    """Which MLflow this is, without its address: the workspace's own keeps its name when the workspace moves."""
    return sha256_text(redacted(tracking_uri(space)))[:16] if os.environ.get("MLFLOW_TRACKING_URI") else "embedded"


def probe(uri: str, timeout_s: float = PROBE_TIMEOUT_S) -> None:
    """Fail within ``timeout_s`` when nobody listens at ``uri``; MLflow's own retries would take minutes.

    Raises:
        TransientError: nobody listens.
    """
    parts = urlsplit(uri)
    scheme = parts.scheme.partition("+")[0]
    port = parts.port or _PORTS.get(scheme)
    behind_proxy = scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(parts.hostname or "")
    if not parts.hostname or port is None or behind_proxy:
        return
    try:
        socket.create_connection((parts.hostname, port), timeout=timeout_s).close()
    except OSError as error:
        raise no_answer(uri, error.strerror or str(error) or type(error).__name__) from error


def no_answer(uri: str, cause: str) -> TransientError:
    return TransientError(
        f"MLflow at {redacted(uri)} does not answer ({redacted(cause)}); start it, "
        "or unset MLFLOW_TRACKING_URI to use the workspace's own"
    )


def redacted(text: str) -> str:
    """``text`` on one line, without user names, passwords, queries of URIs and MLflow's own secrets."""
    for name in ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"):
        if secret := os.environ.get(name):
            text = text.replace(secret, "***")
    text = re.sub(r"://[^/\s@]*@", "://", " ".join(text.split()))
    text = re.sub(r"\?[^\s)]*", "", text)
    return text if len(text) <= 200 else text[:197] + "..."


def redirect(location: str, space: Workspace | None) -> Path | None:
    """The folder behind a local artifact URI, None for any other kind.

    A workspace that was moved keeps its artifacts beside its database, while MLflow remembers where they were.
    """
    text = location.removeprefix("file://").removeprefix("file:")
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:", text):
        return None
    path = Path(unquote(text) if text != location else text)
    if path.exists() or space is None or "/mlflow/artifacts/" not in path.as_posix():
        return path
    return space.mlflow / "artifacts" / path.as_posix().rpartition("/mlflow/artifacts/")[2]


def still_registered(space: Workspace, tracking: str, name: str, version: str, run_id: str) -> bool:
    """Whether the MLflow in use is the one that was told of a version, and has not lost it.

    Asked by stages that were done before, which must not wait seconds for mlflow: the embedded database is read
    directly, a server is believed. A wrong no costs a second registration, which finds the version and changes nothing.
    """
    if tracking != tracking_id(space):
        return False
    if tracking != "embedded":
        return True
    database = space.mlflow / "mlflow.db"
    query = "SELECT run_id FROM model_versions WHERE name = ? AND version = ? AND current_stage != 'Deleted_Internal'"
    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
            row = connection.execute(query, (name, int(version))).fetchone()
    except sqlite3.Error:
        return False
    return row is not None and row[0] == run_id
