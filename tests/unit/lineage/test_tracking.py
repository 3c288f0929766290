"""What a stage leaves in MLflow, in a real embedded MLflow."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stillhouse.errors import BudgetExhausted, RecipeError, TransientError
from stillhouse.lineage import tracking
from stillhouse.lineage.store import Store, connect
from stillhouse.lineage.tracking import PARENT_ENV, flatten, open_run, untold
from stillhouse.summary import StageSummary
from stillhouse.workspace import Workspace


def runs(space: Workspace) -> list[Any]:
    client = connect(space).client
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    return list(client.search_runs(ids))


def finished(tmp_path: Path, **fields: Any) -> tuple[StageSummary, Path]:
    payload = tmp_path / "payload"
    payload.mkdir(exist_ok=True)
    summary = StageSummary(stage="train_student", key="k1", digest="d1", headline="done", **fields)
    summary.write(payload)
    return summary, payload


def test_a_finished_stage_leaves_parameters_metrics_tags_and_its_summary(space: Workspace, tmp_path: Path) -> None:
    summary, payload = finished(tmp_path, metrics={"chain.avg_at_1": 0.5}, cost={"seconds": 3.0})
    with open_run(space, "train_student", "", "k1") as tracker:
        tracker.start({"train": {"steps": 3}})
        tracker.metric("loss", 2.0, 1)
        tracker.metric("loss", 1.0, 2)
        tracker.dataset("records", "f" * 64, "/data/records.parquet", 12)
        tracker.finish(summary, payload)
    (run,) = runs(space)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "train_student"
    assert run.data.params == {"train.steps": "3"}
    assert run.data.metrics == {"loss": 1.0, "chain.avg_at_1": 0.5, "cost.seconds": 3.0}
    assert run.data.tags["stillhouse.stage_key"] == "k1"
    assert run.data.tags["stillhouse.digest"] == "d1"
    (entry,) = run.inputs.dataset_inputs
    assert (entry.dataset.name, json.loads(entry.dataset.profile)) == ("records", {"num_rows": 12})
    client = connect(space).client
    assert [point.step for point in client.get_metric_history(run.info.run_id, "loss")] == [1, 2]
    assert [item.path for item in client.list_artifacts(run.info.run_id)] == ["summary.json"]
    assert Path(run.info.artifact_uri.removeprefix("file://")).is_relative_to(space.mlflow / "artifacts")


def test_a_shard_is_a_child_of_the_parent_run_and_says_which_it_is(
    space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = tracking.open_parent(space, "run-1", {"name": "r"}, "abc")
    monkeypatch.setenv(PARENT_ENV, parent)
    with open_run(space, "generate_traces", "0", "k0"):
        pass
    child = next(run for run in runs(space) if run.info.run_id != parent)
    assert child.info.run_name == "generate_traces[0]"
    assert child.data.tags["mlflow.parentRunId"] == parent


def test_a_run_that_somebody_else_opened_is_used_and_left_open(
    space: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = connect(space)
    given = store.client.create_run(store.experiment(space)).info.run_id
    store.client.log_param(given, "train.steps", "3")
    monkeypatch.setenv("MLFLOW_RUN_ID", given)
    summary, payload = finished(tmp_path)
    with open_run(space, "train_student", "", "k1") as tracker:
        tracker.start({"train": {"steps": 4, "seed": 1}})
        tracker.finish(summary, payload)
    (run,) = runs(space)
    assert (run.info.run_id, run.info.status) == (given, "RUNNING")
    assert run.data.params == {"train.steps": "3", "train.seed": "1"}
    assert run.data.tags["stillhouse.digest"] == "d1"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RecipeError("filter.minimum_yield: too little survived"), "FAILED"),
        (ZeroDivisionError("division by zero"), "FAILED"),
        (KeyboardInterrupt("stop"), "KILLED"),
        (BudgetExhausted("traces.budget.tokens: 100 tokens are spent"), "FINISHED"),
    ],
)
def test_a_body_that_raises_ends_its_run_and_says_why(space: Workspace, error: BaseException, status: str) -> None:
    def body() -> None:
        with open_run(space, "train_student", "", "k1") as tracker:
            tracker.metric("loss", 1.0)
            raise error

    with pytest.raises(type(error)):
        body()
    (run,) = runs(space)
    assert run.info.status == status
    assert run.data.tags["stillhouse.error"] == str(error)
    assert run.data.metrics == {"loss": 1.0}


def test_a_stage_that_was_killed_and_runs_again_buries_its_first_run(space: Workspace, tmp_path: Path) -> None:
    killed = open_run(space, "train_student", "", "k1")
    killed.__enter__()
    assert untold(space, "train_student", "k1")
    summary, payload = finished(tmp_path)
    with open_run(space, "train_student", "", "k1") as tracker:
        tracker.finish(summary, payload)
    assert sorted(run.info.status for run in runs(space)) == ["FINISHED", "KILLED"]
    assert not untold(space, "train_student", "k1")
    killed.__exit__(None, None, None)


def test_the_experiment_is_named_by_the_environment(space: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    store = connect(space)
    names = []
    for name in ("STILLHOUSE_RECIPE_NAME", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.setenv(name, f"named-by-{name.lower()}")
        names.append(store.client.get_experiment(store.experiment(space)).name)
    assert names == ["named-by-stillhouse_recipe_name", "named-by-mlflow_experiment_name"]
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "17")
    assert store.experiment(space) == "17"


def test_a_deleted_experiment_is_refused_with_the_way_out(space: Workspace) -> None:
    store = connect(space)
    store.client.delete_experiment(store.experiment(space))
    with pytest.raises(RecipeError, match="'stillhouse' was deleted; restore it or set MLFLOW_EXPERIMENT_NAME"):
        store.experiment(space)


def unused_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_an_unreachable_mlflow_is_reported_in_seconds_before_the_body_starts(
    space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = unused_port()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@127.0.0.1:{port}")
    started = time.monotonic()
    with pytest.raises(TransientError) as caught, open_run(space, "train_student", "", "k1"):
        pytest.fail("the body started")
    assert time.monotonic() - started < 5
    assert str(caught.value) == (
        f"MLflow at http://127.0.0.1:{port} does not answer (Connection refused); "
        "start it, or unset MLFLOW_TRACKING_URI to use the workspace's own"
    )


@pytest.fixture
def silent_server() -> Iterator[int]:
    """Accepts connections and says nothing: a server that hangs."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        held: list[socket.socket] = []

        def accept() -> None:
            try:
                while True:
                    held.append(listener.accept()[0])
            except OSError:
                return

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)
        for connection in held:
            connection.close()


def test_a_server_that_hangs_is_reported_too(
    space: Workspace, silent_server: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent_server}")
    monkeypatch.setattr("stillhouse.lineage.store.PROBE_TIMEOUT_S", 0.5)
    with pytest.raises(TransientError, match=f"MLflow at http://127.0.0.1:{silent_server} does not answer"):
        connect(space)


class Away:
    """A client whose every call fails as a lost server does."""

    def __getattr__(self, name: str) -> Any:
        def call(*_: Any, **__: Any) -> None:
            raise ConnectionRefusedError(111, "Connection refused")

        return call


def test_an_mlflow_that_goes_away_costs_no_work_and_is_told_later(space: Workspace, tmp_path: Path) -> None:
    summary, payload = finished(tmp_path, metrics={"m": 1.0})

    def body() -> None:
        with open_run(space, "train_student", "", "k1") as tracker:
            tracker.store = Store(Away(), "http://127.0.0.1:9", embedded=False)
            tracker.metric("loss", 1.0)
            tracker.finish(summary, payload)

    with pytest.raises(
        TransientError, match=r"train_student is done and kept, but MLflow at http://127\.0\.0\.1:9 does not"
    ):
        body()
    assert untold(space, "train_student", "k1")


def test_two_processes_write_to_a_database_that_neither_has_prepared(tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from stillhouse.lineage.tracking import open_run
from stillhouse.summary import StageSummary
from stillhouse.workspace import Workspace
root, part = sys.argv[1:]
space = Workspace.open(root)
payload = Path(root) / part
payload.mkdir()
summary = StageSummary(stage="generate_traces", key=part, part=part)
summary.write(payload)
with open_run(space, "generate_traces", part, part) as tracker:
    for step in range(40):
        tracker.store.log(tracker.run_id, points=[("tokens", float(step), step, step)])
    tracker.finish(summary, payload)
"""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path / "work"), part],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=tmp_path,
        )
        for part in ("0", "1")
    ]
    said = [process.communicate(timeout=200)[0].decode() for process in started]
    assert [process.returncode for process in started] == [0, 0]
    assert said == ["", ""]
    found = runs(Workspace.open(tmp_path / "work"))
    assert [(run.info.status, run.data.metrics) for run in found] == [("FINISHED", {"tokens": 39.0})] * 2
    assert [path.name for path in tmp_path.iterdir()] == ["work"]


def test_importing_the_tracker_does_not_load_mlflow() -> None:
    code = "import stillhouse.lineage.tracking, stillhouse.registry, sys; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("config", "params"),
    [
        ({"a": {"b": 1, "c": None}}, {"a.b": "1", "a.c": "null"}),
        ({"a": [1, 2.5, "x"]}, {"a": '[1, 2.5, "x"]'}),
        ({"a": [{"n": 1}, {"n": 2}]}, {"a.0.n": "1", "a.1.n": "2"}),
        ({"a": {}, "b": []}, {"a": "{}", "b": "[]"}),
        ({"a?b": "ü"}, {"a_b": "ü"}),
        ({"long": "x" * 7000}, {"long": "x" * 6000}),
    ],
)
def test_a_config_becomes_parameters_within_mlflows_limits(config: dict[str, Any], params: dict[str, str]) -> None:
    assert flatten(config) == params
