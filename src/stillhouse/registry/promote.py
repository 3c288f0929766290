"""Moving aliases: the stage ``promote_student`` after a passed gate, and ``promote`` for people.

A champion is protected: it is replaced only by a version that was judged against it, with the evidence that was
judged, or by a person's word. Knows no scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stillhouse.errors import RecipeError, nearest
from stillhouse.lineage.address import tracking_id
from stillhouse.lineage.lookup import open_registry
from stillhouse.recipe.refusal import validate
from stillhouse.recipe.stages import RegisterConfig
from stillhouse.registry.gate import UNTRAINED
from stillhouse.registry.stage import in_registry
from stillhouse.registry.tags import APPROVED, EVIDENCE_TAG, REJECTED, STATUS_TAG
from stillhouse.stage import Stage, run_stage
from stillhouse.summary import StageSummary

if TYPE_CHECKING:
    from stillhouse.lineage.versions import Registry, Version

STAGE = "promote_student"
CHAMPION = "champion"
ALIASES = ("candidate", "challenger", CHAMPION)


def run(
    config: RegisterConfig | Mapping[str, Any], *, registration: Path, output: Path, workspace: str | Path
) -> StageSummary:
    """See ``stillhouse.registry.promote_student``."""
    checked = config if isinstance(config, RegisterConfig) else validate(RegisterConfig, dict(config), STAGE)
    inputs = {"registration": [Path(registration)]}
    return run_stage(
        checked, _body, output=Path(output), workspace=workspace, inputs=inputs, name=STAGE, still_true=in_registry
    )


def _body(stage: Stage[RegisterConfig]) -> None:
    from stillhouse.lineage.versions import Registry

    registry = Registry(stage.tracker.store, stage.workspace)
    judged = stage.upstream["registration"][0].details
    version = registry.resolve(judged["model_uri"])
    alias: str | None = None
    if judged["verdict"] != "passed":
        text = f"{version.uri} failed its gate and stays candidate"
    elif stage.config.promote == "manual":
        text = (
            f"{version.uri} is challenger; to make it champion: "
            f"stillhouse promote {version.name} {version.version} {CHAMPION}"
        )
    else:
        _check(registry, version, judged)
        _crown(registry, version)
        alias, text = CHAMPION, f"{version.uri} is champion"
    stage.details = {
        "name": version.name,
        "version": version.version,
        "alias": alias,
        "text": text,
        "run_id": version.run_id,
        "tracking": tracking_id(stage.workspace),
    }
    stage.metrics = {"version": float(version.version)}
    stage.headline = text


def _check(registry: Registry, version: Version, judged: Mapping[str, Any]) -> None:
    """What was judged must be what is promoted, over whom it was judged against."""
    if version.tags.get(EVIDENCE_TAG) != judged["evidence_sha256"]:
        raise RecipeError(
            f"{version.uri} is not promoted: its tag {EVIDENCE_TAG} is not the evidence that was judged "
            f"({str(judged['evidence_sha256'])[:12]}...); somebody changed it, register the student again"
        )
    champion = registry.by_alias(version.name, CHAMPION)
    current = champion.uri if champion else UNTRAINED
    if champion is not None and champion.version == version.version:
        return
    if current != judged["against"]:
        raise RecipeError(
            f"{version.uri} is not promoted: it was judged against {judged['against']}, but the champion is now "
            f"{champion.uri if champion else 'none'}; compare the two (stillhouse compare {version.uri} "
            f"models:/{version.name}@{CHAMPION}) and decide by hand (stillhouse promote {version.name} "
            f"{version.version} {CHAMPION})"
        )


def _crown(registry: Registry, version: Version) -> None:
    registry.set_tags(version, {STATUS_TAG: APPROVED})
    registry.set_alias(version, CHAMPION)


def promote(name: str, version: str | int, alias: str, workspace: str | Path | None = None) -> str:
    """See ``stillhouse.registry.promote``."""
    if alias not in ALIASES:
        raise RecipeError(f"alias {alias!r} is unknown; {nearest(alias, ALIASES)}")
    registry = open_registry(workspace)
    found = registry.resolve(f"models:/{name}/{version}")
    if alias != "candidate" and found.tags.get(STATUS_TAG) == REJECTED:
        raise RecipeError(
            f"{found.uri} failed its gate (tag {STATUS_TAG} is {REJECTED}) and cannot be {alias}; "
            f"see why with: stillhouse lineage {found.uri}"
        )
    before = registry.by_alias(name, alias)
    if alias == CHAMPION:
        _crown(registry, found)
    else:
        registry.set_alias(found, alias)
    was = f"; it was version {before.version}" if before and before.version != found.version else ""
    return f"{found.uri} is {alias}{was}"
