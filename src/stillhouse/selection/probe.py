"""What a candidate shows on the probe: how often it is right, what a right trace costs, how learnable its traces are.

The student answers the same problems in the same words, so that "better than the student" means something. Pure
functions of replies except ``student_nll``, which asks the student's weights; knows no ranking.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stillhouse.evaluation.benchmark import Graded, Item, grade
from stillhouse.evaluation.statistics import Estimate, mean_interval
from stillhouse.models.requests import Message, Reply
from stillhouse.prompting.base import Prompter
from stillhouse.reasoning import join_reply

Example = tuple[tuple[Message, ...], str]


@dataclass(frozen=True)
class Probe:
    """One answerer's graded replies to the probe, item by item, and its correct traces as (messages, reply)."""

    items: tuple[Item, ...]
    graded: tuple[tuple[Graded, ...], ...]
    correct: tuple[Example, ...]

    def accuracy(self, confidence: float = 0.95) -> Estimate:
        """Mean over items of the share of right replies, with Wilson's interval (see ``mean_interval``)."""
        return mean_interval([[float(one.correct) for one in row] for row in self.graded], confidence)

    @property
    def tokens(self) -> list[int]:
        """Completion tokens of every reply that came."""
        return [one.tokens for row in self.graded for one in row if not one.error]

    @property
    def tokens_per_correct(self) -> float | None:
        """All completion tokens spent, wrong replies included, for each right one; None when none is right."""
        return sum(self.tokens) / len(self.correct) if self.correct else None

    def token_quantiles(self) -> dict[str, float]:
        """Spread of the replies' lengths, linear between neighbours (Hyndman and Fan 1996, type 7)."""
        values = np.quantile(self.tokens or [0], [0.1, 0.5, 0.9])
        return {f"tokens_p{name}": round(float(value), 1) for name, value in zip((10, 50, 90), values, strict=True)}

    def rows(self, who: str) -> Iterator[dict[str, Any]]:
        """Every reply, as a line of ``probe.jsonl``."""
        for item, row in zip(self.items, self.graded, strict=True):
            for index, one in enumerate(row):
                yield {
                    "candidate": who,
                    "problem_id": item.problem.id,
                    "problem_hash": item.problem.hash,
                    "sample_index": index,
                    "prompt": item.problem.prompt,
                    "gold": item.problem.answer,
                    "reply": one.reply,
                    "stated": one.stated,
                    "correct": one.correct,
                    "truncated": one.truncated,
                    "tokens": one.tokens,
                    "error": one.error,
                }


def probe_of(items: Sequence[Item], replies: Mapping[str, Reply], prompter: Prompter) -> Probe:
    """Grade ``replies`` (by request key) to the probe."""
    graded = tuple(
        tuple(grade(item.problem, replies[request.key], prompter) for request in item.requests) for item in items
    )
    correct = tuple(
        (request.messages, training_text(replies[request.key], prompter))
        for item, row in zip(items, graded, strict=True)
        for request, one in zip(item.requests, row, strict=True)
        if one.correct
    )
    return Probe(tuple(items), graded, correct)


def training_text(reply: Reply, prompter: Prompter) -> str:
    """The reply in the one spelling that students are trained on."""
    parsed = prompter.parse(reply)
    return join_reply(parsed.reasoning, parsed.answer)


def tokenizer_match(teacher_digest: str, student_digest: str) -> str:
    """``same``, ``different``, or ``unknown`` where either vocabulary cannot be known."""
    if not teacher_digest or not student_digest:
        return "unknown"
    return "same" if teacher_digest == student_digest else "different"


def student_nll(loaded_student: Any, examples: Sequence[Example], batch_size: int = 16) -> float | None:
    """Mean over traces of the student's negative log-likelihood per token, in nats; None without traces.

    Low means that the student nearly says it by itself, high that the trace is foreign to it.
    """
    from stillhouse.models.score import mean_nll

    values = mean_nll(loaded_student, examples, batch_size) if examples else []
    return float(np.mean(values)) if values else None
