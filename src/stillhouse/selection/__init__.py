"""Which teacher will make this student better, at what cost: the stage ``select_teacher``.

Lives here: ``rank`` (choosing among alternatives of any kind), ``probe`` (what a candidate shows on held-out
problems), ``pilot`` (what the student gains from a little of it), ``measure`` (both for one candidate), ``stage``
(rule, decision, files). Does not live here: backends (``stillhouse.teachers``), training, intervals
(``stillhouse.evaluation.statistics``).

To add a number that can rank teachers: compute it in ``probe`` or ``pilot``, put it into ``measure.Judge.teacher``'s
values, give it a line in ``stage.KEYS`` and a name in ``recipe.teacher.TeacherSelection.key``; a row in the tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stillhouse.recipe.stages import SelectConfig
    from stillhouse.summary import StageSummary

__all__ = ["select_teacher"]


def select_teacher(
    config: SelectConfig | Mapping[str, Any], *, output: str | Path, workspace: str | Path
) -> StageSummary:
    """Put a probe to every candidate and to the student, rank the candidates, choose one or advise against it.

    Args:
        config: candidates, student, probe and the rule.
        output: where the artifact goes: ``teacher.json`` {``decision``: ``distil`` | ``do_not_distil``, ``teacher``:
            the chosen candidate's config or null, …}, ``probe.jsonl`` (every reply), ``summary.json``.
        workspace: the workspace; replies that it holds are not asked for again.

    Raises:
        RecipeError: the config or the problems are wrong, or no candidate can be opened.
        TransientError: no candidate answers; what was answered is kept.
    """
    from stillhouse.selection.stage import run

    return run(config, output=output, workspace=workspace)
