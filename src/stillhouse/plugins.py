"""Where each plug-in's code lives: one literal dict per kind, and the one way to load from it.

The dicts hold import paths, not classes, so that listing plug-ins loads neither torch nor transformers. The
configs (and what ``stillhouse methods`` says) stand in ``stillhouse.recipe``; a contract test compares the two.
Custom plug-ins come only from packages that the installation allows (``STILLHOUSE_CUSTOM_IMPORTS``): the rule stands
here, below everything that imports one, and ``stillhouse.recipe.imports`` tells it to the author of a recipe.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
from collections.abc import Mapping
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

from stillhouse.digest import sha256_file, sha256_json
from stillhouse.errors import RecipeError, nearest

TEACHERS = {
    "transformers": "stillhouse.teachers.transformers_teacher:TransformersTeacher",
    "openai": "stillhouse.teachers.openai_teacher:OpenAITeacher",
}
PROMPTERS = {"cot": "stillhouse.prompting.cot:CotPrompter"}
ANNOTATORS = {
    "math_verify": "stillhouse.filtering.annotators:MathVerify",
    "text_stats": "stillhouse.filtering.annotators:TextStats",
}
SELECTORS = {
    "answered": "stillhouse.filtering.selectors:Answered",
    "truncated": "stillhouse.filtering.selectors:Truncated",
    "format": "stillhouse.filtering.selectors:Format",
    "verified": "stillhouse.filtering.selectors:Verified",
    "length": "stillhouse.filtering.selectors:Length",
    "repetition": "stillhouse.filtering.selectors:Repetition",
    "exact_duplicates": "stillhouse.filtering.selectors:ExactDuplicates",
    "held_out": "stillhouse.filtering.selectors:HeldOut",
}
BUILDERS = {
    "reasoning": "stillhouse.training.builders:ReasoningBuilder",
    "answer_only": "stillhouse.training.builders:AnswerOnlyBuilder",
}
OBJECTIVES = {
    "sft": "stillhouse.training.objectives.sft:Sft",
    "kl": "stillhouse.training.objectives.kl:Kl",
}
KINDS: dict[str, dict[str, str]] = {
    "teacher": TEACHERS,
    "prompter": PROMPTERS,
    "annotator": ANNOTATORS,
    "selector": SELECTORS,
    "builder": BUILDERS,
    "objective": OBJECTIVES,
}

IMPORTS_ENV = "STILLHOUSE_CUSTOM_IMPORTS"
_PACKAGE = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*")


def allowed_imports(env: Mapping[str, str] | None = None) -> tuple[str, ...] | None:
    """Packages that custom plug-ins may come from: none of them where it is empty, any package where it is None.

    ``STILLHOUSE_CUSTOM_IMPORTS`` holds them, separated by commas; unset and ``*`` mean any.

    Raises:
        RecipeError: an entry that is no package's name.
    """
    text = (os.environ if env is None else env).get(IMPORTS_ENV, "*")
    entries = [entry.strip() for entry in text.split(",") if entry.strip()]
    if "*" in entries:
        return None
    for entry in entries:
        if not _PACKAGE.fullmatch(entry):
            raise RecipeError(f"{IMPORTS_ENV}: {entry!r} is no package; write names such as mine,ours.plugins, or *")
    return tuple(entries)


def import_refusal(path: str, allowed: tuple[str, ...] | None) -> str:
    """Why ``module:Class`` may not be imported here, and what may be; empty where it may.

    A package allows all that lies below it, by whole names: ``mine`` allows ``mine.teachers``, not ``mine_too``.
    """
    module, _, name = path.partition(":")
    if allowed is None:
        return ""
    if not allowed:
        return f"this installation allows no plug-ins of one's own ({IMPORTS_ENV} is empty); use a built-in one"
    if not any(f"{module}.".startswith(f"{package}.") for package in allowed):
        return f"this installation allows plug-ins only from {', '.join(allowed)} ({IMPORTS_ENV})"
    if any(part.startswith("__") for part in (*module.split("."), name)):
        return f"names with two underscores in front are no plug-ins; name a class in {', '.join(allowed)}"
    return ""


def import_path(kind: str, config: Any) -> str:
    """``module:Class`` of the plug-in that ``config`` names by its ``type``."""
    if config.type == "custom":
        return str(config.import_path)
    known = KINDS[kind]
    if config.type not in known:
        raise RecipeError(f"{kind} type {config.type!r} is unknown; {nearest(config.type, known)}")
    return known[config.type]


def plugin_class(kind: str, config: Any) -> type:
    """The class behind ``config``.

    Raises:
        RecipeError: a custom import path that is not allowed here or cannot be imported, with the path and the cause.
    """
    path = import_path(kind, config)
    if config.type == "custom":
        _refuse(kind, path, path)
    module_name, _, class_name = path.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError) as error:
        raise RecipeError(f"{kind}: cannot import {path} ({error}); is it on PYTHONPATH?") from error
    if not isinstance(found, type):
        raise RecipeError(f"{kind}: {path} is not a class")
    if config.type == "custom":
        # A module also shows what it has imported itself: `mine.tools:Popen` would be anybody's command.
        _refuse(kind, path, f"{found.__module__}:{found.__qualname__}")
    return found


def _refuse(kind: str, path: str, home: str) -> None:
    why = import_refusal(home, allowed_imports())
    if why:
        really = f" (which is {home})" if home != path else ""
        raise RecipeError(f"{kind}: {path}{really} is not imported: {why}")


def build(kind: str, config: Any, **services: Any) -> Any:
    """An instance: built-in plug-ins take their config, custom ones their options; both take ``services``."""
    cls = plugin_class(kind, config)
    if config.type == "custom":
        return cls(**config.options, **services)
    return cls(config, **services)


def fingerprint(kind: str, config: Any) -> str:
    """Digest of a plug-in's config and of the source file it lives in; imports nothing, not even its package.

    Raises:
        RecipeError: a custom import path that is not allowed here.
    """
    path = import_path(kind, config)
    if config.type == "custom":
        _refuse(kind, path, path)
    spec = find_module(path.partition(":")[0])
    source = sha256_file(Path(spec.origin)) if spec and spec.origin and Path(spec.origin).is_file() else ""
    return sha256_json([kind, config.model_dump(mode="json"), source])


def find_module(name: str) -> ModuleSpec | None:
    """Where module ``name`` lives; unlike ``importlib.util.find_spec`` it does not run the packages above it."""
    top, *below = name.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    for part in below:
        if spec is None or spec.submodule_search_locations is None or not part:
            return None
        spec = PathFinder.find_spec(f"{spec.name}.{part}", list(spec.submodule_search_locations))
    return spec
