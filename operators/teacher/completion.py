"""Asks a teacher for one token, as a client does: through its Service. Knows no Kubernetes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx

from operators.logs import without_secrets


@dataclass(frozen=True)
class Answer:
    """Whether a completion came back, and what else did."""

    good: bool
    text: str


async def ask(base: str, model: str, prompt: str, timeout_s: float, *, wants_key: bool) -> Answer:
    """One completion of one token from the server at ``base`` (ends in ``/v1``).

    The operator reads no Secrets. Where the server wants a key, its refusal (401) is what can be seen from here; that
    a completion works was then shown by the startup probe, which has the key, before the pod counted.
    """
    chat = {"model": model, "max_tokens": 1, "messages": [{"role": "user", "content": prompt}]}
    plain = {"model": model, "max_tokens": 1, "prompt": prompt}
    try:
        async with httpx.AsyncClient(timeout=timeout_s, trust_env=False) as client:
            answer = await client.post(f"{base}/chat/completions", json=chat)
            if answer.status_code in (400, 404):
                # A base model has no chat template; it completes all the same.
                answer = await client.post(f"{base}/completions", json=plain)
    except httpx.HTTPError as error:
        return Answer(False, f"{base} does not answer ({type(error).__name__})")
    if answer.status_code == 401 and wants_key:
        return Answer(True, "it answered a completion in its pod, and wants its key here")
    if answer.status_code != 200:
        words = without_secrets(" ".join(answer.text.split()))[:200]
        return Answer(False, f"{base} answers HTTP {answer.status_code} to a completion ({words})")
    if not _has_choice(answer):
        return Answer(False, f"{base} answers HTTP 200 without a completion in it")
    return Answer(True, "a completion was answered")


def _has_choice(answer: httpx.Response) -> bool:
    try:
        body: Any = answer.json()
        choice = body["choices"][0]
    except (ValueError, LookupError, TypeError):
        return False
    return isinstance(choice, dict) and ("message" in choice or "text" in choice)
