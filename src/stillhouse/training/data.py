"""Which examples make an optimizer step, and how they lie in memory. Knows token ids only: no text, no models.

Shapes: B examples of a micro-batch, T input positions, N supervised tokens of a micro-batch.

The order of an epoch is a function of (seed, epoch), a step's examples are a function of its number alone: resuming
needs no position but the step. Examples follow each other without a gap over the borders of epochs, so every step is
full and every example is seen equally often.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stillhouse.errors import RecipeError

TooLong = Literal["drop", "truncate", "fail"]
_MAX_NAMED = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """Token ids, how many of them are prompt (the rest is supervised), weight, and the key of the trace."""

    ids: Sequence[int]
    prompt_length: int
    weight: float = 1.0
    key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A micro-batch, padded on the right.

    Logits are needed for the last ``keep`` positions only; ``index_N`` picks the supervised ones out of those,
    flattened to B * keep. ``weights_N`` is None where all are 1. ``total_weight`` is the sum of the token weights over
    the *whole optimizer step*: losses divided by it add up to the mean over the step, however it was cut.
    """

    ids_BT: Tensor
    keep: int
    index_N: Tensor
    targets_N: Tensor
    weights_N: Tensor | None
    total_weight: float
    keys: tuple[str, ...]

    def to(self, device: torch.device) -> Batch:
        if device.type == "cpu":
            return self
        weights_N = None if self.weights_N is None else self.weights_N.to(device, non_blocking=True)
        return Batch(
            ids_BT=self.ids_BT.to(device, non_blocking=True),
            keep=self.keep,
            index_N=self.index_N.to(device, non_blocking=True),
            targets_N=self.targets_N.to(device, non_blocking=True),
            weights_N=weights_N,
            total_weight=self.total_weight,
            keys=self.keys,
        )


@dataclass(frozen=True, eq=False)
class Dataset:
    """Examples end to end in one array: compact, and a padded batch is one gather away."""

    flat: NDArray[np.int32]
    offsets: NDArray[np.int64]
    lengths: NDArray[np.int64]
    prompts: NDArray[np.int64]
    weights: NDArray[np.float64]
    keys: tuple[str, ...]
    too_long: int

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def longest(self) -> int:
        return int(self.lengths.max())

    @property
    def largest_id(self) -> int:
        return int(self.flat.max())

    def digest(self) -> str:
        """Identity of everything that the model will see."""
        digest = hashlib.sha256("\n".join(self.keys).encode())
        for array in (self.flat, self.lengths, self.prompts, self.weights):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


def pack(examples: Iterable[Example], max_length: int, too_long: TooLong) -> Dataset:
    """Lay out ``examples``; those longer than ``max_length`` are dropped, cut at the end, or refused.

    An example that keeps no supervised token, or has no weight, is left out. A cut example loses its end of turn.

    Raises:
        RecipeError: ``too_long`` is ``fail`` and one is, or nothing is left to train on.
    """
    kept: list[Example] = []
    long: list[Example] = []
    for example in examples:
        is_long = len(example.ids) > max_length
        if is_long:
            long.append(example)
        end = max_length if too_long == "truncate" else len(example.ids)
        if (is_long and too_long != "truncate") or end <= max(example.prompt_length, 1) or example.weight <= 0:
            continue
        kept.append(example)
    if long and too_long == "fail":
        names = ", ".join(f"{item.key[:12]} ({len(item.ids)})" for item in long[:_MAX_NAMED])
        raise RecipeError(
            f"train.max_length {max_length}: {len(long)} examples are longer: {names}; raise it, or set train.too_long "
            "to drop or truncate"
        )
    if not kept:
        cause = f"all {len(long)} examples are longer than train.max_length {max_length}; raise it" if long else (
            "no positive record has any token to learn; look at the funnel of filter_traces"
        )  # fmt: skip
        raise RecipeError(f"train: nothing to train on: {cause}")
    rows = [np.asarray(item.ids[:max_length], dtype=np.int32) for item in kept]
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    return Dataset(
        flat=np.concatenate(rows),
        offsets=np.concatenate(([0], np.cumsum(lengths)[:-1])).astype(np.int64),
        lengths=lengths,
        prompts=np.array([max(item.prompt_length, 1) for item in kept], dtype=np.int64),
        weights=np.array([item.weight for item in kept], dtype=np.float64),
        keys=tuple(item.key for item in kept),
        too_long=len(long),
    )


def num_steps(num_examples: int, per_step: int, epochs: float) -> int:
    """Full steps that cover ``epochs`` passes over the data."""
    return max(1, math.ceil(num_examples * epochs / per_step))


class Batches:
    """The micro-batches of each optimizer step: all of them, or this process's share where ``size`` train together.

    Raises:
        RecipeError: there are more processes than examples in a step.
    """

    def __init__(
        self, dataset: Dataset, *, seed: int, batch_size: int, accumulation: int = 1, rank: int = 0, size: int = 1
    ) -> None:
        self.dataset = dataset
        self.per_step = batch_size * accumulation
        self.batch_size = batch_size
        self.rank, self.size = rank, size
        if size > self.per_step:
            raise RecipeError(
                f"train.batch_size * train.gradient_accumulation is {self.per_step}, but {size} processes share each "
                "step; raise one of the two, or train with fewer processes"
            )
        # Two orders are in use where a step reaches over the end of an epoch.
        self._order = lru_cache(maxsize=2)(lambda epoch: np.random.default_rng([seed, epoch]).permutation(len(dataset)))

    def rows(self, step: int) -> NDArray[np.int64]:
        """Indices of the examples of ``step`` (counted from 0), in the order of the epoch."""
        size = len(self.dataset)
        places = np.arange(step * self.per_step, (step + 1) * self.per_step)
        epochs, inside = np.divmod(places, size)
        return np.array([self._order(int(e))[i] for e, i in zip(epochs, inside, strict=True)], dtype=np.int64)

    def step(self, step: int, rank: int | None = None) -> list[Batch]:
        """The micro-batches of ``step``: the same examples whatever the batch size, like lengths side by side.

        Of several processes each gets (``rank`` by default the own) examples of all lengths, one more than another
        where they do not divide evenly; the total weight is that of the whole step for all.
        """
        data = self.dataset
        rows = self.rows(step)
        if len(rows) > self.batch_size or self.size > 1:
            rows = rows[np.argsort(data.lengths[rows], kind="stable")]
        total = float(np.dot(data.weights[rows], data.lengths[rows] - data.prompts[rows]))
        rows = rows[self.rank if rank is None else rank :: self.size]
        cuts = range(0, len(rows), self.batch_size)
        return [collate(data, rows[cut : cut + self.batch_size], total) for cut in cuts]

    def tokens(self, step: int) -> int:
        """Supervised tokens of ``step``, over all processes."""
        rows = self.rows(step)
        return int((self.dataset.lengths[rows] - self.dataset.prompts[rows]).sum())


def collate(data: Dataset, rows: NDArray[np.int64], total_weight: float) -> Batch:
    """Pad ``rows`` on the right, with token 0: under a causal mask what stands behind an example cannot reach it."""
    lengths_B1, prompts_B1 = data.lengths[rows][:, None], data.prompts[rows][:, None]
    columns = np.arange(int(lengths_B1.max()))
    inside = columns < lengths_B1
    places = np.minimum(data.offsets[rows][:, None] + columns, len(data.flat) - 1)
    grid = np.where(inside, data.flat[places], 0).astype(np.int64)
    # Position t predicts token t + 1, so the first supervised token of the batch is predicted at ``first - 1``.
    first = int(prompts_B1.min())
    supervised = (inside & (columns >= prompts_B1))[:, first:]
    row_weights = data.weights[rows]
    weights_N = None
    if not np.all(row_weights == 1.0):
        weights_N = torch.from_numpy(np.repeat(row_weights, supervised.sum(axis=1)).astype(np.float32))
    return Batch(
        ids_BT=torch.from_numpy(np.ascontiguousarray(grid[:, :-1])),
        keep=len(columns) - first,
        index_N=torch.from_numpy(np.flatnonzero(supervised)),
        targets_N=torch.from_numpy(grid[:, first:][supervised]),
        weights_N=weights_N,
        total_weight=total_weight,
        keys=tuple(data.keys[row] for row in rows),
    )
