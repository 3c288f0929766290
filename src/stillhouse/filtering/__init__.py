"""Which traces are worth learning from: the stage ``filter_traces``. Loads no model and no torch.

Lives here: annotators (measure a trace, append columns), selectors (give a trace its role and a reason),
``funnel`` (what was lost where), ``stage`` (the stage itself). Does not live here: generation, training, when
two answers are equal (``stillhouse.verify``), and how a funnel is drawn (``stillhouse.report``).

To add an annotator or a selector: a config with its ``card`` in ``stillhouse.recipe.filtering`` and in that
module's union, a class here with the contract of ``annotators.Annotator`` or ``selectors.Selector``, a line in
``stillhouse.plugins``, a test beside the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stillhouse.recipe.stages import FilterConfig
    from stillhouse.summary import StageSummary


def filter_traces(
    config: FilterConfig | Mapping[str, Any], *, shards: Sequence[Path], output: str | Path, workspace: str | Path
) -> StageSummary:
    """Filter the traces of all ``shards`` (folders written by ``generate_traces``) into ``output``.

    Writes ``records.parquet`` (every trace with its role and reason), ``train.jsonl`` (the positives as
    messages) and ``funnel.svg``.

    Raises:
        RecipeError: a shard is missing, a selector lacks its annotation, or too little survives.
    """
    from stillhouse.filtering.stage import run

    return run(config, shards=shards, output=output, workspace=workspace)


__all__ = ["filter_traces"]
