"""What does the teacher say? The stage ``generate_traces``. Importing it loads no torch.

Lives here: ``stage`` (one shard: problems in, traces out) and ``store`` (traces that were paid for, kept for every
later run). Does not live here: how a teacher answers (``teachers``), how it is asked (``prompting``), which traces are
good (``filtering``). To change what makes two traces the same: ``records.trace_key`` and ``store.group_name``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stillhouse.recipe.stages import GenerateConfig
    from stillhouse.summary import StageSummary


def generate_traces(
    config: GenerateConfig | Mapping[str, Any], *, shard: int, teacher: Path, output: Path, workspace: str | Path
) -> StageSummary:
    """Ask the chosen teacher for the traces of one shard (0 … ``traces.shards`` - 1) and write them to ``output``.

    ``teacher`` is the folder that ``select_teacher`` wrote. ``output`` gets ``traces.parquet`` (failed requests too,
    with their errors) and ``problems.parquet`` (every problem of the shard).

    Raises:
        RecipeError: wrong config, shard or teacher; a teacher that returns nothing.
        TransientError: the teacher failed on more than ``traces.max_error_share`` of the requests, or is gone, or the
            disk is full. Whatever was finished is stored; running again asks for the rest only.
    """
    from stillhouse.generation.stage import run

    return run(config, shard=shard, teacher=teacher, output=output, workspace=workspace)


__all__ = ["generate_traces"]
