"""AdamW and its learning rate. Knows parameters and steps; nothing of data, losses or models."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from stillhouse.recipe.training import TrainSection


def make_optimizer(module: nn.Module, train: TrainSection, owned: Iterable[nn.Module] = ()) -> torch.optim.AdamW:
    """AdamW over the trainable parameters of ``module`` and ``owned``, float32; weight decay on matrices only (gains
    and biases stay free).
    """
    modules = nn.ModuleList([module, *owned])
    parameters = [parameter for parameter in modules.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in parameters if parameter.ndim >= 2]
    vectors = [parameter for parameter in parameters if parameter.ndim < 2]
    groups = [{"params": matrices, "weight_decay": train.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    fused = all(parameter.device.type in ("cpu", "cuda") for parameter in parameters)
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=train.learning_rate, fused=fused)


def learning_rate(step: int, total: int, train: TrainSection) -> float:
    """Learning rate of ``step`` (counted from 0) of ``total``: a linear rise, then ``train.schedule`` down to 0.

    No step gets a rate of 0: the rise starts above it and the fall ends above it.
    """
    warm = int(total * train.warmup_share)
    if step < warm:
        return train.learning_rate * (step + 1) / (warm + 1)
    passed = (step - warm) / (total - warm)
    if train.schedule == "cosine":
        return train.learning_rate * 0.5 * (1.0 + math.cos(math.pi * passed))
    if train.schedule == "linear":
        return train.learning_rate * (1.0 - passed)
    return train.learning_rate
