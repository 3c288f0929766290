"""What a schedule should do now: which runs to start, cancel and delete, and when to look again. Pure.

Nothing runs twice, because a run is named after what it is for: the time, the value of the run-now annotation, or the
change that a trigger has seen. Nothing is lost, because a time leaves ``waiting`` only when its run exists, its
deadline is over, or a newer time stands for it. Runs start in the order of their times, so the newest run's time also
says what was decided when the status could not be written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from operators.crds.schedule import ScheduleSpec
from operators.resources import moment
from operators.schedule import times
from operators.schedule.history import Child, last_success, surplus
from operators.schedule.times import Since, Timing, Waiting


@dataclass(frozen=True)
class Fired:
    """A trigger that has seen change number ``seen``."""

    kind: str
    """Data, Teacher or Registry."""
    seen: int
    value: str


@dataclass(frozen=True)
class Signals:
    """What else is known at this look."""

    name: str
    uid: str
    created: datetime
    edited: datetime | None = None
    """When the spec was edited last."""
    recipe_ok: bool = True
    """Whether there is a recipe that can be run."""
    digest: str | None = None
    """Of recipe, data, models and teachers; None: not asked for."""
    last_digest: str = ""
    """Of the last successful run; ``plan`` fills it in."""
    digest_asked: bool = False
    """Whether it was asked for, answered or not."""
    run_now: str = ""
    """The value of the annotation."""
    fired: tuple[Fired, ...] = ()
    check_at: datetime | None = None
    """When the next trigger wants to look."""


@dataclass(frozen=True)
class Create:
    """A run to start."""

    name: str
    started_by: str
    scheduled: datetime | None = None
    fired: Fired | None = None


@dataclass(frozen=True)
class Plan:
    """What to do, and what to remember."""

    create: tuple[Create, ...] = ()
    cancel: tuple[str, ...] = ()
    """Runs to delete because a newer one replaces them."""
    delete: tuple[str, ...] = ()
    """Finished runs beyond the history limits."""
    needs_digest: bool = False
    """Nothing can be decided before the digest is known; ask for it and plan again."""
    blocked: str = ""
    """Why what is due does not start: Recipe or Concurrency."""
    decided: datetime | None = None
    waiting: tuple[Waiting, ...] = ()
    missed: int = 0
    unchanged: int = 0
    started: Mapping[str, int] = field(default_factory=dict)
    """By trigger, the change for which a run exists or was skipped."""
    run_now: str = ""
    """The value of the annotation that is answered."""
    next_time: datetime | None = None
    wake_at: datetime | None = None


def plan(
    spec: ScheduleSpec, status: Mapping[str, Any], children: Sequence[Child], now: datetime, signals: Signals
) -> Plan:
    """What to do now.

    Args:
        spec: the schedule's spec.
        status: what the last look left in the object; it may be older than ``children``, or empty.
        children: every run that the schedule owns.
        now: the time.
        signals: what else is known.
    """
    timing = Timing(spec.schedule, spec.time_zone, spec.suspend)
    came, waiting, missed = _times(spec, timing, status, children, now, signals)
    following = times.next_time(timing, now)
    done = Plan(
        delete=surplus(children, spec.successful_runs_history_limit, spec.failed_runs_history_limit),
        decided=came, waiting=waiting, missed=missed, next_time=following, run_now=str(status.get("lastRunNow") or ""),
        started=_started(status, children, signals),
    )  # fmt: skip
    done = _starts(spec, done, children, now, replace(signals, last_digest=last_success(status, children)[1]))
    return replace(done, wake_at=_wake_at(spec, timing, done, now, signals))


def _times(
    spec: ScheduleSpec, timing: Timing, status: Mapping[str, Any], children: Sequence[Child], now: datetime,
    signals: Signals,
) -> tuple[datetime, tuple[Waiting, ...], int]:  # fmt: skip
    """What is decided from here on, the times that still want a run, and how many have just been missed."""
    latest = max((child.scheduled for child in children if child.scheduled), default=None)
    decided = moment(status["decidedThrough"]) if status.get("decidedThrough") else signals.created
    seen = status.get("observedTiming")
    since = Since(max(decided, latest or decided), Timing.of(seen) if seen else None, signals.edited)
    came = times.came_up(timing, since, now, spec.jitter_seconds, signals.uid)
    remembered = [Waiting.of(row) for row in status.get("waiting") or ()]
    by_time = {item.time: item for item in (*came.waiting, *remembered)}
    # A newer run's time was decided after every older one.
    waiting = tuple(item for item in sorted(by_time.values()) if latest is None or item.time > latest)
    missed = came.number - len(came.waiting)
    if timing.suspend:
        return came.decided, (), missed + len(waiting)
    deadline = timedelta(seconds=spec.starting_deadline_seconds)
    alive = tuple(item for item in waiting if now <= item.due + deadline)
    arrived = [item for item in alive if item.due <= now]
    kept = set(arrived[-(spec.max_catch_up if spec.catch_up else 1) :])
    chosen = tuple(item for item in alive if item.due > now or item in kept)
    return came.decided, chosen, missed + len(waiting) - len(chosen)


def _starts(spec: ScheduleSpec, done: Plan, children: Sequence[Child], now: datetime, signals: Signals) -> Plan:
    """``done`` with the runs that start now."""
    names = {child.name for child in children}
    wanted: list[Create] = []
    if signals.run_now and signals.run_now != done.run_now:
        name = child_name(signals.name, "m", signals.run_now)
        if name in names:
            done = replace(done, run_now=signals.run_now)
        else:
            wanted.append(Create(name, "Manual"))
    due = [item for item in done.waiting if item.due <= now]
    wanted += [Create(f"{signals.name}-{times.minutes(item.time)}", "Time", item.time) for item in due]
    if not spec.suspend:
        wanted += [
            Create(_fired_name(signals.name, fired), fired.kind, fired=fired)
            for fired in signals.fired
            if fired.seen > done.started.get(fired.kind, 0)
        ]
    if not wanted:
        return done
    if not signals.recipe_ok:
        return replace(done, blocked="Recipe")
    active = [child for child in children if not child.finished]
    if active and spec.concurrency_policy == "Forbid":
        return replace(done, blocked="Concurrency")
    if spec.skip_if_unchanged and not signals.digest_asked:
        return replace(done, needs_digest=True)
    if spec.skip_if_unchanged and signals.digest and signals.digest == signals.last_digest:
        skipped = [item for item in wanted if item.started_by != "Manual"]
        done = replace(_answered(done, skipped, signals), unchanged=len(skipped))
        wanted = [item for item in wanted if item.started_by == "Manual"]
    return _chosen(spec, done, wanted, active, signals)


def _chosen(spec: ScheduleSpec, done: Plan, wanted: list[Create], active: list[Child], signals: Signals) -> Plan:
    if not wanted:
        return done
    if spec.concurrency_policy == "Allow":
        return replace(_answered(done, wanted, signals), create=tuple(wanted))
    if spec.concurrency_policy == "Forbid":
        first, rest = wanted[0], wanted[1:]
        blocked = "Concurrency" if rest else ""
        return replace(_answered(done, [first], signals), create=(first,), blocked=blocked)
    # One new run stands for all that is wanted now.
    timed = [item for item in wanted if item.scheduled]
    one = timed[-1] if timed else wanted[0]
    gone = tuple(child.name for child in active if not child.deleting)
    missed = done.missed + max(0, len(timed) - 1)
    return replace(_answered(done, wanted, signals), create=(one,), cancel=gone, missed=missed)


def _answered(done: Plan, wanted: Sequence[Create], signals: Signals) -> Plan:
    """``done`` where these no longer wait."""
    gone = {item.scheduled for item in wanted if item.scheduled}
    started = dict(done.started)
    for item in wanted:
        if item.fired:
            started[item.fired.kind] = max(started.get(item.fired.kind, 0), item.fired.seen)
    manual = any(item.started_by == "Manual" for item in wanted)
    return replace(
        done, waiting=tuple(item for item in done.waiting if item.time not in gone), started=started,
        run_now=signals.run_now if manual else done.run_now,
    )  # fmt: skip


def _started(status: Mapping[str, Any], children: Sequence[Child], signals: Signals) -> dict[str, int]:
    """By trigger, the change that is dealt with: as the status says, or because the run for it exists."""
    states = status.get("triggers") or {}
    known = {kind.capitalize(): int(state.get("started") or 0) for kind, state in states.items()}
    names = {child.name for child in children}
    for fired in signals.fired:
        if _fired_name(signals.name, fired) in names:
            known[fired.kind] = max(known.get(fired.kind, 0), fired.seen)
    return known


def _wake_at(spec: ScheduleSpec, timing: Timing, done: Plan, now: datetime, signals: Signals) -> datetime | None:
    """When something is due next; None where nothing is."""
    moments = [item.due for item in done.waiting if item.due > now]
    if done.blocked:
        deadline = timedelta(seconds=spec.starting_deadline_seconds + 1)
        moments += [item.due + deadline for item in done.waiting]
    cron = timing.cron()
    if done.next_time is not None and cron is not None:
        moments.append(times.due(cron, done.next_time, spec.jitter_seconds, signals.uid))
    if signals.check_at is not None and not spec.suspend:
        moments.append(signals.check_at)
    return min(moments, default=None)


def _fired_name(schedule: str, fired: Fired) -> str:
    return child_name(schedule, fired.kind[0].lower(), f"{fired.seen}:{fired.value}")


def child_name(schedule: str, letter: str, what: str) -> str:
    """Name of a run that no time has started: the same for the same cause."""
    return f"{schedule}-{letter}{hashlib.sha256(what.encode()).hexdigest()[:8]}"
