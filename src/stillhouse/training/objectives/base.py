"""The contract of an objective, and the two things all objectives share. Knows neither loop nor models.

Shapes: N supervised tokens of a micro-batch, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from stillhouse.training.data import Batch

TEACHER_LOGITS = "teacher_logits"
NEEDS = (TEACHER_LOGITS,)
"""Everything that an objective can ask for beside the student's logits."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """Logits at the supervised positions. The teacher's are there when the objective ``needs`` them.

    The two vocabularies may be padded to different sizes; token ids mean the same in both.
    """

    logits_NV: Tensor
    teacher_logits_NV: Tensor | None = None


@dataclass(frozen=True, slots=True)
class LossReport:
    """``total`` is differentiated; ``parts`` (detached, they add up to it when weighted) and ``metrics`` are logged.

    All are this micro-batch's share of the mean over the step: shares of a step add up.
    """

    total: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)
    metrics: Mapping[str, Tensor] = field(default_factory=dict)


class Objective(Protocol):
    """A pure function of a batch and its outputs.

    It may own modules (a projection, say), as attributes or by being one: their trainable parameters are trained and
    kept in checkpoints with the student's, and are the same in all processes. They are no part of the student.
    """

    @property
    def needs(self) -> tuple[str, ...]:
        """What it needs beside the student's logits; any of ``NEEDS``."""
        ...

    def loss(self, batch: Batch, outputs: Outputs) -> LossReport:
        """This micro-batch's share of the step's loss."""
        ...


def owned_modules(objective: Objective) -> dict[str, nn.Module]:
    """The modules that ``objective`` owns, by the name of their attribute."""
    if isinstance(objective, nn.Module):
        return {"self": objective}
    return {name: value for name, value in getattr(objective, "__dict__", {}).items() if isinstance(value, nn.Module)}


def share_of_step(values_N: Tensor, batch: Batch) -> Tensor:
    """Sum of the tokens' values over the step's total weight: the micro-batches' shares add up to the step's mean."""
    weighted_N = values_N if batch.weights_N is None else values_N * batch.weights_N
    return weighted_N.sum() / batch.total_weight


def cross_entropy_N(logits_NV: Tensor, targets_N: Tensor) -> Tensor:
    """``-log q(target)`` of each token, in nats, in float32 whatever the logits' precision."""
    return F.cross_entropy(logits_NV.float(), targets_N, reduction="none")
