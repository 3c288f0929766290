"""A record becomes tokens and a loss mask.

The prompt is rendered by the very prompter that asked the teacher (its config stands in the trace), so that the
student is trained on the prompt that it will be given. Knows neither batches nor losses; special tokens and
templates are ``models.chat``'s.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Protocol

from pydantic import TypeAdapter, ValidationError

from stillhouse import plugins
from stillhouse.errors import RecipeError
from stillhouse.models.chat import encode_example
from stillhouse.recipe.traces import Prompter
from stillhouse.recipe.training import AnswerOnlyBuilder as AnswerOnlyConfig
from stillhouse.recipe.training import ReasoningBuilder as ReasoningConfig
from stillhouse.records import Record
from stillhouse.training.data import Example


class Builder(Protocol):
    """Contract of a builder."""

    def build(self, record: Record, tokenizer: Any) -> Example:
        """Tokens of ``record``, how many of them are prompt, its weight and its trace's key."""
        ...


class ReasoningBuilder:
    """Prompt, thoughts and answer; the loss lies on thoughts, answer and end of turn."""

    def __init__(self, config: ReasoningConfig) -> None:
        self.config = config

    def build(self, record: Record, tokenizer: Any) -> Example:
        return _example(record, tokenizer, record.trace.reply)


class AnswerOnlyBuilder:
    """Prompt and stated answer without thoughts; the loss lies on answer and end of turn."""

    def __init__(self, config: AnswerOnlyConfig) -> None:
        self.config = config

    def build(self, record: Record, tokenizer: Any) -> Example:
        return _example(record, tokenizer, record.trace.answer)


def _example(record: Record, tokenizer: Any, reply: str) -> Example:
    messages = _prompter(record.trace.prompter).render(record.problem)
    ids, prompt_length = encode_example(tokenizer, messages, reply)
    return Example(ids=ids, prompt_length=prompt_length, weight=record.weight, key=record.trace.key)


@lru_cache(maxsize=64)
def _prompter(config: str) -> Any:
    try:
        parsed = TypeAdapter(Prompter).validate_json(config)
    except ValidationError as error:
        raise RecipeError(
            f"trace.prompter {config!r} is not a prompter's config; generate the traces again with this version"
        ) from error
    return plugins.build("prompter", parsed)
