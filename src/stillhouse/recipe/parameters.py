"""Stage configs as the pipeline's parameters, and back. The one place that knows which dial is whose.

The dials that people turn in KFP's UI are parameters of their own; each stage's other fields travel as one
dict. A contract test holds the components' signatures against this table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stillhouse.recipe.stages import STAGES, StageConfig

CONFIG_PARAMETER = {
    "select_teacher": "teacher_config",
    "generate_traces": "trace_config",
    "filter_traces": "filter_config",
    "train_student": "train_config",
    "evaluate_student": "eval_config",
    "register_student": "gate_config",
}
DIALS = {
    "candidates": "teacher_candidates",
    "student": "student_model",
    "problems": "data_problems",
    "name": "registry_name",
    "seed": "seed",
}


def to_parameters(configs: Mapping[str, StageConfig]) -> dict[str, Any]:
    """The pipeline's parameters (all but ``workspace`` and ``run_name``) for these stage configs."""
    parameters: dict[str, Any] = {}
    for stage, config in configs.items():
        plain = config.model_dump(mode="json", by_alias=True, exclude_none=True)  # KFP's structs know no null
        for field, parameter in DIALS.items():
            if field in plain:
                parameters[parameter] = plain.pop(field)
        parameters[CONFIG_PARAMETER[stage]] = plain
    shards = parameters["filter_config"]["shards"]
    parameters["trace_shards"] = list(range(shards))
    return parameters


def from_parameters(parameters: Mapping[str, Any]) -> dict[str, StageConfig]:
    """The stage configs that the components will build from these parameters."""
    configs = {}
    for stage, cls in STAGES.items():
        merged = dict(parameters[CONFIG_PARAMETER[stage]])
        merged.update((field, parameters[name]) for field, name in DIALS.items() if field in cls.model_fields)
        configs[stage] = cls.model_validate(merged)
    return configs
