"""The other side of the gate: the current champion and its scores on this run's items. Knows MLflow through lineage.

A champion brings its scores along. Where they are of other items, or were drawn in another way, they say nothing about
this comparison, and the champion is measured again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stillhouse.digest import sha256_json
from stillhouse.errors import RecipeError
from stillhouse.recipe.refusal import validate
from stillhouse.recipe.stages import EvaluateConfig
from stillhouse.recipe.teacher import ModelRef
from stillhouse.registry.gate import CHALLENGER_ARM, UNTRAINED, Scores

if TYPE_CHECKING:
    from stillhouse.lineage.versions import Registry, Version

SCORES_NAME = "scores.json"
MEASURED_TAG = "stillhouse.measured_with"


@dataclass(frozen=True)
class Rival:
    """Whom the student must beat. ``scores`` is None for the untrained student, who stands in the student's own."""

    version: Version | None = None
    scores: Scores | None = None
    again: bool = False

    @property
    def against(self) -> str:
        return self.version.uri if self.version else UNTRAINED


def rival(registry: Registry, name: str, scores: Scores, evaluation: Mapping[str, Any], workspace: str | Path) -> Rival:
    """The champion of ``name`` with scores on the items of ``scores``; the untrained student where there is none.

    ``evaluation`` is the config of the ``evaluate_student`` that made ``scores``.

    Raises:
        RecipeError: the champion's scores do not fit and its files are gone, so that nothing can be compared.
    """
    champion = registry.by_alias(name, "champion")
    if champion is None:
        return Rival()
    kept = read_scores(registry, champion)
    same_way = champion.tags.get(MEASURED_TAG) == measured_with(evaluation)
    if kept is not None and same_way and same_items(scores, kept):
        return Rival(champion, kept)
    try:
        folder = registry.model_folder(champion)
    except RecipeError as error:
        why = "are gone" if kept is None else "are of other items or another sampling"
        raise RecipeError(f"the champion's scores {why}, and it cannot be measured again: {error}") from error
    from stillhouse.evaluation import score_model

    config = validate(EvaluateConfig, dict(evaluation), "evaluate_student")
    return Rival(champion, score_model(ModelRef(model=str(folder)), config, workspace, arm=CHALLENGER_ARM), again=True)


def read_scores(registry: Registry, version: Version) -> Scores | None:
    """The scores that a version was registered with; None when its run's files are gone."""
    path = registry.run_file(version, SCORES_NAME)
    return json.loads(path.read_text(encoding="utf-8")) if path else None


def same_items(ours: Scores, theirs: Scores) -> bool:
    """Whether ``theirs`` holds every item of every benchmark of ``ours``."""
    return all(set(table["items"]) <= set(theirs.get(name, {}).get("items", {})) for name, table in ours.items())


def measured_with(evaluation: Mapping[str, Any]) -> str:
    """Digest of how replies were asked for; items are compared by themselves."""
    section = evaluation.get("evaluate", {})
    return sha256_json([section.get("prompter"), section.get("sampling")])[:32]
