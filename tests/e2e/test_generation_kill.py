"""A shard that is killed again and again generates no trace twice, misses none, and ends as it would have ended.

Every attempt is a process of its own with a real tiny model that writes down what it finished. SIGKILL comes when a
new part file has appeared, while the next batch is on its way. The processes are forked from one that has already
imported torch, because imports are most of what a short process does.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stillhouse.digest import sha256_file
from stillhouse.records import Trace, read_rows
from tests.unit.generation.fakes import Diary, SlowTinyTeacher, custom, shard_config, write_problems, write_teacher

ROOT = Path(__file__).parents[2]
KILLS = 3
BATCH, BATCHES = 4, 6
NURSERY = """
import json, os, sys
import stillhouse.generation.stage, stillhouse.models.generate, stillhouse.stage
from stillhouse.generation import generate_traces
from tests.unit.generation.fakes import no_run
stillhouse.stage.open_run = no_run
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            generate_traces(shard=0, **json.loads(line))
            code = 0
        finally:
            os._exit(code)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Nursery:
    """Starts processes one at a time; each runs one shard."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def start(self, options: dict[str, Any]) -> int:
        """The id of a new process."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(options) + "\n")
        self._process.stdin.flush()
        return self._number()

    def wait(self) -> int:
        """How the process that was started last has ended."""
        return self._number()

    def _number(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())


@pytest.fixture
def nursery() -> Iterator[Nursery]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([sys.executable, "-c", NURSERY], cwd=ROOT, env=environment, text=True, **pipes) as process:
        yield Nursery(process)
        process.communicate()


class Attempt:
    """One workspace with a slow counting teacher, and the options of a process that works on it."""

    def __init__(self, root: Path, model: Path, delay_s: float) -> None:
        root.mkdir()
        self.diary = Diary(root / "diary.txt")
        self.workspace, self.output = root / "workspace", root / "output"
        prompts = [f"{'y' * (index % 9)} question {index}" for index in range(BATCH * BATCHES // 2 + 4)]
        config = shard_config(write_problems(root / "problems.jsonl", prompts), samples=2)
        teacher = custom(SlowTinyTeacher, model=str(model), diary=str(self.diary.path), delay_s=delay_s, batch=BATCH)
        self.options = {
            "config": config.model_dump(mode="json"),
            "teacher": str(write_teacher(root / "teacher", teacher)),
            "output": str(self.output),
            "workspace": str(self.workspace),
        }

    @property
    def parts(self) -> list[Path]:
        return list((self.workspace / "traces").glob("*/*.parquet"))

    @property
    def rows(self) -> list[Trace]:
        return read_rows(self.output / "traces.parquet", Trace)


def _kill_at_the_next_part(nursery: Nursery, attempt: Attempt) -> None:
    before, pid = len(attempt.parts), nursery.start(attempt.options)
    deadline = time.monotonic() + 60
    while len(attempt.parts) == before:
        assert time.monotonic() < deadline, "no part was written"
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    assert nursery.wait() == -signal.SIGKILL


@pytest.mark.e2e
def test_a_shard_killed_at_every_turn_generates_no_trace_twice_and_loses_none(
    tmp_path: Path, tiny_model: Path, nursery: Nursery
) -> None:
    straight = Attempt(tmp_path / "straight", tiny_model, delay_s=0.0)
    broken = Attempt(tmp_path / "broken", tiny_model, delay_s=0.5)
    nursery.start(straight.options)
    assert nursery.wait() == 0
    for _ in range(KILLS):
        _kill_at_the_next_part(nursery, broken)
        assert not broken.output.exists()
    assert KILLS <= len(broken.parts) < BATCHES
    nursery.start(broken.options)
    assert nursery.wait() == 0

    keys = [row.key for row in broken.rows]
    assert len(keys) == len(set(keys)) == BATCH * BATCHES
    assert broken.diary.counts == dict.fromkeys(keys, 1)
    assert broken.rows == straight.rows
    assert sha256_file(broken.output / "traces.parquet") == sha256_file(straight.output / "traces.parquet")
    assert any(row.answer for row in broken.rows)
