"""What the processes of a TrainJob run, as real processes; the place of the MLflow run is taken by a tape."""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from stillhouse import stage as harness
from stillhouse.errors import RecipeError, TransientError
from stillhouse.records import Record, write_rows
from stillhouse.summary import StageSummary
from stillhouse.training import train_student
from stillhouse.training.worker import Call, clear_errors, left_error, work

processes = runpy.run_path(str(Path(__file__).with_name("processes.py")))
TRAIN = {"steps": 4, "batch_size": 4, "learning_rate": 1e-3, "control": {}, "checkpoint_every": 1}


@dataclass
class Tape:
    """Stands where the MLflow run would, and writes down which process spoke."""

    path: Path
    metrics: dict[str, list[int]] = field(default_factory=dict)

    def start(self, config: dict[str, Any]) -> None:
        with self.path.open("a") as stream:
            stream.write(f"{os.environ.get('RANK', '-')}\n")

    def finish(self, summary: StageSummary, payload: Path) -> None: ...
    def metric(self, name: str, _value: float, step: int = 0) -> None: ...


@pytest.fixture
def tape(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Tape:
    tape = Tape(tmp_path / "tape")

    @contextmanager
    def run(*_: Any) -> Iterator[Tape]:
        yield tape

    monkeypatch.setattr(harness, "open_run", run)
    return tape


@pytest.fixture
def call(tmp_path: Path, tiny_model: Path, records: list[Record]) -> Call:
    weighted = [replace(row, weight=1.0 + place % 3) for place, row in enumerate(records)]
    write_rows(tmp_path / "records" / "records.parquet", weighted, Record)
    StageSummary(stage="filter_traces", key="f").write(tmp_path / "records")
    (tmp_path / "teacher").mkdir()
    (tmp_path / "teacher" / "teacher.json").write_text("{}")
    StageSummary(stage="select_teacher", key="s").write(tmp_path / "teacher")
    return Call(
        config={"student": {"model": str(tiny_model)}, "seed": 17, "train": TRAIN},
        records=tmp_path / "records",
        teacher=tmp_path / "teacher",
        output=tmp_path / "out",
        workspace=tmp_path / "workspace",
    )


def changed(call: Call, **train: Any) -> Call:
    return call.model_copy(update={"config": {**call.config, "train": {**TRAIN, **train}}})


def start(call: Call, folder: Path, size: int = 2) -> list[Any]:
    """``size`` processes at work on ``call``, each ending with ``work``'s exit code."""
    call.write(folder / "call.json")
    port, context = processes["free_port"](), processes["multiprocessing"].get_context("fork")

    def run(rank: int) -> None:
        os.environ |= {
            "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size),
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo",
        }  # fmt: skip
        os._exit(work(folder / "call.json"))

    started = [context.Process(target=run, args=(rank,)) for rank in range(size)]
    for process in started:
        process.start()
    return started


def ended(started: list[Any], limit_s: float = 90.0) -> list[int]:
    until = time.monotonic() + limit_s
    for process in started:
        process.join(max(0.1, until - time.monotonic()))
    late = [process for process in started if process.is_alive()]
    for process in late:
        process.kill()
        process.join()
    assert not late, "a process did not end"
    return [process.exitcode for process in started]


def test_two_processes_make_one_payload_and_only_the_first_of_them_writes(
    call: Call, tape: Tape, tmp_path: Path
) -> None:
    assert ended(start(call, tmp_path / "job")) == [0, 0]
    assert tape.path.read_text() == "0\n"
    together = StageSummary.read(tmp_path / "out")
    alone = train_student(
        call.config, records=call.records, teacher=call.teacher, output=tmp_path / "alone", workspace=tmp_path / "other"
    )
    assert together.key == alone.key
    assert json.loads((tmp_path / "out" / "history.json").read_text()).keys() == {"student", "control"}
    for arm in ("student", "control"):
        mine, theirs = together.details["arms"][arm], alone.details["arms"][arm]
        assert (mine["steps"], mine["tokens"]) == (theirs["steps"], theirs["tokens"])
        assert mine["final_loss"] == pytest.approx(theirs["final_loss"], rel=1e-4)


def test_finished_work_is_not_done_again(call: Call, tape: Tape, tmp_path: Path) -> None:
    assert ended(start(call, tmp_path / "job")) == [0, 0]
    first = StageSummary.read(tmp_path / "out")
    assert ended(start(call, tmp_path / "job")) == [0, 0]
    assert StageSummary.read(tmp_path / "out").finished_at == first.finished_at
    assert tape.path.read_text() == "0\n"


def test_a_process_that_is_killed_ends_the_others_and_the_next_try_continues(
    call: Call, tape: Tape, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    long = changed(call, steps=60, control=None, keep_checkpoints=2)
    started = start(long, tmp_path / "job")
    checkpoints = tmp_path / "workspace" / "work" / "train_student"
    until = time.monotonic() + 60
    while not list(checkpoints.glob("*/student/checkpoint-00000[2-9]")) and time.monotonic() < until:
        time.sleep(0.02)
    os.kill(started[1].pid, signal.SIGKILL)
    assert ended(started) == [75, -signal.SIGKILL]
    assert "another process of this training ended" in capfd.readouterr().err
    # It is a consequence, not the cause: nothing is left that would be taken for the cause.
    assert left_error(tmp_path / "job") is None
    assert not (tmp_path / "out").exists()
    assert ended(start(long, tmp_path / "job")) == [0, 0]
    assert "continues after step" in capfd.readouterr().err
    summary = StageSummary.read(tmp_path / "out")
    assert summary.details["arms"]["student"]["steps"] == 60
    # The same steps without an accident.
    calm = long.model_copy(update={"workspace": tmp_path / "calm", "output": tmp_path / "calm out"})
    assert ended(start(calm, tmp_path / "job 2")) == [0, 0]
    assert StageSummary.read(tmp_path / "calm out").details["weights_sha256"] == summary.details["weights_sha256"]


def test_an_error_of_the_recipe_is_left_beside_the_call(call: Call, tape: Tape, tmp_path: Path) -> None:
    crowded = changed(call, batch_size=1)
    assert ended(start(crowded, tmp_path / "job")) == [2, 2]
    left = left_error(tmp_path / "job")
    assert isinstance(left, RecipeError)
    assert "is 1, but 2 processes share each step" in str(left)
    assert ended(start(call, tmp_path / "job")) == [0, 0]
    assert left_error(tmp_path / "job") is None


def test_an_error_that_no_retry_helps_counts_first(tmp_path: Path) -> None:
    for rank, (family, text) in enumerate([("TransientError", "disk full"), ("RecipeError", "no such folder")]):
        (tmp_path / f"error-{rank}.json").write_text(json.dumps({"family": family, "text": text}))
    assert str(left_error(tmp_path)) == "no such folder"
    clear_errors(tmp_path)
    assert left_error(tmp_path) is None


@pytest.mark.parametrize("content", [None, "{", '{"config": {}}', '{"config": {}, "unknown": 1}'])
def test_a_call_that_is_none_is_the_users_matter(
    content: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "call.json"
    if content is not None:
        path.write_text(content)
    assert work(path) == 2
    assert "must mount the same workspace" in capsys.readouterr().err
    assert "call.json" in str(left_error(tmp_path))


def test_half_an_error_is_no_error_yet(tmp_path: Path) -> None:
    (tmp_path / "error-0.json").write_text('{"family": "Rec')
    assert left_error(tmp_path) is None
    (tmp_path / "error-1.json").write_text('{"family": "TransientError", "text": "disk"}')
    assert isinstance(left_error(tmp_path), TransientError)


def test_the_worker_is_a_module_that_loads_no_torch_to_say_that_it_was_called_wrongly() -> None:
    code = (
        "import runpy, sys\n"
        "try: runpy.run_module('stillhouse.training.worker', run_name='__main__')\n"
        "except SystemExit as end: sys.exit(end.code if 'torch' not in sys.modules else 99)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert "usage:" in done.stderr
