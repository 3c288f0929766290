"""The wire of an OpenAI-compatible server: what is sent, what comes back, and what each answer means.

Pure functions over plain data; knows no sockets and no clock but the one it is given.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal

from stillhouse.errors import printable
from stillhouse.models.requests import ChatRequest, Reply, failed
from stillhouse.recipe.teacher import Sampling

Verdict = Literal["ok", "retry", "rejected", "fatal"]
MAX_WAIT_S = 600.0
"""A server may ask for any pause; longer ones are cut to this."""
_RETRY = {408, 409, 425, 429}
_REJECTED = {400, 413, 422}
_BYTES_PER_TOKEN = 4
_ERROR_LENGTH = 200


def payload(model: str, request: ChatRequest, sampling: Sampling) -> dict[str, Any]:
    """Body of ``POST /chat/completions``. ``top_k`` is no part of OpenAI's own API and is sent only when it is set."""
    body: dict[str, Any] = {
        "model": model,
        "messages": list(request.messages),
        "seed": request.seed,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_tokens,
    }
    return {**body, "top_k": sampling.top_k} if sampling.top_k else body


def judge(status: int) -> Verdict:
    """What a status means: try again, this one request is bad, or every request will fail alike."""
    if status == 200:
        return "ok"
    if status in _RETRY or status >= 500:
        return "retry"
    return "rejected" if status in _REJECTED else "fatal"


def parse_reply(request: ChatRequest, body: Any) -> Reply | None:
    """The reply in a decoded response body; None when it is not a chat completion.

    Servers that send no ``usage`` get an estimate of four bytes a token, so that budgets still hold.
    """
    try:
        choice = body["choices"][0]
        message = choice["message"]
        text = message.get("content") or ""
        reasoning = message.get("reasoning_content") or message.get("reasoning") or None
        usage = body.get("usage") or {}
        reason = choice.get("finish_reason")
        spoken = f"{text}{reasoning or ''}"
        estimate = math.ceil(len(_storable(spoken).encode()) / _BYTES_PER_TOKEN)
        prompt_tokens = int(usage.get("prompt_tokens") or 0)
        completion_tokens = int(usage.get("completion_tokens", estimate) or 0)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        return None
    if not isinstance(text, str) or not isinstance(reasoning, str | None):
        return None
    if reason == "content_filter":
        return failed(request.key, "the server's content filter withheld the reply", prompt_tokens)
    return Reply(
        key=request.key,
        text=_storable(text),
        reasoning_content=None if reasoning is None else _storable(reasoning),
        finish_reason="length" if reason == "length" else "stop",
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
    )


def _storable(text: str) -> str:
    """JSON can carry half of a surrogate pair; no file can."""
    return text.encode("utf-8", "replace").decode()


def error_text(status: int, text: str, secret: str) -> str:
    """One short line of a failed response, never with the key or a terminal's control characters in it."""
    words = printable(" ".join(text.split()))
    return f"HTTP {status}: {words.replace(secret, '***') if secret else words}"[:_ERROR_LENGTH]


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Seconds to wait by the ``Retry-After`` header (a number or an HTTP date, RFC 9110 10.2.3); None without one."""
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            moment = parsedate_to_datetime(value)
        except ValueError:
            return None
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        seconds = (moment - (now or datetime.now(UTC))).total_seconds()
    return min(max(seconds, 0.0), MAX_WAIT_S) if math.isfinite(seconds) else None
