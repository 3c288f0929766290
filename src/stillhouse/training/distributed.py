"""The processes that train one student together. Knows ranks and tensors; nothing of steps, models, files or clusters.

Every process holds the whole student and works on its share of each step; gradients are summed, so that all take the
same step. A process that trains alone is a group of one, which asks torch.distributed nothing and changes nothing.
Whoever starts the processes (torchrun, here or in a TrainJob) describes the group in the environment: ``WORLD_SIZE``,
``RANK``, ``LOCAL_RANK``, ``MASTER_ADDR``, ``MASTER_PORT``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch import distributed as dist

from stillhouse.errors import RecipeError, TransientError

T = TypeVar("T")
_BUCKET_BYTES = 64 << 20
_STEP_TIMEOUT = timedelta(minutes=30)
# Rank 0 may wait for a lock, or write a large model, while the others have nothing to do.
_IDLE_TIMEOUT = timedelta(hours=24)


class PeerLost(TransientError):
    """Another process of the group ended: its own error is the one that counts."""


@dataclass(frozen=True)
class Group:
    """``size`` processes, of which this one is ``rank``; ``control`` carries plain values between their CPUs."""

    rank: int = 0
    size: int = 1
    control: Any = None

    @property
    def is_main(self) -> bool:
        """Whether this process writes files, metrics and progress."""
        return self.rank == 0

    @property
    def is_alone(self) -> bool:
        return self.size == 1

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Replace each of ``tensors`` (one type and device) by its sum over all processes, the same bits everywhere.

        Raises:
            PeerLost: a process of the group ended.
        """
        if self.is_alone:
            return
        for bucket in _buckets(tensors):
            flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
            self._call(dist.all_reduce, flat)
            for tensor, total in zip(bucket, torch.split(flat, [item.numel() for item in bucket]), strict=True):
                tensor.copy_(total.view_as(tensor))

    def share(self, tensors: Iterable[Tensor]) -> None:
        """Replace each of ``tensors`` by that of rank 0. Raises PeerLost as ``sum`` does."""
        if self.is_alone:
            return
        for tensor in tensors:
            self._call(dist.broadcast, tensor, src=0)

    def agree(self, value: T | None = None) -> T | None:
        """The plain value of rank 0, for all. Raises PeerLost as ``sum`` does."""
        if self.is_alone:
            return value
        box = [value]
        self._call(dist.broadcast_object_list, box, src=0, group=self.control)
        return box[0]

    def anywhere(self, flags: Sequence[bool]) -> list[bool]:
        """For each of ``flags``: is it true in any process? Raises PeerLost as ``sum`` does."""
        if self.is_alone:
            return list(flags)
        found = torch.tensor(flags, dtype=torch.uint8)
        self._call(dist.all_reduce, found, op=dist.ReduceOp.MAX, group=self.control)
        return [bool(flag) for flag in found.tolist()]

    def seed(self, seed: int, step: int) -> None:
        """Make this process's randomness in ``step`` a function of (``seed``, ``step``, ``rank``).

        Alone, the generator runs on from step to step, and checkpoints carry its state.
        """
        if not self.is_alone:
            mixed = np.random.SeedSequence([seed, step, self.rank]).generate_state(1, np.uint64)
            torch.manual_seed(int(mixed[0]))

    def _call(self, collective: Callable[..., Any], *arguments: Any, **options: Any) -> None:
        try:
            collective(*arguments, **options)
        except RuntimeError as error:  # torch names no closer class for a lost connection over gloo
            first = str(error).strip().partition(". ")[0].partition("\n")[0] or type(error).__name__
            raise PeerLost(
                f"process {self.rank} of {self.size}: another process of this training ended ({first}); see its own "
                "error, and run again to continue from the last checkpoint"
            ) from error


ALONE = Group()


@contextmanager
def joined() -> Iterator[Group]:
    """The group that the environment describes, until the block ends; a group of one where it describes none.

    Raises:
        RecipeError: more processes on this node than accelerators.
        PeerLost: the others cannot be reached.
    """
    size, local = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_RANK", "0"))
    if size == 1:
        yield ALONE
        return
    backend = "gloo"
    if torch.cuda.is_available():
        if local >= torch.cuda.device_count():
            raise RecipeError(
                f"process {local} of this node has no accelerator (there are {torch.cuda.device_count()}); set "
                "processes_per_node to the number of accelerators of a node"
            )
        torch.cuda.set_device(local)
        backend = "cpu:gloo,cuda:nccl"
    try:
        dist.init_process_group(backend, timeout=_STEP_TIMEOUT)
        control = dist.new_group(backend="gloo", timeout=_IDLE_TIMEOUT)
    except RuntimeError as error:
        raise PeerLost(f"the other processes of this training cannot be reached ({error}); run again") from error
    yield Group(dist.get_rank(), size, control)
    # Not after an error: taking leave of processes that are gone may wait for them for ever.
    dist.destroy_process_group()


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Neighbours together, up to a size that keeps the copy small and the calls few."""
    bucket: list[Tensor] = []
    filled = 0
    for tensor in tensors:
        size = tensor.numel() * tensor.element_size()
        if bucket and filled + size > _BUCKET_BYTES:
            yield bucket
            bucket, filled = [], 0
        bucket.append(tensor)
        filled += size
    if bucket:
        yield bucket
