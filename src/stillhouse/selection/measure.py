"""The diagnostic of ``select_teacher``: puts the probe to the student and to each candidate and adds up the numbers.

Every answerer gets the same problems, words, sampling and seeds; what was answered before is not asked again. Knows
how a candidate is measured, not which one wins.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from stillhouse.data import load_problems, split_probe
from stillhouse.digest import sha256_text
from stillhouse.errors import RecipeError
from stillhouse.evaluation.arms import Arm, Manner, model_arm, teacher_arm
from stillhouse.evaluation.benchmark import make_items
from stillhouse.progress import Progress
from stillhouse.prompting.base import open_prompter
from stillhouse.recipe.stages import SelectConfig
from stillhouse.recipe.teacher import TeacherSelection
from stillhouse.selection.pilot import Pilot, PilotResult
from stillhouse.selection.probe import Probe, probe_of, student_nll, tokenizer_match
from stillhouse.workspace import Workspace

STUDENT = "student"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """``values`` rank a candidate, ``described`` is its row in the summary, the rest is what it took."""

    probe: Probe
    values: Mapping[str, float | None]
    described: Mapping[str, Any]
    tokens_spent: int
    requests: int


@dataclass
class Judge:
    """Measures answerers; ``measured`` grows by each candidate. The probe is never a pilot's training problem."""

    config: SelectConfig
    workspace: Workspace
    work: Path
    progress: Progress
    measured: dict[str, Measured] = field(default_factory=dict)

    def __post_init__(self) -> None:
        config = self.config
        problems = load_problems(config.problems, config.max_bad_share, self.progress)
        self.probe, self.rest = split_probe(problems, config.probe, config.seed)
        self.prompter = open_prompter(config.prompter)
        self.manner = Manner(config.prompter, config.sampling, library=config.library)
        self.items = make_items(self.probe, self.prompter, "probe", config.select.samples, config.seed)

    @cached_property
    def _start(self) -> Measured:
        probe = self._ask(model_arm(STUDENT, self.config.student, self.manner, self.workspace))
        estimate = probe.accuracy()
        return Measured(
            probe=probe,
            values={"accuracy": estimate.mean},
            described=_accuracy(probe),
            tokens_spent=sum(probe.tokens),
            requests=_requests(probe),
        )

    def student(self) -> Measured:
        """The student before it was taught anything."""
        return self._start

    def teacher(self, candidate: Any, budget: TeacherSelection) -> Mapping[str, float | None]:
        """Probe ``candidate``, and distil it into a pilot student where ``budget`` has a pilot.

        Raises:
            RecipeError, TransientError: it cannot be opened or does not answer.
        """
        name = candidate_name(candidate)
        arm = teacher_arm(name, candidate, self.manner, self.workspace)
        probe = self._ask(arm)
        if not any(one.reply for row in probe.graded for one in row):
            raise RecipeError(
                f"teacher {name}: every reply to the probe is empty; check the model's name, the chat template and "
                "traces.sampling.max_tokens"
            )
        pilot = self._pilot(arm, candidate) if budget.pilot else PilotResult()
        nll = student_nll(self._loaded_student, probe.correct) if probe.correct else None
        values = {
            "accuracy": probe.accuracy().mean,
            "tokens_per_correct": probe.tokens_per_correct,
            "student_nll": nll,
            "pilot_gain": pilot.gain,
            "pilot_gain_per_million_tokens": pilot.gain_per_million_tokens,
        }
        self.measured[name] = Measured(
            probe=probe,
            values=values,
            described=self._described(candidate, arm, probe, values),
            tokens_spent=sum(probe.tokens) + pilot.teacher_tokens,
            requests=_requests(probe) + pilot.requests,
        )
        return values

    def rows(self) -> Iterator[dict[str, Any]]:
        """Every reply to the probe, the student's first."""
        yield from self._start.probe.rows(STUDENT)
        for name, one in self.measured.items():
            yield from one.probe.rows(name)

    @cached_property
    def _loaded_student(self) -> Any:
        from stillhouse.models.loading import load

        return load(self.config.student)

    def _ask(self, arm: Arm) -> Probe:
        requests = [request for item in self.items for request in item.requests]
        replies = arm.ask(requests, partial(self.progress.step, total=len(requests), note=arm.name))
        return probe_of(self.items, replies, self.prompter)

    def _pilot(self, arm: Arm, candidate: Any) -> PilotResult:
        # A name may hold anything that a recipe can say, a folder's name may not.
        work = self.work / "pilot" / sha256_text(arm.name)[:16]
        pilot = Pilot(self.config, self.workspace, work, self.progress, lambda: self._loaded_student)
        before = self._start.values["accuracy"] or 0.0
        return pilot.run(arm, candidate, self.rest, before, self._ask)

    def _described(
        self, candidate: Any, arm: Arm, probe: Probe, values: Mapping[str, float | None]
    ) -> Mapping[str, Any]:
        match = tokenizer_match(getattr(candidate, "tokenizer_digest", ""), self.config.student.tokenizer_digest)
        rounded = {name: None if value is None else round(value, 6) for name, value in values.items()}
        return {**rounded, **_accuracy(probe), **probe.token_quantiles(), "revision": arm.revision, "tokenizer": match}


def candidate_name(candidate: Any) -> str:
    """What a candidate is called in reports; a custom one by its option ``name``, else by where it lives."""
    options = getattr(candidate, "options", {})
    return str(getattr(candidate, "name", "") or options.get("name", "") or candidate.import_path)


def _accuracy(probe: Probe) -> dict[str, Any]:
    estimate = probe.accuracy()
    bounds = [round(estimate.low, 6), round(estimate.high, 6)]
    return {"accuracy": round(estimate.mean, 6), "interval": bounds, "n": estimate.n}


def _requests(probe: Probe) -> int:
    return sum(len(row) for row in probe.graded)
