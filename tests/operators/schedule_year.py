"""A simulated year of one schedule: a cluster that loses answers, an operator that ends at any moment, people who edit.

The operator's part is the real ``plan`` and ``fold`` on what the cluster holds; nothing else is remembered from look to
look. What must have happened is said by ``schedule_oracle``.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from operators.crds.schedule import ScheduleSpec
from operators.resources import timestamp
from operators.schedule.handlers import edited
from operators.schedule.history import Child
from operators.schedule.plan import Plan, Signals, plan
from operators.schedule.status import Findings, Verdict, fold
from tests.operators import schedule_oracle as oracle

ZONES = (
    "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Etc/UTC", "Europe/London",
    "America/Havana", "Africa/Casablanca", "Pacific/Chatham", "America/St_Johns",
)  # fmt: skip
SET_AT = {"Europe/London": 1, "America/Havana": 0}
"""The hour on the wall in which clocks are set; 2 elsewhere."""
DAYS = ("*", "MON-FRI", "SUN", "1,3,5", "SAT,SUN", "0", "7")
GOOD = Verdict(True, "Valid")


def expression(pick: random.Random, zone: str) -> str:
    """A cron expression as people write them, often in the hour that is skipped or comes twice."""
    odd = SET_AT.get(zone, 2)
    minute = pick.choice((0, 0, 0, 15, 30, 45, pick.randrange(60)))
    hour = pick.choice((odd, odd, odd, 0, 1, 2, 3, pick.randrange(24)))
    families = (
        (20, lambda: f"{minute} {hour} * * *"),
        (30, lambda: f"{minute} {hour} * * {pick.choice(DAYS)}"),
        (12, lambda: f"{minute} {hour} {pick.choice(('1', '15', '1,15', '28', '31', '*/10'))} * *"),
        (8, lambda: f"{minute} {hour},{(hour + 12) % 24} * * *"),
        (4, lambda: f"{minute} */{pick.choice((4, 6, 8, 12))} * * *"),
        (6, lambda: f"{minute} {hour} {pick.choice(('13', '1-7'))} * {pick.choice(('FRI', '1'))}"),
        (6, lambda: f"{minute} {hour} 1 {pick.choice(('1,4,7,10', '*/2', 'MAR,OCT'))} *"),
        (4, lambda: f"0,30 1-3 * {pick.choice(('MAR,APR', 'OCT,NOV'))} *"),
        (1, lambda: f"{minute} * * {pick.choice(('MAR', 'OCT', 'APR'))} *"),
        (2, lambda: f"*/20 0-4 * * {pick.choice(('SUN', 'SAT'))}"),
    )
    chosen = pick.choices([make for _, make in families], [weight for weight, _ in families])[0]
    return chosen()


@dataclass
class Year:
    """One schedule, its cluster and its year, or a part of it in which as much happens."""

    seed: int
    begin: datetime = oracle.START
    until: datetime = oracle.END
    started: Counter[int] = field(default_factory=Counter)
    """How often a run of a time (in minutes) came into being, deleted ones included."""
    expected: set[int] = field(default_factory=set)
    looks: int = 0
    lost: int = 0
    """Statuses and answers that were lost, operators that ended between two steps."""
    edits: int = 0

    def __post_init__(self) -> None:
        pick = self.pick = random.Random(self.seed)
        zone = pick.choice(ZONES)
        self.uid = f"uid-{self.seed}"
        self.spec: dict[str, Any] = {
            "recipe": {"name": "r"}, "schedule": expression(pick, zone), "timeZone": zone, "suspend": False,
            "concurrencyPolicy": pick.choice(("Allow", "Forbid")), "catchUp": pick.random() < 0.4,
            "maxCatchUp": pick.choice((1, 3, 100)), "startingDeadlineSeconds": pick.choice((300, 3600, 3600, 86_400)),
            "jitterSeconds": pick.choice((0, 0, 60, 900)), "skipIfUnchanged": False,
            "successfulRunsHistoryLimit": pick.choice((0, 1, 3)), "failedRunsHistoryLimit": pick.choice((0, 1)),
        }  # fmt: skip
        self._spec = ScheduleSpec.model_validate(self.spec)
        created = int(self.begin.timestamp()) + pick.randrange(86_400)
        self.now = self.edited = float(created)
        self.end = self.until.timestamp()
        self.share = (self.until - self.begin) / (oracle.END - oracle.START)
        self.status: dict[str, Any] = {}
        self.children: list[Child] = []
        self.ends: dict[str, float] = {}
        self.referee = oracle.Referee(
            self.uid, self.spec["jitterSeconds"], self.spec["startingDeadlineSeconds"],
            self.spec["maxCatchUp"] if self.spec["catchUp"] else 1, self.spec["concurrencyPolicy"] == "Forbid",
            self._timing(), self.now,
        )  # fmt: skip
        self.down_until = 0.0
        self.edited_while_down = False

    def run(self) -> Year:
        """Live through the year."""
        next_edit = self._in_days(45)
        next_fall = self._in_days(15)
        wake = self.now
        while self.now < self.end:
            at = min(wake, next_edit, next_fall, *self.ends.values()) if self.ends else min(wake, next_edit, next_fall)
            self.now = max(self.now, float(int(at)))
            if self.now >= self.end:
                break
            self._finish()
            if self.now >= next_fall:
                self.down_until = self.now + self.pick.choice((30, 600, 7_200, 90_000))
                self.edited_while_down = False
                next_fall = float(int(self.down_until + self._days(15)))
            if self.now >= next_edit:
                next_edit = self._in_days(45)
                self._edit()
            if self.now < self.down_until:
                wake = self.down_until
                continue
            wake = self._look()
        return self

    def _look(self) -> float:
        """One look of the operator, which may end in the midst of it; returns when it wants to look again."""
        now = datetime.fromtimestamp(self.now, UTC)
        body, spec = self._body(), self._spec
        signals = Signals("s", self.uid, datetime.fromtimestamp(self.created, UTC), edited(body))
        self.looks += 1
        if self.pick.random() < 0.02:  # the API does not answer
            self.lost += 1
            return self.now + self.pick.choice((2, 4, 30))
        active = len([child for child in self.children if not child.finished])
        done = plan(spec, self.status, self.children, now, signals)
        must = self.referee.look(self.now, active)
        self.expected |= set(must)
        whole = len(done.create)
        if self.pick.random() < 0.03:  # it ends after some of its runs were created
            whole = self.pick.randint(0, whole)
        before = list(self.children)
        for made in done.create[:whole]:
            self._create(made.name, made.scheduled, now)
        for time in must[:whole]:
            self.referee.started(time)
        self.expected -= set(must[whole:])
        if whole < len(done.create) or self.pick.random() < 0.05:
            self.lost += 1
            return self.now + self.pick.choice((2, 5, 40))
        self.status = fold(body, spec, done, before, Findings(GOOD), now)
        self.children = [child for child in self.children if child.name not in done.delete]
        return self._wake(done)

    created: float = 0.0

    def _wake(self, done: Plan) -> float:
        late = self.pick.choice((0, 0, 1, 3, 30))
        if done.blocked:
            return self.now + 60 + late
        if done.wake_at is None:
            return self.end
        return max(self.now + 1, done.wake_at.timestamp() + late)

    def _create(self, name: str, scheduled: datetime | None, now: datetime) -> None:
        """As the API does it: a name that is there is not made again."""
        assert scheduled is not None
        if name in {child.name for child in self.children}:
            return
        self.started[int(scheduled.timestamp()) // 60] += 1
        self.children.append(Child(name, now, "Running", scheduled))
        self.ends[name] = self.now + self.pick.choice((60, 900, 5_000, 20_000))

    def _finish(self) -> None:
        for index, child in enumerate(self.children):
            if not child.finished and self.ends[child.name] <= self.now:
                phase = self.pick.choice(("Succeeded", "Succeeded", "Failed"))
                completed = datetime.fromtimestamp(self.now, UTC)
                self.children[index] = Child(child.name, child.created, phase, child.scheduled, completed=completed)
        self.ends = {name: at for name, at in self.ends.items() if at > self.now}

    def _edit(self) -> None:
        """Somebody edits; while the operator is away only once, for what stood in between cannot be known."""
        down = self.now < self.down_until
        if down and self.edited_while_down:
            return
        self.edited_while_down = down
        kind = self.pick.choice(("schedule", "timeZone", "suspend", "suspend", "recipe"))
        if kind == "schedule":
            self.spec["schedule"] = expression(self.pick, self.spec["timeZone"])
        elif kind == "timeZone":
            self.spec["timeZone"] = self.pick.choice(ZONES)
        elif kind == "suspend":
            self.spec["suspend"] = not self.spec["suspend"]
        else:
            self.spec["recipe"] = {"name": f"r{self.edits}"}
            return
        self.edits += 1
        self.edited, self._spec = self.now, ScheduleSpec.model_validate(self.spec)
        self.referee.edit(self._timing())

    def _timing(self) -> oracle.Timing:
        if not self.created:
            self.created = self.now
        return oracle.Timing(self.now, self.spec["schedule"], self.spec["timeZone"], self.spec["suspend"])

    def _body(self) -> dict[str, Any]:
        written = {
            "time": timestamp(datetime.fromtimestamp(self.edited, UTC)),
            "fieldsV1": {"f:spec": {"f:schedule": {}}},
        }
        meta = {"name": "s", "namespace": "d", "uid": self.uid, "generation": 1, "managedFields": [written]}
        return {"metadata": meta, "spec": self.spec, "status": self.status}

    def _days(self, mean: float) -> float:
        return timedelta(days=self.share * self.pick.expovariate(1 / mean)).total_seconds() + 60

    def _in_days(self, mean: float) -> float:
        return float(int(self.now + self._days(mean)))


__all__ = ["Year"]
