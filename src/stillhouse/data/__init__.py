"""Problems: read from files and from the zoo, checked, and divided into probe and rest.

Lives here: ``files`` (JSONL, Parquet, CSV as rows, each with its place), ``layouts`` (a row as a problem: mapped
columns, GSM8K, MATH), ``load`` (a source of a recipe as a list of problems, with everything that is refused), ``split``
(the probe). Does not live here: where bytes come from (``storage``), what a teacher is asked, benchmarks' scores.
To add a layout: a function in ``layouts``, its name in ``recipe.data.FileProblems.layout``, a row in the tests' table.
"""

from stillhouse.data.load import load_problems
from stillhouse.data.split import benchmark_digest, split_probe

__all__ = ["benchmark_digest", "load_problems", "split_probe"]
