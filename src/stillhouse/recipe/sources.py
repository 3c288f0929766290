"""What can be told of a problem source without reading it as problems: where it is, its digest, how many rows.

Knows no layouts and no Problem; reading is ``stillhouse.data``'s.
"""

from __future__ import annotations

import gzip
import json
from functools import lru_cache
from pathlib import Path

import stillhouse
from stillhouse.digest import sha256_file, sha256_json
from stillhouse.errors import RecipeError
from stillhouse.recipe.data import FileProblems, ProblemSource, ZooProblems
from stillhouse.recipe.schema import Recipe
from stillhouse.storage import cache_folder, fetch

ZOO = Path(stillhouse.__file__).parent / "zoo"
"""The zoo by its place: asking for a digest must not import what makes problems or models."""
_READ_ERRORS = (OSError, EOFError, UnicodeDecodeError)


def problem_sources(recipe: Recipe) -> dict[str, ProblemSource]:
    """Every problem source of ``recipe`` by its dotted path."""
    found: dict[str, ProblemSource] = {"data.problems": recipe.data.problems}
    for index, benchmark in enumerate(recipe.evaluate.benchmarks):
        found[f"evaluate.benchmarks.{index}.problems"] = benchmark.problems
    for index, selector in enumerate(recipe.filter.select):
        if selector.type == "held_out":
            for place, source in enumerate(selector.against):
                found[f"filter.select.{index}.against.{place}"] = source
    return found


def local_file(source: FileProblems) -> Path:
    """The file of ``source`` on this machine; an ``s3://`` object is downloaded into the cache.

    Raises:
        RecipeError, TransientError: as ``storage.fetch`` does.
    """
    return fetch(source.path, cache_folder())


def source_digest(source: ProblemSource) -> str:
    """sha256 of a file's content; for zoo problems, of all that determines them, the code that makes them included."""
    if isinstance(source, ZooProblems):
        return sha256_json([source.families, source.split, source.seed, sha256_file(ZOO / "tasks.py")])
    try:
        return sha256_file(local_file(source))
    except PermissionError as error:
        raise RecipeError(f"{source.path}: cannot be read ({error.strerror})") from error


def row_count(source: ProblemSource) -> int | None:
    """How many problems there are at most; None where only a download or a parse would tell."""
    if isinstance(source, ZooProblems):
        return sum(source.families.values())
    if "://" in source.path or not Path(source.path).is_file():
        return source.limit
    path = Path(source.path)
    rows = _rows(path, path.stat().st_mtime_ns)
    return source.limit if rows is None else min(rows, source.limit or rows)


@lru_cache(maxsize=32)
def _rows(path: Path, changed_ns: int) -> int | None:
    """Rows of a file; ``changed_ns`` is there for the cache. A damaged file is the reader's to refuse."""
    del changed_ns
    name = path.name.lower()
    try:
        if name.endswith(".jsonl"):
            with path.open("rb") as stream:
                return sum(1 for line in stream if line.strip())
        if name.endswith(".jsonl.gz"):
            with gzip.open(path, "rb") as zipped:
                return sum(1 for line in zipped if line.strip())
        if name.endswith(".parquet"):
            return _parquet_rows(path)
    except _READ_ERRORS:
        return None
    return None


def _parquet_rows(path: Path) -> int | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return int(pq.read_metadata(path).num_rows)
    except pa.ArrowInvalid:
        return None


def tokenizer_digest(folder: Path) -> str:
    """Digest of the map from token ids to tokens in ``folder``'s ``tokenizer.json``; empty where there is none.

    Two saves of one tokenizer agree, whether an added token stands in the vocabulary, beside it, or in both.
    Merges and normalisers are left out: logits can be compared where ids mean the same tokens.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        return ""
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        vocabulary = tree["model"]["vocab"]
        pairs = (
            vocabulary.items() if isinstance(vocabulary, dict) else ((row[0], i) for i, row in enumerate(vocabulary))
        )
        tokens = {int(index): str(token) for token, index in pairs}
        tokens.update({int(item["id"]): str(item["content"]) for item in tree.get("added_tokens") or ()})
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise RecipeError(f"{path}: is not a tokenizer ({type(error).__name__}: {error}); save it again") from error
    return sha256_json(sorted(tokens.items()))
