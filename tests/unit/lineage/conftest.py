"""An embedded MLflow for each test: made once (its migrations take seconds), then copied."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from stillhouse.lineage.tracking import prepare
from stillhouse.workspace import Workspace


@pytest.fixture(scope="session")
def fresh_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    space = Workspace.open(tmp_path_factory.mktemp("fresh"))
    prepare(space)
    return space.mlflow / "mlflow.db"


@pytest.fixture
def space(tmp_path: Path, fresh_database: Path) -> Workspace:
    """A workspace whose MLflow is ready."""
    space = Workspace.open(tmp_path / "work")
    space.mlflow.mkdir()
    shutil.copyfile(fresh_database, space.mlflow / "mlflow.db")
    return space
