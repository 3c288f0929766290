"""Simulated years of schedules, with edits, restarts and lost answers: not one run missing, not one doubled."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from tests.operators.schedule_year import Year


@dataclass(frozen=True)
class Told:
    """What became of one year."""

    wrong: str
    runs: int
    lost: int
    edits: int
    looks: int


def _live(seed: int, *part: datetime) -> Told:
    year = Year(seed, *part).run()
    doubled = [time for time, count in year.started.items() if count > 1]
    missing, extra = year.expected - set(year.started), set(year.started) - year.expected
    wrong = f"seed {seed}: doubled {doubled[:3]}, missing {sorted(missing)[:3]}, extra {sorted(extra)[:3]}"
    bad = bool(doubled or missing or extra)
    return Told(wrong if bad else "", len(year.started), year.lost, year.edits, year.looks)


def _check(years: Sequence[Told], runs: float, troubles: float, edits: float) -> None:
    wrong = [year.wrong for year in years if year.wrong]
    assert not wrong, f"{len(wrong)} of {len(years)} schedules went wrong: {wrong[:5]}"
    # A year in which nothing happens proves nothing.
    assert sum(year.runs for year in years) > runs * len(years)
    assert sum(year.lost for year in years) > troubles * len(years)
    assert sum(year.edits for year in years) > edits * len(years)


@pytest.mark.parametrize(
    "part",
    [
        pytest.param((datetime(2026, 2, 20, tzinfo=UTC), datetime(2026, 4, 12, tzinfo=UTC)), id="spring"),
        pytest.param((datetime(2026, 9, 25, tzinfo=UTC), datetime(2026, 11, 5, tzinfo=UTC)), id="autumn"),
    ],
)
def test_while_clocks_are_set_every_run_happens_once(part: tuple[datetime, datetime]) -> None:
    _check([_live(seed, *part) for seed in range(180)], runs=10, troubles=2, edits=3)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_ten_thousand_schedules_have_every_run_of_a_year_once() -> None:
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool:
        years = list(pool.map(_live, range(1_000, 11_000), chunksize=50))
    print(f"{len(years)} schedules, {sum(year.runs for year in years)} runs, {sum(year.looks for year in years)} looks")
    _check(years, runs=60, troubles=5, edits=3)
