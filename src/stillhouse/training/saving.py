"""A finished student as a folder that transformers and MLflow load, and the digest of its weights."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stillhouse.models.chat import stop_ids


def weights_sha256(tensors: Mapping[str, Tensor]) -> str:
    """sha256 over names, types, shapes and bytes, sorted by name: of the weights, not of the file they lie in."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def save_model(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write weights (safetensors), config, generation config, tokenizer and chat template.

    The generation config is made to stop at the token that ended every reply in training.
    """
    generation = model.generation_config
    if generation is not None:
        ends = sorted(stop_ids(tokenizer, generation))
        generation.eos_token_id = ends[0] if len(ends) == 1 else ends
        if generation.pad_token_id is None:
            generation.pad_token_id = tokenizer.pad_token_id
        try:
            generation.validate(strict=True)
        except ValueError:
            # Published configs carry sampling settings beside greedy decoding, which may be loaded but not saved.
            generation.do_sample = True
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
