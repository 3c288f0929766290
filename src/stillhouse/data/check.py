"""Are the problems of a recipe what it says? Reads every source once, before anything is started or paid for."""

from __future__ import annotations

from stillhouse.data.load import load_problems
from stillhouse.data.split import split_probe
from stillhouse.errors import RecipeError
from stillhouse.recipe import Recipe
from stillhouse.recipe.data import ProblemSource
from stillhouse.records import Problem


def check_data(recipe: Recipe) -> None:
    """Read the training problems, take out the probe, read every benchmark.

    Raises:
        RecipeError: a source cannot be read, has bad rows or none, or is too small for the probe.
        TransientError: an object store does not answer.
    """
    problems = _read("data.problems", recipe.data.problems, recipe.data.max_bad_share)
    split_probe(problems, recipe.data.probe, recipe.seed)
    for index, benchmark in enumerate(recipe.evaluate.benchmarks):
        _read(f"evaluate.benchmarks.{index}.problems", benchmark.problems, 0.0)


def _read(field: str, source: ProblemSource, max_bad_share: float) -> list[Problem]:
    """The problems of one field; what is wrong with them is said with the field's path."""
    try:
        return load_problems(source, max_bad_share)
    except RecipeError as error:
        raise RecipeError(f"{field}: {error}") from error
