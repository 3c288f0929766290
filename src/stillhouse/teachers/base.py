"""The contract of a teacher, and how one is opened. Knows no backend."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, cast

from stillhouse import plugins
from stillhouse.models.requests import ChatRequest, Message, Reply, failed
from stillhouse.recipe.teacher import Sampling, TeacherConfig

__all__ = ["ChatRequest", "Message", "Reply", "Teacher", "failed", "open_teacher"]


class Teacher(Protocol):
    """Answers chat requests. Constructed with its config (custom ones with their options as keyword arguments).

    ``name`` is short and for people. ``revision`` changes whenever the answers might: it is part of every trace's
    key. Construction is cheap and fails early (a missing folder, a malformed address); weights are loaded by the
    first ``generate`` that has something to do.
    """

    @property
    def name(self) -> str: ...

    @property
    def revision(self) -> str: ...

    def generate(self, requests: Sequence[ChatRequest], sampling: Sampling) -> Iterator[list[Reply]]:
        """One reply per request, in lists as they are finished, in any order. What is yielded is stored at once.

        A request that cannot be answered gets a reply with ``error``: a bad sample is data. Closing the iterator
        stops the work.

        Raises:
            RecipeError: no request can succeed (wrong key, unknown model).
            TransientError: the teacher is gone; running again may find it.
        """
        ...


def open_teacher(config: TeacherConfig) -> Teacher:
    """The teacher that ``config`` describes."""
    return cast(Teacher, plugins.build("teacher", config))
