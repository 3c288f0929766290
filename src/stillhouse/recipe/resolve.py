"""A recipe with everything filled in that its files decide: digests, revisions, tokenizers, licences, code.

Loads no model. What a run needs is then in the recipe itself, and any change of data, model or code changes it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import stillhouse
from stillhouse.digest import sha256_files, sha256_json
from stillhouse.errors import RecipeError
from stillhouse.plugins import fingerprint
from stillhouse.recipe.base import Config
from stillhouse.recipe.check import check_recipe
from stillhouse.recipe.data import ProblemSource
from stillhouse.recipe.models import describe
from stillhouse.recipe.refusal import refuse
from stillhouse.recipe.schema import Recipe
from stillhouse.recipe.sources import problem_sources, source_digest
from stillhouse.recipe.stages import StageConfig
from stillhouse.recipe.teacher import ModelRef

C = TypeVar("C", bound=Config)
_EVERY_STAGE = ("stage.py", "records.py", "reasoning.py", "digest.py", "verify.py", "recipe")
STAGE_CODE: dict[str, tuple[str, ...]] = {
    "select_teacher": (
        "selection", "generation", "filtering", "training", "evaluation", "teachers", "prompting", "data", "models",
    ),
    "generate_traces": ("generation", "teachers", "prompting", "data", "models"),
    "filter_traces": ("filtering", "data"),
    "train_student": ("training", "models", "prompting"),
    "evaluate_student": ("evaluation", "teachers", "prompting", "data", "models"),
    "register_student": ("registry", "evaluation", "teachers", "prompting", "data", "models"),
}  # fmt: skip
"""The packages whose code decides a stage's result; a test compares them with what the stages import."""
_PLUGIN_FIELDS = {
    "candidates": "teacher",
    "prompter": "prompter",
    "annotate": "annotator",
    "select": "selector",
    "builder": "builder",
    "objective": "objective",
}


def resolve(recipe: Recipe) -> Recipe:
    """``recipe`` with digests, revisions, tokenizer digests and licences; checked before and after.

    Raises:
        RecipeError: one for everything that is missing, changed since an earlier resolve, or cannot work together.
        TransientError: problems in an object store that cannot be reached.
    """
    check_recipe(recipe)
    lines: list[str] = []
    sources = {path: _sealed(path, source, lines) for path, source in problem_sources(recipe).items()}
    candidates = tuple(
        _described(f"teacher.candidates.{index}", item, lines) if isinstance(item, ModelRef) else item
        for index, item in enumerate(recipe.teacher.candidates)
    )
    student = _described("student", recipe.student, lines)
    refuse(f"recipe {recipe.name}", lines)
    resolved = _with_sources(recipe, sources).model_copy(
        update={"student": student, "teacher": recipe.teacher.model_copy(update={"candidates": candidates})}
    )
    check_recipe(resolved)
    return resolved


def _sealed(path: str, source: ProblemSource, lines: list[str]) -> ProblemSource:
    try:
        digest = source_digest(source)
    except RecipeError as error:
        lines.append(f"{path}: {error}")
        return source
    if source.digest and source.digest != digest:
        lines.append(
            f"{path}.digest = {source.digest[:12]!r}: the content is {digest[:12]}… now; "
            "restore the problems, or remove the digest to use the new ones"
        )
    return source.model_copy(update={"digest": digest})


def _described(path: str, ref: ModelRef, lines: list[str]) -> ModelRef:
    try:
        return ref.model_copy(update=describe(ref))
    except RecipeError as error:
        lines.append(f"{path}.{error}")
        return ref


def _with_sources(recipe: Recipe, sources: Mapping[str, ProblemSource]) -> Recipe:
    benchmarks = tuple(
        item.model_copy(update={"problems": sources[f"evaluate.benchmarks.{index}.problems"]})
        for index, item in enumerate(recipe.evaluate.benchmarks)
    )
    selectors = tuple(
        item.model_copy(
            update={"against": tuple(sources[f"filter.select.{index}.against.{n}"] for n in range(len(item.against)))}
        )
        if item.type == "held_out"
        else item
        for index, item in enumerate(recipe.filter.select)
    )
    return recipe.model_copy(
        update={
            "data": recipe.data.model_copy(update={"problems": sources["data.problems"]}),
            "evaluate": recipe.evaluate.model_copy(update={"benchmarks": benchmarks}),
            "filter": recipe.filter.model_copy(update={"select": selectors}),
        }
    )


def stamp(configs: Mapping[str, StageConfig]) -> dict[str, StageConfig]:
    """``configs`` with ``library`` = version + 12 digits over the code that each stage runs, plug-ins included."""
    return {stage: config.model_copy(update={"library": _library(config)}) for stage, config in configs.items()}


def _library(config: StageConfig) -> str:
    root = Path(stillhouse.__file__).parent
    names = (*_EVERY_STAGE, *STAGE_CODE[config.stage])
    files = [path for name in names for path in _sources(root / name)]
    plugins = sorted({fingerprint(kind, plugin) for kind, plugin in find_plugins(config)})
    return f"{stillhouse.__version__}+{sha256_json([sha256_files(files, root), plugins])[:12]}"


def _sources(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(path.rglob("*.py"))


def find_plugins(config: Config) -> Iterator[tuple[str, Any]]:
    """(kind, config) of every plug-in that ``config`` names, at any depth."""
    for name in type(config).model_fields:
        value = getattr(config, name)
        for item in value if isinstance(value, tuple) else (value,):
            if not isinstance(item, Config):
                continue
            if name in _PLUGIN_FIELDS and hasattr(item, "type"):
                yield _PLUGIN_FIELDS[name], item
            yield from find_plugins(item)


def recipe_digest(recipe: Recipe) -> str:
    """sha256 of the recipe in canonical JSON; of a resolved recipe it covers data, models and settings.

    Where it runs (``cluster``) does not change what it makes, and is not in it.
    """
    return sha256_json(recipe.model_dump(mode="json", by_alias=True, exclude={"cluster"}))


def write_recipe(recipe: Recipe, path: Path) -> None:
    """Write ``recipe`` as JSON that ``load_recipe`` reads back; whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(recipe.model_dump(mode="json", by_alias=True), indent=1, sort_keys=True, ensure_ascii=False)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text + "\n", encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
