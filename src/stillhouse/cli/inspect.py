"""Looking and deciding: methods, doctor, lineage, compare, promote."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from stillhouse.cli.console import Format, emit, say, table
from stillhouse.cli.run import OutputOption, SetOption, WorkspaceOption
from stillhouse.errors import EXIT_OK, EXIT_RECIPE, printable

_MARKS = {True: "✔", False: "✘", None: "·"}
UriArgument = Annotated[
    str, typer.Argument(metavar="MODEL", help="models:/NAME@ALIAS, models:/NAME/VERSION, or NAME@ALIAS.")
]


def add_to(app: typer.Typer) -> None:
    for command in (methods, doctor, lineage, compare, promote):
        app.command()(command)


def methods(
    output: OutputOption = Format.TABLE,
    kind: Annotated[str, typer.Option(help="Only plug-ins of this kind.")] = "",
) -> None:
    """List every plug-in and method: what it is, what it needs, its paper, recipe and proof."""
    from stillhouse.errors import RecipeError, nearest
    from stillhouse.methods import UNIONS, catalogue

    if kind and kind not in UNIONS:
        raise RecipeError(f"--kind {kind}: unknown; {nearest(kind, UNIONS)}")
    rows = [row for row in catalogue() if not kind or row["kind"] == kind]
    if output is not Format.TABLE:
        emit(rows, output)
        return
    shown = [
        {"slug": row["slug"], "kind": row["kind"], "teacher access": row["access"], "summary": row["summary"]}
        for row in rows
    ]
    print(table(shown))


def doctor(
    recipe: Annotated[Path | None, typer.Argument(metavar="[RECIPE]", help="Say what this recipe still needs.")] = None,
    overrides: SetOption = None,
    workspace: WorkspaceOption = Path("runs"),
    cluster: Annotated[bool, typer.Option("--cluster", help="Look at Kubeflow Pipelines and Kubernetes too.")] = False,
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="With --cluster: the run's namespace.")] = "",
    output: OutputOption = Format.TABLE,
) -> None:
    """Say what is installed, what is reachable, and what a recipe still needs."""
    from stillhouse.doctor import examine
    from stillhouse.recipe.load import load_recipe

    loaded = load_recipe(recipe, overrides or (), os.environ) if recipe else None
    findings = list(examine(loaded, workspace))
    if cluster:
        from stillhouse.launch.doctor import examine_cluster

        findings += examine_cluster(loaded, os.environ, namespace=namespace)
    if output is Format.TABLE:
        width = max(len(finding.what) for finding in findings)
        for finding in findings:
            print(f"{_MARKS[finding.ok]} {finding.what:<{width}}  {finding.text}")
    else:
        emit([finding.row() for finding in findings], output)
    sys.exit(EXIT_RECIPE if any(finding.ok is False for finding in findings) else EXIT_OK)


def _uri(text: str) -> str:
    """Accept NAME@ALIAS for models:/NAME@ALIAS."""
    return text if "/" in text or "@" not in text else f"models:/{text}"


def lineage(
    model: UriArgument,
    workspace: WorkspaceOption = Path("runs"),
    output: OutputOption = Format.TABLE,
) -> None:
    """Print what a student was made from: recipe, teacher, traces, filters, dataset, training, evaluation, verdict."""
    from stillhouse.lineage import lineage as chain_of

    chain = chain_of(_uri(model), workspace=workspace)
    if output is Format.TABLE:
        print(printable(chain.text()))
    else:
        emit(chain.to_json(), output)


def compare(
    first: UriArgument,
    second: Annotated[str, typer.Argument(metavar="MODEL", help="Another version, or 'base': the untrained student.")],
    workspace: WorkspaceOption = Path("runs"),
    output: OutputOption = Format.TABLE,
) -> None:
    """Compare two students item by item, with paired intervals where they were measured on the same items."""
    from stillhouse.registry import compare as rows_of

    rows = rows_of(_uri(first), _uri(second), workspace=workspace)
    if output is Format.TABLE:
        print(table(rows))
    else:
        emit(rows, output)


def promote(
    name: Annotated[str, typer.Argument(help="Registered model.")],
    version: Annotated[str, typer.Argument(help="Version number.")],
    alias: Annotated[str, typer.Argument(help="candidate, challenger or champion.")],
    workspace: WorkspaceOption = Path("runs"),
) -> None:
    """Move an alias by hand; a version that did not pass its gate is refused."""
    from stillhouse.registry import promote as move

    say(move(name, version, alias, workspace=workspace))
