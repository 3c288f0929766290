"""Making the student: records in, weights out.

Lives here, each knowing as little of the others as it can: ``builders`` (a record to tokens and a loss mask),
``data`` (which examples make a step), ``objectives`` (what is minimised), ``forward`` (the logits an objective asks
for), ``optimizer`` (AdamW and its schedule), ``tuning`` (which weights move), ``checkpoint`` (what survives a kill),
``metrics`` (loss curves, and the alarm when a loss is no number), ``loop`` (the loop, which does not know its
objective), ``distributed`` (several processes as one), ``arm`` (one student put together from all that), ``stage`` (the
files) and ``worker`` (a process of a training on many nodes). Does not live here: chat templates and loading
(``models``), what a good trace is (``filtering``), judging the student (``evaluation``).

To add an objective: a file in ``objectives`` with a pure function and a thin class that has ``needs`` and ``loss``; a
config with a ``card`` in ``recipe.training``; a line in ``plugins.OBJECTIVES``; hand-computed values in
``tests/unit/training/test_objectives.py``. To add a builder: a class with ``build`` in ``builders`` and the same three
lines elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stillhouse.recipe.stages import TrainConfig
    from stillhouse.summary import StageSummary

__all__ = ["train_student"]


def train_student(
    config: TrainConfig | Mapping[str, Any], *, records: Path, teacher: Path, output: Path, workspace: str | Path
) -> StageSummary:
    """Train the student (and its control) on the positive ``records``; see ``stillhouse.training.stage``."""
    from stillhouse.training.stage import run

    return run(config, records=records, teacher=teacher, output=output, workspace=workspace)
