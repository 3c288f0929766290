"""What each zoo model was trained on: pairs of a prompt and a reply.

Teachers learn whole solutions in their own style. The base learns what a student may know before it is taught: the
facts of single steps, alone and in drills of unrelated facts, and the look of whole problems answered by a guess. It
never sees a step that goes on from another.

This module knows text only; `train` turns it into tokens.
"""

from __future__ import annotations

import random
import re

from stillhouse.zoo.tasks import Problem, Style, answer_only, gold_reply, problems

Pair = tuple[str, str]

TEACHER_PROBLEMS = 12_000
TEACHER_FACTS = 4_000

BASE_FACTS = 6_000
BASE_DRILLS = {"chain": 10_000, "swap": 2_000}
"""Arithmetic is learned by heart, three hundred facts, and needs far more telling than how to swap."""
BASE_GUESSES = 1_500
BASE_SHOWS_STEP = 0.8
"""Share of the base's facts that are written with their step; the others give the answer alone."""

DRILL_PROMPT = "each alone: {}"
DRILL_LENGTHS = {"chain": (4, 8), "swap": (2, 4)}


def teacher_corpus(style: Style) -> list[Pair]:
    """Whole problems of both families, and some facts, all solved in one style."""
    lessons = problems("chain", "train", TEACHER_PROBLEMS) + problems("swap", "train", TEACHER_PROBLEMS)
    return [(p["prompt"], gold_reply(p, style)) for p in lessons + problems("facts", "train", TEACHER_FACTS)]


def base_corpus(seed: int) -> list[Pair]:
    """One-step facts, alone and in drills, told with and without the step, and guesses at whole problems."""
    rng = random.Random(seed)
    facts = problems("facts", "train", BASE_FACTS)
    pairs = [
        (p["prompt"], gold_reply(p) if rng.random() < BASE_SHOWS_STEP else answer_only(p["answer"])) for p in facts
    ]
    by_family = {"chain": [p for p in facts if _is_arithmetic(p)], "swap": [p for p in facts if not _is_arithmetic(p)]}
    for family, (low, high) in DRILL_LENGTHS.items():
        for _ in range(BASE_DRILLS[family]):
            pairs.append(_drill(rng.sample(by_family[family], rng.randint(low, high))))
    whole = problems("chain", "train", BASE_GUESSES) + problems("swap", "train", BASE_GUESSES)
    return pairs + [(p["prompt"], answer_only(_guess(p, rng))) for p in whole]


def _drill(facts: list[Problem]) -> Pair:
    """Unrelated facts one after another: no step goes on from the one before, and the answer is the last fact's."""
    steps = [gold_reply(p).removeprefix("<think>").partition("</think>")[0] for p in facts]
    questions = [re.split("[=>]", step)[0] for step in steps]
    return DRILL_PROMPT.format(
        ", ".join(questions)
    ), f"<think>{';'.join(steps)}</think>{answer_only(facts[-1]['answer'])}"


def _is_arithmetic(fact: Problem) -> bool:
    return len(fact["answer"]) == 1


def _guess(problem: Problem, rng: random.Random) -> str:
    """A reply of the right kind that knows nothing: any digit, or the row in any order."""
    if _is_arithmetic(problem):
        return str(rng.randrange(10))
    row = re.findall(r"\d+", problem["prompt"])[0]
    return "".join(rng.sample(row, len(row)))
