"""A recipe as a run on Kubeflow Pipelines: placed, uploaded where it is new, started once.

The run's identity is its label: the same recipe with the same label is the same run, whoever asks and however often.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from stillhouse import __version__
from stillhouse.digest import sha256_text
from stillhouse.errors import RecipeError
from stillhouse.launch.client import Kfp
from stillhouse.launch.local import pipeline_file
from stillhouse.launch.once import Found, find_or_create, start_run
from stillhouse.launch.placement import Installation, place
from stillhouse.recipe import Recipe
from stillhouse.recipe.cluster import MOUNT_PATH
from stillhouse.recipe.data import FileProblems
from stillhouse.recipe.parameters import to_parameters
from stillhouse.recipe.refusal import refuse
from stillhouse.recipe.resolve import recipe_digest
from stillhouse.recipe.sources import problem_sources
from stillhouse.recipe.stages import StageConfig
from stillhouse.recipe.teacher import ModelRef

PIPELINE = "stillhouse-distillation"
LONGEST_LABEL = 63
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


@dataclass(frozen=True)
class Submission:
    """A run as it was found or started; what ``submit -o json`` prints."""

    run_id: str
    run_name: str
    run_label: str
    url: str
    created: bool
    recipe_sha256: str
    pipeline_version: str
    experiment_id: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def submit(
    kfp: Kfp, recipe: Recipe, configs: Mapping[str, StageConfig], label: str, installation: Installation
) -> tuple[Submission, Found]:
    """Start ``recipe`` (resolved) as the run ``label``, or find it.

    Raises:
        RecipeError: a bad label, data that pods cannot reach, a namespace that is not ours.
        TransientError: KFP does not answer; the same call with the same label goes on.
    """
    check_label(label)
    digest = recipe_digest(recipe)
    placed = placed_pipeline(recipe, digest, installation)
    name = run_name(recipe, label)
    about = f"Runs of the recipe {recipe.name}"
    experiment = find_or_create(
        kfp, lambda: kfp.find_experiment(recipe.name), lambda: kfp.create_experiment(recipe.name, about)
    )
    reference = upload(kfp, placed)
    body: dict[str, Any] = {
        "experiment_id": experiment.record["experiment_id"],
        "display_name": name,
        "description": json.dumps({"stillhouse": {"label": label, "recipe_sha256": digest}}),
        "pipeline_version_reference": {key: reference[key] for key in ("pipeline_id", "pipeline_version_id")},
        "runtime_config": {"parameters": {**to_parameters(configs), "workspace": MOUNT_PATH, "run_name": name}},
    }
    if recipe.cluster.pipeline_root:
        body["runtime_config"]["pipeline_root"] = recipe.cluster.pipeline_root
    if recipe.cluster.service_account:
        body["service_account"] = recipe.cluster.service_account
    found = start_run(kfp, body)
    run = found.record
    submission = Submission(
        run_id=str(run["run_id"]), run_name=name, run_label=label, url=kfp.endpoint.run_url(str(run["run_id"])),
        created=found.created, recipe_sha256=told_of(run).get("recipe_sha256", digest),
        pipeline_version=str(reference["display_name"]), experiment_id=str(run["experiment_id"]),
    )  # fmt: skip
    return submission, found


def placed_pipeline(recipe: Recipe, digest: str, installation: Installation) -> str:
    """The YAML that would run.

    Raises:
        RecipeError: problems or models that only this machine can read.
    """
    refuse(f"recipe {recipe.name}", list(out_of_reach(recipe)))
    return place(pipeline_file().read_text(encoding="utf-8"), recipe, digest, installation)


def upload(kfp: Kfp, placed: str) -> dict[str, Any]:
    """The pipeline's version with this content, uploaded where it is new; its name ends in the content's digest."""
    about = "Distil a reasoning teacher into a small, gated, registered student"
    pipeline = find_or_create(kfp, lambda: kfp.find_pipeline(PIPELINE), lambda: kfp.create_pipeline(PIPELINE, about))
    pipeline_id = str(pipeline.record["pipeline_id"])
    name = f"{__version__}-{sha256_text(placed)[:12]}"
    version = find_or_create(
        kfp,
        lambda: kfp.find_version(pipeline_id, name),
        lambda: kfp.upload_version(pipeline_id, name, f"stillhouse {__version__}", placed),
    )
    return version.record


def run_name(recipe: Recipe, label: str) -> str:
    """The run's display name at KFP, and its folder in the workspace."""
    return f"{recipe.name}-{label}"


def default_label(recipe: Recipe) -> str:
    """A label for somebody who gave none: what runs, and when."""
    return f"{recipe_digest(recipe)[:12]}-{datetime.now(UTC):%Y%m%d%H%M%S}"


def check_label(label: str) -> None:
    """Refuse what is no RFC 1123 label."""
    if len(label) > LONGEST_LABEL:
        raise RecipeError(f"--run-label {label}: has {len(label)} characters; {LONGEST_LABEL} at most")
    if not _LABEL.fullmatch(label):
        raise RecipeError(f"--run-label {label}: must be lower-case letters, digits and '-', such as nightly-7")


def told_of(run: Mapping[str, Any]) -> dict[str, str]:
    """Label and recipe digest that stand in a run's description; empty for a run of somebody else."""
    try:
        told = json.loads(run.get("description") or "{}")["stillhouse"]
        return {key: str(told[key]) for key in ("label", "recipe_sha256")}
    except (ValueError, KeyError, TypeError):
        return {}


def out_of_reach(recipe: Recipe) -> Iterator[str]:
    """One line for each file or model of ``recipe`` that a pod could not read."""
    advice = f"pods cannot read it; put it into an object store (s3://) or under {MOUNT_PATH}"
    for path, source in problem_sources(recipe).items():
        if isinstance(source, FileProblems) and _is_local(source.path):
            yield f"{path}.path = {source.path!r}: is on this machine, and {advice}"
    for path, ref in _models(recipe):
        if ref.model.startswith(("/", "file://")) and _is_local(ref.model):
            yield f"{path}.model = {ref.model!r}: is on this machine, and {advice}, or name a hub's model (hf://)"


def _models(recipe: Recipe) -> Iterator[tuple[str, ModelRef]]:
    yield "student", recipe.student
    for index, item in enumerate(recipe.teacher.candidates):
        if isinstance(item, ModelRef):
            yield f"teacher.candidates.{index}", item


def _is_local(path: str) -> bool:
    plain = path.removeprefix("file://")
    return "://" not in plain and not plain.startswith(f"{MOUNT_PATH}/")
