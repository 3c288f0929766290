"""Held-out problems put to any model in the same way: the same items, the same words, the same seeds in every arm.

Knows requests, replies and gold answers. Who answers, where replies are kept and what a difference means is not its
business. An *item* is a problem of a benchmark; equal prompts are one item.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stillhouse.data import load_problems
from stillhouse.digest import canonical_json
from stillhouse.models.requests import ChatRequest, Reply
from stillhouse.prompting.base import Prompter
from stillhouse.reasoning import join_reply
from stillhouse.recipe.evaluation import Benchmark
from stillhouse.records import Problem
from stillhouse.verify import answers_equal, stated_answer


@dataclass(frozen=True)
class Item:
    """One held-out problem and the keys of its K requests."""

    problem: Problem
    requests: tuple[ChatRequest, ...]


@dataclass(frozen=True)
class Questions:
    """A benchmark made ready to be asked."""

    name: str
    role: str
    k: int
    items: tuple[Item, ...]

    @property
    def requests(self) -> list[ChatRequest]:
        return [request for item in self.items for request in item.requests]


@dataclass(frozen=True, kw_only=True)
class Graded:
    """One reply with its verdict."""

    reply: str
    stated: str
    correct: bool
    truncated: bool
    tokens: int
    error: str = ""


@dataclass(frozen=True)
class ArmResult:
    """What one arm did on one benchmark: the graded replies of each item, by problem hash."""

    arm: str
    questions: Questions
    graded: Mapping[str, tuple[Graded, ...]]

    @property
    def scores(self) -> dict[str, list[int]]:
        """0 or 1 for each reply of each item."""
        return {key: [int(one.correct) for one in replies] for key, replies in self.graded.items()}

    @property
    def truncation_rate(self) -> float:
        """Share of replies that hit the token limit."""
        return self._mean([float(one.truncated) for one in self._all])

    @property
    def tokens_per_answer(self) -> float:
        """Mean completion tokens of a reply, right or wrong, truncated ones included."""
        return self._mean([float(one.tokens) for one in self._all])

    @property
    def _all(self) -> list[Graded]:
        return [one for replies in self.graded.values() for one in replies]

    @staticmethod
    def _mean(values: Sequence[float]) -> float:
        return sum(values) / len(values)


def request_seed(run_seed: int, purpose: str, problem_hash: str, sample: int) -> int:
    """31 bits that depend on nothing but these four: no arm and no batch changes the draws of a reply."""
    text = canonical_json([run_seed, purpose, problem_hash, sample])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


def make_items(
    problems: Sequence[Problem], prompter: Prompter, purpose: str, samples: int, seed: int
) -> tuple[Item, ...]:
    """An item for each different prompt, with a request for each of its ``samples`` replies."""
    unique: dict[str, Problem] = {}
    for problem in problems:
        unique.setdefault(problem.hash, problem)
    return tuple(Item(problem, _requests(problem, prompter, purpose, samples, seed)) for problem in unique.values())


def _requests(problem: Problem, prompter: Prompter, purpose: str, samples: int, seed: int) -> tuple[ChatRequest, ...]:
    messages = tuple(prompter.render(problem))
    seeds = [request_seed(seed, purpose, problem.hash, sample) for sample in range(samples)]
    return tuple(
        ChatRequest(f"{problem.hash[:24]}-{index}-{value}", messages, value) for index, value in enumerate(seeds)
    )


def prepare(benchmark: Benchmark, prompter: Prompter, seed: int) -> Questions:
    """Load a benchmark's problems and write out its requests.

    Raises:
        RecipeError: the problems cannot be read.
    """
    problems = load_problems(benchmark.problems)
    return Questions(
        benchmark.name,
        benchmark.role,
        benchmark.samples,
        make_items(problems, prompter, benchmark.name, benchmark.samples, seed),
    )


def grade(problem: Problem, reply: Reply, prompter: Prompter) -> Graded:
    """Whether ``reply`` answers ``problem``; failed and empty replies are wrong."""
    parsed = prompter.parse(reply)
    stated = stated_answer(parsed.answer) if parsed.answer else None
    return Graded(
        reply=join_reply(reply.reasoning_content or "", reply.text),
        stated=stated or "",
        correct=not reply.error and answers_equal(problem.answer, stated),
        truncated=reply.finish_reason == "length",
        tokens=reply.completion_tokens,
        error=reply.error,
    )


def measure(arm: str, questions: Questions, replies: Mapping[str, Reply], prompter: Prompter) -> ArmResult:
    """Grade one arm's ``replies`` (by request key) on one benchmark."""
    graded = {
        item.problem.hash: tuple(grade(item.problem, replies[request.key], prompter) for request in item.requests)
        for item in questions.items
    }
    return ArmResult(arm, questions, graded)
