"""``stillhouse run`` and ``stillhouse init``: a recipe, from file to report."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stillhouse.cli.console import Format, StageConsole, emit, say, table
from stillhouse.errors import RecipeError

if TYPE_CHECKING:
    from stillhouse.launch.local import Outcome
    from stillhouse.recipe import Recipe
    from stillhouse.recipe.stages import StageConfig
    from stillhouse.workspace import Workspace

RecipeArgument = Annotated[Path, typer.Argument(metavar="RECIPE", help="The recipe, a YAML file.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Override one field, e.g. train.learning_rate=1e-4."),
]
WorkspaceOption = Annotated[
    Path, typer.Option("--workspace", envvar="STILLHOUSE_WORKSPACE", help="Folder for results, traces and MLflow.")
]
OutputOption = Annotated[Format, typer.Option("--output", "-o", help="table for people, json or yaml on stdout.")]


def add_to(app: typer.Typer) -> None:
    app.command()(run)
    app.command()(init)


def load(recipe: Path, overrides: list[str] | None) -> tuple[Recipe, dict[str, StageConfig]]:
    """The resolved recipe and its stamped stage configs; refuses what cannot work before any model loads."""
    from stillhouse.data import check_data
    from stillhouse.recipe.load import load_recipe
    from stillhouse.recipe.resolve import resolve, stamp
    from stillhouse.recipe.stages import stage_configs

    loaded = load_recipe(recipe, overrides or (), os.environ)
    check_data(loaded)
    resolved = resolve(loaded)
    return resolved, stamp(stage_configs(resolved))


def run(
    recipe: RecipeArgument,
    overrides: SetOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the resolved recipe, the plan and the estimate.")
    ] = False,
    workspace: WorkspaceOption = Path("runs"),
    name: Annotated[str, typer.Option(help="Name of the run; by default recipe and time.")] = "",
    output: OutputOption = Format.TABLE,
) -> None:
    """Run the whole pipeline on this machine: select, generate, filter, train, evaluate, register."""
    resolved, configs = load(recipe, overrides)
    if dry_run:
        _explain(resolved, configs, workspace, output)
        return
    from stillhouse.workspace import Workspace

    space = Workspace.open(workspace)
    run_name = name or f"{resolved.name}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    outcome = _launch(resolved, configs, space, run_name, recipe)
    _conclude(outcome, space, output)


def _launch(
    resolved: Recipe, configs: dict[str, StageConfig], space: Workspace, run_name: str, source: Path
) -> Outcome:
    from stillhouse.launch.local import run_pipeline
    from stillhouse.lineage.parents import PARENT_ENV, open_parent
    from stillhouse.recipe.parameters import to_parameters
    from stillhouse.recipe.resolve import recipe_digest, write_recipe
    from stillhouse.runs import STARTED_ENV

    digest = recipe_digest(resolved)
    folder = space.run(run_name)
    folder.mkdir(parents=True, exist_ok=True)
    write_recipe(resolved, folder / "recipe.json")
    say(f"  recipe             {source}  sha256:{digest[:12]}")
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 2) // 2)))
    os.environ["STILLHOUSE_RECIPE_NAME"] = resolved.name
    os.environ["STILLHOUSE_RECIPE_SHA256"] = digest
    os.environ[STARTED_ENV] = datetime.now(UTC).isoformat(timespec="seconds")
    plain = resolved.model_dump(mode="json", by_alias=True)
    os.environ[PARENT_ENV] = open_parent(space, run_name, plain, digest)
    say(f"  workspace          {space.root}")
    with StageConsole() as console:
        return run_pipeline(to_parameters(configs), space, run_name, listener=console.hear)


def _conclude(outcome: Outcome, space: Workspace, output: Format) -> None:
    from stillhouse.report import read_facts, run_summary

    facts = read_facts(outcome.folder)
    if facts and output is Format.TABLE:
        say("\n" + run_summary(facts))
    elif facts:
        emit({**facts.to_json(), "exit_code": outcome.exit_code, "error": outcome.error}, output)
    if outcome.exit_code:
        say(f"error: {outcome.error}")
        say(f"       finished work is kept under {space.root}; the same command goes on from there")
    sys.exit(outcome.exit_code)


def _explain(resolved: Recipe, configs: dict[str, StageConfig], workspace: Path, output: Format) -> None:
    from stillhouse.recipe.estimate import estimate
    from stillhouse.recipe.parameters import to_parameters
    from stillhouse.runs import stage_keys

    expected = estimate(resolved)
    plan: list[dict[str, Any]] = []
    for stage, part, key in stage_keys(to_parameters(configs)):
        done = (workspace / "stages" / stage / key / "payload").is_dir()
        plan.append(
            {"stage": f"{stage}[{part}]" if part else stage, "key": key[:12], "state": "done" if done else "to do"}
        )
    plain = resolved.model_dump(mode="json", by_alias=True)
    if output is Format.JSON:
        emit({"recipe": plain, "plan": plan, "estimate": expected.rows()}, output)
        return
    emit(plain, Format.YAML)
    say("\nplan\n" + table(plan))
    say("\nestimate\n" + table(expected.rows()))


def init(
    target: Annotated[Path, typer.Argument(help="The recipe to write.")] = Path("recipe.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> None:
    """Write a recipe to start from: the quickstart, every field of which can be changed."""
    packaged = Path(__file__).parents[1] / "recipe" / "quickstart.yaml"
    source = packaged if packaged.is_file() else Path(__file__).parents[3] / "recipes" / "quickstart.yaml"
    if target.exists() and not force:
        raise RecipeError(f"{target}: exists already; choose another name or --force")
    try:
        target.write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    except OSError as error:
        raise RecipeError(f"{target}: cannot be written ({error.strerror})") from error
    say(f"wrote {target}; next: stillhouse run {target} --dry-run")
