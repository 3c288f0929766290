"""Moves that were begun: finished if all still holds, else dropped. Pure.

Each is finished from wherever a crash has left it: the alias may have moved already, tags may be set or not.
"""

from __future__ import annotations

from dataclasses import replace

from operators.promotion.facts import (
    APPROVED,
    NONE,
    REJECTED,
    ROLLED_BACK_TAG,
    STATUS_TAG,
    Entry,
    Pending,
    Write,
    uri,
)
from operators.promotion.judge import standing
from operators.promotion.situation import NOW, Decision, Situation, crowned, mark, replaced, settled


def finish(it: Situation, move: Pending) -> Decision:
    """The writes that complete ``move`` and the memory that it leaves, or the memory without it."""
    if move.action == "Promote":
        return _promotion(it, move)
    return _rollback(it, move) if move.action == "RollBack" else _repair(it, move)


def restorable(it: Situation, version: str) -> bool:
    """Whether a champion may be put back: it exists and is not rejected, or is none."""
    return version == NONE or (version in it.facts.versions and it.facts.versions[version].validation != REJECTED)


def rollback_refusal(it: Situation) -> str:
    """Why the rollback that is asked for is not made; empty where it is, or none is asked for."""
    target = it.ask.rollback_target
    if it.ask.rollback is None:
        return ""
    if not target:
        return f"stillhouse.dev/rollback: {it.ask.rollback[:40]!r} is neither a version's number nor none"
    if target == NONE:
        return ""
    version = it.facts.versions.get(target)
    if version is None:
        return f"cannot roll back to v{target}: there is no such version in the registry"
    if version.validation == REJECTED:
        return f"cannot roll back to v{target}: it is rejected (tag {STATUS_TAG} in MLflow)"
    known = {it.memory.previous, it.memory.expected, *(entry.version for entry in it.memory.history)}
    if target not in known and version.validation != APPROVED and version.promoted_over is None:
        return f"cannot roll back to v{target}: it was never champion; promote it by approval"
    return ""


def rollback_wanted(it: Situation) -> bool:
    """Whether a rollback is asked for that may be made."""
    return it.ask.rollback is not None and not rollback_refusal(it)


def _promotion(it: Situation, move: Pending) -> Decision:
    """Make the alias follow, if all still holds; or see that it has."""
    champion, version = it.facts.champion, it.facts.versions.get(move.version)
    if champion != move.version:
        found = standing(it.spec, it.facts, it.ask, it.now)
        same = found.eligible and found.version == move.version and version and version.evidence == move.evidence
        if champion != move.over or not same or rollback_wanted(it):
            return _dropped(it)
    if version is None:
        return _dropped(it)
    writes: tuple[Write, ...] = ()
    if version.validation not in (APPROVED, REJECTED):
        writes += (Write("tag", move.version, STATUS_TAG, APPROVED),)
    if champion != move.version:
        writes += (Write("alias", move.version),)
    writes += mark(version, uri(it.spec.student, move.over))
    entry = Entry(
        version=move.version, action="Promoted", at=it.at, by=move.by, reason=move.reason, evidence=move.evidence
    )
    memory = crowned(it, move.version, move.over, entry)
    return Decision(memory=memory, writes=writes, again_s=NOW)


def _rollback(it: Situation, move: Pending) -> Decision:
    if it.facts.champion not in (move.over, move.version) or not it.facts.there(move.version):
        return _dropped(it)
    writes = _to(it, move.version)
    for number in move.rejects:
        if number in it.facts.versions:
            writes += (Write("tag", number, ROLLED_BACK_TAG, move.reason), Write("tag", number, STATUS_TAG, REJECTED))
    entry = Entry(version=move.version, action="RolledBack", at=it.at, by=move.by, reason=move.reason)
    version = it.facts.versions.get(move.version)
    previous = replaced(it.spec.student, version) if version else None
    memory = settled(it.memory, move.version, previous, entry)
    return Decision(memory=memory, writes=writes, again_s=NOW)


def _repair(it: Situation, move: Pending) -> Decision:
    if it.facts.champion not in (move.over, move.version) or not restorable(it, move.version):
        return _dropped(it)
    if rollback_wanted(it):
        return _dropped(it)
    entry = Entry(version=move.version, action="Repaired", at=it.at, by=move.by, reason=move.reason)
    memory = replace(it.memory, pending=None, history=(*it.memory.history, entry))
    return Decision(memory=memory, writes=_to(it, move.version), again_s=NOW)


def _to(it: Situation, version: str) -> tuple[Write, ...]:
    if it.facts.champion == version:
        return ()
    return (Write("drop"),) if version == NONE else (Write("alias", version),)


def _dropped(it: Situation) -> Decision:
    """The world has changed since the move was decided: forget it and decide anew."""
    return Decision(memory=replace(it.memory, pending=None), again_s=NOW)
