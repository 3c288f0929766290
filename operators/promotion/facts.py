"""What MLflow said about a student, and what people asked for, as plain data. Decides nothing.

A version is its number as text; "none" stands for no version where a champion is meant.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

NONE = "none"
CHAMPION, CHALLENGER = "champion", "challenger"
STATUS_TAG = "validation_status"
APPROVED, REJECTED = "approved", "rejected"
EVIDENCE_TAG = "stillhouse.gate.evidence_sha256"
LINEAGE_TAG = "stillhouse.lineage"
PROMOTED_TAG = "stillhouse.promoted_over"
ROLLED_BACK_TAG = "stillhouse.rolled_back"
UNTRAINED = "the untrained student"
"""These names are those of ``stillhouse.registry``, which is too heavy to import here; a test compares them."""
UNKNOWN = "unknown"
"""``PROMOTED_TAG`` of a champion that was found, not made: nobody knows whom it replaced."""

_APPROVAL = re.compile(r"(?P<version>[1-9][0-9]{0,9}):(?P<sha256>[0-9a-f]{64})")
_TARGET = re.compile(r"[1-9][0-9]{0,9}|none")


def uri(student: str, version: str) -> str:
    """How the gate writes whom a student was judged against."""
    return UNTRAINED if version == NONE else f"models:/{student}/{version}"


@dataclass(frozen=True)
class Write:
    """One idempotent change in the registry: ``tag`` a version, set ``alias`` champion, or ``drop`` it."""

    kind: Literal["tag", "alias", "drop"]
    version: str = ""
    key: str = ""
    value: str = ""


@dataclass(frozen=True, kw_only=True)
class Version:
    """A model version. ``told_*`` is what its lineage tag says about the gate, empty where it carries none."""

    version: str
    run_id: str = ""
    created_s: float = 0.0
    validation: str = ""
    evidence: str = ""
    promoted_over: str | None = None
    rolled_back: str = ""
    told_verdict: str = ""
    told_against: str = ""
    told_evidence: str = ""

    def tagged(self, key: str, value: str) -> Version:
        """The version with one of our tags set."""
        names = {STATUS_TAG: "validation", PROMOTED_TAG: "promoted_over", ROLLED_BACK_TAG: "rolled_back"}
        changes: dict[str, Any] = {names[key]: value}
        return replace(self, **changes)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """``evidence.json`` of a version's run: ``read``, ``gone``, or ``unreadable`` through this MLflow."""

    state: Literal["read", "gone", "unreadable"]
    why: str = ""
    sha256: str = ""
    verdict: str = ""
    against: str = ""
    name: str = ""
    checks: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Facts:
    """A student in the registry: its aliases, and the versions and evidence that were asked for and exist."""

    exists: bool = True
    champion: str = NONE
    challenger: str = NONE
    versions: Mapping[str, Version] = field(default_factory=dict)
    evidence: Mapping[str, Evidence] = field(default_factory=dict)

    def after(self, writes: Iterable[Write]) -> Facts:
        """What the registry says once ``writes`` are made."""
        champion, versions = self.champion, dict(self.versions)
        for write in writes:
            if write.kind == "tag":
                versions[write.version] = versions[write.version].tagged(write.key, write.value)
            else:
                champion = write.version if write.kind == "alias" else NONE
        return replace(self, champion=champion, versions=versions)

    def there(self, version: str) -> bool:
        """Whether a champion may be set to ``version``: it exists, or is none."""
        return version == NONE or version in self.versions


@dataclass(frozen=True)
class Approval:
    """An approval annotation; without a version it says nothing that could be understood."""

    version: str = ""
    sha256: str = ""


@dataclass(frozen=True, kw_only=True)
class Ask:
    """What people ask for by annotation. ``rollback`` is the text as given, valid or not."""

    approval: Approval | None = None
    rollback: str | None = None

    @property
    def rollback_target(self) -> str:
        """The version asked for; empty where the text names none."""
        text = (self.rollback or "").strip().removeprefix("v")
        return text if _TARGET.fullmatch(text) else ""


def ask(approve: str | None, rollback: str | None) -> Ask:
    """What the annotations ``stillhouse.dev/approve`` and ``stillhouse.dev/rollback`` ask for."""
    approval = None
    if approve is not None:
        found = _APPROVAL.fullmatch(approve.strip())
        approval = Approval(found["version"], found["sha256"]) if found else Approval()
    return Ask(approval=approval, rollback=rollback)


@dataclass(frozen=True, kw_only=True)
class Pending:
    """A move that is decided and being made; see ``PendingMove`` in the CRD."""

    action: Literal["Promote", "RollBack", "Repair"]
    version: str
    over: str
    by: str
    reason: str
    at: str
    evidence: str = ""
    rejects: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A line of the history."""

    version: str
    action: str
    at: str
    by: str
    reason: str
    evidence: str = ""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What a resource remembers from look to look: nothing but what its own status says.

    ``expected`` is None before the first look, ``previous`` None where nobody knows whom a rollback restores.
    """

    expected: str | None = None
    previous: str | None = None
    since: str | None = None
    failures: int = 0
    probe: Mapping[str, Any] | None = None
    pending: Pending | None = None
    history: tuple[Entry, ...] = ()
