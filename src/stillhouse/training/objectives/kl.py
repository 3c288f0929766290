"""Divergence between the teacher's and the student's token distributions. Knows logits, not where they come from.

Shapes: N supervised tokens, V vocabulary. P is the teacher, Q the student, both softened by the temperature.

Generalized Jensen-Shannon divergence (Agarwal et al. 2024, GKD, arXiv:2306.13649, Eq. 1):

    JSD(beta)(P, Q) = beta KL(P || M) + (1 - beta) KL(Q || M),   M = beta P + (1 - beta) Q

It vanishes at both ends: as beta -> 0, JSD(beta) / beta -> KL(P || Q), and as beta -> 1,
JSD(beta) / (1 - beta) -> KL(Q || P). The recipe's ``beta`` follows TRL's ``generalized_jsd_loss``: exactly 0 is
forward KL(P || Q), exactly 1 is reverse KL(Q || P), and between them the formula as it stands. So the *direction* is
continuous in beta and the *scale* is not: beta 0.01 gives about a hundredth of beta 0's loss. Unlike TRL the
loss is multiplied by the square of the temperature (Hinton et al. 2015, arXiv:1503.02531, section 2), which keeps
the gradients' size when the temperature changes.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from stillhouse.recipe.training import Kl as KlConfig
from stillhouse.training.data import Batch
from stillhouse.training.objectives.base import LossReport, Outputs, cross_entropy_N, share_of_step

_LOG_ZERO = -1e4


def divergence_N(teacher_NV: Tensor, student_NV: Tensor, beta: float, temperature: float = 1.0) -> Tensor:
    """Divergence of each token, in nats, times ``temperature`` squared; see the module for ``beta``.

    Vocabularies padded to different sizes are compared on their common prefix, renormalised there.
    """
    log_p_NV, log_q_NV = _log_probabilities(teacher_NV, student_NV, temperature)
    if beta == 0.0:
        values_N = _kl_N(log_p_NV, log_q_NV)
    elif beta == 1.0:
        values_N = _kl_N(log_q_NV, log_p_NV)
    else:
        log_m_NV = torch.logaddexp(log_p_NV + math.log(beta), log_q_NV + math.log1p(-beta))
        values_N = beta * _kl_N(log_p_NV, log_m_NV) + (1.0 - beta) * _kl_N(log_q_NV, log_m_NV)
    return values_N * temperature**2


def _log_probabilities(teacher_NV: Tensor, student_NV: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    common = min(teacher_NV.shape[-1], student_NV.shape[-1])
    logs = [F.log_softmax(logits[..., :common].float() / temperature, dim=-1) for logits in (teacher_NV, student_NV)]
    # A masked token (logit -inf) has probability 0; 0 * log 0 must be 0 and not NaN.
    return logs[0].clamp_min(_LOG_ZERO), logs[1].clamp_min(_LOG_ZERO)


def _kl_N(log_a_NV: Tensor, log_b_NV: Tensor) -> Tensor:
    """``KL(A || B)`` of each token."""
    return F.kl_div(log_b_NV, log_a_NV, reduction="none", log_target=True).sum(dim=-1)


class Kl:
    """``kd_alpha`` of the divergence, the rest cross-entropy on the teacher's words (at temperature 1)."""

    def __init__(self, config: KlConfig) -> None:
        self.config = config
        self.needs = config.card.needs

    def loss(self, batch: Batch, outputs: Outputs) -> LossReport:
        config = self.config
        if outputs.teacher_logits_NV is None:
            raise ValueError("kl needs the teacher's logits")
        values_N = divergence_N(outputs.teacher_logits_NV, outputs.logits_NV, config.beta, config.temperature)
        divergence = share_of_step(values_N, batch)
        if config.kd_alpha == 1.0:
            return LossReport(divergence, {"divergence": divergence.detach()})
        cross_entropy = share_of_step(cross_entropy_N(outputs.logits_NV, batch.targets_N), batch)
        total = config.kd_alpha * divergence + (1.0 - config.kd_alpha) * cross_entropy
        return LossReport(total, {"divergence": divergence.detach(), "cross_entropy": cross_entropy.detach()})
