"""What one shard has to ask: the requests of its problems, each with its trace key and seed. Asks nobody."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stillhouse.digest import canonical_json, sha256_json
from stillhouse.models.requests import ChatRequest, Reply
from stillhouse.prompting.base import Prompter
from stillhouse.recipe.traces import TracesConfig
from stillhouse.records import Problem, Trace, trace_key
from stillhouse.teachers.base import Teacher

_SEED_MASK = 0x7FFFFFFF
"""Servers read seeds as 32-bit integers, some of them signed."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A request and the place of its trace in the shard."""

    request: ChatRequest
    problem: Problem
    sample_index: int


@dataclass(frozen=True)
class Plan:
    """All requests of a shard, in the order of its output, and what their traces have in common."""

    items: dict[str, Planned]
    teacher: str
    revision: str
    prompter: str
    sampling: str

    def trace(self, reply: Reply, prompter: Prompter) -> Trace:
        """The trace that ``reply`` makes; a failed request's is empty and carries the error."""
        item = self.items[reply.key]
        parsed = prompter.parse(reply)
        return Trace(
            key=reply.key,
            problem_id=item.problem.id,
            problem_hash=item.problem.hash,
            teacher=self.teacher,
            teacher_revision=self.revision,
            prompter=self.prompter,
            sampling=self.sampling,
            sample_index=item.sample_index,
            seed=item.request.seed,
            reasoning=parsed.reasoning,
            answer=parsed.answer,
            closed=parsed.closed,
            finish_reason=reply.finish_reason,
            prompt_tokens=reply.prompt_tokens,
            completion_tokens=reply.completion_tokens,
            error=reply.error,
        )


def sample_seed(seed: int, problem_hash: str, sample_index: int) -> int:
    """The seed of one sample: the same whatever the other problems, the shards and the order are."""
    return int(sha256_json([seed, problem_hash, sample_index]), 16) & _SEED_MASK


def make_plan(
    problems: Sequence[Problem], config: TracesConfig, prompter: Prompter, teacher: Teacher, seed: int
) -> Plan:
    """Every sample of every problem."""
    prompter_text = canonical_json(config.prompter.model_dump(mode="json"))
    sampling_text = canonical_json(config.sampling.model_dump(mode="json"))
    revision = teacher.revision
    items: dict[str, Planned] = {}
    for problem in problems:
        messages = tuple(prompter.render(problem))
        for index in range(config.samples):
            drawn = sample_seed(seed, problem.hash, index)
            key = trace_key(
                problem_hash=problem.hash,
                teacher_revision=revision,
                prompter=prompter_text,
                sampling=sampling_text,
                sample_index=index,
                seed=drawn,
            )
            items[key] = Planned(ChatRequest(key, messages, drawn), problem, index)
    return Plan(items, teacher.name, revision, prompter_text, sampling_text)
