"""How good a student is, how sure that is, and what it forgot.

Lives here: ``statistics`` (intervals and paired comparisons, numpy only), ``benchmark`` (items, seeds, verdicts),
``replies`` (what was asked once is kept), ``arms`` (who answers), ``scores`` (tables), ``stage``. Does not live here:
the check of an answer (``stillhouse.verify``), the gate's decision (``stillhouse.registry``), plots.

To add a number about every arm: a property of ``benchmark.ArmResult``, a column in ``scores._result_row`` and, if it
belongs in MLflow, in ``scores.metrics_of``; then its line in docs/architecture.md. To add an arm: a line in
``stage._arms``. A benchmark needs no code: it is an entry under ``evaluate.benchmarks``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stillhouse.recipe.stages import EvaluateConfig
    from stillhouse.recipe.teacher import ModelRef
    from stillhouse.summary import StageSummary

__all__ = ["evaluate_student", "score_model"]


def evaluate_student(
    config: EvaluateConfig | Mapping[str, Any],
    *,
    model: str | Path,
    teacher: str | Path,
    output: str | Path,
    workspace: str | Path,
) -> StageSummary:
    """Measure the student before and after training, its control and its teacher on the same held-out items.

    Args:
        config: what is measured.
        model: artifact of ``train_student`` (``model/``, perhaps ``control/``).
        teacher: artifact of ``select_teacher`` (``teacher.json``).
        output: where the artifact goes: ``scores.json``, ``samples.jsonl``, ``summary.json``.
        workspace: the workspace; replies that it holds are not asked for again.

    Raises:
        RecipeError: the config, a benchmark or a model is wrong.
        TransientError: the teacher's server failed too often; what it answered is kept.
    """
    from stillhouse.evaluation.stage import run

    return run(config, model=model, teacher=teacher, output=output, workspace=workspace)


def score_model(
    ref: ModelRef, config: EvaluateConfig | Mapping[str, Any], workspace: str | Path, arm: str = "champion"
) -> dict[str, Any]:
    """Scores of one more model on the items of ``config``, with the same words and seeds as every other arm.

    Returns the layout of ``scores.json``: {benchmark: {``k``, ``items``: {problem hash: {``arm``: [0|1, …]}}}}. A
    model with the content of one that was measured before costs nothing.

    Raises:
        RecipeError: the config, a benchmark or the model is wrong.
    """
    from stillhouse.evaluation.stage import score_model as score

    return score(ref, config, workspace, arm)
