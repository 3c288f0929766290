"""Launcher, TrainJob and two real nodes: what the manifest's command does, as processes of this machine.

What a cluster adds is emulated here and no more: the API (kmock), and Trainer's part, which starts the container's
command on each node with the variables that its torch runtime sets. The fast version leaves out torchrun and MLflow:
the nodes are forks of this process in which the worker runs.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stillhouse import stage as harness
from stillhouse.errors import RecipeError
from stillhouse.launch import trainjob
from stillhouse.recipe.trainjob import TrainJobSpec
from stillhouse.records import Record, write_rows
from stillhouse.summary import StageSummary
from stillhouse.training import train_student
from stillhouse.training.worker import work

HERE = runpy.run_path(str(Path(__file__).with_name("trainjob_cluster.py")))
TRAINING = Path(__file__).parents[1] / "training"
TRAINJOBS, PODS = HERE["TRAINJOBS"], HERE["PODS"]
free_port = runpy.run_path(str(TRAINING / "processes.py"))["free_port"]
make_records = runpy.run_path(str(TRAINING / "conftest.py"))["make_records"]
TRAIN = {"steps": 4, "batch_size": 4, "learning_rate": 1e-3, "checkpoint_every": 2}


class Tape:
    """Stands where the MLflow run would."""

    def start(self, config: dict[str, Any]) -> None: ...
    def finish(self, summary: StageSummary, payload: Path) -> None: ...
    def metric(self, name: str, _value: float, step: int = 0) -> None: ...


class Node:
    """A container: the environment that Trainer gives it, and its command, run by torchrun."""

    def __init__(self, env: dict[str, str], arguments: list[str]) -> None:
        command = [str(Path(sys.executable).with_name("torchrun")), *arguments]
        self.process = subprocess.Popen(command, env={**os.environ, **env})

    def code(self) -> int | None:
        return self.process.poll()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class ForkedNode:
    """As ``Node``, without torchrun: what it would set is set here."""

    def __init__(self, env: dict[str, str], arguments: list[str]) -> None:
        assert arguments[:2] == ["-m", "stillhouse.training.worker"]
        rank, size = env["PET_NODE_RANK"], env["PET_NNODES"]
        here = {"RANK": rank, "LOCAL_RANK": "0", "WORLD_SIZE": size}
        here |= {"MASTER_ADDR": env["PET_MASTER_ADDR"], "MASTER_PORT": env["PET_MASTER_PORT"]}

        def run() -> None:
            os.environ.update(env | here)
            os._exit(work(Path(arguments[2])))

        self.process = multiprocessing.get_context("fork").Process(target=run)
        self.process.start()

    def code(self) -> int | None:
        return self.process.exitcode

    def kill(self) -> None:
        self.process.kill()
        self.process.join()


class Nodes:
    """Trainer and its nodes: each sleep of the launcher lets them look at the TrainJob once."""

    def __init__(self, cluster: Any, node: Callable[[dict[str, str], list[str]], Any]) -> None:
        self.cluster, self.node = cluster, node
        self.processes: list[Any] = []
        self.started = time.monotonic()

    def now(self) -> float:
        return time.monotonic() - self.started

    def sleep(self, _seconds: float) -> None:
        time.sleep(0.2)
        for name in self.cluster.jobs_there():
            self._reconcile(name, self.cluster.get(TRAINJOBS, name))

    def _reconcile(self, name: str, job: dict[str, Any]) -> None:
        if not self.processes:
            self._start(name, job["spec"]["trainer"])
        codes = [process.code() for process in self.processes]
        if any(codes):  # as a Job that has no restarts left
            self.close()
            self.cluster.conditions(name, ("Failed", "True", "FailedJobs", "jobset failed"))
        elif codes == [0] * len(codes):
            self.cluster.conditions(name, ("Complete", "True", "AllJobsCompleted", "done"))

    def _start(self, name: str, trainer: dict[str, Any]) -> None:
        assert trainer["command"] == ["torchrun"]
        port = free_port()
        for rank in range(trainer["numNodes"]):
            env = {item["name"]: item["value"] for item in trainer["env"]} | {
                "PET_NNODES": str(trainer["numNodes"]), "PET_NPROC_PER_NODE": str(trainer["numProcPerNode"]),
                "PET_NODE_RANK": str(rank), "PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": str(port),
                "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1",
            }  # fmt: skip
            self.processes.append(self.node(env, trainer["args"]))
            ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
            self.cluster.pod(name, rank, **ready)

    def close(self) -> None:
        for process in self.processes:
            process.kill()


@pytest.fixture
def nodes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    if request.param is ForkedNode:

        @contextmanager
        def run(*_: Any) -> Iterator[Tape]:
            yield Tape()

        monkeypatch.setattr(harness, "open_run", run)
    with HERE["cluster"]() as cluster:
        found = Nodes(cluster, request.param)
        yield found
        found.close()


EITHER = pytest.mark.parametrize(
    "nodes", [ForkedNode, pytest.param(Node, marks=pytest.mark.slow)], ids=["forks", "torchrun"], indirect=True
)


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Path]:
    write_rows(tmp_path / "records" / "records.parquet", make_records(), Record)
    StageSummary(stage="filter_traces", key="f").write(tmp_path / "records")
    (tmp_path / "teacher").mkdir()
    (tmp_path / "teacher" / "teacher.json").write_text("{}")
    StageSummary(stage="select_teacher", key="s").write(tmp_path / "teacher")
    return {"records": tmp_path / "records", "teacher": tmp_path / "teacher"}


@EITHER
def test_a_launcher_ends_with_the_payload_that_two_nodes_made(
    nodes: Nodes, inputs: dict[str, Path], tiny_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    workspace = tmp_path / "workspace"
    spec = TrainJobSpec(nodes=2, image="i", workspace_claim="claim", mount_path=str(tmp_path))
    config = {"student": {"model": str(tiny_model)}, "seed": 17, "train": TRAIN}
    jobs = nodes.cluster.jobs()
    trainjob.launch(spec, config, workspace=workspace, jobs=jobs, clock=nodes, **inputs)
    assert [process.code() for process in nodes.processes] == [0, 0]
    assert nodes.cluster.jobs_there() == []
    # The stage itself, as the component calls it next, finds its work done.
    capfd.readouterr()
    summary = train_student(config, output=tmp_path / "out", workspace=workspace, **inputs)
    assert "done before" in capfd.readouterr().err
    assert (tmp_path / "out" / "model" / "model.safetensors").is_file()
    alone = train_student(config, output=tmp_path / "alone", workspace=tmp_path / "other", **inputs)
    assert alone.key == summary.key
    mine, theirs = summary.details["arms"]["student"], alone.details["arms"]["student"]
    assert mine["final_loss"] == pytest.approx(theirs["final_loss"], rel=1e-5)
    assert distance(tmp_path / "out", tmp_path / "alone") < 1e-5


def distance(one: Path, other: Path) -> float:
    from safetensors.torch import load_file

    left, right = (load_file(folder / "model" / "model.safetensors") for folder in (one, other))
    assert left.keys() == right.keys()
    return max(float((left[name] - right[name]).abs().max()) for name in left)


@EITHER
def test_an_error_of_the_recipe_on_the_nodes_is_the_launchers(
    nodes: Nodes, inputs: dict[str, Path], tiny_model: Path, tmp_path: Path
) -> None:
    """torchrun says "exit 1"; the user reads what was wrong."""
    spec = TrainJobSpec(nodes=2, image="i", workspace_claim="claim", mount_path=str(tmp_path))
    student = tmp_path / "student"
    shutil.copytree(tiny_model, student)
    (student / "config.json").unlink()
    config = {"student": {"model": str(student)}, "train": TRAIN}
    with pytest.raises(RecipeError, match=r"has no config\.json"):
        trainjob.launch(
            spec, config, workspace=tmp_path / "workspace", jobs=nodes.cluster.jobs(), clock=nodes, **inputs
        )
