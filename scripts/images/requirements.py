"""Prints the requirements of some extras of a pyproject.toml, one a line, without the project itself.

Runs inside builder stages, with the standard library only: dependencies are installed before the library is copied,
so that a change of code does not install them again.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def requirements(project: dict[str, Any], extras: Iterable[str]) -> list[str]:
    """The project's dependencies and those of `extras`, extras of extras resolved; sorted, each once.

    Raises:
        KeyError: an extra that the project does not have.
    """
    own = re.compile(rf"{re.escape(project['name'])}\[([^\]]*)\]$")
    found = set(project["dependencies"])
    waiting, seen = list(extras), set()
    while waiting:
        extra = waiting.pop()
        if extra in seen:
            continue
        seen.add(extra)
        for requirement in project["optional-dependencies"][extra]:
            if match := own.match(requirement.replace(" ", "")):
                waiting.extend(match.group(1).split(","))
            else:
                found.add(requirement)
    return sorted(found)


def main(argv: list[str]) -> int:
    """``requirements.py PYPROJECT EXTRA...``"""
    path, *extras = argv
    print("\n".join(requirements(tomllib.loads(Path(path).read_text(encoding="utf-8"))["project"], extras)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
