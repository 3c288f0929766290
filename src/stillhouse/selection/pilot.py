"""A pilot distillation: a few of a candidate's verified traces, a few steps, and what the student gained by them.

The problems are training problems, never the probe's. Every candidate gets as many steps, so that gains compare
teachers and not training times. Knows how to put a pilot together; asking, training and grading are done elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from stillhouse import plugins
from stillhouse.digest import canonical_json
from stillhouse.errors import RecipeError
from stillhouse.evaluation.arms import Arm, Manner, model_arm
from stillhouse.evaluation.benchmark import Item, grade, make_items
from stillhouse.models.requests import Reply
from stillhouse.progress import Progress
from stillhouse.prompting.base import Prompter, open_prompter
from stillhouse.recipe.stages import SelectConfig
from stillhouse.recipe.teacher import ModelRef, TransformersTeacher
from stillhouse.recipe.training import TrainSection
from stillhouse.records import Problem, Record, Trace, trace_key
from stillhouse.selection.probe import Probe
from stillhouse.workspace import Workspace

TEACHER_LOGITS = "teacher_logits"
_MAX_ASKED = 4
"""A candidate is asked for at most so many times the wanted traces; a poor one trains on fewer."""


@dataclass(frozen=True)
class PilotResult:
    """``gain`` is accuracy after minus before, as a share; None without a pilot or without a single right trace."""

    gain: float | None = None
    traces: int = 0
    requests: int = 0
    teacher_tokens: int = 0

    @property
    def gain_per_million_tokens(self) -> float | None:
        """Gain for each million completion tokens that the teacher spent on the pilot's traces, wrong ones included."""
        return None if self.gain is None or not self.teacher_tokens else self.gain / self.teacher_tokens * 1e6


@dataclass(frozen=True)
class Pilot:
    """The pilot of one candidate. Checkpoints and weights lie in ``work`` and survive a kill."""

    config: SelectConfig
    workspace: Workspace
    work: Path
    progress: Progress
    student: Callable[[], Any]
    """Loads the student, which is copied and not changed."""

    def run(
        self, arm: Arm, candidate: Any, problems: Sequence[Problem], before: float, ask: Callable[[Arm], Probe]
    ) -> PilotResult:
        """Distil ``arm`` into a copy of the student and put the probe to it by ``ask``.

        Raises:
            RecipeError, TransientError: the candidate does not answer, or training fails.
        """
        records, replies = self.collect(arm, problems)
        spent = sum(reply.completion_tokens for reply in replies)
        if not records:
            return PilotResult(None, 0, len(replies), spent)
        student = self._train(records, candidate)
        manner = self._manner()
        after = ask(model_arm(f"{arm.name} pilot", ModelRef(model=str(student)), manner, self.workspace))
        return PilotResult(after.accuracy().mean - before, len(records), len(replies), spent)

    def collect(self, arm: Arm, problems: Sequence[Problem]) -> tuple[list[Record], list[Reply]]:
        """Verified traces of the first problems, as many as the pilot wants, and every reply they took."""
        wanted = self._wanted()
        prompter, manner = open_prompter(self.config.prompter), self._manner()
        records: list[Record] = []
        replies: list[Reply] = []
        limit = min(len(problems), _MAX_ASKED * wanted)
        start = 0
        while start < limit and len(records) < wanted:
            stop = min(start + wanted - len(records), limit)
            items = make_items(problems[start:stop], prompter, "pilot", 1, self.config.seed)
            on_done = partial(self.progress.step, total=len(items), note=f"{arm.name} pilot")
            found = arm.ask([item.requests[0] for item in items], on_done)
            replies += [found[item.requests[0].key] for item in items]
            records += _verified(items, found, prompter, arm, manner)
            start = stop
        return records, replies

    def _wanted(self) -> int:
        return self.config.select.pilot.traces if self.config.select.pilot else 0

    def _manner(self) -> Manner:
        return Manner(self.config.prompter, self.config.sampling, library=self.config.library)

    def _train(self, records: Sequence[Record], candidate: Any) -> Path:
        """Folder of the pilot student."""
        from stillhouse.training.arm import train_arm
        from stillhouse.training.saving import save_model

        section, seed = self.section(), self.config.seed
        teacher = _loaded_teacher(candidate) if TEACHER_LOGITS in _needs(section) else None
        student = self.student()
        checkpoints = self.work / "checkpoints"
        result = train_arm(student, records, section, seed, work=checkpoints, progress=self.progress, teacher=teacher)
        folder = self.work / "model"
        save_model(result.model, student.tokenizer, folder)
        return folder

    def section(self) -> TrainSection:
        """The recipe's training, cut down to the pilot's steps.

        Raises:
            RecipeError: there is no training to cut down.
        """
        if self.config.train is None or self.config.select.pilot is None:
            raise RecipeError("teacher.select.pilot: needs the recipe's train section; give select_teacher's train")
        return self.config.train.model_copy(update={"steps": self.config.select.pilot.steps, "control": None})


def _needs(section: TrainSection) -> Sequence[str]:
    card = getattr(section.objective, "card", None)
    needs: Sequence[str] = card.needs if card else plugins.build("objective", section.objective).needs
    return needs


def _loaded_teacher(candidate: Any) -> Any:
    from stillhouse.models.loading import load

    if not isinstance(candidate, TransformersTeacher):
        raise RecipeError(
            f"train.objective needs the teacher's logits, and a teacher of type {candidate.type} gives none; "
            "use objective sft, or a teacher of type transformers"
        )
    return load(candidate, candidate.dtype)


def _verified(
    items: Sequence[Item], replies: dict[str, Reply], prompter: Prompter, arm: Arm, manner: Manner
) -> list[Record]:
    graded = [(item, grade(item.problem, replies[item.requests[0].key], prompter)) for item in items]
    right = [item for item, one in graded if one.correct and not one.truncated]
    return [_record(item, replies[item.requests[0].key], prompter, arm, manner) for item in right]


def _record(item: Item, reply: Reply, prompter: Prompter, arm: Arm, manner: Manner) -> Record:
    parsed = prompter.parse(reply)
    words, sampling = (canonical_json(part.model_dump(mode="json")) for part in (manner.prompter, manner.sampling))
    seed = item.requests[0].seed
    trace = Trace(
        key=trace_key(
            problem_hash=item.problem.hash, teacher_revision=arm.revision, prompter=words, sampling=sampling,
            sample_index=0, seed=seed,
        ),
        problem_id=item.problem.id,
        problem_hash=item.problem.hash,
        teacher=arm.name,
        teacher_revision=arm.revision,
        prompter=words,
        sampling=sampling,
        sample_index=0,
        seed=seed,
        reasoning=parsed.reasoning,
        answer=parsed.answer,
        closed=parsed.closed,
        finish_reason=reply.finish_reason,
        prompt_tokens=reply.prompt_tokens,
        completion_tokens=reply.completion_tokens,
    )  # fmt: skip
    return Record(problem=item.problem, trace=trace)
