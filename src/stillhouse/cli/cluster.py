"""Kubeflow Pipelines from the command line: submit, status, logs, cancel, resume, list, and the digest of a recipe."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stillhouse.cli.console import Format, emit, say, table
from stillhouse.cli.run import OutputOption, RecipeArgument, SetOption, load
from stillhouse.errors import EXIT_OK, printable

if TYPE_CHECKING:
    from stillhouse.launch.client import Kfp
    from stillhouse.launch.endpoint import Endpoint
    from stillhouse.launch.once import Found
    from stillhouse.launch.submit import Submission

EXIT_RUN_FAILED = 1
EXIT_INTERRUPTED = 130
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="Id, label or name of a run.")]
EndpointOption = Annotated[str, typer.Option("--endpoint", help="KFP's address; else KF_PIPELINES_ENDPOINT.")]
NamespaceOption = Annotated[
    str, typer.Option("--namespace", "-n", help="KFP profile; else the recipe's, else STILLHOUSE_KFP_NAMESPACE.")
]
TokenOption = Annotated[
    str, typer.Option("--token-file", help="File with a bearer token; else KF_PIPELINES_SA_TOKEN_PATH.")
]
CaOption = Annotated[
    str, typer.Option("--ca-file", help="Certificate authority of the server; else STILLHOUSE_KFP_CA_FILE.")
]
PollOption = Annotated[float, typer.Option("--poll", hidden=True, help="Seconds between two looks.")]


def add_to(app: typer.Typer) -> None:
    for command in (submit, status, logs, cancel, resume, digest):
        app.command()(command)
    app.command("list")(list_runs)


def connect(endpoint: str, namespace: str, token_file: str, ca_file: str) -> Kfp:
    """The connection that options and environment describe."""
    from stillhouse.launch.client import Kfp

    return Kfp(_endpoint(endpoint, namespace, token_file, ca_file))


def _endpoint(endpoint: str, namespace: str, token_file: str, ca_file: str) -> Endpoint:
    from stillhouse.launch.endpoint import Endpoint

    return Endpoint.from_env(os.environ, url=endpoint, namespace=namespace, token_file=token_file, ca_file=ca_file)


def submit(
    recipe: RecipeArgument,
    overrides: SetOption = None,
    run_label: Annotated[
        str, typer.Option("--run-label", help="The run's identity: the same label never starts twice.")
    ] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Follow the run; exit 0 or 1 by its outcome.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the placed pipeline on stdout and ask no server.")
    ] = False,
    endpoint: EndpointOption = "",
    namespace: NamespaceOption = "",
    token_file: TokenOption = "",
    ca_file: CaOption = "",
    output: OutputOption = Format.TABLE,
    poll_s: PollOption = 5.0,
) -> None:
    """Start a recipe on Kubeflow Pipelines: place and upload the pipeline where it is new, start the run once."""
    from stillhouse.launch.placement import Installation
    from stillhouse.launch.submit import check_label, default_label, placed_pipeline
    from stillhouse.launch.submit import submit as start
    from stillhouse.recipe.resolve import recipe_digest

    if run_label:
        check_label(run_label)
    installation = Installation.from_env(os.environ)
    if not dry_run:
        _endpoint(endpoint, namespace, token_file, ca_file)  # settings that cannot work are told before data is read
    resolved, configs = load(recipe, overrides)
    if dry_run:
        print(placed_pipeline(resolved, recipe_digest(resolved), installation), end="")
        return
    kfp = connect(endpoint, namespace or resolved.cluster.namespace, token_file, ca_file)
    submission, found = start(kfp, resolved, configs, run_label or default_label(resolved), installation)
    _tell(submission, found, recipe_digest(resolved))
    if output is Format.TABLE:
        print(submission.url)
    else:
        emit(submission.to_json(), output)
    if wait:
        _wait(kfp, submission.run_id, poll_s)


def _tell(submission: Submission, found: Found, digest: str) -> None:
    say(f"  recipe             sha256:{submission.recipe_sha256[:12]}")
    say(f"  pipeline           {submission.pipeline_version}")
    say(f"  run                {submission.run_name}  {'started' if found.created else 'was there already'}")
    for run_id in found.doubles:
        say(f"  terminated         {run_id}: a second run of the same label, left by a race or a late answer")
    if submission.recipe_sha256 != digest:
        say(
            f"  note               that run is of another recipe, sha256:{submission.recipe_sha256[:12]}; "
            "choose a new --run-label to run this one"
        )


def _wait(kfp: Kfp, run_id: str, poll_s: float) -> None:
    from stillhouse.launch.follow import follow

    try:
        run = follow(kfp, run_id, say, poll_s=poll_s)
    except KeyboardInterrupt:
        say(
            f"stopped looking; the run goes on. stillhouse status {run_id} shows it, stillhouse cancel {run_id} ends it"
        )
        sys.exit(EXIT_INTERRUPTED)
    state = str(run["state"])
    say(f"  run                {state.lower()}  {(run.get('error') or {}).get('message', '')}".rstrip())
    sys.exit(EXIT_OK if state == "SUCCEEDED" else EXIT_RUN_FAILED)


@contextmanager
def _run_of(options: tuple[str, str, str, str], reference: str) -> Iterator[tuple[Kfp, dict[str, Any]]]:
    from stillhouse.launch.follow import find_run

    kfp = connect(*options)
    yield kfp, find_run(kfp, reference)


def status(
    run: RunArgument,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the run; exit 0 or 1 by its outcome.")] = False,
    endpoint: EndpointOption = "",
    namespace: NamespaceOption = "",
    token_file: TokenOption = "",
    ca_file: CaOption = "",
    output: OutputOption = Format.TABLE,
    poll_s: PollOption = 5.0,
) -> None:
    """Show a run and its stages."""
    from stillhouse.launch.follow import run_row, stage_rows

    with _run_of((endpoint, namespace, token_file, ca_file), run) as (kfp, found):
        row, stages = run_row(kfp, found), stage_rows(found)
        if output is Format.TABLE:
            print(printable("\n".join(f"{key:<14} {value}" for key, value in row.items() if value)))
            print("\n" + printable(table(stages)))
        else:
            emit({**row, "stages": stages}, output)
        if wait:
            _wait(kfp, found["run_id"], poll_s)


def logs(
    run: RunArgument,
    stage: Annotated[str, typer.Option("--stage", help="Only this stage, such as train_student.")] = "",
    endpoint: EndpointOption = "",
    namespace: NamespaceOption = "",
    token_file: TokenOption = "",
    ca_file: CaOption = "",
) -> None:
    """Print what the stages' pods have printed, as far as KFP can still read it."""
    from stillhouse.launch.follow import logs as pages

    with _run_of((endpoint, namespace, token_file, ca_file), run) as (kfp, found):
        for pod, text in pages(kfp, found, stage.replace("-", "_")):
            say(f"--- {pod}")
            print(printable(text), end="" if text.endswith("\n") else "\n")


def cancel(
    run: RunArgument,
    endpoint: EndpointOption = "",
    namespace: NamespaceOption = "",
    token_file: TokenOption = "",
    ca_file: CaOption = "",
) -> None:
    """Terminate a run; what its stages finished stays in the workspace."""
    from stillhouse.launch.follow import cancel as stop

    with _run_of((endpoint, namespace, token_file, ca_file), run) as (kfp, found):
        done = stop(kfp, found)
        say(f"{found['display_name']}: {'is being terminated' if done else 'has ended: ' + found['state'].lower()}")


def resume(
    run: RunArgument,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the run; exit 0 or 1 by its outcome.")] = False,
    endpoint: EndpointOption = "",
    namespace: NamespaceOption = "",
    token_file: TokenOption = "",
    ca_file: CaOption = "",
    output: OutputOption = Format.TABLE,
    poll_s: PollOption = 5.0,
) -> None:
    """Go on with what failed in a run; what has succeeded is kept."""
    from stillhouse.launch.follow import resume as again
    from stillhouse.launch.follow import run_row

    with _run_of((endpoint, namespace, token_file, ca_file), run) as (kfp, found):
        result = again(kfp, found)
        row = {**run_row(kfp, result.record), "created": result.created}
        how = "started anew as" if result.created else "goes on:"
        say(f"{found['display_name']} {how} {row['run_name']}")
        print(row["url"]) if output is Format.TABLE else emit(row, output)
        if wait:
            _wait(kfp, row["run_id"], poll_s)


def list_runs(
    recipe: Annotated[str, typer.Option("--recipe", help="Only runs of the recipe of this name.")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many, the newest first.")] = 20,
    endpoint: EndpointOption = "",
    namespace: NamespaceOption = "",
    token_file: TokenOption = "",
    ca_file: CaOption = "",
    output: OutputOption = Format.TABLE,
) -> None:
    """List runs, the newest first."""
    from itertools import islice

    from stillhouse.errors import RecipeError
    from stillhouse.launch.follow import run_row

    kfp = connect(endpoint, namespace, token_file, ca_file)
    experiment = kfp.find_experiment(recipe) if recipe else None
    if recipe and experiment is None:
        raise RecipeError(f"--recipe {recipe}: no run of it has ever been submitted here")
    found = kfp.find_runs(experiment_id=str(experiment["experiment_id"]) if experiment else "")
    rows = [run_row(kfp, run) for run in islice(found, limit)]
    if output is Format.TABLE:
        columns = ("run_name", "state", "created_at", "finished_at", "run_id")
        print(printable(table([{key: row[key] for key in columns} for row in rows])))
    else:
        emit(rows, output)


def digest(
    recipe: RecipeArgument,
    overrides: SetOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Print a recipe's digest and those of its data and models; starts nothing and loads no model."""
    from stillhouse.recipe.load import load_recipe
    from stillhouse.recipe.manifest import manifest
    from stillhouse.recipe.resolve import resolve

    told = manifest(resolve(load_recipe(Path(recipe), overrides or (), os.environ)))
    if output is Format.TABLE:
        print(told["recipe_sha256"])
    else:
        emit(told, output)
