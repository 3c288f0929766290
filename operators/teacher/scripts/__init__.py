"""Programs that run inside the server's pods, handed over as text: nothing of them is imported by the operator.

Each is one file. ``ask`` needs the standard library only, because it runs in whatever image a TeacherServer names;
``copy_weights`` runs in the installation's own image and needs ``stillhouse``.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path


@cache
def source(name: str) -> str:
    """The text of a script, for ``python3 -c``."""
    return (Path(__file__).parent / f"{name}.py").read_text(encoding="utf-8")
