"""The runs of a schedule as it sees them: which it owns, which are over, which are too many. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from operators.resources import GROUP, Body, moment

SCHEDULED = f"{GROUP}/scheduled-time"
"""Annotation of a run: the time of the schedule that it is for."""
STARTED_BY = f"{GROUP}/started-by"
DIGEST = f"{GROUP}/digest"
"""Annotation of a run: recipe, data, models and teachers as one digest, when it was started."""
FINAL_PHASES = ("Succeeded", "Failed", "Cancelled", "TimedOut")
_EVER = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Child:
    """A run that a schedule has started."""

    name: str
    created: datetime
    phase: str = ""
    scheduled: datetime | None = None
    started_by: str = "Time"
    completed: datetime | None = None
    digest: str = ""
    deleting: bool = False

    @property
    def finished(self) -> bool:
        return self.phase in FINAL_PHASES

    @classmethod
    def of(cls, body: Body) -> Child:
        meta, status = body["metadata"], body.get("status") or {}
        told = meta.get("annotations") or {}
        completed = status.get("completionTime")
        return cls(
            name=meta["name"],
            created=moment(meta["creationTimestamp"]),
            phase=str(status.get("phase") or ""),
            scheduled=moment(told[SCHEDULED]) if told.get(SCHEDULED) else None,
            started_by=str(told.get(STARTED_BY) or "Time"),
            completed=moment(completed) if completed else None,
            digest=str(told.get(DIGEST) or ""),
            deleting=bool(meta.get("deletionTimestamp")),
        )


def owned(bodies: Iterable[Body], uid: str) -> tuple[Child, ...]:
    """The runs that the object ``uid`` owns, oldest first."""
    mine = [
        Child.of(body)
        for body in bodies
        if any(owner.get("uid") == uid for owner in body["metadata"].get("ownerReferences") or ())
    ]
    return tuple(sorted(mine, key=_age))


def surplus(children: Sequence[Child], successful: int, failed: int) -> tuple[str, ...]:
    """Names of the finished runs beyond the limits, oldest first."""
    names: list[str] = []
    for good, limit in ((True, successful), (False, failed)):
        over = [child for child in children if child.finished and (child.phase == "Succeeded") is good]
        over = sorted((child for child in over if not child.deleting), key=lambda child: child.completed or _EVER)
        names += [child.name for child in over[: max(0, len(over) - limit)]]
    return tuple(names)


def last_success(status: Mapping[str, Any], children: Sequence[Child]) -> tuple[datetime | None, str]:
    """When the last successful run ended, and its digest: from the runs that are there, else as remembered."""
    known = moment(status["lastSuccessfulTime"]) if status.get("lastSuccessfulTime") else None
    best, digest = known, str(status.get("lastDigest") or "")
    for child in children:
        if child.phase == "Succeeded" and child.completed and (best is None or child.completed > best):
            best, digest = child.completed, child.digest
    return best, digest


def _age(child: Child) -> tuple[datetime, datetime]:
    return child.created, child.scheduled or child.created
