"""The application object, and the boundary where errors become one line and an exit code."""

from __future__ import annotations

import sys

import typer

from stillhouse import __version__
from stillhouse.cli import approve, cluster, inspect, run, stages
from stillhouse.errors import StillhouseError, printable

EXIT_INTERRUPTED = 130

app = typer.Typer(
    name="stillhouse",
    help="Distil large reasoning models into small students.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Distil large reasoning models into small students."""


run.add_to(app)
stages.add_to(app)
inspect.add_to(app)
cluster.add_to(app)
approve.add_to(app)


def main() -> None:
    """Entry point: exit 0 well, 2 the user's input, 75 try again, 130 interrupted, 1 a bug (with traceback)."""
    try:
        app()
    except StillhouseError as error:
        for line in str(error).splitlines() or [type(error).__name__]:
            print(f"error: {printable(line)}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("interrupted; finished work is kept, the same command goes on from here", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)
