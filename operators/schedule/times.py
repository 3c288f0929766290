"""Which times of a schedule have come up since the last look, edits included. Pure; starts nothing.

What decides times is the ``Timing``: expression, time zone, suspension. When it has been edited, times up to the edit
are the old timing's and times after it the new one's, so that an edit changes only the future and loses nothing of the
past. The moment of an edit is the API server's (``metadata.managedFields``), else the moment it was noticed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from operators.resources import moment, timestamp
from operators.schedule.cron import Cron, cron
from stillhouse.errors import RecipeError

MOST_WAITING = 100
"""Times that are remembered at once; as many as ``maxCatchUp`` may ask for."""
_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class Timing:
    """What decides when runs are due."""

    schedule: str = ""
    time_zone: str = "Etc/UTC"
    suspend: bool = False

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Timing:
        """From a spec or from what a status remembers of one."""
        return cls(str(row.get("schedule") or ""), str(row.get("timeZone") or "Etc/UTC"), bool(row.get("suspend")))

    def plain(self) -> dict[str, Any]:
        return {"schedule": self.schedule, "timeZone": self.time_zone, "suspend": self.suspend}

    def cron(self) -> Cron | None:
        """The times; None while there are none: suspended, empty, or no expression that can be."""
        if self.suspend or not self.schedule:
            return None
        try:
            return cron(self.schedule, self.time_zone)
        except RecipeError:
            return None


@dataclass(frozen=True, order=True)
class Waiting:
    """A time whose run has not started: ``time`` of the schedule, ``due`` with its jitter."""

    time: datetime
    due: datetime

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Waiting:
        return cls(moment(row["scheduledTime"]), moment(row["dueTime"]))

    def plain(self) -> dict[str, Any]:
        return {"scheduledTime": timestamp(self.time), "dueTime": timestamp(self.due)}


@dataclass(frozen=True)
class Since:
    """Where the last look ended: every time up to ``decided`` was decided, by ``timing``."""

    decided: datetime
    timing: Timing | None
    edited: datetime | None = None
    """When the spec was edited last, if the API server says so."""


@dataclass(frozen=True)
class Came:
    """What has come up: the newest times, how many in all, and where the next look goes on."""

    waiting: tuple[Waiting, ...]
    number: int
    decided: datetime


def came_up(timing: Timing, since: Since, now: datetime, jitter_s: int, uid: str) -> Came:
    """The times later than ``since.decided`` and not later than ``now``."""
    found: list[Waiting] = []
    number, decided = 0, since.decided
    for part, start, end in _parts(timing, since, now):
        times = part.cron()
        if times is not None and end > start:
            newest, count = times.between(start, end, MOST_WAITING)
            found += [Waiting(time, due(times, time, jitter_s, uid)) for time in newest]
            number += count
            decided = max([decided, *newest])
        if part != timing:
            # What comes before the edit is settled by this look, times or not.
            decided = max(decided, end)
    return Came(tuple(found[-MOST_WAITING:]), number, decided)


def _parts(timing: Timing, since: Since, now: datetime) -> Iterable[tuple[Timing, datetime, datetime]]:
    if since.timing is None or since.timing == timing:
        start = since.decided
        if since.timing is None and since.edited is not None:
            start = max(start, since.edited)
        return [(timing, start, now)]
    edit = min(now, since.edited or now)
    return [(since.timing, since.decided, edit), (timing, max(edit, since.decided), now)]


def due(times: Cron, time: datetime, jitter_s: int, uid: str) -> datetime:
    """``time`` and its jitter: always the same for a schedule and a time, and at most half the way to the next time."""
    if not jitter_s:
        return time
    following = times.after(time)
    room = jitter_s if following is None else min(jitter_s, int((following - time).total_seconds()) // 2)
    digest = hashlib.sha256(f"{uid}/{minutes(time)}".encode()).digest()
    return time + timedelta(seconds=int.from_bytes(digest[:8], "big") % (room + 1))


def next_time(timing: Timing, now: datetime) -> datetime | None:
    """The next time after ``now``; None where there is none."""
    times = timing.cron()
    return None if times is None else times.after(now)


def minutes(time: datetime) -> int:
    """Minutes since the epoch: what a run of that time is named after."""
    return int(time.astimezone(UTC).timestamp()) // 60
