"""The contract of a prompter. Knows no model and no teacher."""

from __future__ import annotations

from typing import Any, Protocol, cast

from stillhouse import plugins
from stillhouse.models.requests import Message, Reply
from stillhouse.reasoning import Reply as Parsed
from stillhouse.records import Problem

__all__ = ["Parsed", "Prompter", "open_prompter"]


class Prompter(Protocol):
    """Constructed with its config (custom ones with their options as keyword arguments); holds no state."""

    def render(self, problem: Problem) -> list[Message]:
        """The messages that ask for ``problem``, ending with the user's turn."""
        ...

    def parse(self, reply: Reply) -> Parsed:
        """Thoughts, answer, and whether the thoughts were closed."""
        ...


def open_prompter(config: Any) -> Prompter:
    """The prompter that ``config`` (of ``recipe.traces.Prompter``) describes."""
    return cast(Prompter, plugins.build("prompter", config))
