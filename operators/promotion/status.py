"""The status of a StudentPromotion: a pure fold over what was seen and decided, and back into a memory.

Versions are written as v7 here and in the columns, and as 7 everywhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from operators.promotion.facts import NONE, Entry, Facts, Memory, Pending
from operators.promotion.judge import Standing
from operators.promotion.moves import rollback_refusal
from operators.promotion.situation import Situation
from operators.resources import Body, set_condition

Told = tuple[bool | None, str, str]
"""A condition: holds (None: unknown), reason, message."""
APPROVAL_REFUSED = ("Malformed", "NoSuchVersion", "OtherVersion", "OtherEvidence")


def shown(version: str) -> str:
    return version if version == NONE else f"v{version}"


def _number(text: str) -> str:
    return text.removeprefix("v")


def remember(status: Body) -> Memory:
    """What the resource remembers, out of its own status."""
    expected, previous = status.get("expectedChampion"), status.get("previousChampion")
    pending = status.get("pending")
    return Memory(
        expected=_number(expected) if expected else None,
        previous=_number(previous) if previous else None,
        since=status.get("stabilizingSince"),
        failures=int(status.get("failures") or 0),
        probe=status.get("lastProbe"),
        pending=_pending(pending) if pending else None,
        history=tuple(_entry(row) for row in status.get("history") or ()),
    )


def _pending(row: Mapping[str, Any]) -> Pending:
    versions = {name: _number(row[name]) for name in ("version", "over")}
    return Pending(**{**row, **versions, "rejects": tuple(_number(item) for item in row["rejects"])})


def _entry(row: Mapping[str, Any]) -> Entry:
    return Entry(**{**row, "version": _number(row["version"])})


def fold(it: Situation, found: Standing, body: Body) -> dict[str, Any]:
    """The status after a look. ``it`` holds the new memory; ``found`` is the challenger's standing."""
    memory, generation = it.memory, int(body["metadata"].get("generation") or 0)
    conditions = list((body.get("status") or {}).get("conditions") or [])
    for kind, (holds, reason, message) in _conditions(it, found).items():
        conditions = set_condition(conditions, kind, holds, reason, message, now=it.now, generation=generation)
    status: dict[str, Any] = {
        "observedGeneration": generation,
        "phase": phase(it, found),
        "conditions": conditions,
        "champion": None if it.facts.champion == NONE else shown(it.facts.champion),
        "challenger": shown(found.version) if found.version else None,
        "verdict": found.ruling.verdict if found.ruling else None,
        "evidence": _evidence(it.facts, found),
        "approval": found.text,
        "expectedChampion": shown(memory.expected) if memory.expected else None,
        "previousChampion": shown(memory.previous) if memory.previous else None,
        "stabilizingSince": memory.since,
        "failures": memory.failures if memory.since else None,
        "lastProbe": dict(memory.probe) if memory.probe else None,
        "pending": _pending_row(memory.pending) if memory.pending else None,
        "history": [_entry_row(entry) for entry in memory.history[-it.spec.history_limit :]],
    }
    return {key: value for key, value in status.items() if value is not None}


def _evidence(facts: Facts, found: Standing) -> dict[str, str] | None:
    version = facts.versions.get(found.version or NONE)
    return {"short": version.evidence[:12], "sha256": version.evidence} if version and version.evidence else None


def _pending_row(move: Pending) -> dict[str, Any]:
    row = {**vars(move), "version": shown(move.version), "over": shown(move.over)}
    return {**row, "rejects": [shown(item) for item in move.rejects]}


def _entry_row(entry: Entry) -> dict[str, Any]:
    return {**vars(entry), "version": shown(entry.version)}


def phase(it: Situation, found: Standing) -> str:
    """Where the resource stands, in one word."""
    move, memory = it.memory.pending, it.memory
    if move is not None and move.action != "Repair" and memory.since is None:
        return "Promoting"
    if memory.since is not None:
        return "Stabilizing"
    if rollback_refusal(it) or found.reason in ("Malformed", "NoSuchVersion"):
        return "Invalid"
    if found.ruling is not None and not found.ruling.passed:
        return "RolledBack" if found.ruling.reason == "RolledBack" else "Rejected"
    if found.reason in ("Waiting", "OtherVersion", "OtherEvidence"):
        return "AwaitingApproval"
    if memory.history and memory.history[-1].action == "RolledBack":
        return "RolledBack"
    return "Idle" if it.facts.champion == NONE else "Stable"


def _conditions(it: Situation, found: Standing) -> dict[str, Told]:
    ruling = found.ruling
    nobody: Told = (None, "NoChallenger", "no version waits for promotion")
    return {
        "VersionFound": _version_found(it, found),
        "GatePassed": (ruling.passed, ruling.reason, ruling.message) if ruling else nobody,
        "Approved": (found.eligible, found.reason, found.message) if found.reason != "NoChallenger" else nobody,
        "Stable": _stable(it),
        "Drifted": _drifted(it),
        "Conflict": (False, "Alone", "no other StudentPromotion names this student"),
        "Ready": _ready(it, found),
    }


def _version_found(it: Situation, found: Standing) -> Told:
    if not it.facts.exists:
        words = f"no registered model {it.spec.student} in MLflow; the first run of its recipe makes it"
        return False, "ModelNotFound", words
    if found.approval_missing:
        return False, "NoSuchVersion", found.message
    expected = it.memory.expected
    if expected is not None and not it.facts.there(expected):
        words = f"{shown(expected)}, the expected champion, is no longer in the registry; roll back to another version"
        return False, "ChampionGone", words
    return True, "Found", "what is named is in the registry"


def _stable(it: Situation) -> Told:
    memory, rules = it.memory, it.spec.stabilization
    if memory.pending is not None and memory.pending.action == "RollBack":
        return False, "RollingBack", memory.pending.reason
    if memory.since is not None:
        if rules is not None and memory.failures >= rules.failure_threshold:
            why = (
                "rollback.automatic is false" if not it.spec.rollback.automatic else "there is no version to go back to"
            )
            words = f"{memory.failures} probes in a row failed, and {why}: {(memory.probe or {}).get('message', '')}"
            return False, "ProbeFailing", words
        return False, "Stabilizing", f"on trial since {memory.since}, {memory.failures} failed probes in a row"
    if _moved(it):
        return None, "Drifted", "the champion is not the expected one"
    if it.facts.champion == NONE:
        return None, "NoChampion", "there is no champion"
    return True, "NoTrial", "no trial is running"


def _moved(it: Situation) -> bool:
    return it.memory.expected is not None and it.facts.exists and it.facts.champion != it.memory.expected


def _drifted(it: Situation) -> Told:
    if not _moved(it):
        return False, "InPlace", "the alias champion is where it was put"
    expected = it.memory.expected or NONE
    words = f"the alias champion is on {shown(it.facts.champion)}, expected is {shown(expected)}"
    if it.spec.suspend:
        return True, "Moved", words
    how = "repairing" if it.memory.pending else f"to keep it: stillhouse rollback {it.spec.student} --to VERSION"
    return True, "Moved", f"{words}; {how}"


def _ready(it: Situation, found: Standing) -> Told:
    refused = rollback_refusal(it)
    stable, drifted = _stable(it), _drifted(it)
    cases: tuple[tuple[bool, str, str], ...] = (
        (it.spec.suspend, "Suspended", "suspend is true: nothing is moved"),
        (not it.facts.exists, "ModelNotFound", _version_found(it, found)[2]),
        (it.memory.pending is not None, "Moving", it.memory.pending.reason if it.memory.pending else ""),
        (bool(refused), "RollbackRefused", refused),
        (bool(drifted[0]), "Drifted", drifted[2]),
        (it.memory.since is not None, stable[1], stable[2]),
        (found.reason in APPROVAL_REFUSED, "ApprovalRefused", found.message),
    )
    for holds, reason, message in cases:
        if holds:
            return False, reason, message
    champion = it.facts.champion
    return True, "AsWanted", "there is no champion yet" if champion == NONE else f"{shown(champion)} is champion"
