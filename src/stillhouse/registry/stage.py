"""The stage ``register_student``: a model version, its evidence and its lineage, exactly once.

KFP does not cache this stage, because the registry is not one of its inputs; the stage key does that work instead.
Order matters: the evidence, the scores and the lineage go to the run, then the weights, and the version comes last and
whole. A stage that was killed on the way finds what it left and goes on; a version that exists is never judged anew.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stillhouse.digest import canonical_json, sha256_file, sha256_files
from stillhouse.errors import RecipeError
from stillhouse.lineage.address import still_registered, tracking_id
from stillhouse.lineage.chain import build_chain
from stillhouse.lineage.lookup import CHAIN_NAME, CHAIN_TAG, ancestors
from stillhouse.recipe.refusal import validate
from stillhouse.recipe.stages import RegisterConfig
from stillhouse.registry import evidence
from stillhouse.registry.champion import MEASURED_TAG, SCORES_NAME, Rival, measured_with, rival
from stillhouse.registry.gate import Facts, Verdict, judge
from stillhouse.registry.tags import (
    EVIDENCE_TAG,
    PENDING,
    REJECTED,
    STATUS_TAG,
    chosen_teacher,
    environment_tags,
    origin_tags,
    recipe_sha256,
)
from stillhouse.stage import Stage, run_stage
from stillhouse.summary import StageSummary
from stillhouse.workspace import Workspace

if TYPE_CHECKING:
    from stillhouse.lineage.versions import Registry, Version

STAGE = "register_student"
_KEPT = (evidence.FILE_NAME, CHAIN_NAME, SCORES_NAME)


def run(
    config: RegisterConfig | Mapping[str, Any], *, inputs: Mapping[str, Path], output: Path, workspace: str | Path
) -> StageSummary:
    """See ``stillhouse.registry.register_student``."""
    checked = config if isinstance(config, RegisterConfig) else validate(RegisterConfig, dict(config), STAGE)
    folders = {name: [Path(path)] for name, path in inputs.items()}
    return run_stage(checked, _body, output=Path(output), workspace=workspace, inputs=folders, still_true=in_registry)


def in_registry(summary: StageSummary, space: Workspace) -> bool:
    """Whether the MLflow in use still holds the version of a finished stage: not another one, not emptied since."""
    told = summary.details
    return still_registered(space, told["tracking"], told["name"], told["version"], told["run_id"])


def _body(stage: Stage[RegisterConfig]) -> None:
    from stillhouse.lineage.versions import Registry

    registry = Registry(stage.tracker.store, stage.workspace)
    version = registry.find(stage.config.name, stage.key)
    if version is None:
        verdict = _judge(stage, registry)
        stage.progress.say(f"gate {verdict.word}: " + "; ".join(check.text for check in verdict.checks))
        version = _register(stage, registry, verdict)
    else:
        verdict = _recall(stage, registry, version)
    _give_aliases(registry, version, verdict)
    _conclude(stage, verdict, version)


def _judge(stage: Stage[RegisterConfig], registry: Registry) -> Verdict:
    """Judge the student, and write what was judged and why into the output."""
    upstream = _upstream(stage)
    _weights(stage)
    path = stage.input("scores") / SCORES_NAME
    scores = json.loads(path.read_text(encoding="utf-8"))
    other = rival(registry, stage.config.name, scores, upstream["scores"].config, stage.workspace.root)
    if other.again:
        stage.progress.say(f"{other.against} was measured again: its scores were of other items or another sampling")
    licences = {
        "student": stage.config.student.licence,
        "teacher": str(chosen_teacher(upstream["teacher"]).get("licence", "")),
    }
    facts = Facts(results=upstream["scores"].details.get("results", ()), licences=licences)
    verdict = judge(stage.config.gate, scores, facts, other.scores, against=other.against, seed=stage.config.seed)
    shutil.copyfile(path, stage.output / SCORES_NAME)
    evidence.write_evidence(
        stage.output, verdict, gate=stage.config.gate, seed=stage.config.seed, inputs=_judged(stage, other),
        name=stage.config.name,
    )  # fmt: skip
    return verdict


def _judged(stage: Stage[RegisterConfig], other: Rival) -> dict[str, Any]:
    """Digests of everything the verdict rests on."""
    upstream = _upstream(stage)
    inputs: dict[str, Any] = {name: {"key": item.key, "digest": item.digest} for name, item in upstream.items()}
    inputs["model"]["weights_sha256"] = _weights(stage)
    inputs["records"]["dataset_digest"] = upstream["records"].details.get("dataset_digest", "")
    inputs["scores"]["benchmark_digest"] = upstream["scores"].details.get("benchmark_digest", "")
    inputs["scores"]["sha256"] = sha256_file(stage.input("scores") / SCORES_NAME)
    champion = other.version
    inputs["champion"] = champion and {
        "uri": champion.uri,
        "model_sha256": champion.tags.get("stillhouse.model_sha256", ""),
        "evidence_sha256": champion.tags.get(EVIDENCE_TAG, ""),
        "measured_again": other.again,
    }
    return inputs


def _register(stage: Stage[RegisterConfig], registry: Registry, verdict: Verdict) -> Version:
    """Everything the version points to, then the version."""
    upstream = _upstream(stage)
    sha256 = sha256_file(stage.output / evidence.FILE_NAME)
    made_from = ancestors(stage.workspace, StageSummary(stage=STAGE, key=stage.key, inputs=_keys(stage)))
    made_from = made_from or list(upstream.values())
    recipe = recipe_sha256(os.environ, made_from)
    details = {
        "verdict": verdict.word, "against": verdict.against, "checks": verdict.rows(), "evidence_sha256": sha256,
        "name": stage.config.name,
    }  # fmt: skip
    chain = build_chain([*made_from, StageSummary(stage=STAGE, key=stage.key, details=details)], recipe).to_json()
    text = canonical_json(chain)
    (stage.output / CHAIN_NAME).write_text(text + "\n", encoding="utf-8")
    for name in _KEPT:
        stage.tracker.artifact(stage.output / name)
    records = upstream["records"]
    stage.tracker.dataset(
        f"{stage.config.name}-records", str(records.details.get("dataset_digest", "")), str(stage.input("records")),
        int(records.details.get("positive", 0)),
    )  # fmt: skip
    tags = origin_tags(upstream, _weights(stage)) | environment_tags(os.environ)
    tags |= {
        STATUS_TAG: PENDING if verdict.passed else REJECTED,
        EVIDENCE_TAG: sha256,
        MEASURED_TAG: measured_with(upstream["scores"].config),
        "stillhouse.recipe_sha256": recipe,
        CHAIN_TAG: text,
    }
    staging = stage.work / "model"
    try:
        return registry.register(
            stage.config.name, _model(stage), run_id=stage.tracker.run_id, key=stage.key, tags=tags, staging=staging
        )
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _recall(stage: Stage[RegisterConfig], registry: Registry, version: Version) -> Verdict:
    """The verdict on a version that this very work has registered before: read, never judged anew."""
    for name in _KEPT:
        path = registry.run_file(version, name)
        if path is None:
            raise RecipeError(
                f"{version.uri} was registered by this very work before, but {name} is gone from its run "
                f"{version.run_id}; restore the run's artifacts, or delete the version to register it again"
            )
        shutil.copyfile(path, stage.output / name)
    return evidence.read_verdict(stage.output / evidence.FILE_NAME, version.tags.get(EVIDENCE_TAG, ""))


def _give_aliases(registry: Registry, version: Version, verdict: Verdict) -> None:
    """``candidate`` to every new version, ``challenger`` to those that passed; aliases never move back."""
    for alias in ("candidate", "challenger") if verdict.passed else ("candidate",):
        current = registry.by_alias(version.name, alias)
        if current is None or int(current.version) < int(version.version):
            registry.set_alias(version, alias)


def _conclude(stage: Stage[RegisterConfig], verdict: Verdict, version: Version) -> None:
    stage.details = {
        "name": version.name,
        "version": version.version,
        "model_uri": version.uri,
        "verdict": verdict.word,
        "against": verdict.against,
        "checks": verdict.rows(),
        "evidence_sha256": version.tags[EVIDENCE_TAG],
        "aliases": ["candidate", "challenger"] if verdict.passed else ["candidate"],
        "model_sha256": version.tags.get("stillhouse.model_sha256", ""),
        "run_id": version.run_id,
        "tracking": tracking_id(stage.workspace),
    }
    stage.metrics = {"gate.passed": float(verdict.passed), "version": float(version.version)}
    for check in verdict.checks:
        if check.difference is not None and check.interval is not None:
            stage.metrics[f"gate.{check.metric}.difference"] = check.difference
            stage.metrics[f"gate.{check.metric}.low"] = check.interval[0]
    failed = [check.text for check in verdict.checks if not check.passed]
    why = failed[0] if failed else verdict.checks[0].text
    stage.headline = f"{version.name} v{version.version} · gate {verdict.word} · {why}"


def _upstream(stage: Stage[RegisterConfig]) -> dict[str, StageSummary]:
    return {name: items[0] for name, items in stage.upstream.items()}


def _keys(stage: Stage[RegisterConfig]) -> dict[str, list[str]]:
    return {name: [item.key for item in items] for name, items in stage.upstream.items()}


def _model(stage: Stage[RegisterConfig]) -> Path:
    return stage.input("model") / "model"


def _weights(stage: Stage[RegisterConfig]) -> str:
    """Digest of the student's weights, as training has told it or as they are."""
    if told := _upstream(stage)["model"].details.get("weights_sha256"):
        return str(told)
    files = sorted(_model(stage).glob("*.safetensors"))
    if not files:
        raise RecipeError(f"{_model(stage)}: holds no weights (*.safetensors); it is not a trained student")
    return sha256_files(files, _model(stage))
