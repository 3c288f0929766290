"""Which weights are trained, and how they end as plain weights again. Knows models; no data, no losses.

All trainable weights are float32 whatever the precision of the forward pass: a bfloat16 weight loses updates that
are smaller than its last bit.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import nn

from stillhouse.errors import RecipeError
from stillhouse.recipe.training import FullTuning, Lora


def prepare(model: Any, tuning: FullTuning | Lora) -> nn.Module:
    """Make ``model`` trainable in place and return what to train: itself, or itself with adapters around its layers.

    The adapters' start is drawn from torch's global generator.

    Raises:
        RecipeError: ``tuning.target_modules`` matches no layer.
    """
    model.to(torch.float32)
    for parameter in model.parameters():
        # Weights mapped from a file may lie at odd addresses, and kernels may round by address: give each its own
        # aligned memory, so that a resumed training repeats the uninterrupted one bit for bit.
        parameter.data = parameter.data.clone()
        parameter.requires_grad_(isinstance(tuning, FullTuning))
    model.train()
    if isinstance(tuning, FullTuning):
        trained: nn.Module = model
        return trained
    return _adapted(model, tuning)


def _adapted(model: Any, tuning: Lora) -> nn.Module:
    from peft import LoraConfig, get_peft_model

    targets = tuning.target_modules
    config = LoraConfig(
        r=tuning.rank,
        lora_alpha=tuning.alpha,
        lora_dropout=tuning.dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        task_type="CAUSAL_LM",
    )
    try:
        with warnings.catch_warnings():
            # peft 0.21 asks for an attribute that transformers 5.23 has renamed.
            warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`", category=FutureWarning)
            adapted: nn.Module = get_peft_model(model, config)
    except ValueError as error:
        linear = (name for name, part in model.named_modules() if isinstance(part, nn.Linear))
        layers = ", ".join(sorted({name.rpartition(".")[2] for name in linear}))
        raise RecipeError(
            f"train.tuning.target_modules {targets!r}: no adapter can be put there ({error}); this model's linear "
            f"layers are {layers}; all-linear takes all but the last"
        ) from error
    return adapted


def finish(trained: nn.Module) -> Any:
    """The plain model, adapters merged into its weights, in evaluation mode."""
    merge = getattr(trained, "merge_and_unload", None)
    model: Any = merge() if merge else trained
    model.requires_grad_(False)
    return model.eval()
