"""Loss curves, live metrics, and the alarm when a value is no number. Knows values and steps, not what made them.

Values stay tensors until a point is due, so that an accelerator is not stopped at every step; on a CPU, where
reading costs nothing, every step is read at once. Nothing is saved before it has been read, which is why a
checkpoint never holds weights from behind a NaN.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

_POINTS = 100


class Tracker(Protocol):
    """Who receives live metrics."""

    def metric(self, name: str, value: float, step: int = 0) -> None: ...


class Listener(Protocol):
    """Who is told of progress."""

    def step(self, done: int, total: int, note: str = "") -> None: ...

    def say(self, text: str) -> None: ...


class NotFinite(Exception):
    """A loss or a gradient is no number. ``micro`` is the micro-batch, or None where only the gradient shows it."""

    def __init__(self, step: int, name: str, micro: int | None) -> None:
        super().__init__(f"{name} is not finite at step {step}")
        self.step, self.name, self.micro = step, name, micro


@dataclass(frozen=True, slots=True)
class StepValues:
    """What one optimizer step measured. ``losses`` of its micro-batches add up to its loss; so do ``parts``."""

    losses: Sequence[Tensor]
    grad_norm: Tensor
    learning_rate: float
    tokens: int
    parts: Sequence[Mapping[str, Tensor]] = ()


@dataclass
class Meter:
    """Collects steps into about a hundred points of ``history``: means over the steps since the point before.

    ``tokens`` counts supervised tokens from the start. ``name`` tells the arms of a stage apart.
    """

    total: int
    on_cpu: bool = True
    listener: Listener | None = None
    tracker: Tracker | None = None
    name: str = ""
    history: list[dict[str, float]] = field(default_factory=list)
    tokens: int = 0
    _read: list[dict[str, float]] = field(default_factory=list)
    _waiting: list[tuple[int, StepValues]] = field(default_factory=list)

    @property
    def every(self) -> int:
        """Steps of a point."""
        return max(1, self.total // _POINTS)

    def add(self, step: int, values: StepValues) -> None:
        """Take the values of ``step`` (counted from 0).

        Raises:
            NotFinite: this or an earlier step's loss or gradient is no number.
        """
        self._waiting.append((step, values))
        done = step + 1
        is_due = done % self.every == 0 or done == self.total
        if self.on_cpu or is_due:
            self.read()
        if is_due:
            self._point(done, values.learning_rate)
        if self.listener:
            loss = f"loss {self.history[-1]['loss']:.4f}" if self.history else ""
            self.listener.step(done, self.total, f"{self.name} {loss}".strip())

    def read(self) -> None:
        """Read all waiting tensors. Raises NotFinite as ``add`` does."""
        for step, values in self._waiting:
            losses = torch.stack([*values.losses, values.grad_norm.to(values.losses[0].dtype)]).tolist()
            grad_norm = losses.pop()
            for micro, loss in enumerate(losses):
                if not math.isfinite(loss):
                    raise NotFinite(step, "the loss", micro)
            if not math.isfinite(grad_norm):
                raise NotFinite(step, "the gradient", None)
            row = {"loss": math.fsum(losses), "grad_norm": grad_norm}
            for name in values.parts[0] if values.parts else ():
                row[name] = math.fsum(float(part[name]) for part in values.parts)
            self.tokens += values.tokens
            self._read.append(row)
        self._waiting.clear()

    def _point(self, done: int, learning_rate: float) -> None:
        means = {name: math.fsum(row[name] for row in self._read) / len(self._read) for name in self._read[0]}
        self._read.clear()
        point = {
            "step": done,
            "loss": means.pop("loss"),
            "learning_rate": learning_rate,
            "grad_norm": means.pop("grad_norm"),
            "tokens": self.tokens,
        }
        self.history.append(point)
        if self.tracker:
            live = {name: value for name, value in point.items() if name != "step"} | means
            for name, value in live.items():
                self.tracker.metric(f"{self.name}.{name}" if self.name else name, value, done)

    def state(self) -> dict[str, Any]:
        """Plain values for a checkpoint; nothing waits. Raises NotFinite as ``add`` does."""
        self.read()
        return {"history": self.history, "tokens": self.tokens, "read": self._read}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.history = list(state["history"])
        self.tokens = state["tokens"]
        self._read = list(state["read"])
