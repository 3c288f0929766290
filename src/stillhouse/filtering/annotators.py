"""Annotators measure traces: one dict of new columns per record, in order. They give no roles and drop nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from stillhouse.recipe import filtering as recipe
from stillhouse.records import Record
from stillhouse.verify import answers_equal, stated_answer

_CHARACTERS_PER_WORD = 20
_OCCURRENCES = 3
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


class Annotator(Protocol):
    """The contract. A column that another annotator has written may not be written again."""

    def annotate(self, records: Sequence[Record]) -> list[dict[str, Any]]:
        """New columns (JSON values) of each record."""
        ...


class MathVerify:
    """``correct`` (bool): the reply's final answer equals the gold one; ``extracted`` (str): that answer as written."""

    def __init__(self, config: recipe.MathVerify) -> None:
        self._timeout_s = config.timeout_s

    def annotate(self, records: Sequence[Record]) -> list[dict[str, Any]]:
        return [self._verdict(record.problem.answer, record.trace.answer) for record in records]

    def _verdict(self, gold: str, reply: str) -> dict[str, Any]:
        stated = stated_answer(reply)
        return {"correct": answers_equal(gold, stated, self._timeout_s), "extracted": stated or ""}


class TextStats:
    """``tokens`` (int, by the teacher's tokenizer) and ``repetition`` (0..1, see ``repeated_share``)."""

    def __init__(self, config: recipe.TextStats) -> None:
        self._ngram = config.ngram

    def annotate(self, records: Sequence[Record]) -> list[dict[str, Any]]:
        return [
            {
                "tokens": record.trace.completion_tokens,
                "repetition": round(repeated_share(record.trace.reply, self._ngram), 4),
            }
            for record in records
        ]


def repeated_share(text: str, ngram: int) -> float:
    """Share of ``text`` that its most frequent n-gram of words covers, all occurrences together.

    In text with few spaces (or fewer words than an n-gram) the units are characters. An n-gram counts from its third
    occurrence: saying something twice is a check, not a circle.
    """
    units = _units(text, ngram)
    if len(units) < ngram:
        return 0.0
    windows = np.lib.stride_tricks.sliding_window_view(units, ngram)
    powers = np.array([_MULTIPLIER] * ngram, dtype=np.uint64).cumprod(dtype=np.uint64)
    hashes = (windows * powers).sum(axis=1, dtype=np.uint64)
    values, counts = np.unique(hashes, return_counts=True)
    if counts.max() < _OCCURRENCES:
        return 0.0
    starts = np.flatnonzero(hashes == values[counts.argmax()])
    covered = np.zeros(len(units), dtype=bool)
    for offset in range(ngram):
        covered[starts + offset] = True
    return float(covered.mean())


def _units(text: str, ngram: int) -> NDArray[np.uint64]:
    """Words as numbers, or characters where words are too long, or too few, to be words."""
    words = text.split()
    if len(words) >= ngram and len(text) <= _CHARACTERS_PER_WORD * len(words):
        numbers: dict[str, int] = {}
        return np.array([numbers.setdefault(word, len(numbers)) for word in words], dtype=np.uint64)
    return np.array([ord(character) for character in text], dtype=np.uint64)
