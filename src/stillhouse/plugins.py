"""Where each plug-in's code lives: one literal dict per kind, and the one way to load from it.

The dicts hold import paths, not classes, so that listing plug-ins loads neither torch nor transformers. The
configs (and what ``stillhouse methods`` says) stand in ``stillhouse.recipe``; a contract test compares the two.
"""

from __future__ import annotations

import importlib
import importlib.util
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
        RecipeError: a custom import path that cannot be imported, with the path and the cause.
    """
    path = import_path(kind, config)
    module_name, _, class_name = path.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError) as error:
        raise RecipeError(f"{kind}: cannot import {path} ({error}); is it on PYTHONPATH?") from error
    if not isinstance(found, type):
        raise RecipeError(f"{kind}: {path} is not a class")
    return found


def build(kind: str, config: Any, **services: Any) -> Any:
    """An instance: built-in plug-ins take their config, custom ones their options; both take ``services``."""
    cls = plugin_class(kind, config)
    if config.type == "custom":
        return cls(**config.options, **services)
    return cls(config, **services)


def fingerprint(kind: str, config: Any) -> str:
    """Digest of a plug-in's config and of the source file it lives in, without importing it."""
    path = import_path(kind, config)
    spec = importlib.util.find_spec(path.partition(":")[0])
    source = sha256_file(Path(spec.origin)) if spec and spec.origin and Path(spec.origin).is_file() else ""
    return sha256_json([kind, config.model_dump(mode="json"), source])
