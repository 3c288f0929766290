"""What survives a kill. Knows names, tensors and plain values; nothing of training.

    <work>/checkpoint-000200/
        model.safetensors       trainable weights, float32 (with LoRA the adapters only)
        optimizer.safetensors   moments and counts of each of them
        state.json              step, history, random states, digest of the training, sizes of the other files

A checkpoint is written under a temporary name, synced and renamed: under its own name it is complete. One whose
files do not have the sizes it names (a disk that lost its tail) is passed over for the one before.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from stillhouse.errors import RecipeError, TransientError

_MODEL, _OPTIMIZER, _STATE = "model.safetensors", "optimizer.safetensors", "state.json"
_NAME = re.compile(r"^checkpoint-(\d{6,})$")


@dataclass(frozen=True)
class Checkpoint:
    """A training at the end of ``step``."""

    step: int
    model: Mapping[str, Tensor]
    optimizer: Mapping[str, Tensor]
    state: Mapping[str, Any]


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one training in ``folder``: ``digest`` identifies it, ``keep`` bounds their number."""

    folder: Path
    digest: str
    keep: int = 2

    def steps(self) -> list[int]:
        """Steps of the checkpoints there are, oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted(int(found[1]) for path in self.folder.iterdir() if (found := _NAME.match(path.name)))

    def path(self, step: int) -> Path:
        return self.folder / f"checkpoint-{step:06d}"

    def save(self, checkpoint: Checkpoint) -> None:
        """Write ``checkpoint`` whole or not at all, then remove the oldest ones.

        Raises:
            TransientError: the disk is full or broken; earlier checkpoints are kept.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._sweep()
        target = self.path(checkpoint.step)
        partial = self.folder / f".{target.name}.{os.getpid()}.partial"
        partial.mkdir()
        try:
            self._write(partial, checkpoint)
            if target.exists():
                self._remove(target)
            partial.rename(target)
            _sync(self.folder)
        except SafetensorError as error:
            raise TransientError(
                f"{target}: cannot be written ({error}); free some space and run again, it continues from the "
                "checkpoint before"
            ) from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        for step in self.steps()[: -self.keep]:
            self._remove(self.path(step))

    def latest(self) -> Checkpoint | None:
        """The newest complete checkpoint, or None.

        Raises:
            RecipeError: it belongs to another training.
        """
        for step in reversed(self.steps()):
            folder = self.path(step)
            state = _read_state(folder)
            if state is None:
                continue
            if state["digest"] != self.digest:
                raise RecipeError(
                    f"{folder}: belongs to another training (digest {state['digest'][:12]}, this one "
                    f"{self.digest[:12]}); remove {self.folder} to start afresh, or restore its recipe and data"
                )
            return Checkpoint(step, load_file(folder / _MODEL), load_file(folder / _OPTIMIZER), state["state"])
        return None

    def _write(self, folder: Path, checkpoint: Checkpoint) -> None:
        sizes = {}
        for name, tensors in ((_MODEL, checkpoint.model), (_OPTIMIZER, checkpoint.optimizer)):
            save_file({key: tensor.detach().contiguous() for key, tensor in tensors.items()}, folder / name)
            sizes[name] = (folder / name).stat().st_size
        state = {"digest": self.digest, "step": checkpoint.step, "sizes": sizes, "state": checkpoint.state}
        (folder / _STATE).write_text(json.dumps(state, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        for name in (_MODEL, _OPTIMIZER, _STATE):
            _sync(folder / name)
        _sync(folder)

    def _remove(self, folder: Path) -> None:
        """Rename first: a removal that is cut short leaves nothing that looks like a checkpoint."""
        doomed = folder.with_name(f".{folder.name}.{os.getpid()}.doomed.partial")
        folder.rename(doomed)
        shutil.rmtree(doomed)

    def _sweep(self) -> None:
        for path in self.folder.glob(".checkpoint-*.partial"):
            shutil.rmtree(path, ignore_errors=True)


def _read_state(folder: Path) -> dict[str, Any] | None:
    """``state.json`` if it and the files it names are whole."""
    try:
        state: dict[str, Any] = json.loads((folder / _STATE).read_text(encoding="utf-8"))
        whole = all((folder / name).stat().st_size == size for name, size in state["sizes"].items())
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        return None
    return state if whole else None


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
