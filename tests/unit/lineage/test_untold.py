"""A result that MLflow never heard of is told when the stage is run again, and is not made again."""

from __future__ import annotations

from pathlib import Path

import pytest

from stillhouse.errors import TransientError
from stillhouse.lineage.store import connect
from stillhouse.lineage.tracking import Tracker, untold
from stillhouse.recipe.stages import FilterConfig
from stillhouse.stage import Stage, run_stage
from stillhouse.workspace import Workspace


def test_a_result_that_mlflow_missed_is_told_later(
    space: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def body(stage: Stage[FilterConfig]) -> None:
        made.append(stage.key)
        stage.metrics = {"kept": 0.5}

    def run() -> str:
        return run_stage(FilterConfig(), body, output=tmp_path / "out", workspace=space.root).key

    def away(*_: object) -> None:
        raise TransientError("MLflow at x does not answer (gone); start it")

    with monkeypatch.context() as patched:
        patched.setattr(Tracker, "_finish", away)
        with pytest.raises(TransientError, match="filter_traces is done and kept, but MLflow at x does not answer"):
            run()
    key = run()
    assert made == [key]
    assert not untold(space, "filter_traces", key)
    client = connect(space).client
    ids = [item.experiment_id for item in client.search_experiments()]
    runs = {run.info.status: run.data.metrics for run in client.search_runs(ids)}
    assert runs == {"KILLED": {}, "FINISHED": {"kept": 0.5}}
