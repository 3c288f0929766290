"""Parent runs, and the end of those whose launcher is gone."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stillhouse.lineage.store import connect
from stillhouse.lineage.tracking import PARENT_ENV, close_parent, open_parent, open_run
from stillhouse.workspace import Workspace


def run(space: Workspace, run_id: str) -> Any:
    return connect(space).client.get_run(run_id)


def test_a_parent_holds_the_recipe_and_ends_with_the_report(space: Workspace, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    report.write_text("<html></html>", encoding="utf-8")
    parent = open_parent(space, "run-1", {"name": "r", "seed": 1}, "abc")
    close_parent(space, parent, "FINISHED", report)
    found = run(space, parent)
    assert (found.info.run_name, found.info.status) == ("run-1", "FINISHED")
    assert found.data.tags["stillhouse.recipe_sha256"] == "abc"
    listed = [item.path for item in connect(space).client.list_artifacts(parent)]
    assert sorted(listed) == ["recipe.json", "report.html"]


def test_children_that_are_open_when_the_parent_ends_are_killed(
    space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = open_parent(space, "run-1", {}, "abc")
    monkeypatch.setenv(PARENT_ENV, parent)
    client = connect(space).client
    with open_run(space, "train_student", "", "k1") as tracker:
        close_parent(space, parent, "FAILED")
        assert run(space, tracker.run_id).info.status == "KILLED"
    assert run(space, parent).info.status == "FAILED"
    close_parent(space, parent, "FAILED")
    assert len(client.search_runs([run(space, parent).info.experiment_id])) == 2


def test_the_next_launcher_closes_the_parent_of_a_killed_one_and_no_other(space: Workspace) -> None:
    living = open_parent(space, "living", {}, "a")
    killed = open_parent(space, "killed", {}, "b")
    elsewhere = open_parent(space, "elsewhere", {}, "c")
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    notes = space.mlflow / "open"
    tell = {"host": socket.gethostname(), "pid": gone.pid, "started": "1"}
    (notes / f"{killed}.json").write_text(json.dumps(tell), encoding="utf-8")
    (notes / f"{elsewhere}.json").write_text(json.dumps({**tell, "host": "another"}), encoding="utf-8")
    open_parent(space, "next", {}, "d")
    assert [run(space, one).info.status for one in (living, killed, elsewhere)] == ["RUNNING", "KILLED", "RUNNING"]
    assert not (notes / f"{killed}.json").exists()


def test_a_process_id_that_was_given_to_another_process_is_not_the_launcher(space: Workspace) -> None:
    killed = open_parent(space, "killed", {}, "b")
    note = space.mlflow / "open" / f"{killed}.json"
    tell = {"host": socket.gethostname(), "pid": os.getpid(), "started": "1"}
    note.write_text(json.dumps(tell), encoding="utf-8")
    open_parent(space, "next", {}, "d")
    assert run(space, killed).info.status == "KILLED"


def test_closing_a_run_that_this_mlflow_does_not_know_is_harmless(space: Workspace) -> None:
    close_parent(space, "0" * 32, "FINISHED")
