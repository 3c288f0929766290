"""The tags of a model version, by the names that other tools look for. Pure; knows summaries and the environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stillhouse.digest import sha256_json
from stillhouse.summary import StageSummary

EVIDENCE_TAG = "stillhouse.gate.evidence_sha256"
STATUS_TAG = "validation_status"
PENDING, APPROVED, REJECTED = "pending", "approved", "rejected"
_KFP = {
    "STILLHOUSE_KFP_NAMESPACE": "model_source_group",
    "STILLHOUSE_KFP_RUN_ID": "model_source_id",
    "STILLHOUSE_KFP_RUN_NAME": "model_source_name",
}


def origin_tags(upstream: Mapping[str, StageSummary], model_sha256: str) -> dict[str, str]:
    """What the student was made from; ``upstream`` are the summaries called model, scores, records and teacher."""
    teacher = chosen_teacher(upstream["teacher"])
    return {
        "stillhouse.teacher": str(teacher.get("name", "")),
        "stillhouse.teacher_model": str(teacher.get("model", "")),
        "stillhouse.teacher_revision": str(teacher.get("revision", "")),
        "stillhouse.dataset_digest": str(upstream["records"].details.get("dataset_digest", "")),
        "stillhouse.objective": str(upstream["model"].details.get("objective", "")),
        "stillhouse.model_sha256": model_sha256,
    }


def environment_tags(env: Mapping[str, str]) -> dict[str, str]:
    """Where the run took place, as far as the environment says: KFP's run and the image."""
    tags = {tag: env[name] for name, tag in _KFP.items() if env.get(name)}
    if run_id := env.get("STILLHOUSE_KFP_RUN_ID"):
        tags |= {"stillhouse.kfp_run_id": run_id, "model_source_kind": "kfp", "model_source_class": "pipelinerun"}
    if image := env.get("STILLHOUSE_IMAGE_DIGEST"):
        tags["stillhouse.image_digest"] = image
    return tags


def recipe_sha256(env: Mapping[str, str], summaries: Sequence[StageSummary]) -> str:
    """The recipe's digest: told by whoever started the run, else made from the stages' own configs."""
    return env.get("STILLHOUSE_RECIPE_SHA256") or sha256_json({item.stage: item.config for item in summaries})


def chosen_teacher(selection: StageSummary) -> Mapping[str, Any]:
    """The chosen candidate's row of ``select_teacher``; empty when there is none."""
    details = selection.details
    rows = details.get("candidates", [])
    return next((row for row in rows if row.get("name") == details.get("chosen")), {})
