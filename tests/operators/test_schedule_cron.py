"""Times of cron expressions: against the clock on the wall, minute by minute, in zones whose clocks are set oddly."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
from cronsim import CronSim

from operators.schedule.cron import cron
from stillhouse.errors import RecipeError
from tests.operators import schedule_oracle as oracle

ZONES = (
    "Etc/UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "America/Havana",
    "Africa/Casablanca", "Asia/Beirut", "Pacific/Chatham", "America/St_Johns", "Africa/Cairo", "America/Santiago",
)  # fmt: skip
EXPRESSIONS = (
    "0 2 * * *", "30 2 * * *", "0,15,30,45 1-3 * * *", "*/30 * * * *", "15 */4 * * *", "0 */6 * * *", "7 * * * *",
    "59 23 * * SUN", "0 0 1 * *", "30 0 * * *", "0 9 * * MON-FRI", "0 12 13 * FRI", "45 1 */2 * *", "5 4 31 * *",
    "20 2 29 MAR SUN", "* 2 * * *", "0 3 1-7 * 1", "10 0-2/2 * OCT,NOV,MAR,APR *",
)  # fmt: skip


def _all(expression: str, zone: str) -> list[datetime]:
    times, moment = cron(expression, zone), oracle.START - timedelta(seconds=1)
    found, count = times.between(moment, oracle.END, 1_000_000)
    assert len(found) == count
    return found


@pytest.mark.parametrize("zone", ZONES)
def test_a_year_of_times_is_what_the_clock_on_the_wall_says(zone: str) -> None:
    for expression in EXPRESSIONS:
        expected = [time for time in oracle.moments(oracle.times(expression, zone)) if time <= oracle.END]
        assert _all(expression, zone) == expected, (expression, zone)
        assert expected, f"{expression} never comes: it proves nothing"


@pytest.mark.parametrize("zone", [zone for zone in ZONES if zone != "Australia/Lord_Howe"])
def test_cronsim_says_the_same_where_clocks_are_set_by_whole_hours(zone: str) -> None:
    for expression in ("0 2 * * *", "30 2 * * *", "0 9 * * MON-FRI", "0 0 1 * *", "*/30 * * * *"):
        times = cron(expression, zone)
        theirs = CronSim(expression, oracle.START.astimezone(times.zone))
        moment = oracle.START
        for _ in range(400):
            ours = times.after(moment)
            assert ours is not None
            # Two walls that never came are one moment to us and two to cronsim.
            other = next(theirs).astimezone(UTC)
            while other <= moment:
                other = next(theirs).astimezone(UTC)
            assert ours == other, (expression, zone)
            moment = ours


@pytest.mark.parametrize(
    ("zone", "expression", "since", "expected"),
    [
        # Set forward by an hour at 02:00: what falls into the gap runs right after it.
        ("Europe/Berlin", "30 2 * * *", "2026-03-28T12:00", ["29 03:00+0200", "30 02:30+0200"]),
        ("Europe/Berlin", "0,30 2 * * *", "2026-03-28T12:00", ["29 03:00+0200", "30 02:00+0200"]),
        # A job with a star follows the clock: not at all in the gap.
        ("Europe/Berlin", "*/30 2 * * *", "2026-03-28T12:00", ["30 02:00+0200", "30 02:30+0200"]),
        # Set back: the first time only; with a star both times.
        ("Europe/Berlin", "30 2 * * *", "2026-10-24T12:00", ["25 02:30+0200", "26 02:30+0100"]),
        ("Europe/Berlin", "30 */2 * * *", "2026-10-25T00:00", ["25 02:30+0200", "25 02:30+0100"]),
        ("Europe/Berlin", "30 2 * * *", "2026-10-25T00:45", ["26 02:30+0100", "27 02:30+0100"]),
        # Set by half an hour, where searching hour by hour loses the next time.
        ("Australia/Lord_Howe", "0 */4 * * *", "2026-10-03T15:45", ["04 04:00+1100", "04 08:00+1100"]),
        ("Australia/Lord_Howe", "15 2 * * *", "2026-10-03T12:00", ["04 02:30+1100", "05 02:15+1100"]),
        # Midnight never comes.
        ("America/Havana", "30 0 * * *", "2026-03-07T12:00", ["08 01:00-0400", "09 00:30-0400"]),
        ("Etc/UTC", "@daily", "2026-02-27T12:00", ["28 00:00+0000", "01 00:00+0000"]),
        ("Etc/UTC", "0 0 29 2 *", "2026-02-27T12:00", ["29 00:00+0000", "29 00:00+0000"]),
        ("Etc/UTC", "0 0 L * *", "2026-02-27T12:00", ["28 00:00+0000", "31 00:00+0000"]),
        ("Etc/UTC", "0 0 * * MON#1", "2026-02-27T12:00", ["02 00:00+0000", "06 00:00+0000"]),
    ],
)
def test_times_around_the_moments_when_clocks_are_set(
    zone: str, expression: str, since: str, expected: list[str]
) -> None:
    times, moment, found = cron(expression, zone), datetime.fromisoformat(f"{since}+00:00"), []
    for _ in expected:
        following = times.after(moment)
        assert following is not None
        moment = following
        found.append(moment.astimezone(times.zone).strftime("%d %H:%M%z"))
    assert found == expected


@pytest.mark.parametrize(
    ("expression", "zone", "words"),
    [
        ("61 * * * *", "Etc/UTC", "spec.schedule = '61 * * * *': bad minute '61'; use 0-59"),
        ("0 25 * * *", "Etc/UTC", "bad hour '25'; use 0-23"),
        ("0 0 * * 8", "Etc/UTC", "bad day-of-week '8'; use 0-7 or SUN-SAT"),
        ("0 0 31 2 *", "Etc/UTC", "never comes; none of its months has day 31"),
        ("* * */20 * 1L", "Etc/UTC", "never comes"),
        ("0 2 * *", "Etc/UTC", "has 4 fields; five are needed"),
        ("0 0 2 * * *", "Etc/UTC", "has 6 fields; five are needed"),
        ("*/0 * * * *", "Etc/UTC", "bad minute '*/0'"),
        ("5-2 * * * *", "Etc/UTC", "bad minute '5-2'"),
        ("0 0 1L/2 * *", "Etc/UTC", "bad day-of-month"),
        ("@dayly", "Etc/UTC", "did you mean @daily?"),
        ("0 2 * * *", "Europe/Berln", "spec.timeZone = 'Europe/Berln': no such time zone; did you mean Europe/Berlin?"),
        ("0 2 * * *", "europe/berlin/", "no such time zone"),
        ("0 2 * * *", "/etc/passwd", "use an IANA name such as Europe/Berlin"),
        ("0 2 * * *", "../UTC", "no such time zone"),
    ],
)
def test_what_cannot_be_is_refused_with_what_would_be_right(expression: str, zone: str, words: str) -> None:
    with pytest.raises(RecipeError) as told:
        cron(expression, zone)
    assert words in str(told.value)


def test_between_counts_all_and_keeps_the_newest() -> None:
    times, end = cron("* * * * *", "Europe/Berlin"), datetime(2026, 3, 1, tzinfo=UTC)
    found, count = times.between(end - timedelta(days=10), end, 3)
    assert count == 14_400
    assert found == [end - timedelta(minutes=2), end - timedelta(minutes=1), end]


def test_the_next_time_is_the_same_from_any_moment_before_it() -> None:
    pick = random.Random(7)
    for expression in EXPRESSIONS:
        times = cron(expression, "Europe/Berlin")
        found = oracle.moments(oracle.times(expression, "Europe/Berlin"))
        for _ in range(40):
            index = pick.randrange(1, len(found))
            gap = (found[index] - found[index - 1]).total_seconds()
            assert times.after(found[index] - timedelta(seconds=pick.uniform(0.001, gap))) == found[index]
