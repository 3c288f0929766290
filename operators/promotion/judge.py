"""May this version replace that champion? Pure. Knows the policy, not whether anybody asked.

Two questions: has it passed its gate, with the evidence that was judged (``rule``); and is it, as things are, approved
(``standing``).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from operators.crds.promotion import PromotionPolicy, PromotionSpec
from operators.promotion.facts import NONE, REJECTED, Approval, Ask, Evidence, Facts, Version, uri

_UNREAD = Evidence(state="unreadable", why="it was not read")


@dataclass(frozen=True)
class Ruling:
    """What the gate said about a version. ``against`` is whom it was judged against, empty where nobody knows."""

    passed: bool
    reason: str
    message: str
    verdict: str = "Unknown"
    against: str = ""


def rule(policy: PromotionPolicy, student: str, version: Version, evidence: Evidence | None, now: datetime) -> Ruling:
    """Whether ``version`` has passed its gate, by the evidence that its tag names, and fulfils the policy."""
    name, found = f"v{version.version}", evidence or _UNREAD
    if version.validation == REJECTED and version.rolled_back:
        return Ruling(False, "RolledBack", f"{name} was rolled back: {version.rolled_back}", "Failed")
    if version.validation == REJECTED:
        return Ruling(False, "Rejected", f"{name} is rejected (tag validation_status in MLflow)", "Failed")
    if not version.evidence:
        return Ruling(False, "NoEvidence", f"{name} carries no evidence hash; it was not judged by a gate")
    if found.state == "gone":
        return Ruling(False, "EvidenceGone", f"{name}: {found.why}; register the student again")
    if found.state == "unreadable":
        return _by_tags(policy, version, found, now)
    if found.sha256 != version.evidence:
        words = f"{name}: evidence.json has sha256 {found.sha256[:12]}…, its tag says {version.evidence[:12]}…"
        return Ruling(False, "EvidenceChanged", f"{words}; somebody changed one of them, register the student again")
    verdict = "Passed" if found.verdict == "passed" else "Failed"
    if verdict == "Failed":
        return Ruling(False, "GateFailed", f"{name} failed its gate, as its evidence says", verdict, found.against)
    if found.name != student:
        return Ruling(False, "OtherStudent", f"{name}: its evidence is of {found.name or 'no student'}", verdict)
    return _by_policy(policy, version, found, now)


def _by_policy(policy: PromotionPolicy, version: Version, found: Evidence, now: datetime) -> Ruling:
    name = f"v{version.version}"
    missing = sorted(set(policy.require_checks) - found.checks)
    if missing:
        words = f"{name}: its gate made no check of kind {', '.join(missing)}, which the policy requires"
        return Ruling(False, "CheckMissing", words, "Passed", found.against)
    if _too_old(policy, version, now):
        return _old_age(policy, name, found.against)
    return Ruling(True, "EvidenceMatches", f"{name} passed its gate against {found.against}", "Passed", found.against)


def _by_tags(policy: PromotionPolicy, version: Version, found: Evidence, now: datetime) -> Ruling:
    """Where the file cannot be read: the lineage that the version carries as a tag, bound to the same hash."""
    name = f"v{version.version}"
    words = f"{name}: evidence.json cannot be read through MLflow ({found.why})"
    if policy.evidence_file == "Required" or policy.require_checks:
        return Ruling(False, "EvidenceUnreadable", f"{words}, and the policy needs it")
    if version.told_evidence != version.evidence or version.told_verdict != "passed" or not version.told_against:
        return Ruling(False, "EvidenceUnreadable", f"{words}, and its lineage tag does not say that the gate passed")
    if _too_old(policy, version, now):
        return _old_age(policy, name, version.told_against)
    words = f"{words}; its tags say that it passed its gate against {version.told_against}"
    return Ruling(True, "TagsOnly", words, "Passed", version.told_against)


def _too_old(policy: PromotionPolicy, version: Version, now: datetime) -> bool:
    return policy.max_age_seconds is not None and now.timestamp() - version.created_s > policy.max_age_seconds


def _old_age(policy: PromotionPolicy, name: str, against: str) -> Ruling:
    words = f"{name} is older than policy.maxAgeSeconds = {policy.max_age_seconds}"
    return Ruling(False, "TooOld", words, "Passed", against)


@dataclass(frozen=True)
class Standing:
    """The challenger as it stands. ``text`` is for the column; ``eligible`` says that it may be promoted now.

    ``version`` is None where nobody challenges: no such alias, or it is on the champion.
    """

    version: str | None = None
    ruling: Ruling | None = None
    eligible: bool = False
    reason: str = "NoChallenger"
    message: str = "no version waits for promotion"
    text: str | None = None
    by: str = ""
    approval_missing: str = ""
    """The version that an approval names and the registry does not have."""


def standing(spec: PromotionSpec, facts: Facts, asked: Ask, now: datetime) -> Standing:
    """The challenger's standing against the champion of the moment."""
    number = facts.challenger
    version = facts.versions.get(number)
    gone = _gone(facts, asked.approval) if spec.mode == "Manual" else ""
    if number in (NONE, facts.champion) or version is None:
        if gone:
            return Standing(reason="NoSuchVersion", message=_no_such(gone, facts), approval_missing=gone)
        return Standing()
    ruling = rule(spec.policy, spec.student, version, facts.evidence.get(number), now)
    if not ruling.passed:
        text = "rejected" if ruling.reason in ("Rejected", "RolledBack", "GateFailed") else "refused"
        return Standing(number, ruling, reason=ruling.reason, message=ruling.message, text=text)
    if version.promoted_over is not None:
        words = f"v{number} was champion before; an approval counts once (to restore it: stillhouse rollback)"
        return Standing(number, ruling, reason="Spent", message=words, text="spent")
    if ruling.against != uri(spec.student, facts.champion):
        return Standing(number, ruling, reason="Stale", message=_stale(spec, number, ruling, facts), text="stale")
    if spec.mode == "Automatic":
        return Standing(number, ruling, True, "Automatic", f"v{number}: mode is Automatic", "automatic", "automatic")
    return _asked(number, ruling, version, asked.approval, gone, facts)


def _asked(
    number: str, ruling: Ruling, version: Version, approval: Approval | None, gone: str, facts: Facts
) -> Standing:
    """What the annotation means for a challenger that may be approved."""
    text, right = f"waiting: {version.evidence[:12]}", f"{number}:{version.evidence}"
    how = f"v{number} waits for the annotation stillhouse.dev/approve: {right}"
    if approval is None or _old(approval, facts):
        return Standing(number, ruling, reason="Waiting", message=how, text=text)
    if not approval.version:
        words = f"the approval cannot be understood; it must be <version>:<sha256 of the evidence>, here {right}"
        return Standing(number, ruling, reason="Malformed", message=words, text=text)
    if gone:
        return Standing(
            number, ruling, reason="NoSuchVersion", message=_no_such(gone, facts), text=text, approval_missing=gone
        )
    if approval.version != number:
        words = f"the approval is for v{approval.version}, but the challenger is v{number}; {how}"
        return Standing(number, ruling, reason="OtherVersion", message=words, text=text)
    if approval.sha256 != version.evidence:
        words = f"the approval of v{number} names other evidence ({approval.sha256[:12]}…); {how}"
        return Standing(number, ruling, reason="OtherEvidence", message=words, text=text)
    words = f"v{number} is approved by annotation, evidence {approval.sha256[:12]}…"
    return Standing(number, ruling, True, "Annotation", words, "approved by annotation", "annotation")


def _old(approval: Approval, facts: Facts) -> bool:
    """Whether an approval was used already: what it approved is, or was, champion."""
    version = facts.versions.get(approval.version)
    return version is not None and (version.version == facts.champion or version.promoted_over is not None)


def _gone(facts: Facts, approval: Approval | None) -> str:
    return approval.version if approval and approval.version and approval.version not in facts.versions else ""


def _no_such(version: str, facts: Facts) -> str:
    waits = f"the challenger is v{facts.challenger}" if facts.challenger != NONE else "there is no challenger"
    return f"the approval is for v{version}, which is not in the registry; {waits}"


def _stale(spec: PromotionSpec, number: str, ruling: Ruling, facts: Facts) -> str:
    champion = uri(spec.student, facts.champion) if facts.champion != NONE else "none"
    return (
        f"v{number} was judged against {ruling.against}, but the champion is now {champion}; run the recipe again, so "
        "that it is judged against this champion"
    )
