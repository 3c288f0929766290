"""Takes the installers out of the interpreter of a base image: pip, setuptools, wheel, ensurepip and their wheels.

Runs inside the Dockerfile's `runtime` stage with the standard library only. It also compiles the standard library,
which official Python images ship without bytecode and a read-only container could not write.
"""

from __future__ import annotations

import compileall
import py_compile
import re
import shutil
import site
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

INSTALLERS = re.compile(r"(pip|setuptools|wheel|pkg_resources|_distutils_hack|distutils-precedence)\b")
_NOT_RUN = re.compile(r"/(test|tests|idlelib|lib2to3|turtledemo)/")


def installers(stdlib: Path, packages: list[Path], scripts: Path, prefix: Path) -> Iterator[Path]:
    """Everything that can install packages: modules, their metadata, the commands, and bundled wheels."""
    for folder in packages:
        yield from (path for path in folder.glob("*") if INSTALLERS.match(path.name))
    yield from (path for path in scripts.glob("*") if re.fullmatch(r"(pip|wheel)[0-9.]*", path.name))
    yield from (path for path in (stdlib / "ensurepip", prefix / "share" / "python-wheels") if path.is_dir())


def main() -> int:
    """Remove, compile, say what was removed."""
    stdlib = Path(sysconfig.get_path("stdlib"))
    packages = [Path(path) for path in (*site.getsitepackages(), sysconfig.get_path("purelib"))]
    for path in dict.fromkeys(installers(stdlib, packages, Path(sysconfig.get_path("scripts")), Path(sys.prefix))):
        print(f"removed {path}")
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    compileall.compile_dir(stdlib, quiet=2, rx=_NOT_RUN, workers=0, invalidation_mode=mode)
    return 0


if __name__ == "__main__":
    sys.exit(main())
