"""Problems: read from files and from the zoo, checked, and divided into probe and rest.

Lives here: ``files`` (JSONL, Parquet, CSV as rows, each with its place), ``layouts`` (a row as a problem: mapped
columns, GSM8K, MATH), ``load`` (a source of a recipe as a list of problems, with everything that is refused), ``split``
(the probe), ``check`` (all sources of a recipe, before it runs). Does not live here: where bytes come from
(``storage``), what a teacher is asked, benchmarks' scores.
To add a layout: a function in ``layouts``, its name in ``recipe.data.FileProblems.layout``, a row in the tests' table.
"""

from stillhouse.data.check import check_data
from stillhouse.data.load import load_problems
from stillhouse.data.split import benchmark_digest, split_probe

__all__ = ["benchmark_digest", "check_data", "load_problems", "split_probe"]
