"""A recipe's problem source as a list of problems, with everything that is refused on the way.

Knows files and layouts by name only; knows neither models nor what problems are used for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from stillhouse.data.files import Fault, Row, read_file
from stillhouse.data.layouts import Draft, Reader, reader_for
from stillhouse.digest import sha256_text
from stillhouse.errors import RecipeError
from stillhouse.progress import Progress
from stillhouse.recipe.data import FileProblems, ProblemSource, ZooProblems
from stillhouse.recipe.sources import local_file, source_digest
from stillhouse.records import Problem

_SHOWN_FAULTS = 5


def load_problems(source: ProblemSource, max_bad_share: float = 0.0, progress: Progress | None = None) -> list[Problem]:
    """The problems of ``source`` in its order; of equal prompts the first is kept.

    Rows that are no problem (no answer, no prompt, broken JSON, invalid UTF-8) are refused, or dropped with a line
    through ``progress`` while they are at most ``max_bad_share`` of the rows.

    Raises:
        RecipeError: nothing to read, too many bad rows (places and causes), a column missing, no problem left, an
            id that stands for two problems, content that changed since the recipe was resolved.
        TransientError: an object store that cannot be reached.
    """
    said = progress or Progress("data")
    if source.digest:
        _refuse_changed(source)
    if isinstance(source, ZooProblems):
        return _from_zoo(source)
    rows = read_file(local_file(source))
    return _from_rows(source, rows, max_bad_share, said)


def _from_zoo(source: ZooProblems) -> list[Problem]:
    from stillhouse.zoo import tasks

    found: dict[str, Problem] = {}
    for family, count in source.families.items():
        try:
            rows = tasks.problems(family, source.split, count, source.seed)
        except ValueError as error:
            raise RecipeError(f"{_name(source)}: families.{family} = {count}: {error}") from error
        for row in rows:
            problem = Problem(id=row["id"], prompt=row["prompt"], answer=row["answer"], source=row["source"])
            found.setdefault(problem.hash, problem)
    return list(found.values())


def _from_rows(
    source: FileProblems, rows: Sequence[Row | Fault], max_bad_share: float, progress: Progress
) -> list[Problem]:
    readable = [row.columns for row in rows if isinstance(row, Row)]
    read = reader_for(source, readable) if readable else None
    faults: list[Fault] = []
    kept: dict[str, Problem] = {}
    conflicts = duplicates = seen = 0
    for row in rows:
        if source.limit is not None and len(kept) == source.limit:
            break
        seen += 1
        problem = _problem(source, row, read)
        if isinstance(problem, Fault):
            faults.append(problem)
            continue
        first = kept.setdefault(problem.hash, problem)
        duplicates += first is not problem
        conflicts += first.answer != problem.answer
    if faults and len(faults) > max_bad_share * seen:
        raise RecipeError(_too_many(source, faults, seen, max_bad_share))
    if not kept:
        raise RecipeError(f"{source.path}: no problems ({seen} rows); a problem needs a prompt and an answer")
    _refuse_shared_ids(source, kept.values())
    _warn(progress, source, seen, faults, duplicates, conflicts)
    return list(kept.values())


def _problem(source: FileProblems, row: Row | Fault, read: Reader | None) -> Problem | Fault:
    if isinstance(row, Fault) or read is None:
        return row if isinstance(row, Fault) else Fault(row.where, "not readable")
    try:
        draft = read(row.columns)
    except TypeError as error:
        return Fault(row.where, str(error))
    what = _lacks(draft)
    if what:
        return Fault(row.where, what)
    name = draft.id or f"p-{sha256_text(draft.prompt)[:16]}"
    return Problem(id=name, prompt=draft.prompt, answer=draft.answer, source=_stem(source), solution=draft.solution)


def _lacks(draft: Draft) -> str:
    if not draft.prompt:
        return "empty prompt"
    if not draft.answer:
        return "problem without an answer"
    if any(0xD800 <= ord(letter) <= 0xDFFF for text in draft for letter in text):
        return "holds half of a surrogate pair, which no file can store"
    return ""


def _too_many(source: FileProblems, faults: Sequence[Fault], seen: int, allowed: float) -> str:
    shown = "; ".join(f"{fault.where}: {fault.what}" for fault in faults[:_SHOWN_FAULTS])
    more = f"; and {len(faults) - _SHOWN_FAULTS} more" if len(faults) > _SHOWN_FAULTS else ""
    share = f"{len(faults)} of {seen} rows are bad, data.max_bad_share allows {allowed:g}"
    return f"{shown}{more} ({share}); mend {source.path} or raise it"


def _refuse_shared_ids(source: FileProblems, problems: Iterable[Problem]) -> None:
    counts = Counter(problem.id for problem in problems)
    name, count = counts.most_common(1)[0]
    if count > 1:
        raise RecipeError(
            f"{source.path}: the id {name!r} stands for {count} different problems; name another columns.id, "
            "or none to have ids made from the text"
        )


def _warn(
    progress: Progress, source: FileProblems, seen: int, faults: Sequence[Fault], duplicates: int, conflicts: int
) -> None:
    parts = []
    if faults:
        kinds = Counter(fault.what.partition(" (")[0] for fault in faults)
        parts.append(f"{len(faults)} bad dropped (" + ", ".join(f"{what}: {n}" for what, n in kinds.items()) + ")")
    if duplicates:
        parts.append(f"{duplicates} repeated prompts dropped")
    if conflicts:
        parts.append(f"{conflicts} of them with another answer than the first")
    if parts:
        progress.say(f"{source.path}: {seen} rows, " + ", ".join(parts))


def _stem(source: FileProblems) -> str:
    return source.path.rpartition("/")[2].partition(".")[0]


def _name(source: ProblemSource) -> str:
    return source.path if isinstance(source, FileProblems) else f"zoo problems ({source.split})"


def _refuse_changed(source: ProblemSource) -> None:
    found = source_digest(source)
    if found != source.digest:
        raise RecipeError(
            f"{_name(source)}: the problems changed since the recipe was resolved (sha256 {found[:12]}, "
            f"the recipe says {source.digest[:12]}); restore them, or resolve the recipe again"
        )
