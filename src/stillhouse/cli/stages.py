"""The stages one by one: the same functions that the pipeline's components call, with folders as artifacts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from stillhouse.cli.console import Format, emit, say
from stillhouse.cli.run import OutputOption, RecipeArgument, SetOption, WorkspaceOption, load

ToOption = Annotated[Path, typer.Option("--to", help="Folder for the finished artifact.")]
TeacherOption = Annotated[Path, typer.Option(help="Artifact of select_teacher.")]
ModelOption = Annotated[Path, typer.Option(help="Artifact of train_student.")]
RecordsOption = Annotated[Path, typer.Option(help="Artifact of filter_traces.")]


def add_to(app: typer.Typer) -> None:
    for command in (
        select_teacher,
        generate_traces,
        filter_traces,
        train_student,
        evaluate_student,
        register_student,
        promote_student,
    ):
        app.command(name=command.__name__)(command)


def _run(name: str, recipe: Path, overrides: list[str] | None, shown: Format, **arguments: Any) -> None:
    from stillhouse.entry import stage_function

    _, configs = load(recipe, overrides)
    config = configs["register_student" if name == "promote_student" else name]
    summary = stage_function(name)(config, **arguments)
    say(f"{name}: {summary.headline}\n{name}: {arguments['output']}")
    if shown is not Format.TABLE:
        emit({"stage": name, "key": summary.key, "metrics": summary.metrics, "details": summary.details}, shown)
    sys.stdout.flush()


def select_teacher(
    recipe: RecipeArgument,
    to: ToOption,
    overrides: SetOption = None,
    workspace: WorkspaceOption = Path("runs"),
    output: OutputOption = Format.TABLE,
) -> None:
    """Compare the candidates on a held-out probe and choose the teacher, or none."""
    _run("select_teacher", recipe, overrides, output, output=to, workspace=workspace)


def generate_traces(
    recipe: RecipeArgument,
    to: ToOption,
    teacher: TeacherOption,
    shard: Annotated[int, typer.Option(help="Which shard, counted from 0.")] = 0,
    overrides: SetOption = None,
    workspace: WorkspaceOption = Path("runs"),
    output: OutputOption = Format.TABLE,
) -> None:
    """Ask the teacher for the traces of one shard."""
    _run("generate_traces", recipe, overrides, output, shard=shard, teacher=teacher, output=to, workspace=workspace)


def filter_traces(
    recipe: RecipeArgument,
    to: ToOption,
    shard: Annotated[list[Path], typer.Option("--shard", help="Artifact of generate_traces; once for each shard.")],
    overrides: SetOption = None,
    workspace: WorkspaceOption = Path("runs"),
    output: OutputOption = Format.TABLE,
) -> None:
    """Verify and filter the traces of all shards."""
    _run("filter_traces", recipe, overrides, output, shards=shard, output=to, workspace=workspace)


def train_student(
    recipe: RecipeArgument,
    to: ToOption,
    records: RecordsOption,
    teacher: TeacherOption,
    overrides: SetOption = None,
    workspace: WorkspaceOption = Path("runs"),
    output: OutputOption = Format.TABLE,
) -> None:
    """Train the student; goes on from the last checkpoint after a kill."""
    _run("train_student", recipe, overrides, output, records=records, teacher=teacher, output=to, workspace=workspace)


def evaluate_student(
    recipe: RecipeArgument,
    to: ToOption,
    model: ModelOption,
    teacher: TeacherOption,
    overrides: SetOption = None,
    workspace: WorkspaceOption = Path("runs"),
    output: OutputOption = Format.TABLE,
) -> None:
    """Measure the student before and after, the control and the teacher on the same items."""
    _run("evaluate_student", recipe, overrides, output, model=model, teacher=teacher, output=to, workspace=workspace)


def register_student(
    recipe: RecipeArgument,
    to: ToOption,
    model: ModelOption,
    scores: Annotated[Path, typer.Option(help="Artifact of evaluate_student.")],
    records: RecordsOption,
    teacher: TeacherOption,
    overrides: SetOption = None,
    workspace: WorkspaceOption = Path("runs"),
    output: OutputOption = Format.TABLE,
) -> None:
    """Register the student as a model version and judge it against the champion."""
    inputs = {"model": model, "scores": scores, "records": records, "teacher": teacher}
    _run("register_student", recipe, overrides, output, output=to, workspace=workspace, **inputs)


def promote_student(
    recipe: RecipeArgument,
    to: ToOption,
    registration: Annotated[Path, typer.Option(help="Artifact of register_student.")],
    overrides: SetOption = None,
    workspace: WorkspaceOption = Path("runs"),
    output: OutputOption = Format.TABLE,
) -> None:
    """Make a student that passed the gate the champion, as the recipe's promotion mode allows."""
    _run("promote_student", recipe, overrides, output, registration=registration, output=to, workspace=workspace)
