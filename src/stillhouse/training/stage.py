"""The stage ``train_student``: files in, files out. Knows artifacts and arms; how an arm learns is ``arm``'s.

Payload: ``model/`` (and ``control/``), plain ``save_pretrained`` folders, and ``history.json`` with the loss curves.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from stillhouse import plugins
from stillhouse.errors import RecipeError
from stillhouse.models.loading import LoadedModel, load
from stillhouse.progress import Progress
from stillhouse.recipe.stages import TrainConfig
from stillhouse.recipe.teacher import TeacherConfig, TransformersTeacher
from stillhouse.records import Record, read_rows
from stillhouse.stage import Stage, run_stage
from stillhouse.summary import StageSummary
from stillhouse.training.arm import ArmOptions, ArmResult, train_arm
from stillhouse.training.objectives.base import TEACHER_LOGITS
from stillhouse.training.saving import save_model

RECORDS_NAME, TEACHER_NAME, HISTORY_NAME = "records.parquet", "teacher.json", "history.json"
FOLDERS = {"student": "model", "control": "control"}


def run(
    config: TrainConfig | Mapping[str, Any], *, records: Path, teacher: Path, output: Path, workspace: str | Path
) -> StageSummary:
    """Train on the positive records of the ``filter_traces`` artifact, under the ``select_teacher`` artifact's teacher.

    Raises:
        RecipeError: no positive record, a model that cannot be loaded, a teacher that does not fit the objective, a
            loss that is no number.
        TransientError: a full disk. Checkpoints are kept in both cases, and the next run goes on from the last.
    """
    parsed = config if isinstance(config, TrainConfig) else TrainConfig.model_validate(config)
    inputs = {"records": [records], "teacher": [teacher]}
    return run_stage(parsed, _body, output=output, workspace=workspace, inputs=inputs)


def _body(stage: Stage[TrainConfig]) -> None:
    train = stage.config.train
    records = [row for row in read_rows(stage.input("records") / RECORDS_NAME, Record) if row.role == "positive"]
    if not records:
        raise RecipeError(
            f"{stage.input('records') / RECORDS_NAME}: no positive record to train on; see the funnel of filter_traces"
        )
    teacher = _teacher(stage)
    sections = {"student": train}
    if train.control:
        sections["control"] = train.model_copy(update={"builder": train.control.builder})
    arms: dict[str, ArmResult] = {}
    for place, (name, section) in enumerate(sections.items()):
        options = ArmOptions(
            steps=arms["student"].steps if arms else None,
            teacher=teacher,
            work=stage.work / name,
            progress=_PartOf(stage.progress, place, len(sections)),
            tracker=stage.tracker,
            name="" if name == "student" else name,
            in_place=True,
        )
        # Loaded anew for each arm: both start from the same weights.
        loaded = load(stage.config.student, "float32")
        arms[name] = train_arm(loaded, records, section, stage.config.seed, **options)
        save_model(arms[name].model, loaded.tokenizer, stage.output / FOLDERS[name])
    _report(stage, arms)


def _teacher(stage: Stage[TrainConfig]) -> LoadedModel | None:
    """The teacher in memory, only where the objective needs its logits."""
    objective = stage.config.train.objective
    if TEACHER_LOGITS not in plugins.build("objective", objective).needs:
        return None
    path = stage.input("teacher") / TEACHER_NAME
    if not path.is_file():
        raise RecipeError(f"{path}: no such file; the teacher input must be the output of select_teacher")
    chosen = json.loads(path.read_text(encoding="utf-8")).get("teacher")
    if not chosen:
        raise RecipeError(f"{path}: no teacher was chosen, but train.objective {objective.type} needs one; use sft")
    config: Any = TypeAdapter(TeacherConfig).validate_python(chosen)
    if not isinstance(config, TransformersTeacher):
        raise RecipeError(
            f"train.objective {objective.type} needs the teacher's logits, and type {config.type} gives none; "
            "choose one of type transformers, or objective sft"
        )
    return load(config, config.dtype)


def _report(stage: Stage[TrainConfig], arms: Mapping[str, ArmResult]) -> None:
    student, train = arms["student"], stage.config.train
    curves = {name: arm.history for name, arm in arms.items()}
    text = json.dumps(curves, indent=1, sort_keys=True, allow_nan=False)
    (stage.output / HISTORY_NAME).write_text(text + "\n", encoding="utf-8")
    stage.details |= {
        "objective": train.objective.type,
        "tuning": train.tuning.type,
        "examples": student.examples,
        "too_long": student.too_long,
        "weights_sha256": student.weights_sha256,
        "arms": {name: _arm_details(arm) for name, arm in arms.items()},
    }
    for name, arm in arms.items():
        prefix = "" if name == "student" else f"{name}."
        stage.metrics |= {f"{prefix}final_loss": arm.final_loss, f"{prefix}train_tokens": float(arm.tokens)}
    stage.metrics |= {"examples": float(student.examples), "steps": float(student.steps)}
    stage.cost["seconds"] = round(sum(arm.seconds for arm in arms.values()), 3)
    control = " · control trained alike" if "control" in arms else ""
    stage.headline = (
        f"{student.steps} steps of {train.objective.type} on {student.examples} traces · "
        f"loss {student.final_loss:.4f}{control}"
    )


def _arm_details(arm: ArmResult) -> dict[str, Any]:
    return {
        "steps": arm.steps,
        "tokens": arm.tokens,
        "seconds": round(arm.seconds, 3),
        "final_loss": arm.final_loss,
        "weights_sha256": arm.weights_sha256,
        "history": arm.history,
    }


@dataclass(frozen=True)
class _PartOf:
    """Progress of one of several arms of equal length, as progress of them all."""

    progress: Progress
    place: int
    parts: int

    def step(self, done: int, total: int, note: str = "") -> None:
        self.progress.step(self.place * total + done, self.parts * total, note)

    def say(self, text: str) -> None:
        self.progress.say(text)
