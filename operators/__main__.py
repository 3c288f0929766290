"""``python -m operators`` runs the operator; ``--version`` and ``--help`` only talk."""

from __future__ import annotations

import argparse
import sys

from stillhouse import __version__
from stillhouse.errors import StillhouseError


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m operators", description="The stillhouse operator. Settings come from the environment."
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.parse_args()
    from operators.app import run
    from operators.settings import Settings

    try:
        run(Settings.from_env())
    except StillhouseError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
