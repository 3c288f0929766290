"""Names of the stage images. The image holds the library: nothing is installed at run time."""

from __future__ import annotations

import os
import re
from pathlib import Path

REGISTRY = os.environ.get("STILLHOUSE_IMAGE_REGISTRY", "ghcr.io/stillhouse-dev")
_SOURCE = Path(__file__).parents[1] / "src" / "stillhouse" / "__init__.py"
VERSION = re.findall(r'__version__ = "([^"]+)"', _SOURCE.read_text(encoding="utf-8"))[0]


def image(target: str) -> str:
    """Image of one Dockerfile target: generate, train or evaluate."""
    return f"{REGISTRY}/stillhouse-{target}:{VERSION}"
