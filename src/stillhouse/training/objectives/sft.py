"""Cross-entropy on the teacher's words (Kim and Rush 2016, arXiv:1606.07947, section 3.2). Knows no teacher."""

from __future__ import annotations

from stillhouse.recipe.training import Sft as SftConfig
from stillhouse.training.data import Batch
from stillhouse.training.objectives.base import LossReport, Outputs, cross_entropy_N, share_of_step


class Sft:
    """Mean negative log-likelihood of the supervised tokens."""

    def __init__(self, config: SftConfig) -> None:
        self.needs = config.card.needs

    def loss(self, batch: Batch, outputs: Outputs) -> LossReport:
        return LossReport(share_of_step(cross_entropy_N(outputs.logits_NV, batch.targets_N), batch))
