"""The example runs as fixtures; they live in a file of their own because the browser test uses them too."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def example() -> dict[str, Any]:
    """The functions of ``example_run.py``."""
    return runpy.run_path(str(Path(__file__).with_name("example_run.py")))
