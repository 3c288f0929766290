"""When a cron expression is due, in its time zone: as Debian's cron does it. Pure; knows no schedule and no run.

cronsim reads the expression and matches days; the times are searched here, day by day, because cronsim's own search
steps whole hours and so loses times in zones whose clocks are set by half an hour (Australia/Lord_Howe).

Where clocks are set forward, a job with a fixed hour and minute that falls into the gap runs right after it; where
they are set back, it runs the first time only. A job whose minute or hour field begins with ``*`` runs whenever the
clock on the wall says so: not at all in the gap, twice where the hour comes twice (cron(8), Debian).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import cache, lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from cronsim import CronSim, CronSimError

from stillhouse.errors import RecipeError, nearest

_YEARS = 50
_DAY = timedelta(days=1)
_FIELDS = ("minute", "hour", "day-of-month", "month", "day-of-week")
_MACROS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}


class Cron:
    """An expression in a time zone. Times are aware datetimes in UTC, whole minutes."""

    def __init__(self, expression: str, zone: ZoneInfo) -> None:
        """Use ``cron``, which refuses what cannot be."""
        self.zone = zone
        fields = expression.split()
        # Without a zone cronsim only reads and matches; its search is not used.
        self._fields = CronSim(expression, datetime(2000, 1, 1))
        self._months = self._fields.months
        hours, minutes = sorted(self._fields.hours), sorted(self._fields.minutes)
        self._of_day = tuple(hour * 60 + minute for hour in hours for minute in minutes)
        """Minutes since midnight, on the clock."""
        self._wild = fields[0].startswith("*") or fields[1].startswith("*")
        self._day_seen: tuple[date, tuple[int, ...]] = (date.min, ())

    def after(self, moment: datetime) -> datetime | None:
        """The first time after ``moment``; None where none comes in fifty years."""
        return next(self._times(moment), None)

    def between(self, after: datetime, until: datetime, newest: int) -> tuple[list[datetime], int]:
        """The ``newest`` last times that are later than ``after`` and not later than ``until``, and how many in all."""
        found: list[datetime] = []
        number = 0
        for moment in self._times(after):
            if moment > until:
                break
            number += 1
            found.append(moment)
            if len(found) > 2 * newest + 100:
                del found[:-newest]
        return found[-newest:] if newest else [], number

    def _times(self, after: datetime) -> Iterator[datetime]:
        second = after.timestamp()
        day = after.astimezone(self.zone).date()
        last = day.year + _YEARS
        while day.year <= last:
            if day.month not in self._months:
                day = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
                continue
            if self._fields.match_day(day):
                times = self._day(day)
                for time in times[bisect_right(times, second) :]:
                    yield datetime.fromtimestamp(time, UTC)
            day += _DAY

    def _day(self, day: date) -> tuple[int, ...]:
        """The times of a local date that matches, in seconds since the epoch."""
        if self._day_seen[0] == day:
            return self._day_seen[1]
        midnight = datetime(day.year, day.month, day.day, tzinfo=self.zone)
        if midnight.utcoffset() == (midnight + _DAY).utcoffset():
            start = int(midnight.timestamp())
            times = tuple(start + 60 * minute for minute in self._of_day)
        else:
            times = tuple(sorted({time for minute in self._of_day for time in self._instants(midnight, minute)}))
        self._day_seen = (day, times)
        return times

    def _instants(self, midnight: datetime, minute: int) -> tuple[int, ...]:
        """When a clock shows that minute on a day on which it is set."""
        wall = midnight + timedelta(minutes=minute)
        first, second = int(wall.timestamp()), int(wall.replace(fold=1).timestamp())
        if first == second:
            return (first,)
        if first < second:
            return (first, second) if self._wild else (first,)
        return () if self._wild else (self._change(second, first),)

    def _change(self, before: int, after: int) -> int:
        """The second between the two at which the offset changes."""
        old = datetime.fromtimestamp(before, self.zone).utcoffset()
        while after - before > 1:
            middle = (before + after) // 2
            if datetime.fromtimestamp(middle, self.zone).utcoffset() == old:
                before = middle
            else:
                after = middle
        return after


@lru_cache(maxsize=4096)
def cron(expression: str, time_zone: str) -> Cron:
    """The times of ``expression`` in ``time_zone``.

    Raises:
        RecipeError: no such time zone (with the nearest one), no cron expression, or one that never comes.
    """
    zone = _zone(time_zone)
    plain = _MACROS.get(expression.strip().lower(), expression)
    if plain.startswith("@"):
        raise RecipeError(f"spec.schedule = {expression!r}: {nearest(expression, _MACROS)}")
    if len(plain.split()) != len(_FIELDS):
        raise RecipeError(
            f"spec.schedule = {expression!r}: has {len(plain.split())} fields; five are needed: {', '.join(_FIELDS)}"
        )
    try:
        made = Cron(plain, zone)
    except (CronSimError, AssertionError) as error:
        raise RecipeError(f"spec.schedule = {expression!r}: {_explained(plain, str(error))}") from error
    if made.after(datetime(2000, 1, 1, tzinfo=UTC)) is None:
        raise RecipeError(f"spec.schedule = {expression!r}: never comes; there is no such day in fifty years")
    return made


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise RecipeError(f"spec.timeZone = {name!r}: no such time zone; {_nearest_zone(name)}") from error


def _nearest_zone(name: str) -> str:
    found = nearest(name, _zones())
    return found if found.startswith("did you mean") else "use an IANA name such as Europe/Berlin or Etc/UTC"


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def _explained(expression: str, problem: str) -> str:
    """cronsim says ``Bad minute``; this says which text that was, and what would be right."""
    field = problem.removeprefix("Bad ")
    if field not in _FIELDS:
        return problem or "is no cron expression"
    text = expression.split()[_FIELDS.index(field)]
    right = dict(zip(_FIELDS, ("0-59", "0-23", "1-31", "1-12 or JAN-DEC", "0-7 or SUN-SAT"), strict=True))[field]
    try:
        CronSim(" ".join(text if name == field else "*" for name in _FIELDS), datetime(2000, 1, 1))
    except (CronSimError, AssertionError):
        return f"bad {field} {text!r}; use {right}"
    return f"never comes; none of its months has day {text}"
