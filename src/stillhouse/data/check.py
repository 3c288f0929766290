"""Are the problems of a recipe what it says? Reads every source once, before anything is started or paid for."""

from __future__ import annotations

from stillhouse.data.load import load_problems
from stillhouse.data.split import split_probe
from stillhouse.recipe import Recipe


def check_data(recipe: Recipe) -> None:
    """Read the training problems, take out the probe, read every benchmark.

    Raises:
        RecipeError: a source cannot be read, has bad rows or none, or is too small for the probe.
        TransientError: an object store does not answer.
    """
    problems = load_problems(recipe.data.problems, recipe.data.max_bad_share)
    split_probe(problems, recipe.data.probe, recipe.seed)
    for benchmark in recipe.evaluate.benchmarks:
        load_problems(benchmark.problems)
