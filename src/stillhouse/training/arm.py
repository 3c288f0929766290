"""One student, from records in memory to a model in memory. Knows no stage, artifact or pipeline.

``train_student`` trains its arms with it, ``select_teacher`` its pilots.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, Unpack

import torch

from stillhouse import plugins
from stillhouse.digest import sha256_json
from stillhouse.models.loading import LoadedModel
from stillhouse.recipe.training import Builder as BuilderConfig
from stillhouse.recipe.training import TrainSection
from stillhouse.records import Record
from stillhouse.training import loop
from stillhouse.training.checkpoint import Checkpoints
from stillhouse.training.compatibility import check_ids, check_teacher
from stillhouse.training.data import Batches, Dataset, num_steps, pack
from stillhouse.training.distributed import ALONE, Group
from stillhouse.training.forward import Forward
from stillhouse.training.loop import Run, TrainResult
from stillhouse.training.metrics import Listener, Meter, Tracker
from stillhouse.training.objectives.base import TEACHER_LOGITS, owned_modules
from stillhouse.training.optimizer import learning_rate, make_optimizer
from stillhouse.training.saving import weights_sha256
from stillhouse.training.tuning import finish, prepare


class ArmOptions(TypedDict, total=False):
    """What may be said about an arm beside its recipe; all optional."""

    steps: int | None
    """Optimizer steps, in place of the recipe's ``steps`` or ``epochs``."""
    builder: BuilderConfig | None
    """Config of a builder, in place of the recipe's."""
    teacher: LoadedModel | None
    """Teacher in memory; needed (and used) only where the objective needs its logits."""
    work: Path | None
    """Folder for checkpoints; without it nothing is written and nothing resumed."""
    progress: Listener | None
    """Told of every step."""
    tracker: Tracker | None
    """Receives about a hundred points of live metrics."""
    name: str
    """Put before the names of the metrics and the notes of the progress."""
    in_place: bool
    """Train ``loaded.model`` itself and not a copy: half the memory, and the caller must not use it any more."""
    group: Group
    """The processes that train together, each with the same arguments; only the first writes and reports."""


@dataclass(frozen=True)
class ArmResult:
    """``model`` is a plain float32 model in evaluation mode.

    ``examples`` were trained on; ``too_long`` exceeded the length limit and were cut or left out. ``tokens`` counts
    supervised ones, ``seconds`` covers all attempts.
    """

    model: Any
    weights_sha256: str
    history: list[dict[str, float]]
    steps: int
    tokens: int
    seconds: float
    final_loss: float
    examples: int
    too_long: int
    resumed_from: int


def train_arm(
    loaded: LoadedModel, records: Sequence[Record], train: TrainSection, seed: int, **options: Unpack[ArmOptions]
) -> ArmResult:
    """Train a copy of ``loaded.model`` on all of ``records`` (choose the positives before), whatever their role.

    Same arguments, same threads, same weights; with ``work`` also over kills. torch's global random state is left
    as it was found. Several processes end with the weights of one but for rounding (and for dropout).

    Raises:
        RecipeError: nothing to train on, a teacher that does not fit, a loss that is no number, foreign checkpoints.
        TransientError: a checkpoint cannot be written, or another process of the group ended.
    """
    group = options.get("group", ALONE)
    data = make_dataset(loaded, records, train, options.get("builder"))
    per_step = train.batch_size * train.gradient_accumulation
    steps = options.get("steps") or train.steps or num_steps(len(data), per_step, train.epochs)
    teacher = options.get("teacher")
    objective = _objective(train, loaded.device, seed)
    if teacher is not None and TEACHER_LOGITS in objective.needs:
        check_teacher(loaded, teacher, data)
    start = loaded.model if options.get("in_place") else copy.deepcopy(loaded.model)
    devices = [start.device] if start.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        trained = prepare(start, train.tuning)
        forward = Forward(trained, objective.needs, teacher.model if teacher else None, train.dtype)
        run = Run(
            trained=trained,
            batches=_batches(data, train, seed, group),
            forward=forward,
            objective=objective,
            optimizer=make_optimizer(trained, train, owned_modules(objective).values()),
            schedule=lambda step: learning_rate(step, steps, train),
            meter=_meter(steps, start.device, options if group.is_main else {}),
            steps=steps,
            max_grad_norm=train.max_grad_norm,
            checkpoint_every=train.checkpoint_every,
            checkpoints=_checkpoints(loaded, data, train, seed, steps, options) if group.is_main else None,
            group=group,
            seed=seed,
        )
        result = loop.train(run)
    return _result(finish(trained), result, data)


def make_dataset(
    loaded: LoadedModel, records: Sequence[Record], train: TrainSection, builder: BuilderConfig | None = None
) -> Dataset:
    """Tokens of ``records`` under the recipe's builder and length limit.

    Raises:
        RecipeError: nothing is left, or the model cannot read it.
    """
    maker = plugins.build("builder", builder or train.builder)
    data = pack((maker.build(record, loaded.tokenizer) for record in records), train.max_length, train.too_long)
    check_ids(loaded, data)
    return data


def _objective(train: TrainSection, device: torch.device, seed: int) -> Any:
    """The objective; modules that it owns start from ``seed`` and lie where the student does."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        objective = plugins.build("objective", train.objective)
    for module in owned_modules(objective).values():
        module.to(device)
    return objective


def _batches(data: Dataset, train: TrainSection, seed: int, group: Group) -> Batches:
    accumulation = train.gradient_accumulation
    return Batches(
        data, seed=seed, batch_size=train.batch_size, accumulation=accumulation, rank=group.rank, size=group.size
    )


def _meter(steps: int, device: torch.device, options: ArmOptions) -> Meter:
    return Meter(
        total=steps,
        on_cpu=device.type == "cpu",
        listener=options.get("progress"),
        tracker=options.get("tracker"),
        name=options.get("name", ""),
    )


def _checkpoints(
    loaded: LoadedModel, data: Dataset, train: TrainSection, seed: int, steps: int, options: ArmOptions
) -> Checkpoints | None:
    """Checkpoints that answer to everything that decides the weights, and to nothing else."""
    work = options.get("work")
    if work is None:
        return None
    free = {"checkpoint_every", "keep_checkpoints", "control", "builder", "steps", "epochs", "max_length", "too_long"}
    teacher = options.get("teacher")
    digest = sha256_json(
        {
            "train": train.model_dump(mode="json", exclude=free),
            "data": data.digest(),
            "seed": seed,
            "steps": steps,
            "student": [loaded.ref.model, loaded.ref.revision],
            "teacher": [teacher.ref.model, teacher.ref.revision] if teacher else None,
        }
    )
    return Checkpoints(work, digest, train.keep_checkpoints)


def _result(model: Any, result: TrainResult, data: Dataset) -> ArmResult:
    return ArmResult(
        model=model,
        weights_sha256=weights_sha256(model.state_dict()),
        history=result.history,
        steps=result.steps,
        tokens=result.tokens,
        seconds=result.seconds,
        final_loss=result.final_loss,
        examples=len(data),
        too_long=data.too_long,
        resumed_from=result.resumed_from,
    )
