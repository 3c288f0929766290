"""The stage ``train_student``: files in, files out. Knows artifacts and arms; how an arm learns is ``arm``'s.

Payload: ``model/`` (and ``control/``), plain ``save_pretrained`` folders, and ``history.json`` with the loss curves.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
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
from stillhouse.training.distributed import ALONE, Group
from stillhouse.training.objectives.base import TEACHER_LOGITS
from stillhouse.training.saving import save_model

RECORDS_NAME, TEACHER_NAME, HISTORY_NAME = "records.parquet", "teacher.json", "history.json"
FOLDERS = {"student": "model", "control": "control"}


def run(
    config: TrainConfig | Mapping[str, Any],
    *,
    records: Path,
    teacher: Path,
    output: Path,
    workspace: str | Path,
    group: Group = ALONE,
) -> StageSummary:
    """Train on the positive records of the ``filter_traces`` artifact, under the ``select_teacher`` artifact's teacher.

    Of a ``group`` of several processes the first calls ``run`` and the others ``follow``.

    Raises:
        RecipeError: no positive record, a model that cannot be loaded, a teacher that does not fit the objective, a
            loss that is no number.
        TransientError: a full disk. Checkpoints are kept in both cases, and the next run goes on from the last.
    """
    inputs = {"records": [records], "teacher": [teacher]}
    called: list[bool] = []

    def body(stage: Stage[TrainConfig]) -> None:
        called.append(True)
        group.agree(True)
        _body(stage, group)

    summary = run_stage(_parsed(config), body, output=output, workspace=workspace, inputs=inputs)
    if not called:
        group.agree(False)
    return summary


def follow(config: TrainConfig | Mapping[str, Any], *, records: Path, teacher: Path, group: Group) -> None:
    """Take part in the training that the first process of ``group`` runs; nothing is written here.

    Returns at once where the first process finds the work done. Raises as ``run`` does.
    """
    if group.agree():
        for _ in _arms(_parsed(config), records, teacher, lambda _place, _parts, _name: ArmOptions(group=group)):
            pass


def _parsed(config: TrainConfig | Mapping[str, Any]) -> TrainConfig:
    return config if isinstance(config, TrainConfig) else TrainConfig.model_validate(config)


def _body(stage: Stage[TrainConfig], group: Group) -> None:
    def options(place: int, parts: int, name: str) -> ArmOptions:
        return ArmOptions(
            work=stage.work / name,
            progress=_PartOf(stage.progress, place, parts),
            tracker=stage.tracker,
            name="" if name == "student" else name,
            group=group,
        )

    arms: dict[str, ArmResult] = {}
    for name, result, tokenizer in _arms(stage.config, stage.input("records"), stage.input("teacher"), options):
        arms[name] = result
        save_model(result.model, tokenizer, stage.output / FOLDERS[name])
    _report(stage, arms)


def _arms(
    config: TrainConfig, records_folder: Path, teacher_folder: Path, options: Callable[[int, int, str], ArmOptions]
) -> Iterator[tuple[str, ArmResult, Any]]:
    """Train one arm after the other: its name, the result, the tokenizer. ``options`` says what is particular to it."""
    train, path = config.train, records_folder / RECORDS_NAME
    records = [row for row in read_rows(path, Record) if row.role == "positive"]
    if not records:
        raise RecipeError(f"{path}: no positive record to train on; see the funnel of filter_traces")
    teacher = _teacher(config, teacher_folder)
    sections = {"student": train}
    if train.control:
        sections["control"] = train.model_copy(update={"builder": train.control.builder})
    steps: int | None = None
    for place, (name, section) in enumerate(sections.items()):
        # Loaded anew for each arm: both start from the same weights.
        loaded = load(config.student, "float32")
        chosen = options(place, len(sections), name)
        chosen.update(ArmOptions(steps=steps, teacher=teacher, in_place=True))
        result = train_arm(loaded, records, section, config.seed, **chosen)
        steps = result.steps
        yield name, result, loaded.tokenizer


def _teacher(config: TrainConfig, folder: Path) -> LoadedModel | None:
    """The teacher in memory, only where the objective needs its logits."""
    objective = config.train.objective
    if TEACHER_LOGITS not in plugins.build("objective", objective).needs:
        return None
    path = folder / TEACHER_NAME
    if not path.is_file():
        raise RecipeError(f"{path}: no such file; the teacher input must be the output of select_teacher")
    chosen = json.loads(path.read_text(encoding="utf-8")).get("teacher")
    if not chosen:
        raise RecipeError(f"{path}: no teacher was chosen, but train.objective {objective.type} needs one; use sft")
    found: Any = TypeAdapter(TeacherConfig).validate_python(chosen)
    if not isinstance(found, TransformersTeacher):
        raise RecipeError(
            f"train.objective {objective.type} needs the teacher's logits, and type {found.type} gives none; "
            "choose one of type transformers, or objective sft"
        )
    return load(found, found.dtype)


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
