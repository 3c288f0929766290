"""A row as a problem: a table with mapped columns, GSM8K's layout, MATH's. Knows no files.

Gold answers are what ``reasoning`` reads: ``\\boxed{}`` and GSM8K's ``#### 7`` are taken out of the text around them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from stillhouse.errors import RecipeError, nearest
from stillhouse.reasoning import last_boxed
from stillhouse.recipe.data import Columns, FileProblems

_HASHES = "####"
_CALCULATOR_MARK = re.compile(r"<<[^<>]*>>")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")


class Draft(NamedTuple):
    """A row's four texts before they are checked; ``id`` is empty where the row has none."""

    id: str
    prompt: str
    answer: str
    solution: str


Reader = Callable[[Mapping[str, Any]], Draft]


def reader_for(source: FileProblems, rows: Sequence[Mapping[str, Any]]) -> Reader:
    """How rows of ``source`` are read; ``auto`` goes by the columns, and an explicit column mapping always wins.

    Raises:
        RecipeError: a column that no row has, with the columns that exist and the nearest of them.
    """
    present = {str(name) for row in rows for name in row}
    layout: str = source.layout
    if layout == "auto":
        layout = _recognised(rows, present) if source.columns == Columns() else "table"
    for setting, column in _wanted(layout, source.columns, present):
        if column not in present:
            raise RecipeError(f"{source.path}: has no column {column!r}; {_instead(setting, column, present)}")
    return {"gsm8k": _gsm8k, "math": _math}.get(layout) or _table(source.columns)


def _recognised(rows: Sequence[Mapping[str, Any]], present: set[str]) -> str:
    """Layout by columns; GSM8K's are common names, so most answers must end its way too."""
    if present >= {"question", "answer"}:
        hashes = sum(_HASHES in str(row.get("answer")) for row in rows)
        return "gsm8k" if 2 * hashes >= len(rows) else "table"
    return "math" if "problem" in present and present & {"solution", "answer"} else "table"


def _wanted(layout: str, columns: Columns, present: set[str]) -> list[tuple[str, str]]:
    """(the setting that names it, column) of every column without which ``layout`` cannot be read."""
    if layout == "gsm8k":
        return [("", "question"), ("", "answer")]
    if layout == "math":
        return [("", "problem"), ("", "answer" if "answer" in present else "solution")]
    named = {"prompt": columns.prompt, "answer": columns.answer, "id": columns.id, "solution": columns.solution}
    return [(f"columns.{field}", column) for field, column in named.items() if column is not None]


def _instead(setting: str, column: str, present: set[str]) -> str:
    """What would be right: the columns that exist, the nearest of them, the setting to change."""
    hint = nearest(column, present)
    words = [f"it has {', '.join(sorted(present)) or 'no columns'}"]
    if hint.startswith("did"):
        words.append(hint)
    words.append(f"set {setting} to the right one" if setting else "use layout: table with columns")
    return "; ".join(words)


def _table(columns: Columns) -> Reader:
    def read(row: Mapping[str, Any]) -> Draft:
        return Draft(
            id=as_text(row.get(columns.id)) if columns.id else "",
            prompt=as_text(row.get(columns.prompt)),
            answer=gold_answer(as_text(row.get(columns.answer))),
            solution=as_text(row.get(columns.solution)) if columns.solution else "",
        )

    return read


def _gsm8k(row: Mapping[str, Any]) -> Draft:
    """GSM8K: the answer is a solution with ``<<48/2=24>>`` calculator marks that ends in ``#### 72``."""
    worked, hashes, final = as_text(row.get("answer")).rpartition(_HASHES)
    return Draft(
        id=as_text(row.get("id")),
        prompt=as_text(row.get("question")),
        answer=_THOUSANDS.sub("", final.strip()) if hashes else "",
        solution=_CALCULATOR_MARK.sub("", worked).strip(),
    )


def _math(row: Mapping[str, Any]) -> Draft:
    """MATH and MATH-500: the answer stands in a column of its own, else in the solution's last ``\\boxed{}``."""
    solution = as_text(row.get("solution"))
    stated = gold_answer(as_text(row.get("answer")))
    return Draft(
        id=as_text(row.get("unique_id")) or as_text(row.get("id")),
        prompt=as_text(row.get("problem")),
        answer=stated or last_boxed(solution) or "",
        solution=solution,
    )


def gold_answer(text: str) -> str:
    """The answer inside ``text``: the last ``\\boxed{}``, else what follows ``####``, else the text itself."""
    boxed = last_boxed(text)
    if boxed is not None:
        return boxed
    return _THOUSANDS.sub("", text.rpartition(_HASHES)[2].strip()) if _HASHES in text else text


def as_text(value: Any) -> str:
    """A cell as text: 18 and 18.0 are both ``18``, null and NaN are empty, true is ``true``.

    Raises:
        TypeError: a list or a mapping.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, (list, tuple, dict, set)):
        raise TypeError(f"holds a {type(value).__name__}, not text or a number")
    return str(value).strip()
