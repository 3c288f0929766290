"""How many looks at schedules one core can decide in a second, without the API. Prints two numbers."""

from __future__ import annotations

import random
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from operators.crds.schedule import ScheduleSpec
from operators.schedule.history import Child
from operators.schedule.plan import Signals, plan
from operators.schedule.status import Findings, Verdict, fold
from operators.schedule.times import Timing

SCHEDULES, ROUNDS = 2000, 5
NOW = datetime(2026, 3, 29, 0, 30, tzinfo=UTC)
"""Half an hour before clocks are set in Europe."""


def main() -> None:
    pick = random.Random(1)
    schedules = [_schedule(pick) for _ in range(SCHEDULES)]
    signals, body = Signals("s", "uid", NOW - timedelta(days=9)), {"metadata": {"generation": 1}}
    for with_status in (False, True):
        started = time.process_time()
        for _ in range(ROUNDS):
            for spec, status, children in schedules:
                done = plan(spec, status, children, NOW, signals)
                if with_status:
                    fold({**body, "status": status}, spec, done, children, Findings(Verdict(True, "Valid")), NOW)
        number = SCHEDULES * ROUNDS / (time.process_time() - started)
        print(f"{'plan and status' if with_status else 'plan           '} {number:8.0f} looks/s")


def _schedule(pick: random.Random) -> tuple[ScheduleSpec, dict[str, object], tuple[Child, ...]]:
    cron = f"{pick.randrange(60)} {pick.randrange(24)} * * {pick.choice(('*', 'MON-FRI', 'SUN'))}"
    zone = pick.choice(("Europe/Berlin", "America/New_York", "Asia/Kolkata"))
    spec = ScheduleSpec.model_validate({"recipe": {"name": "r"}, "schedule": cron, "timeZone": zone})
    days = [NOW - timedelta(days=5 - index) for index in range(4)]
    children = tuple(Child(f"s-{day.day}", day, "Succeeded", day, completed=day + timedelta(hours=2)) for day in days)
    return spec, {"decidedThrough": "2026-03-28T23:00:00Z", "observedTiming": Timing(cron, zone).plain()}, children


if __name__ == "__main__":
    main()
