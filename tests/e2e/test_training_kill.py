"""SIGKILL inside the stage ``train_student``: run again, it ends with the bytes of the run that was left alone.

One process loads torch and forks a child for each run, so that the kills are real and the imports are paid once.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stillhouse.records import Problem, Record, Trace, write_rows
from stillhouse.summary import StageSummary

DRIVER = """
import json, os, signal, sys
from contextlib import contextmanager

import torch

torch.set_num_threads(1)
import peft
from stillhouse import stage
from stillhouse.training import checkpoint, loop, train_student


class Silent:
    def start(self, config): ...
    def metric(self, name, value, step=0): ...
    def finish(self, summary, payload): ...


@contextmanager
def no_mlflow(*_):
    yield Silent()


stage.open_run = no_mlflow


def die_at(module, name, call):
    original, calls = getattr(module, name), 0

    def counted(*arguments):
        nonlocal calls
        calls += 1
        if calls == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments)

    setattr(module, name, counted)


def forked(job, kill):
    child = os.fork()
    if child == 0:
        if kill:
            die_at({"step": loop, "sync": checkpoint}[kill[0]], "_" + kill[0], kill[1])
        train_student(job["config"], records=job["records"], teacher=job["teacher"], output=job["output"], workspace=job["workspace"])
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


print(json.dumps([[forked(job, kill) for kill in job["kills"]] for job in json.load(sys.stdin)]))
"""  # noqa: E501
# Six steps, a checkpoint every two, two arms: steps 1-6 are the student's, 7-12 the control's. A checkpoint syncs five
# times: three files, its folder, and (renamed) the folder above.
KILLS = {
    "never": [],
    "before the first checkpoint": [("step", 2)],
    "in the middle of a checkpoint": [("sync", 7)],
    "before a checkpoint is renamed and after": [("sync", 4), ("sync", 5)],
    "twice in one arm, once in the other": [("step", 4), ("step", 3), ("step", 6)],
}
TUNINGS = {"full": {"type": "full"}, "lora": {"type": "lora", "rank": 4, "dropout": 0.1}}
CASES = [*(("full", name) for name in KILLS), ("lora", "never"), ("lora", "twice in one arm, once in the other")]


def record(i: int) -> Record:
    problem = Problem(id=f"p{i}", prompt=f"{i}+{i}=?", answer=str(2 * i))
    trace = Trace(
        key=f"trace-{i:03d}", problem_id=problem.id, problem_hash=problem.hash, teacher="t", teacher_revision="r",
        prompter='{"type":"cot"}', sampling="{}", sample_index=0, seed=0, reasoning="." * (i % 13), answer=str(2 * i),
    )  # fmt: skip
    return Record(problem=problem, trace=trace)


@pytest.fixture(scope="module")
def outputs(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    """The artifact of each run, after its kills and one last attempt that is left alone."""
    root = tmp_path_factory.mktemp("kills")
    records, teacher = root / "records", root / "teacher"
    write_rows(records / "records.parquet", [record(i) for i in range(20)], Record)
    StageSummary(stage="filter_traces", key="f").write(records)
    teacher.mkdir()
    StageSummary(stage="select_teacher", key="s").write(teacher)
    jobs: list[dict[str, Any]] = []
    found = {}
    for tuning, kills in CASES:
        train = {
            "tuning": TUNINGS[tuning], "steps": 6, "batch_size": 2, "gradient_accumulation": 2, "learning_rate": 3e-3,
            "checkpoint_every": 2, "control": {},
        }  # fmt: skip
        output = root / f"run-{len(jobs)}"
        found[tuning, kills] = output
        jobs.append({
            "config": {"student": {"model": str(tiny_model)}, "train": train}, "kills": [*KILLS[kills], None],
            "records": str(records), "teacher": str(teacher), "output": str(output),
            "workspace": str(root / f"workspace-{len(jobs)}"),
        })  # fmt: skip
    driver = subprocess.run(
        [sys.executable, "-c", DRIVER], input=json.dumps(jobs), capture_output=True, text=True, timeout=280
    )
    assert driver.returncode == 0, driver.stderr
    codes = json.loads(driver.stdout.splitlines()[-1])
    assert codes == [[-9] * (len(job["kills"]) - 1) + [0] for job in jobs], driver.stderr
    return found


@pytest.mark.parametrize(("tuning", "kills"), [case for case in CASES if case[1] != "never"])
def test_a_killed_training_ends_with_the_weights_of_the_one_left_alone(
    outputs: dict[tuple[str, str], Path], tuning: str, kills: str
) -> None:
    alone, killed = (StageSummary.read(outputs[tuning, name]) for name in ("never", kills))
    assert killed.digest == alone.digest
    for arm in ("student", "control"):
        found, expected = killed.details["arms"][arm], alone.details["arms"][arm]
        assert found["weights_sha256"] == expected["weights_sha256"]
        assert found["history"] == expected["history"]
    assert len({arm["weights_sha256"] for arm in alone.details["arms"].values()}) == 2
