"""What each zoo model was trained on: pairs of a prompt and a reply.

Teachers learn whole solutions in their own style. The base learns what a student may know before it is taught: the
facts of single steps, and the look of whole problems answered by a guess. It never sees two steps in one reply.

This module knows text only; `train` turns it into tokens.
"""

from __future__ import annotations

import random
import re

from stillhouse.zoo.tasks import Problem, Style, answer_only, gold_reply, problems

Pair = tuple[str, str]

TEACHER_PROBLEMS = 12_000
TEACHER_FACTS = 1_500

BASE_FACTS = 8_000
BASE_FACT_REPEATS = 3
BASE_GUESSES = 1_500
BASE_SHOWS_STEP = 0.7
"""Share of the base's facts that are written with their step; the others give the answer alone."""


def teacher_corpus(style: Style) -> list[Pair]:
    """Whole problems of both families, and some facts, all solved in one style."""
    lessons = problems("chain", "train", TEACHER_PROBLEMS) + problems("swap", "train", TEACHER_PROBLEMS)
    return [(p["prompt"], gold_reply(p, style)) for p in lessons + problems("facts", "train", TEACHER_FACTS)]


def base_corpus(seed: int) -> list[Pair]:
    """One-step facts, told with and without the step, and guesses at whole problems.

    Facts of arithmetic are few and must be known by heart, so that they are repeated; those of swaps are many.
    """
    rng = random.Random(seed)
    facts = problems("facts", "train", BASE_FACTS)
    arithmetic = [p for p in facts if _is_arithmetic(p)]
    told = facts + BASE_FACT_REPEATS * arithmetic
    pairs = [
        (p["prompt"], gold_reply(p) if rng.random() < BASE_SHOWS_STEP else answer_only(p["answer"])) for p in told
    ]
    whole = problems("chain", "train", BASE_GUESSES) + problems("swap", "train", BASE_GUESSES)
    return pairs + [(p["prompt"], answer_only(_guess(p, rng))) for p in whole]


def _is_arithmetic(fact: Problem) -> bool:
    return len(fact["answer"]) == 1


def _guess(problem: Problem, rng: random.Random) -> str:
    """A reply of the right kind that knows nothing: any digit, or the row in any order."""
    if _is_arithmetic(problem):
        return str(rng.randrange(10))
    row = re.findall(r"\d+", problem["prompt"])[0]
    return "".join(rng.sample(row, len(row)))
