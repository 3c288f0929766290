"""Every spelling of "thoughts, then answer", parsed and written in this one place.

Read: ``<think>…</think>`` (also with the opening tag swallowed by the chat template), ``<thinking>``,
``<reasoning>``, ``<thought>``, ``<seed:think>``, ``[THINK]``, ``◁think▷``, OpenThoughts'
``<|begin_of_thought|>…<|end_of_thought|>`` with ``<|begin_of_solution|>…<|end_of_solution|>``, and a server's separate
``reasoning_content`` field.
Written: always ``<think>…</think>`` + answer. Final answers are read from ``\\boxed{…}``, else from GSM8K's
``#### 7``, else from "answer is 7". Knows text only: no problems, models or verdicts.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_SPELLINGS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
)
_SOLUTION = ("<|begin_of_solution|>", "<|end_of_solution|>")
TAGS = frozenset(tag for pair in (*_SPELLINGS, _SOLUTION) for tag in pair)
"""All tags that are read; decoding must keep them even where a tokenizer calls them special."""
_HASHES = re.compile(r"####\s*(\S[^\n]*)")
_ANSWER_IS = re.compile(r"\banswer\**\s*(?:is\s*:?|:)[\s*$]*([^\n]+?)[\s*$]*(?:\.?[\s*$]*(?:\n|$)|\.\s)", re.IGNORECASE)
_BRACES = re.compile(r"(?P<boxed>\\(?:boxed|fbox)\s*\{)|[{}]")


class Reply(NamedTuple):
    """A reply in its two parts. ``closed`` is False when the thoughts were opened and never ended."""

    reasoning: str
    answer: str
    closed: bool


def split_reply(text: str, reasoning_content: str | None = None) -> Reply:
    """Split a raw reply into thoughts and answer.

    A reply without any tag is all answer. An opened and never closed thought (a truncated reply) is all
    reasoning with an empty answer and ``closed=False``. Halves of surrogate pairs, which no file can hold, become
    ``?``.
    """
    text = _storable(text)
    if reasoning_content:
        inner = split_reply(text)
        return Reply(_storable(reasoning_content).strip(), inner.answer, inner.closed)
    for opening, closing in _SPELLINGS:
        start, end = text.find(opening), text.rfind(closing)
        if end >= 0:
            begin = start + len(opening) if 0 <= start < end else 0
            before = text[:start].strip() if 0 < start < end else ""
            answer = _solution(text[end + len(closing) :])
            answer, again, _ = answer.partition(opening)
            parts = [part for part in (before, answer.strip()) if part]
            return Reply(text[begin:end].strip(), "\n".join(parts), not again)
        if start >= 0:
            return Reply(text[start + len(opening) :].strip(), "", False)
    return Reply("", _solution(text), True)


def _storable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def _solution(text: str) -> str:
    opening, closing = _SOLUTION
    return text.replace(opening, "").replace(closing, "").strip()


def join_reply(reasoning: str, answer: str) -> str:
    """The one spelling in which replies are written for training: ``<think>…</think>`` + answer."""
    return f"<think>{reasoning}</think>{answer}" if reasoning else answer


def final_answer(text: str) -> str | None:
    """The final answer stated in ``text``: the last ``\\boxed{}``, else ``####``, else "answer is"; or None."""
    boxed = last_boxed(text)
    if boxed is not None:
        return boxed
    for pattern in (_HASHES, _ANSWER_IS):
        found = pattern.findall(text)
        if found:
            return str(found[-1]).strip()
    return None


def last_boxed(text: str) -> str | None:
    """Content of the last complete ``\\boxed{…}`` (or ``\\fbox``), with nested braces; None if there is none."""
    best: tuple[int, str] | None = None
    open_at: list[int | None] = []
    for found in _BRACES.finditer(text):
        if found[0] != "}":
            open_at.append(found.end() if found["boxed"] else None)
        elif open_at:
            begin = open_at.pop()
            if begin is not None and (best is None or begin > best[0]):
                best = begin, text[begin : found.start()].strip()
    return best[1] if best else None
