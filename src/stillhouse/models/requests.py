"""A request to a chat model and its reply: plain data, whoever the model is. Knows neither torch nor servers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Message = dict[str, str]
"""``{"role": "user" | "assistant" | "system", "content": text}``."""


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One question. ``key`` names it, ``seed`` (31 bits) fixes its random draws whatever it is batched with."""

    key: str
    messages: tuple[Message, ...]
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The answer to the request called ``key``. A failed request is data too: ``error`` says why, ``text`` is empty.

    ``reasoning_content`` is set only where a server returns thoughts apart from the text. Token counts are the
    model's own and exclude padding.
    """

    key: str
    text: str = ""
    reasoning_content: str | None = None
    finish_reason: Literal["stop", "length", "error"] = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0
    error: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether the model said nothing at all."""
        return not self.text.strip() and not (self.reasoning_content or "").strip()


def failed(key: str, error: str, prompt_tokens: int = 0) -> Reply:
    """The reply to a request that got none."""
    return Reply(key=key, finish_reason="error", error=error, prompt_tokens=prompt_tokens)
