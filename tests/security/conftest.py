"""A real MLflow for these tests: its migrations take seconds, so it is made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from stillhouse.lineage.tracking import prepare
from stillhouse.workspace import Workspace


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty, migrated MLflow database, to be copied."""
    space = Workspace.open(tmp_path_factory.mktemp("fresh"))
    prepare(space)
    return space.mlflow / "mlflow.db"
