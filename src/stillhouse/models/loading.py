"""From a model's name to a folder, and from a folder to a model with its tokenizer.

Every address ends in a local folder with ``config.json``, weights and a tokenizer, so that everything above knows
folders only. This module knows nothing of prompts or of what the model is for.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from stillhouse.digest import sha256_files
from stillhouse.errors import RecipeError, TransientError
from stillhouse.recipe.teacher import ModelRef

HUB_SCHEME = "hf://"
ZOO_SCHEME = "zoo:"
_CONFIG = "config.json"
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tokenizer.tiktoken")
_CONTENT = ("*.json", "*.safetensors", "*.bin", "*.model", "*.txt", "*.jinja", "*.tiktoken")
_SAFE = {"local_files_only": True, "trust_remote_code": False}
"""Code that came with a model never runs, and transformers does not ask for it on the terminal."""
_FROM_HUB = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "*.tiktoken", "LICENSE*", "README.md")


@dataclass(frozen=True)
class LoadedModel:
    """A model in evaluation mode with its tokenizer, the folder they came from and the reference to it."""

    model: Any
    tokenizer: Any
    folder: Path
    ref: ModelRef

    @property
    def device(self) -> torch.device:
        found: torch.device = self.model.device
        return found

    @property
    def context(self) -> int | None:
        """Longest prompt and reply together, in tokens; None where the config does not say."""
        value = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        return int(value) if value else None


def model_folder(ref: ModelRef) -> Path:
    """The local folder of ``ref``: ``zoo:<name>``, ``hf://<repository>`` or a folder. Loads no weights.

    Raises:
        RecipeError: nothing is there, or it lacks its config, its weights or its tokenizer.
        TransientError: the hub cannot be reached and the model is not in its local cache.
    """
    if ref.model.startswith(HUB_SCHEME):
        folder = _from_hub(ref.model.removeprefix(HUB_SCHEME), ref.revision)
    elif ref.model.startswith(ZOO_SCHEME):
        folder = _from_zoo(ref.model)
    elif "://" in ref.model and not ref.model.startswith("file://"):
        raise RecipeError(f"model {ref.model}: unknown kind of address; use a folder, zoo:<name> or hf://<repository>")
    else:
        folder = Path(ref.model.removeprefix("file://")).expanduser()
    _check_folder(ref.model, folder)
    return folder


def content_revision(folder: Path) -> str:
    """Digest of everything in ``folder`` that decides what the model says: config, weights, tokenizer, template."""
    paths = {path for pattern in _CONTENT for path in folder.glob(pattern) if path.is_file()}
    return sha256_files(paths, folder)


def load(ref: ModelRef, dtype: str = "float32", device: str | None = None) -> LoadedModel:
    """Load ``ref`` for inference on ``device`` (by default cuda where there is one, else cpu).

    A tokenizer without a padding token gets its end-of-sequence token for it: padded positions are always masked
    by length, never by comparing ids, so that the two may be the same.

    Raises:
        RecipeError: also when transformers cannot read the folder (unknown architecture, damaged weights).
    """
    folder = model_folder(ref)
    target = device or ("cuda" if torch.cuda.is_available() else "cpu")
    transformers_logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, **_SAFE)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype), weights_only=True, **_SAFE)
    except (OSError, ValueError, KeyError, SafetensorError, UnpicklingError) as error:
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise RecipeError(
            f"model {ref.model}: transformers cannot load {folder} ({first_line}); check that the download is complete"
        ) from error
    if "past_key_values" not in inspect.signature(model.forward).parameters:
        kind = type(model).__name__
        raise RecipeError(
            f"model {ref.model}: {kind} keeps no key-value cache, so it cannot be batched here; use another"
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return LoadedModel(model.to(target).eval(), tokenizer, folder, ref)


def _from_zoo(address: str) -> Path:
    from stillhouse.zoo import resolve

    try:
        return Path(resolve(address))
    except ValueError as error:
        raise RecipeError(f"model {address}: {error}") from error


def _from_hub(repository: str, revision: str) -> Path:
    """Download (or find in the hub's own cache) the files that transformers needs, at ``revision``."""
    name = f"{HUB_SCHEME}{repository}"
    try:
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=list(_FROM_HUB)))
    except GatedRepoError as error:
        raise RecipeError(
            f"model {name}: access must be granted on the hub; accept its terms and set HF_TOKEN"
        ) from error
    except RevisionNotFoundError as error:
        raise RecipeError(f"model {name}: revision {revision!r} does not exist; correct or remove it") from error
    except (RepositoryNotFoundError, ValueError) as error:
        raise RecipeError(f"model {name}: no such repository; check its name, and HF_TOKEN if it is private") from error
    except OSError as error:
        raise TransientError(
            f"model {name}: the hub cannot be reached and the model is not in its cache ({type(error).__name__}); "
            "connect and run again, or download it elsewhere and name the folder"
        ) from error


def _check_folder(name: str, folder: Path) -> None:
    if not folder.is_dir():
        raise RecipeError(f"model {name}: no such folder ({folder}); name a folder, zoo:<name> or hf://<repository>")
    if not (folder / _CONFIG).is_file():
        raise RecipeError(f"model {name}: {folder} has no {_CONFIG}; it must be a folder written by save_pretrained")
    if not any(path.stat().st_size for pattern in _WEIGHTS for path in folder.glob(pattern)):
        raise RecipeError(f"model {name}: {folder} has no weights ({' or '.join(_WEIGHTS)}); copy them there")
    if not any((folder / file).is_file() for file in _TOKENIZERS):
        raise RecipeError(
            f"model {name}: {folder} has no tokenizer (such as {_TOKENIZERS[0]}); save it beside the model"
        )
