"""Which MLflow, where, and what of it may be said."""

from __future__ import annotations

from pathlib import Path

import pytest

from stillhouse.lineage.address import no_answer, redacted, redirect, still_registered, tracking_id, tracking_uri
from stillhouse.workspace import Workspace


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("http://me:secret@host:5000/x", "http://host:5000/x"),
        ("postgresql://me:p%40ss@host/db?sslpassword=hidden", "postgresql://host/db"),
        ("two\nlines", "two lines"),
        ("token t0ps3cret was refused", "token *** was refused"),
        ("x" * 300, "x" * 197 + "..."),
    ],
)
def test_no_secret_stands_in_a_message(text: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t0ps3cret")
    assert redacted(text) == said
    assert said in str(no_answer(text, "cause"))


@pytest.mark.parametrize(
    ("location", "local"),
    [
        ("/tmp/a b/x", "/tmp/a b/x"),
        ("file:///tmp/a%20b/x", "/tmp/a b/x"),
        ("mlflow-artifacts:/1/models/m", None),
        ("s3://bucket/x", None),
        ("/gone/mlflow/artifacts/r1/artifacts", "WORK/mlflow/artifacts/r1/artifacts"),
    ],
)
def test_artifacts_are_found_where_they_are_now(location: str, local: str | None, tmp_path: Path) -> None:
    space = Workspace.open(tmp_path)
    found = redirect(location, space)
    assert (found.as_posix() if found else None) == (local and local.replace("WORK", str(space.root)))


def test_the_environment_names_an_mlflow_else_it_is_the_workspaces_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = Workspace.open(tmp_path / "here"), Workspace.open(tmp_path / "there")
    assert tracking_uri(here) == f"sqlite:///{here.root}/mlflow/mlflow.db"
    assert tracking_id(here) == tracking_id(there) == "embedded"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:a@host")
    first = tracking_id(here)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:b@host")
    assert tracking_id(here) == first != "embedded"
    assert not still_registered(here, "embedded", "m", "1", "r")
    assert still_registered(here, first, "m", "1", "r")


def test_a_workspace_without_a_database_holds_no_version(tmp_path: Path) -> None:
    assert not still_registered(Workspace.open(tmp_path), "embedded", "m", "1", "r")
    assert list(tmp_path.iterdir()) == []
