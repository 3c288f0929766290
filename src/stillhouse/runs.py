"""What a run made: found from the pipeline's parameters and the workspace alone.

Stage keys can be computed without running anything (``stage.stage_key``), so the exit handler, ``status`` and
the terminal summary need no word from the tasks, also when one of them died. Knows no KFP.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stillhouse.recipe.parameters import from_parameters
from stillhouse.stage import stage_key
from stillhouse.summary import FILE_NAME, StageSummary
from stillhouse.workspace import Workspace

PARENT_ENV = "STILLHOUSE_PARENT_RUN_ID"
GRAPH: dict[str, dict[str, str]] = {
    "select_teacher": {},
    "generate_traces": {"teacher": "select_teacher"},
    "filter_traces": {"shards": "generate_traces"},
    "train_student": {"records": "filter_traces", "teacher": "select_teacher"},
    "evaluate_student": {"model": "train_student", "teacher": "select_teacher"},
    "register_student": {
        "model": "train_student",
        "scores": "evaluate_student",
        "records": "filter_traces",
        "teacher": "select_teacher",
    },
    "promote_student": {"registration": "register_student"},
}
"""Stages in order, each with its inputs: input name -> upstream stage."""


def stage_keys(parameters: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(stage, part, key) of every stage of a run with these pipeline parameters, in order."""
    configs = from_parameters(parameters)
    keys: dict[str, list[str]] = {}
    for stage, inputs in GRAPH.items():
        config = configs["register_student" if stage == "promote_student" else stage]
        parts = [str(shard) for shard in range(configs["filter_traces"].shards)] if stage == "generate_traces" else [""]  # type: ignore[attr-defined]
        upstream = {name: keys[source] for name, source in inputs.items()}
        keys[stage] = [stage_key(config, upstream, part) for part in parts]
        yield from ((stage, part, key) for part, key in zip(parts, keys[stage], strict=True))


def finished_stages(parameters: Mapping[str, Any], space: Workspace) -> list[StageSummary]:
    """Summaries of the stages that have finished, in order; what did not run or failed is not there."""
    folders = (space.payload(stage, key) for stage, _, key in stage_keys(parameters))
    return [StageSummary.read(folder) for folder in folders if (folder / FILE_NAME).is_file()]
