"""Who is measured: models in folders and teachers of any kind, all answering in the same way.

An arm is a name, the identity of what it says, and a way to ask it that loads nothing before the first question.
Knows models and teachers, neither benchmarks nor scores.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stillhouse import __version__
from stillhouse.errors import RecipeError
from stillhouse.evaluation.replies import Source, voice_folder
from stillhouse.models.requests import ChatRequest, Reply
from stillhouse.recipe.stages import EvaluateConfig
from stillhouse.recipe.teacher import ModelRef, Sampling
from stillhouse.workspace import Workspace


@dataclass(frozen=True)
class Arm:
    """``identity`` says what answers (content, not place); ``source`` asks it; ``folder`` is where its replies stay."""

    name: str
    identity: str
    source: Source
    folder: Path


def model_arm(name: str, ref: ModelRef, config: EvaluateConfig, workspace: Workspace) -> Arm:
    """A local model. Two folders with the same content are the same arm, wherever they lie.

    Raises:
        RecipeError: the folder is missing or incomplete.
    """
    from stillhouse.models.loading import content_revision, model_folder

    identity = content_revision(model_folder(ref))
    section = config.evaluate

    def answer(requests: Sequence[ChatRequest]) -> Iterator[list[Reply]]:
        return ask_model(ref, requests, section.sampling, section.batch_size)

    return Arm(name, identity, answer, _folder(identity, config, workspace))


def teacher_arm(teacher_config: Any, config: EvaluateConfig, workspace: Workspace) -> Arm:
    """The chosen teacher, local or behind a server."""
    from stillhouse.teachers.base import open_teacher

    teacher = open_teacher(teacher_config)
    identity = f"{teacher.name} {teacher.revision}"

    def answer(requests: Sequence[ChatRequest]) -> Iterator[list[Reply]]:
        return teacher.generate(requests, config.evaluate.sampling)

    return Arm("teacher", identity, answer, _folder(identity, config, workspace))


def ask_model(
    ref: ModelRef, requests: Sequence[ChatRequest], sampling: Sampling, batch_size: int
) -> Iterator[list[Reply]]:
    """Load ``ref`` in float32 and answer; the weights are let go when the last batch is out."""
    from stillhouse.models.generate import generate
    from stillhouse.models.loading import load

    yield from generate(load(ref, "float32"), requests, sampling, batch_size)


def read_teacher(folder: Path) -> Any | None:
    """The teacher that ``select_teacher`` chose, or None where it advised against distilling.

    Raises:
        RecipeError: ``folder`` has no readable ``teacher.json``.
    """
    from pydantic import TypeAdapter, ValidationError

    from stillhouse.recipe.teacher import TeacherConfig

    path = folder / "teacher.json"
    try:
        chosen = json.loads(path.read_text(encoding="utf-8"))["teacher"]
        return TypeAdapter(TeacherConfig).validate_python(chosen) if chosen else None
    except (FileNotFoundError, json.JSONDecodeError, KeyError, ValidationError) as error:
        raise RecipeError(
            f"{path}: not the choice of a teacher ({type(error).__name__}); run select_teacher"
        ) from error


def _folder(identity: str, config: EvaluateConfig, workspace: Workspace) -> Path:
    section = config.evaluate
    shape = [section.prompter.model_dump(mode="json"), section.sampling.model_dump(mode="json")]
    return voice_folder(workspace.root, identity, *shape, __version__, config.library)
