"""The catalogue of plug-ins: what ``stillhouse methods`` prints. Read from the recipe's unions; imports no plug-in."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, get_args

from stillhouse.recipe.base import Card, Config
from stillhouse.recipe.filtering import Annotator, Selector
from stillhouse.recipe.teacher import TeacherConfig
from stillhouse.recipe.traces import Prompter
from stillhouse.recipe.training import Builder, Objective

UNIONS: dict[str, Any] = {
    "teacher": TeacherConfig,
    "prompter": Prompter,
    "annotator": Annotator,
    "selector": Selector,
    "builder": Builder,
    "objective": Objective,
}


def members(kind: str) -> dict[str, type[Config]]:
    """``type`` tag -> config class of every built-in plug-in of this kind."""
    union = get_args(UNIONS[kind])[0]
    classes = [cls for cls in get_args(union) if hasattr(cls, "card")]
    return {get_args(cls.model_fields["type"].annotation)[0]: cls for cls in classes}


def catalogue() -> list[dict[str, Any]]:
    """One row per plug-in: slug, kind, summary, tags, access, needs, paper, recipe, proof."""
    rows = []
    for kind in UNIONS:
        for slug, cls in members(kind).items():
            card: Card = cls.card  # type: ignore[attr-defined]
            rows.append({"slug": slug, "kind": kind, **asdict(card)})
    return rows
