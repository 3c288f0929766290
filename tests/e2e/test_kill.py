"""SIGKILL of the whole run, during generation and during training: it goes on, and ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.e2e.conftest import MINI, RECIPE, MiniRun, environment

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.xdist_group("mini-run")]
POLL_S = 0.005


def _start(workspace: Path, name: str) -> subprocess.Popen[str]:
    options = [part for item in MINI for part in ("--set", item)]
    line = [
        sys.executable,
        "-m",
        "stillhouse",
        "run",
        str(RECIPE),
        "--workspace",
        str(workspace),
        "--name",
        name,
        "-o",
        "json",
    ]
    return subprocess.Popen(
        [*line, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    )


def _kill_when(workspace: Path, name: str, reached: Callable[[], bool]) -> None:
    """Start a run and kill its launcher alone, as the out-of-memory killer would, when ``reached``."""
    process = _start(workspace, name)
    deadline = time.monotonic() + 240
    while not reached():
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(POLL_S)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def _digests(answer: dict[str, Any]) -> dict[str, str]:
    return {summary["stage"] + summary["part"]: summary["digest"] for summary in answer["summaries"]}


def test_a_killed_run_goes_on_and_registers_the_same_student(mini_run: MiniRun, tmp_path: Path) -> None:
    parts = lambda: list((tmp_path / "traces").rglob("*.parquet"))  # noqa: E731
    checkpoints = lambda: list((tmp_path / "work" / "train_student").rglob("checkpoint-*/state.json"))  # noqa: E731
    _kill_when(tmp_path, "one", lambda: bool(parts()))
    _kill_when(tmp_path, "two", lambda: bool(checkpoints()))
    process = _start(tmp_path, "three")
    stdout, stderr = process.communicate(timeout=240)
    assert process.returncode == 0, stderr
    answer = json.loads(stdout)
    assert _digests(answer)["train_student"] == _digests(mini_run.answer)["train_student"]
    registered = [run["details"]["model_sha256"] for run in answer["summaries"] if run["stage"] == "register_student"]
    expected = [
        run["details"]["model_sha256"] for run in mini_run.answer["summaries"] if run["stage"] == "register_student"
    ]
    assert registered == expected
    keys = [key for path in parts() for key in pq.read_table(path, columns=["key"])["key"].to_pylist()]
    assert len(keys) == len(set(keys)) > 0, "the teacher was asked twice for a trace"
