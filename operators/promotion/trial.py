"""The trial of a new champion: when to probe, when to give up, when it is stable. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from operators.crds.promotion import Stabilization
from operators.promotion.facts import NONE, Entry, Facts, Pending
from operators.promotion.situation import NOW, Answer, Decision, Situation, without_trial
from operators.resources import moment


def trial(it: Situation) -> Decision | None:
    """The next step of a running trial; None where none runs."""
    since, rules = it.memory.since, it.spec.stabilization
    if since is None:
        return None
    if rules is None:
        return _stable(it, "the trial was taken out of the spec")
    ends = moment(since) + timedelta(seconds=rules.window_seconds)
    if rules.probe is None:
        left = (ends - it.now).total_seconds()
        return (
            _stable(it, f"{rules.window_seconds} s have passed")
            if left <= 0
            else Decision(memory=it.memory, again_s=left)
        )
    wait = _next_probe_s(it, rules)
    if wait > 0:
        return Decision(memory=it.memory, again_s=wait)
    if it.answer is None:
        return Decision(memory=it.memory, probe=True)
    return _answered(it, rules, it.answer, ends)


def _next_probe_s(it: Situation, rules: Stabilization) -> float:
    last = it.memory.probe
    due = moment(it.memory.since or it.at) + timedelta(seconds=rules.initial_delay_seconds)
    if last is not None:
        due = moment(str(last["at"])) + timedelta(seconds=rules.period_seconds)
    return (due - it.now).total_seconds()


def _answered(it: Situation, rules: Stabilization, answer: Answer, ends: datetime) -> Decision:
    probe = {"at": it.at, "passed": answer.passed, "message": answer.message}
    failures = 0 if answer.passed else it.memory.failures + 1
    memory = replace(it.memory, probe=probe, failures=failures)
    it = replace(it, memory=memory)
    if answer.passed and it.now >= ends:
        return _stable(it, f"{rules.window_seconds} s have passed, and the last probe did too")
    previous = memory.previous
    if failures < rules.failure_threshold or not it.spec.rollback.automatic or not _can_return(it.facts, previous):
        return Decision(memory=memory, again_s=float(rules.period_seconds))
    champion = it.facts.champion
    reason = f"{failures} probes in a row failed: {answer.message}"[:500]
    return it.began(
        Pending(
            action="RollBack", version=previous or NONE, over=champion, by="probe", reason=reason, at=it.at,
            rejects=(champion,),
        )
    )  # fmt: skip


def _can_return(facts: Facts, previous: str | None) -> bool:
    return previous is not None and facts.there(previous)


def _stable(it: Situation, reason: str) -> Decision:
    champion = it.facts.champion
    entry = Entry(version=champion, action="Stable", at=it.at, by="operator", reason=reason)
    memory = without_trial(it.memory)
    return Decision(memory=replace(memory, history=(*memory.history, entry)), again_s=NOW)
