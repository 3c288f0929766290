"""What people are told: the events that follow from one status to the next. Pure.

An event says what has changed; a status that is written again unchanged says nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from operators.promotion.status import APPROVAL_REFUSED
from operators.resources import Body, condition


class Event(NamedTuple):
    """A Kubernetes event to be."""

    reason: str
    message: str
    warning: bool = False


_WORDS = {
    "Promoted": "{version} is champion: {reason}",
    "Stable": "{version} is stable: {reason}",
    "RolledBack": "back to {version}: {reason}",
    "Repaired": "the alias champion is back on {version}: {reason}",
    "Adopted": "{version} is taken as champion: {reason}",
}
_WARNINGS = ("RolledBack", "Repaired")
_CONDITIONS: tuple[tuple[str, tuple[str, ...], str, bool], ...] = (
    ("VersionFound", ("ModelNotFound", "ChampionGone"), "VersionNotFound", True),
    ("Approved", APPROVAL_REFUSED, "ApprovalRefused", True),
    ("Approved", ("Stale", "Spent"), "NotPromotable", True),
    ("Approved", ("Waiting",), "AwaitingApproval", False),
    ("GatePassed", ("TagsOnly",), "EvidenceUnreadable", True),
    ("Ready", ("RollbackRefused",), "RollbackRefused", True),
    ("Drifted", ("Moved",), "Drifted", True),
    ("Stable", ("ProbeFailing",), "ProbeFailing", True),
    ("Conflict", ("OlderExists",), "Conflict", True),
)
"""Condition, its reasons, the event's reason, whether it warns. Refusals of the gate are told by their own reason."""
_GATE = (
    "Rejected", "NoEvidence", "EvidenceGone", "EvidenceUnreadable", "EvidenceChanged", "GateFailed", "OtherStudent",
    "CheckMissing", "TooOld",
)  # fmt: skip


def new_entries(before: Body, after: Body) -> list[dict[str, Any]]:
    """Lines of the history that were not there before."""
    old = list(before.get("history") or ())
    return [dict(row) for row in after.get("history") or () if row not in old]


def events(before: Body, after: Body) -> Iterator[Event]:
    """What to tell about the step from one status to the next."""
    for row in new_entries(before, after):
        yield Event(row["action"], _WORDS[row["action"]].format(**row), row["action"] in _WARNINGS)
    for kind, reasons, name, warning in (*_CONDITIONS, ("GatePassed", _GATE, "NotPromotable", True)):
        old = condition(before.get("conditions") or (), kind) or {}
        new = condition(after.get("conditions") or (), kind) or {}
        if new.get("reason") not in reasons:
            continue
        # What changes within the same reason (a count, a version) is news only where people must act on it.
        same = old.get("reason") == new["reason"] and (old.get("message") == new["message"] or kind == "Stable")
        if not same:
            yield Event(name, new["message"], warning)
