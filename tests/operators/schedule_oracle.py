"""When runs must start, worked out another way: by the clock on the wall, minute by minute, with a perfect memory.

Shares nothing with ``operators.schedule`` but the contract's one hash (the jitter). Cron fields are read here anew,
time zones come from ``zoneinfo`` one minute at a time, and the referee remembers everything, where the operator has
only what the cluster holds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import numpy as np

START = datetime(2026, 1, 1, tzinfo=UTC)
END = datetime(2027, 1, 1, tzinfo=UTC)
_MARGIN_DAYS = 3
MINUTES = int((END - START).total_seconds()) // 60 + _MARGIN_DAYS * 1440
_EPOCH = date(1970, 1, 1).toordinal()
_NAMES = {
    **{name: number for number, name in enumerate(("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"))},
    **{
        name: number + 1
        for number, name in enumerate(
            ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
        )
    },
}


@dataclass(frozen=True)
class Wall:
    """A year of a zone's clock: for each UTC minute the local one (minutes since 1970), and where it was set."""

    local: np.ndarray
    again: np.ndarray
    """Whether the clock has shown that minute before."""
    skipped: tuple[tuple[int, tuple[int, ...]], ...]
    """For each time it was set forward: the UTC minute, and the local minutes that never came."""


@cache
def wall(zone: str) -> Wall:
    tz, step = ZoneInfo(zone), timedelta(hours=1)
    first = int(START.timestamp()) // 60

    def offset(minute: int) -> int:
        moment = datetime.fromtimestamp((first + minute) * 60, UTC).astimezone(tz)
        return int((moment.utcoffset() or timedelta()).total_seconds()) // 60

    offsets = np.empty(MINUTES, dtype=np.int64)
    hour = int(step.total_seconds()) // 60
    for start in range(0, MINUTES, hour):
        end = min(start + hour, MINUTES)
        if offset(start) == offset(end):
            offsets[start:end] = offset(start)
        else:
            offsets[start:end] = [offset(minute) for minute in range(start, end)]
    local = np.arange(MINUTES) + first + offsets
    again, skipped = np.zeros(MINUTES, dtype=bool), []
    for at in np.flatnonzero(np.diff(offsets)) + 1:
        change = int(offsets[at] - offsets[at - 1])
        if change < 0:
            again[at : at - change] = True
        else:
            skipped.append((int(at), tuple(range(int(local[at - 1]) + 1, int(local[at])))))
    return Wall(local, again, tuple(skipped))


def _values(text: str, low: int, high: int) -> set[int]:
    found: set[int] = set()
    for term in text.upper().split(","):
        body, _, step = term.partition("/")
        if body == "*":
            ends = (low, high)
        else:
            first, _, last = body.partition("-")
            start = int(_NAMES.get(first, first))
            ends = (start, int(_NAMES.get(last, last)) if last else (high if step else start))
        found |= set(range(ends[0], ends[1] + 1, int(step or 1)))
    return found


@dataclass(frozen=True)
class Fields:
    minutes: frozenset[int]
    hours: frozenset[int]
    expression: str

    @classmethod
    def of(cls, expression: str) -> Fields:
        parts = expression.split()
        return cls(frozenset(_values(parts[0], 0, 59)), frozenset(_values(parts[1], 0, 23)), expression)

    def day(self, number: int) -> bool:
        return _day(self.expression.split(maxsplit=2)[2], number)


@cache
def _day(rest: str, number: int) -> bool:
    """Whether day ``number`` (since 1970) matches the last three fields."""
    in_month, month, weekday = rest.split()
    day = date.fromordinal(number + _EPOCH)
    if day.month not in _values(month, 1, 12):
        return False
    by_month = day.day in _values(in_month, 1, 31)
    by_week = day.isoweekday() % 7 in {value % 7 for value in _values(weekday, 0, 7)}
    both = in_month.startswith("*") or weekday.startswith("*")
    return (by_month and by_week) if both else (by_month or by_week)


@cache
def times(expression: str, zone: str) -> tuple[int, ...]:
    """Every time of the year (and a little more), in minutes since the epoch."""
    clock, fields = wall(zone), Fields.of(expression)
    days = clock.local // 1440
    first = int(days[0])
    day_ok = np.array([fields.day(number) for number in range(first, int(days[-1]) + 1)])
    minute_ok = np.isin(np.arange(1440) % 60, list(fields.minutes))
    hour_ok = np.isin(np.arange(1440) // 60, list(fields.hours))
    match = day_ok[days - first] & (minute_ok & hour_ok)[clock.local % 1440]
    parts = expression.split()
    found: set[int] = set()
    if not (parts[0].startswith("*") or parts[1].startswith("*")):
        match = match & ~clock.again
        for at, missing in clock.skipped:
            if any(
                minute // 60 % 24 in fields.hours and minute % 60 in fields.minutes and fields.day(minute // 1440)
                for minute in missing
            ):
                found.add(at)
    epoch = int(START.timestamp()) // 60
    return tuple(sorted({*(int(at) + epoch for at in np.flatnonzero(match)), *(at + epoch for at in found)}))


def due(minute: int, following: int | None, jitter_s: int, uid: str) -> float:
    """The contract's jitter: a hash of uid and minute, at most half the way to the next time. Seconds since 1970."""
    room = jitter_s if following is None else min(jitter_s, (following - minute) * 60 // 2)
    number = int.from_bytes(hashlib.sha256(f"{uid}/{minute}".encode()).digest()[:8], "big")
    return minute * 60 + (number % (room + 1) if jitter_s else 0)


@dataclass(frozen=True)
class Timing:
    """What stood in the spec from ``since`` (seconds since the epoch)."""

    since: float
    expression: str
    zone: str
    suspend: bool


@dataclass
class Referee:
    """Says, look by look, which times must start. It sees every edit when it is made and forgets nothing."""

    uid: str
    jitter_s: int
    deadline_s: int
    most: int
    """How many times may be made up for at once; 1 without catch-up."""
    forbid: bool
    timing: Timing
    seen: float
    """Up to here, times have been noticed."""
    waiting: list[tuple[int, float]] = field(default_factory=list)

    def edit(self, timing: Timing) -> None:
        """The spec changes now: what came up before belongs to the old timing."""
        self._notice(timing.since)
        self.timing = timing

    def look(self, now: float, active: int) -> list[int]:
        """The times, in minutes, that must start at this look; they have started when ``started`` says so."""
        self._notice(now)
        if self.timing.suspend:
            self.waiting = []
        alive = [(time, due) for time, due in self.waiting if now <= due + self.deadline_s]
        arrived = [item for item in alive if item[1] <= now]
        dropped = set(arrived[: -self.most])
        self.waiting = [item for item in alive if item not in dropped]
        ready = [time for time, due in self.waiting if due <= now]
        if not self.forbid:
            return ready
        return ready[:1] if ready and not active else []

    def started(self, time: int) -> None:
        self.waiting = [item for item in self.waiting if item[0] > time]

    def _notice(self, now: float) -> None:
        if not self.timing.suspend:
            self.waiting += [
                (time, due(time, following, self.jitter_s, self.uid))
                for time, following in _between(self.timing, self.seen, now)
            ]
        self.seen = max(self.seen, now)


def _between(timing: Timing, after: float, until: float) -> Iterator[tuple[int, int | None]]:
    found = _array(timing.expression, timing.zone)
    low, high = np.searchsorted(found, [after / 60, until / 60], side="right")
    for index in range(low, high):
        yield int(found[index]), (int(found[index + 1]) if index + 1 < len(found) else None)


@cache
def _array(expression: str, zone: str) -> np.ndarray:
    return np.array(times(expression, zone), dtype=np.int64)


def moments(minutes: Iterable[int]) -> list[datetime]:
    return [datetime.fromtimestamp(minute * 60, UTC) for minute in minutes]
