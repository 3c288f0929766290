"""Which problems are held out, decided by their text alone. Knows neither files nor recipes."""

from __future__ import annotations

from collections.abc import Sequence

from stillhouse.digest import sha256_json, sha256_text
from stillhouse.errors import RecipeError
from stillhouse.records import Problem


def split_probe(problems: Sequence[Problem], probe: int, seed: int) -> tuple[list[Problem], list[Problem]]:
    """``probe`` problems to compare teachers on, and the rest to train on.

    The probe is the ``probe`` smallest of sha256(seed, problem hash), in that order: the same for any order of the
    file. The rest keeps the file's order.

    Raises:
        RecipeError: nothing would be left to train on.
    """
    if probe >= len(problems):
        raise RecipeError(
            f"data.probe = {probe}: must be smaller than the number of problems, {len(problems)}; "
            "lower it or add problems"
        )
    ranks = {problem.hash: sha256_text(f"{seed}:{problem.hash}") for problem in problems}
    held_out = sorted(problems, key=lambda problem: ranks[problem.hash])[:probe]
    hashes = {problem.hash for problem in held_out}
    return held_out, [problem for problem in problems if problem.hash not in hashes]


def benchmark_digest(problems: Sequence[Problem]) -> str:
    """Digest of questions and gold answers, whatever their order and ids: equal digests, comparable scores."""
    return sha256_json(sorted((problem.hash, problem.answer) for problem in problems))
