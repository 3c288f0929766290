"""``python -m pipelines`` writes the pipeline that runs; ``--check`` only says whether it is up to date."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from kfp import compiler

from pipelines.distillation import distillation

TARGET = Path(__file__).with_name("distillation.yaml")


def compiled() -> str:
    """The pipeline as YAML, as the installed KFP compiler writes it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / TARGET.name
        compiler.Compiler().compile(distillation, str(path))
        return path.read_text(encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m pipelines", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when the file is out of date")
    check = parser.parse_args().check
    text = compiled()
    if check and TARGET.read_text(encoding="utf-8") != text:
        print(f"{TARGET}: out of date; run python -m pipelines", file=sys.stderr)
        return 1
    if not check:
        TARGET.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
