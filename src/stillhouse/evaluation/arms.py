"""Who is measured: models in folders and teachers of any kind, all answering in the same way.

An arm is a name, the identity of what it says, and a way to ask it that loads nothing before the first question.
Knows models and teachers, neither benchmarks nor scores.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stillhouse import __version__
from stillhouse.errors import RecipeError, StillhouseError, TransientError
from stillhouse.evaluation.replies import Source, ask, voice_folder
from stillhouse.models.requests import ChatRequest, Reply
from stillhouse.recipe.teacher import ModelRef, Sampling
from stillhouse.workspace import Workspace

STUDENT_DTYPE = "float32"


@dataclass(frozen=True)
class Manner:
    """How every arm is asked: ``prompter`` is a prompter's config, ``library`` the code that asks."""

    prompter: Any
    sampling: Sampling
    batch_size: int = 64
    library: str = ""

    def folder(self, workspace: Workspace, identity: str) -> Path:
        """Where the replies of ``identity`` to questions in this manner are kept."""
        shape = [self.prompter.model_dump(mode="json"), self.sampling.model_dump(mode="json")]
        return voice_folder(workspace.root, identity, *shape, __version__, self.library)


@dataclass(frozen=True)
class Arm:
    """``revision`` says what answers (content, not place); ``source`` asks it; ``folder`` is where its replies stay.

    ``failure`` is what too many failed requests mean: a server may be well tomorrow, a local model stays as it is.
    """

    name: str
    revision: str
    source: Source
    folder: Path
    failure: type[StillhouseError] = RecipeError

    def ask(self, requests: Sequence[ChatRequest], on_done: Callable[[int], None]) -> dict[str, Reply]:
        """Replies by request key; see ``replies.ask``."""
        found = ask(self.source, requests, self.folder, on_done, self.failure)
        return {reply.key: reply for reply in found}


def model_arm(name: str, ref: ModelRef, manner: Manner, workspace: Workspace) -> Arm:
    """A local model. Two folders with the same content are the same arm, wherever they lie.

    Raises:
        RecipeError: the folder is missing or incomplete.
    """
    from stillhouse.models.loading import content_revision, model_folder

    revision = content_revision(model_folder(ref))

    def answer(requests: Sequence[ChatRequest]) -> Iterator[list[Reply]]:
        from stillhouse.models.generate import generate
        from stillhouse.models.loading import load

        yield from generate(load(ref, STUDENT_DTYPE), requests, manner.sampling, manner.batch_size)

    return Arm(name, revision, answer, manner.folder(workspace, f"{STUDENT_DTYPE} {revision}"))


def teacher_arm(name: str, config: Any, manner: Manner, workspace: Workspace) -> Arm:
    """A teacher, local or behind a server.

    Raises:
        RecipeError, TransientError: it cannot be opened.
    """
    from stillhouse.teachers.base import open_teacher

    teacher = open_teacher(config)
    revision = str(teacher.revision)
    said_by = f"{config.type} {getattr(config, 'model', name)} {getattr(config, 'dtype', '')} {revision}"

    def answer(requests: Sequence[ChatRequest]) -> Iterator[list[Reply]]:
        yield from teacher.generate(requests, manner.sampling)

    return Arm(name, revision, answer, manner.folder(workspace, said_by), TransientError)


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
        adapter: TypeAdapter[Any] = TypeAdapter(TeacherConfig)
        return adapter.validate_python(chosen) if chosen else None
    except (FileNotFoundError, json.JSONDecodeError, KeyError, ValidationError) as error:
        raise RecipeError(
            f"{path}: not the choice of a teacher ({type(error).__name__}); run select_teacher"
        ) from error
