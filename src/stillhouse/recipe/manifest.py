"""What a resolved recipe depends on, by digest and revision: enough to say whether anything has changed. Pure."""

from __future__ import annotations

from typing import Any

from stillhouse.recipe.imports import find_custom
from stillhouse.recipe.resolve import recipe_digest
from stillhouse.recipe.schema import Recipe
from stillhouse.recipe.sources import problem_sources
from stillhouse.recipe.teacher import ModelRef


def manifest(recipe: Recipe) -> dict[str, Any]:
    """Digest of ``recipe`` (resolved), of its data by dotted path, revisions of its models and of its teachers by name.

    A teacher behind a server has the revision that the recipe says; a model that was never downloaded has none.
    """
    candidates = [item for item in recipe.teacher.candidates if item.type != "custom"]
    models = {
        f"teacher.candidates.{index}": item.revision
        for index, item in enumerate(recipe.teacher.candidates)
        if isinstance(item, ModelRef)
    }
    return {
        "recipe_sha256": recipe_digest(recipe),
        "data": {path: source.digest for path, source in problem_sources(recipe).items()},
        "models": {"student": recipe.student.revision, **models},
        "teachers": {item.name: item.revision for item in candidates},
        "registered_name": recipe.register_.name,
        "custom_imports": sorted({plugin.import_path for _, plugin in find_custom(recipe)}),
    }
