"""May this student replace the champion? Versions, the gate, its evidence, and the aliases.

Lives here: ``gate`` (scores in, verdict out; pure), ``evidence`` (the verdict as a file with a hash), ``champion``
(whom the student must beat, and its scores on the same items), ``tags`` (what a version says about itself), ``stage``
(``register_student``), ``promote`` (``promote_student`` and the command), ``compare``. Does not live here: how MLflow
is spoken to (lineage), how a model is measured (evaluation), what an interval is (``evaluation.statistics``).

To add a condition to the gate: its field in ``stillhouse.recipe.evaluation.Gate``, a function that yields ``Check`` in
``gate``, a line in ``gate.judge``, a table in ``tests/unit/registry/test_gate.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stillhouse.recipe.stages import RegisterConfig
    from stillhouse.summary import StageSummary

__all__ = ["compare", "load_version", "promote", "promote_student", "register_student"]


def register_student(
    config: RegisterConfig | Mapping[str, Any],
    *,
    model: str | Path,
    scores: str | Path,
    records: str | Path,
    teacher: str | Path,
    output: str | Path,
    workspace: str | Path,
) -> StageSummary:
    """Register a student as a model version and judge it against the champion, exactly once for the same inputs.

    Args:
        config: name of the registered model and conditions of the gate.
        model: artifact of ``train_student`` (``model/``).
        scores: artifact of ``evaluate_student`` (``scores.json``).
        records: artifact of ``filter_traces``.
        teacher: artifact of ``select_teacher``.
        output: where the artifact goes: ``evidence.json``, ``lineage.json``, ``scores.json``.
        workspace: the workspace.

    Raises:
        RecipeError: a condition names a benchmark that was not measured, or the champion cannot be compared.
        TransientError: MLflow does not answer; running again goes on.
    """
    from stillhouse.registry.stage import run

    inputs = {"model": Path(model), "scores": Path(scores), "records": Path(records), "teacher": Path(teacher)}
    return run(config, inputs=inputs, output=Path(output), workspace=workspace)


def promote_student(
    config: RegisterConfig | Mapping[str, Any],
    *,
    registration: str | Path,
    output: str | Path,
    workspace: str | Path,
) -> StageSummary:
    """Make a student that passed its gate the champion (``promote: automatic``), or say how (``manual``).

    Raises:
        RecipeError: the evidence was changed, or the champion is no longer the one it was judged against.
    """
    from stillhouse.registry.promote import run

    return run(config, registration=Path(registration), output=Path(output), workspace=workspace)


def promote(name: str, version: str | int, alias: str, workspace: str | Path | None = None) -> str:
    """Move ``alias`` (candidate, challenger, champion) to a version by hand; returns what was done in words.

    Raises:
        RecipeError: no such model, version or alias; or the version failed its gate.
    """
    from stillhouse.registry.promote import promote as move

    return move(name, version, alias, workspace)


def compare(first: str, second: str, workspace: str | Path | None = None) -> list[dict[str, Any]]:
    """Two versions (addresses, or ``base``: the other's untrained student), a row for each metric.

    Rows hold ``metric``, ``first``, ``second``, ``difference`` (shares 0..1, or tokens) and, where both were measured
    on the same items, ``low`` and ``high`` of the paired 95 % bootstrap interval and the number of ``items``.

    Raises:
        RecipeError: no such version, or its scores are gone.
    """
    from stillhouse.registry.compare import compare as rows_of

    return rows_of(first, second, workspace)


def load_version(uri: str, workspace: str | Path | None = None) -> Path:
    """The local folder of ``models:/<name>@<alias>`` (or ``/<version>``), for ``from_pretrained``.

    Raises:
        RecipeError: no such version, or its files are gone.
    """
    from stillhouse.lineage.lookup import open_registry

    registry = open_registry(workspace)
    return registry.model_folder(registry.resolve(uri))
