"""The runs that a schedule owns, and which finished ones are beyond its history limits. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Child:
    """A DistillationRun of the schedule."""

    name: str
    created: datetime
    scheduled: datetime | None = None
    """The time of the schedule that it is for; None where something else started it."""
    finished: bool = False
    succeeded: bool = False
    deleting: bool = False


def surplus(children: Sequence[Child], successful: int, failed: int) -> tuple[str, ...]:
    """Names of the finished runs beyond the ``successful`` and ``failed`` newest ones, the oldest first."""
    names: list[str] = []
    for succeeded, limit in ((True, successful), (False, failed)):
        ended = [item for item in children if item.finished and item.succeeded is succeeded and not item.deleting]
        ended.sort(key=lambda item: (item.created, item.name))
        names += [item.name for item in ended[: max(0, len(ended) - limit)]]
    return tuple(names)
