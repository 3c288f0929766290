"""What a schedule decides, given what there is: a table of situations. Nothing but ``plan`` runs here."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from operators.crds.schedule import ScheduleSpec
from operators.schedule.handlers import edited
from operators.schedule.history import Child
from operators.schedule.plan import Fired, Plan, Signals, child_name, plan
from operators.schedule.signals import see
from operators.schedule.times import Timing, Waiting, due, minutes

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
MADE = NOON - timedelta(days=3)
SIGNALS = Signals("s", "uid-1", MADE)


def _at(hour: int, minute: int = 0, second: int = 0) -> datetime:
    return NOON.replace(hour=hour, minute=minute, second=second)


def _name(time: datetime) -> str:
    return f"s-{minutes(time)}"


def _plan(
    now: datetime, children: tuple[Child, ...] = (), status: dict[str, Any] | None = None,
    signals: Signals = SIGNALS, **spec: Any,
) -> Plan:  # fmt: skip
    fields = {"recipe": {"name": "r"}, "schedule": "0 * * * *", "skipIfUnchanged": False, **spec}
    remembered = {
        "decidedThrough": "2026-03-02T11:00:00Z",
        "observedTiming": Timing.of(fields).plain(),
        **(status or {}),
    }
    return plan(ScheduleSpec.model_validate(fields), remembered, children, now, signals)


def _started(done: Plan) -> list[str]:
    return [made.name for made in done.create]


RUNNING = Child("s-old", _at(11), "Running", _at(11))
OVER = Child("s-old", _at(11), "Succeeded", _at(11), completed=_at(11, 30), digest="d1")


def test_a_time_starts_one_run_named_after_it_and_the_next_one_is_announced() -> None:
    done = _plan(_at(12, 0, 2))
    assert _started(done) == [_name(NOON)]
    assert (done.decided, done.next_time, done.wake_at) == (NOON, _at(13), _at(13))
    assert (done.waiting, done.missed, done.blocked) == ((), 0, "")


def test_nothing_is_due_between_two_times() -> None:
    done = _plan(_at(11, 59, 59))
    assert (done.create, done.wake_at, done.decided) == ((), NOON, _at(11))


def test_a_new_schedule_starts_nothing_for_the_time_before_it_was_made() -> None:
    fields = {"recipe": {"name": "r"}, "schedule": "0 * * * *"}
    done = plan(ScheduleSpec.model_validate(fields), {}, (), _at(12, 30), replace(SIGNALS, created=_at(12, 30)))
    assert (done.create, done.missed, done.next_time) == ((), 0, _at(13))


def test_a_run_that_is_there_is_not_started_again_though_the_status_was_lost() -> None:
    there = Child(_name(NOON), NOON, "Succeeded", NOON, completed=_at(12, 1))
    assert _plan(_at(12, 5), (there,)).create == ()
    assert _plan(_at(12, 5), (there,), {"waiting": [Waiting(NOON, NOON).plain()]}).create == ()


@pytest.mark.parametrize(
    ("spec", "hours", "missed"),
    [
        ({}, [12], 3),
        ({"startingDeadlineSeconds": 7200}, [12], 3),
        ({"startingDeadlineSeconds": 7200, "catchUp": True}, [11, 12], 2),
        ({"startingDeadlineSeconds": 86_400, "catchUp": True, "concurrencyPolicy": "Allow"}, [9, 10, 11, 12], 0),
        ({"startingDeadlineSeconds": 86_400, "catchUp": True, "maxCatchUp": 2}, [11, 12], 2),
        ({"startingDeadlineSeconds": 60, "catchUp": True}, [], 4),
    ],
)
def test_after_hours_of_silence_only_what_was_asked_for_is_made_up(
    spec: dict[str, Any], hours: list[int], missed: int
) -> None:
    # The last look was at 08:00; four times have passed.
    status = {"decidedThrough": "2026-03-02T08:00:00Z"}
    done = _plan(_at(12, 30), status=status, **{"concurrencyPolicy": "Allow", **spec})
    assert _started(done) == [_name(_at(hour)) for hour in hours]
    assert done.missed == missed


@pytest.mark.parametrize(
    ("policy", "started", "cancelled", "blocked", "waits"),
    [
        ("Allow", [_name(NOON)], (), "", 0),
        ("Forbid", [], (), "Concurrency", 1),
        ("Replace", [_name(NOON)], ("s-old",), "", 0),
    ],
)
def test_a_run_that_goes_on_is_joined_waited_for_or_replaced(
    policy: str, started: list[str], cancelled: tuple[str, ...], blocked: str, waits: int
) -> None:
    done = _plan(_at(12, 1), (RUNNING,), concurrencyPolicy=policy)
    assert (_started(done), done.cancel, done.blocked, len(done.waiting)) == (started, cancelled, blocked, waits)


def test_a_time_that_waits_for_another_run_starts_when_that_ends_and_is_missed_after_its_deadline() -> None:
    waits = {"decidedThrough": "2026-03-02T12:00:00Z", "waiting": [Waiting(NOON, NOON).plain()]}
    assert _started(_plan(_at(12, 40), (OVER,), waits)) == [_name(NOON)]
    late = _plan(_at(13, 0, 1), (RUNNING,), waits)
    assert (late.create, late.missed, [item.time for item in late.waiting]) == ((), 1, [_at(13)])


def test_what_waits_survives_an_edit_and_not_a_suspension() -> None:
    waits = {"decidedThrough": "2026-03-02T12:00:00Z", "waiting": [Waiting(NOON, _at(12, 10)).plain()],
             "observedTiming": Timing("0 * * * *", "Etc/UTC").plain()}  # fmt: skip
    edited = replace(SIGNALS, edited=_at(12, 5))
    assert _started(_plan(_at(12, 10), (), waits, edited, schedule="0 3 * * *")) == [_name(NOON)]
    stopped = _plan(_at(12, 10), (), waits, edited, suspend=True)
    assert (stopped.create, stopped.waiting, stopped.missed, stopped.next_time) == ((), (), 1, None)


@pytest.mark.parametrize(
    ("old", "new", "edited", "now", "started"),
    [
        # An edit changes only the future: 12:00 has passed under the old expression.
        ("0 3 * * *", "0 12 * * *", _at(12, 20), _at(12, 21), []),
        ("0 3 * * *", "0 12 * * *", _at(11, 50), _at(12, 1), [NOON]),
        # The old expression's time had come up before the edit, and nobody had looked.
        ("0 12 * * *", "0 3 * * *", _at(12, 20), _at(12, 21), [NOON]),
        ("0 12 * * *", "0 3 * * *", _at(11, 50), _at(12, 21), []),
        # Where the API server does not say when, the edit is as old as this look.
        ("0 12 * * *", "0 3 * * *", None, _at(12, 21), [NOON]),
        ("0 3 * * *", "0 12 * * *", None, _at(12, 21), []),
        # One that cannot be read has no times, before and after.
        ("61 * * * *", "0 12 * * *", _at(11, 50), _at(12, 1), [NOON]),
        ("0 12 * * *", "61 * * * *", _at(12, 1), _at(12, 1), [NOON]),
    ],
)
def test_an_edit_changes_the_future_only(
    old: str, new: str, edited: datetime | None, now: datetime, started: list[datetime]
) -> None:
    status = {"observedTiming": Timing(old, "Etc/UTC").plain()}
    done = _plan(now, (), status, replace(SIGNALS, edited=edited), schedule=new)
    assert _started(done) == [_name(time) for time in started]


def test_another_time_zone_is_an_edit_like_any_other() -> None:
    status = {"observedTiming": Timing("0 13 * * *", "Etc/UTC").plain()}
    edited = replace(SIGNALS, edited=_at(11, 30))
    done = _plan(_at(12, 0, 5), (), status, edited, schedule="0 13 * * *", timeZone="Europe/Berlin")
    assert _started(done) == [_name(NOON)]


def test_times_that_pass_in_suspension_are_gone_when_it_ends() -> None:
    status = {"decidedThrough": "2026-03-02T08:00:00Z", "observedTiming": Timing("0 * * * *", suspend=True).plain()}
    done = _plan(_at(12, 0, 30), (), status, replace(SIGNALS, edited=_at(11, 30)), startingDeadlineSeconds=86_400)
    assert (_started(done), done.missed) == ([_name(NOON)], 0)


def test_jitter_is_the_same_at_every_look_and_leaves_room_for_the_next_time() -> None:
    cron = Timing("*/10 * * * *", "Etc/UTC").cron()
    assert cron is not None
    moments = [NOON + timedelta(minutes=10 * index) for index in range(200)]
    delays = [(due(cron, time, 900, "uid-1") - time).total_seconds() for time in moments]
    assert delays == [(due(cron, time, 900, "uid-1") - time).total_seconds() for time in moments]
    assert 0 <= min(delays) < 30
    assert 270 < max(delays) <= 300
    assert delays != [(due(cron, time, 900, "uid-2") - time).total_seconds() for time in moments]


def test_a_run_with_jitter_waits_for_it_and_is_looked_at_then() -> None:
    cron = Timing("0 * * * *", "Etc/UTC").cron()
    assert cron is not None
    start = due(cron, NOON, 1200, "uid-1")
    before = _plan(start - timedelta(seconds=1), jitterSeconds=1200)
    assert (before.create, before.wake_at, before.missed) == ((), start, 0)
    assert _started(_plan(start, jitterSeconds=1200)) == [_name(NOON)]


def test_nothing_starts_without_a_recipe_and_all_is_still_there_when_it_comes() -> None:
    done = _plan(_at(12, 5), signals=replace(SIGNALS, recipe_ok=False))
    assert (done.create, done.blocked, len(done.waiting)) == ((), "Recipe", 1)
    assert done.wake_at == _at(13)


@pytest.mark.parametrize(("digest", "started", "unchanged"), [("d1", False, 1), ("d2", True, 0), (None, True, 0)])
def test_what_is_unchanged_since_the_last_success_is_skipped(digest: str | None, started: bool, unchanged: int) -> None:
    first = _plan(_at(12, 1), (OVER,), skipIfUnchanged=True)
    assert (first.needs_digest, first.create) == (True, ())
    known = replace(SIGNALS, digest=digest, digest_asked=True)
    done = _plan(_at(12, 1), (OVER,), signals=known, skipIfUnchanged=True)
    assert (bool(done.create), done.unchanged, done.waiting) == (started, unchanged, ())
    # The success itself may be long gone; what it ran on is remembered.
    remembered = {"lastSuccessfulTime": "2026-03-01T00:00:00Z", "lastDigest": "d1"}
    assert bool(_plan(_at(12, 1), (), remembered, known, skipIfUnchanged=True).create) is started


def test_a_failed_run_is_no_reason_to_skip() -> None:
    failed = replace(OVER, phase="Failed")
    known = replace(SIGNALS, digest="d1", digest_asked=True)
    assert _started(_plan(_at(12, 1), (failed,), signals=known, skipIfUnchanged=True)) == [_name(NOON)]


@pytest.mark.parametrize("spec", [{}, {"suspend": True}, {"skipIfUnchanged": True}, {"schedule": ""}])
def test_run_now_starts_one_run_for_each_value_suspended_or_not(spec: dict[str, Any]) -> None:
    asked = replace(SIGNALS, run_now="please", digest="d1", digest_asked=True)
    name = child_name("s", "m", "please")
    done = _plan(_at(11, 30), (OVER,), signals=asked, **spec)
    assert (_started(done), done.run_now) == ([name], "please")
    again = _plan(_at(11, 31), (OVER, Child(name, _at(11, 30), "Running")), signals=asked, **spec)
    assert (again.create, again.run_now) == ((), "please")
    assert _plan(_at(11, 31), (OVER,), {"lastRunNow": "please"}, asked, **spec).create == ()


def test_a_trigger_starts_one_run_for_each_change() -> None:
    fired = replace(SIGNALS, fired=(Fired("Data", 3, "abc"),))
    done = _plan(_at(11, 30), (OVER,), signals=fired)
    assert [made.started_by for made in done.create] == ["Data"]
    assert done.started == {"Data": 3}
    assert _plan(_at(11, 31), (OVER, Child(_started(done)[0], _at(11, 30), "Running")), signals=fired).create == ()
    handled = {"triggers": {"data": {"seen": 3, "started": 3}}}
    assert _plan(_at(11, 31), (OVER,), handled, fired).create == ()
    other = replace(SIGNALS, fired=(Fired("Data", 4, "abc"),))
    assert _started(_plan(_at(11, 31), (OVER,), handled, other)) != _started(done)


def test_a_change_that_comes_back_is_a_change_each_time() -> None:
    state = see({}, "data", "one", NOON)
    assert (state["seen"], state["started"]) == (0, 0)
    assert see(state, "data", "one", NOON)["seen"] == 0
    state = see(see(state, "data", "two", NOON), "data", "one", NOON)
    assert (state["seen"], state["started"]) == (2, 0)
    elsewhere = see(state, "other data", "three", NOON)
    assert (elsewhere["seen"], elsewhere["started"]) == (2, 2)


def test_one_run_at_a_time_and_the_rest_waits_its_turn() -> None:
    both = replace(SIGNALS, run_now="v", fired=(Fired("Teacher", 1, "x"),))
    done = _plan(_at(12, 1), (OVER,), signals=both)
    assert [made.started_by for made in done.create] == ["Manual"]
    assert (done.blocked, len(done.waiting), done.started) == ("Concurrency", 1, {})
    one = _plan(_at(12, 1), (RUNNING,), signals=both, concurrencyPolicy="Replace")
    assert [made.started_by for made in one.create] == ["Time"]
    assert (one.cancel, one.waiting, one.started, one.run_now) == (("s-old",), (), {"Teacher": 1}, "v")


def test_history_keeps_the_newest_of_each_kind_and_never_a_running_one() -> None:
    children = tuple(
        Child(f"s-{index}", _at(1), phase, completed=None if phase == "Running" else _at(2, index))
        for index, phase in enumerate(["Succeeded", "Failed", "Succeeded", "TimedOut", "Running", "Succeeded"])
    )
    done = _plan(_at(11, 30), children, successfulRunsHistoryLimit=2, failedRunsHistoryLimit=1)
    assert set(done.delete) == {"s-0", "s-1"}
    gone = _plan(_at(11, 30), children, successfulRunsHistoryLimit=0, failedRunsHistoryLimit=0)
    assert set(gone.delete) == {"s-0", "s-1", "s-2", "s-3", "s-5"}


def test_no_times_means_no_next_look() -> None:
    done = _plan(_at(12, 1), schedule="", triggers={"dataEvery": "1h"})
    assert (done.create, done.next_time, done.wake_at) == ((), None, None)


def test_an_edit_is_as_old_as_the_api_server_says() -> None:
    def entry(hour: int, fields: dict[str, Any], **rest: str) -> dict[str, Any]:
        return {"time": f"2026-03-02T{hour:02d}:00:00Z", "fieldsV1": fields, **rest}

    fields = [
        entry(9, {"f:spec": {"f:schedule": {}, "f:recipe": {}}}),
        entry(10, {"f:spec": {"f:suspend": {}}}),
        entry(11, {"f:spec": {"f:recipe": {}}}),
        entry(12, {"f:metadata": {"f:annotations": {}}}),
        entry(13, {"f:status": {}, "f:spec": {"f:schedule": {}}}, subresource="status"),
    ]
    assert edited({"metadata": {"managedFields": fields}}) == _at(10)
    assert edited({"metadata": {}}) is None
