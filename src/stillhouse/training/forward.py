"""From a batch to the logits that an objective asks for. Knows models, not losses.

Shapes: B examples, T positions, K kept positions, N supervised tokens, V vocabulary.

Neither model gets an attention mask: padding stands on the right and attention is causal, so no supervised position
sees it. Logits are computed for the kept positions only, where the model can do that.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from stillhouse.errors import RecipeError, nearest
from stillhouse.training.data import Batch
from stillhouse.training.objectives.base import NEEDS, TEACHER_LOGITS, Outputs


class Forward:
    """Runs the student, and the teacher where its logits are needed."""

    def __init__(
        self, student: nn.Module, needs: Sequence[str] = (), teacher: nn.Module | None = None, dtype: str = "float32"
    ) -> None:
        unknown = sorted(set(needs) - set(NEEDS))
        if unknown:
            raise RecipeError(
                f"train.objective needs {unknown[0]!r}, which nobody provides; {nearest(unknown[0], NEEDS)}"
            )
        if TEACHER_LOGITS in needs and teacher is None:
            raise RecipeError(
                "train.objective needs the teacher's logits; choose a local teacher (type transformers) or sft"
            )
        self.student = student
        self.teacher = teacher if TEACHER_LOGITS in needs else None
        self._dtype = getattr(torch, dtype)
        self._cuts = {id(model): _can_cut(model) for model in (student, teacher) if model is not None}

    def __call__(self, batch: Batch) -> Outputs:
        device = batch.ids_BT.device.type
        with torch.autocast(device, self._dtype, enabled=self._dtype != torch.float32):
            logits_NV = self._logits_NV(self.student, batch)
        if self.teacher is None:
            return Outputs(logits_NV)
        with torch.no_grad():
            return Outputs(logits_NV, self._logits_NV(self.teacher, batch))

    def _logits_NV(self, model: nn.Module, batch: Batch) -> Tensor:
        cut = {"logits_to_keep": batch.keep} if self._cuts[id(model)] else {}
        logits_BKV: Tensor = model(input_ids=batch.ids_BT, use_cache=False, **cut).logits
        if not cut:
            logits_BKV = logits_BKV[:, -batch.keep :]
        return logits_BKV.reshape(-1, logits_BKV.shape[-1]).index_select(0, batch.index_N)


def _can_cut(model: Any) -> bool:
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return "logits_to_keep" in inspect.signature(inner.forward).parameters
