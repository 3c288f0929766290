"""The decisions of a StudentPromotion as tables: who may be promoted, what is next, what the status and events say."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from operators.crds.promotion import KIND, PromotionPolicy, PromotionSpec
from operators.promotion.events import events
from operators.promotion.facts import (
    APPROVED,
    EVIDENCE_TAG,
    LINEAGE_TAG,
    NONE,
    REJECTED,
    STATUS_TAG,
    UNTRAINED,
    Entry,
    Evidence,
    Facts,
    Memory,
    Pending,
    Version,
    Write,
    ask,
)
from operators.promotion.handlers import conflicting, hindered, oldest_rival
from operators.promotion.judge import rule, standing
from operators.promotion.plan import decide
from operators.promotion.situation import NOW, Answer, Situation
from operators.promotion.status import fold, remember
from operators.resources import condition, timestamp
from stillhouse.errors import RecipeError, TransientError
from tests.operators.crd_check import accepts

T = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
SHA, OTHER = "a" * 64, "b" * 64
OVER_7 = "models:/math/7"


def _version(number: str, **fields: Any) -> Version:
    usual: dict[str, Any] = {"run_id": f"run{number}", "evidence": SHA, "validation": "pending"}
    return Version(version=number, **{**usual, "created_s": T.timestamp() - 3600, **fields})


def _evidence(**fields: Any) -> Evidence:
    usual: dict[str, Any] = {"state": "read", "sha256": SHA, "verdict": "passed", "against": OVER_7, "name": "math"}
    return Evidence(**{**usual, "checks": frozenset({"require", "licence"}), **fields})


NOTHING = {"exists": False, "champion": NONE, "challenger": NONE, "versions": {}, "evidence": {}}
CHAMPION = _version("7", validation="approved", promoted_over="models:/math/6")


def _situation(**fields: Any) -> Situation:
    """v7 is the expected champion, v8 challenges it; ``spec``, ``memory``, ``facts`` and the annotations may differ."""
    facts: dict[str, Any] = {
        "champion": "7", "challenger": "8", "versions": {"7": CHAMPION, "8": _version("8")},
        "evidence": {"8": _evidence()}, **fields.pop("facts", {}),
    }  # fmt: skip
    memory = Memory(**{"expected": "7", "previous": "6", **fields.pop("memory", {})})
    notes = ask(fields.pop("approve", None), fields.pop("rollback", None))
    spec = PromotionSpec.model_validate({"student": "math", **fields.pop("spec", {})})
    return Situation(spec=spec, memory=memory, facts=Facts(**facts), ask=notes, now=T, **fields)


def _only(version: Version, **rest: Any) -> dict[str, Any]:
    return {"versions": {"7": CHAMPION, "8": version}, **rest}


@pytest.mark.parametrize(
    ("version", "evidence", "policy", "reason"),
    [
        ({}, {}, {}, "EvidenceMatches"),
        ({"validation": "approved"}, {}, {}, "EvidenceMatches"),
        ({"validation": "rejected"}, {}, {}, "Rejected"),
        ({"validation": "rejected", "rolled_back": "probe"}, {}, {}, "RolledBack"),
        ({"evidence": ""}, {}, {}, "NoEvidence"),
        ({}, {"state": "gone", "why": "gone"}, {}, "EvidenceGone"),
        ({}, {"sha256": OTHER}, {}, "EvidenceChanged"),
        ({"evidence": OTHER}, {}, {}, "EvidenceChanged"),
        ({}, {"verdict": "failed"}, {}, "GateFailed"),
        ({}, {"verdict": ""}, {}, "GateFailed"),
        ({}, {"name": "physics"}, {}, "OtherStudent"),
        ({}, {}, {"requireChecks": ["require", "licence"]}, "EvidenceMatches"),
        ({}, {}, {"requireChecks": ["non_inferior"]}, "CheckMissing"),
        ({}, {}, {"maxAgeSeconds": 3600}, "EvidenceMatches"),
        ({}, {}, {"maxAgeSeconds": 3599}, "TooOld"),
    ],
)
def test_a_version_has_passed_only_with_the_evidence_that_was_judged(
    version: dict[str, Any], evidence: dict[str, Any], policy: dict[str, Any], reason: str
) -> None:
    found = rule(PromotionPolicy.model_validate(policy), "math", _version("8", **version), _evidence(**evidence), T)
    assert found.reason == reason
    assert found.passed is (reason == "EvidenceMatches")
    assert "v8" in found.message


_TOLD = {"told_verdict": "passed", "told_against": OVER_7, "told_evidence": SHA}


@pytest.mark.parametrize(
    ("version", "policy", "reason"),
    [
        (_TOLD, {}, "TagsOnly"),
        (_TOLD, {"evidenceFile": "Required"}, "EvidenceUnreadable"),
        (_TOLD, {"requireChecks": ["require"]}, "EvidenceUnreadable"),
        (_TOLD, {"maxAgeSeconds": 1}, "TooOld"),
        ({**_TOLD, "told_evidence": OTHER}, {}, "EvidenceUnreadable"),
        ({**_TOLD, "told_verdict": "failed"}, {}, "EvidenceUnreadable"),
        ({**_TOLD, "told_against": ""}, {}, "EvidenceUnreadable"),
        ({}, {}, "EvidenceUnreadable"),
    ],
)
def test_where_the_file_cannot_be_read_the_tags_decide_and_say_so(
    version: dict[str, str], policy: dict[str, Any], reason: str
) -> None:
    unreadable = Evidence(state="unreadable", why="/get-artifact answers 500")
    found = rule(PromotionPolicy.model_validate(policy), "math", _version("8", **version), unreadable, T)
    assert found.reason == reason
    assert found.passed is (reason == "TagsOnly")
    if reason == "TagsOnly":
        assert found.against == OVER_7
        assert "cannot be read through MLflow" in found.message


@pytest.mark.parametrize(
    ("fields", "reason", "text"),
    [
        ({}, "Waiting", "waiting: aaaaaaaaaaaa"),
        ({"approve": f"8:{SHA}"}, "Annotation", "approved by annotation"),
        ({"approve": f" 8:{SHA}\n"}, "Annotation", "approved by annotation"),
        ({"approve": f"8:{SHA[:12]}"}, "Malformed", "waiting: aaaaaaaaaaaa"),
        ({"approve": "yes"}, "Malformed", "waiting: aaaaaaaaaaaa"),
        ({"approve": f"8:{OTHER}"}, "OtherEvidence", "waiting: aaaaaaaaaaaa"),
        ({"approve": f"9:{SHA}"}, "NoSuchVersion", "waiting: aaaaaaaaaaaa"),
        ({"approve": f"7:{SHA}"}, "Waiting", "waiting: aaaaaaaaaaaa"),
        (
            {"approve": f"5:{SHA}", "facts": {"versions": {"5": _version("5"), "7": CHAMPION, "8": _version("8")}}},
            "OtherVersion",
            "waiting: aaaaaaaaaaaa",
        ),
        ({"spec": {"mode": "Automatic"}}, "Automatic", "automatic"),
        ({"spec": {"mode": "Automatic"}, "approve": "nonsense"}, "Automatic", "automatic"),
        ({"approve": f"8:{SHA}", "facts": {"champion": "6"}}, "Stale", "stale"),
        ({"approve": f"8:{SHA}", "facts": {"champion": NONE}}, "Stale", "stale"),
        ({"approve": f"8:{SHA}", "facts": _only(_version("8", promoted_over=OVER_7))}, "Spent", "spent"),
        ({"approve": f"8:{SHA}", "facts": _only(_version("8", validation="rejected"))}, "Rejected", "rejected"),
        ({"approve": f"8:{SHA}", "facts": {"evidence": {"8": _evidence(sha256=OTHER)}}}, "EvidenceChanged", "refused"),
        ({"facts": {"challenger": NONE}}, "NoChallenger", None),
        ({"facts": {"challenger": "7"}}, "NoChallenger", None),
        ({"approve": f"99:{SHA}", "facts": {"challenger": "7"}}, "NoSuchVersion", None),
    ],
)
def test_an_approval_counts_for_one_version_one_evidence_and_one_champion(
    fields: dict[str, Any], reason: str, text: str | None
) -> None:
    it = _situation(**fields)
    found = standing(it.spec, it.facts, it.ask, it.now)
    assert (found.reason, found.text) == (reason, text)
    assert found.eligible is (reason in ("Annotation", "Automatic"))
    begun = decide(it).memory.pending
    if found.eligible:
        assert begun is not None
        assert (begun.action, begun.version, begun.over, begun.evidence) == ("Promote", "8", "7", SHA)
    elif it.facts.champion == it.memory.expected:
        assert begun is None


def test_the_first_student_replaces_the_untrained_one() -> None:
    first = {"champion": NONE, "versions": {"1": _version("1")}, "challenger": "1"}
    it = _situation(
        memory={"expected": NONE}, approve=f"1:{SHA}",
        facts={**first, "evidence": {"1": _evidence(against=UNTRAINED)}},
    )  # fmt: skip
    begun = decide(it).memory.pending
    assert begun is not None
    assert (begun.version, begun.over) == ("1", NONE)
    wrong = _situation(memory={"expected": NONE}, approve=f"1:{SHA}", facts={**first, "evidence": {"1": _evidence()}})
    assert decide(wrong).memory.pending is None


PROMOTE = Pending(action="Promote", version="8", over="7", by="annotation", reason="said so", at="t", evidence=SHA)


def test_a_begun_promotion_is_made_in_an_order_that_a_crash_cannot_spoil() -> None:
    decision = decide(_situation(memory={"pending": PROMOTE}, approve=f"8:{SHA}", spec={"stabilization": {}}))
    assert decision.writes == (
        Write("tag", "8", "validation_status", "approved"),
        Write("alias", "8"),
        Write("tag", "8", "stillhouse.promoted_over", OVER_7),
    )
    memory = decision.memory
    assert (memory.expected, memory.previous, memory.pending) == ("8", "7", None)
    assert memory.since == timestamp(T)
    assert [(entry.action, entry.version, entry.evidence) for entry in memory.history] == [("Promoted", "8", SHA)]


@pytest.mark.parametrize(
    "changed",
    [
        {"approve": None},
        {"approve": f"8:{OTHER}"},
        {"rollback": "7"},
        {"facts": {"champion": "6", "versions": {"6": _version("6"), "7": CHAMPION, "8": _version("8")}}},
        {"facts": _only(_version("8", validation="rejected"))},
        {"facts": _only(_version("8", evidence=OTHER))},
        {"facts": {"versions": {"7": CHAMPION}, "challenger": NONE}},
        {"facts": {"evidence": {"8": _evidence(state="gone")}}},
    ],
)
def test_a_begun_promotion_is_dropped_when_the_world_has_changed(changed: dict[str, Any]) -> None:
    decision = decide(_situation(**{"memory": {"pending": PROMOTE}, "approve": f"8:{SHA}", **changed}))
    assert (decision.writes, decision.memory.pending, decision.again_s) == ((), None, NOW)
    assert decision.memory.history == ()


@pytest.mark.parametrize(
    ("fields", "action"),
    [
        ({}, "Repair"),
        ({"spec": {"drift": "Report"}}, None),
        ({"spec": {"drift": "Ignore"}}, "Adopted"),
        ({"spec": {"mode": "Automatic"}}, "Adopted"),
        ({"spec": {"mode": "Automatic"}, "memory": {"since": timestamp(T)}}, "Repair"),
        ({"spec": {"mode": "Automatic"}, "facts": {"evidence": {"8": _evidence(against="models:/math/6")}}}, "Repair"),
        ({"spec": {"mode": "Automatic"}, "facts": {"evidence": {"8": _evidence(verdict="failed")}}}, "Repair"),
        ({"spec": {"mode": "Automatic"}, "facts": _only(_version("8"), champion="8")}, "Repair"),
        (
            {
                "spec": {"mode": "Automatic"},
                "facts": {
                    "versions": {"7": CHAMPION, "8": _version("8", validation="approved", promoted_over="unknown")}
                },
            },
            "Repair",
        ),
        ({"memory": {"expected": NONE}}, "Repair"),
        ({"facts": {"versions": {"8": _version("8")}}}, None),
        ({"facts": {"versions": {"7": replace(CHAMPION, validation="rejected"), "8": _version("8")}}}, None),
    ],
)
def test_a_champion_that_others_moved_is_put_back_reported_or_taken(fields: dict[str, Any], action: str | None) -> None:
    facts = {"champion": "8", **_only(_version("8", validation="approved")), **fields.pop("facts", {})}
    decision = decide(_situation(facts=facts, **fields))
    pending, history = decision.memory.pending, decision.memory.history
    assert (pending.action if pending else history[-1].action if history else None) == action
    if action == "Adopted":
        assert (decision.memory.expected, decision.memory.previous) == ("8", "7")
        assert decision.writes == (Write("tag", "8", "stillhouse.promoted_over", OVER_7),)
    if action == "Repair":
        assert pending is not None
        assert (pending.version, pending.over) == (decision.memory.expected, "8")
        made = decide(_situation(facts=facts, **{**fields, "memory": {**fields.get("memory", {}), "pending": pending}}))
        target = decision.memory.expected
        assert made.writes == ((Write("drop"),) if target == NONE else (Write("alias", "7"),))
        assert [entry.action for entry in made.memory.history] == ["Repaired"]


TRIAL = {
    "windowSeconds": 60, "periodSeconds": 10, "failureThreshold": 3, "initialDelaySeconds": 5,
    "probe": {"http": {"url": "http://x"}},
}  # fmt: skip


def _on_trial(since_s: float, last_s: float | None = None, **fields: Any) -> Situation:
    """v8 on trial since ``since_s`` seconds, probed ``last_s`` seconds ago."""

    def ago(seconds: float) -> str:
        return timestamp(T - timedelta(seconds=seconds))

    last = None if last_s is None else {"at": ago(last_s), "passed": True, "message": ""}
    memory = {"expected": "8", "previous": "7", "since": ago(since_s), "probe": last, **fields.pop("memory", {})}
    spec = {"stabilization": TRIAL, **fields.pop("spec", {})}
    facts = {"champion": "8", "challenger": "8", "evidence": {}, **fields.pop("facts", {})}
    return _situation(memory=memory, spec=spec, facts=facts, **fields)


@pytest.mark.parametrize(
    ("situation", "probe", "again_s"),
    [
        (_on_trial(0), False, 5.0),
        (_on_trial(5), True, None),
        (_on_trial(12, 7), False, 3.0),
        (_on_trial(15, 10), True, None),
        (_on_trial(600, 300), True, None),
        (_on_trial(59, spec={"stabilization": {"windowSeconds": 60}}), False, 1.0),
    ],
)
def test_a_trial_probes_when_it_is_due(situation: Situation, probe: bool, again_s: float | None) -> None:
    decision = decide(situation)
    assert (decision.probe, decision.again_s) == (probe, again_s)
    assert decision.memory == situation.memory


GOOD, BAD = Answer(True), Answer(False, "status 500, expected 200")


@pytest.mark.parametrize(
    ("situation", "action", "failures"),
    [
        (_on_trial(15, 10, answer=GOOD), None, 0),
        (_on_trial(15, 10, answer=GOOD, memory={"failures": 2}), None, 0),
        (_on_trial(15, 10, answer=BAD), None, 1),
        (_on_trial(15, 10, answer=BAD, memory={"failures": 2}), "RollBack", 3),
        (_on_trial(60, 10, answer=GOOD), "Stable", 0),
        (_on_trial(60, 10, answer=BAD), None, 1),
        (_on_trial(600, 10, answer=BAD, memory={"failures": 2}), "RollBack", 3),
        (_on_trial(15, 10, answer=BAD, memory={"failures": 2}, spec={"rollback": {"automatic": False}}), None, 3),
        (_on_trial(15, 10, answer=BAD, memory={"failures": 2, "previous": None}), None, 3),
        (_on_trial(15, 10, answer=BAD, memory={"failures": 2, "previous": "5"}), None, 3),
        (_on_trial(15, 10, answer=BAD, memory={"failures": 2, "previous": NONE}), "RollBack", 3),
        (_on_trial(60, spec={"stabilization": {"windowSeconds": 60}}), "Stable", 0),
        (_on_trial(1, spec={"stabilization": None}), "Stable", 0),
    ],
)
def test_a_trial_ends_with_a_good_probe_or_with_too_many_bad_ones(
    situation: Situation, action: str | None, failures: int
) -> None:
    memory = decide(situation).memory
    done = memory.pending.action if memory.pending else memory.history[-1].action if memory.history else None
    assert (done, memory.failures) == (action, failures)
    if action == "RollBack":
        assert memory.pending is not None
        assert memory.pending.version == situation.memory.previous
        assert memory.pending.rejects == ("8",)
        assert "3 probes in a row failed: status 500" in memory.pending.reason
    assert (memory.since is None) is (action == "Stable")


def test_a_student_without_a_model_is_watched_from_the_beginning() -> None:
    it = _situation(facts=NOTHING, memory={"expected": None, "previous": None})
    assert decide(it).memory == Memory(expected=NONE)
    known = _situation(facts=NOTHING)
    assert decide(known).memory == known.memory


def test_who_waits_while_another_is_on_trial_waits_and_a_suspended_resource_does_nothing() -> None:
    nine = {"7": CHAMPION, "8": _version("8"), "9": _version("9")}
    judged = {"9": _evidence(against="models:/math/8")}
    facts = {"challenger": "9", "versions": nine, "evidence": judged}
    waits = _on_trial(12, 7, approve=f"9:{SHA}", facts=facts)
    assert decide(waits).memory == waits.memory
    for it in (waits, _on_trial(600, 300), _situation(approve=f"8:{SHA}"), _situation(facts={"champion": "8"})):
        still = replace(it, spec=it.spec.model_copy(update={"suspend": True}))
        decision = decide(still)
        assert (decision.memory, decision.writes, decision.probe, decision.again_s) == (it.memory, (), False, None)


@pytest.mark.parametrize(
    ("rollback", "memory", "outcome"),
    [
        ("6", {}, "begun"),
        ("v6", {}, "begun"),
        ("none", {}, "begun"),
        ("7", {}, "consumed"),
        ("8", {}, "never champion"),
        ("5", {}, "is rejected"),
        ("99", {}, "no such version"),
        ("-1", {}, "neither a version's number nor none"),
        ("", {}, "neither a version's number nor none"),
    ],
)
def test_a_rollback_by_hand_needs_a_version_that_was_champion(
    rollback: str, memory: dict[str, Any], outcome: str
) -> None:
    versions = {
        "5": _version("5", validation="rejected"), "6": _version("6", validation="approved"), "7": CHAMPION,
        "8": _version("8"),
    }  # fmt: skip
    it = _situation(rollback=rollback, facts={"versions": versions}, memory=memory)
    decision = decide(it)
    if outcome == "consumed":
        assert decision.consumed
    elif outcome == "begun":
        assert decision.memory.pending is not None
        assert decision.memory.pending.version == rollback.removeprefix("v")
        made = decide(replace(it, memory=decision.memory))
        assert made.writes[0] == (Write("drop") if rollback == "none" else Write("alias", "6"))
        assert {(w.version, w.key, w.value) for w in made.writes[1:]} == {
            ("7", "stillhouse.rolled_back", "rolled back by hand"),
            ("7", "validation_status", "rejected"),
        }
        assert made.memory.expected == rollback.removeprefix("v")
    else:
        assert decision.memory == it.memory
        ready = condition(_fold(it)["conditions"], "Ready")
        assert ready is not None
        assert (ready["status"], ready["reason"]) == ("False", "RollbackRefused")
        assert outcome in ready["message"]


def _fold(it: Situation, before: dict[str, Any] | None = None) -> dict[str, Any]:
    found = standing(it.spec, it.facts, it.ask, it.now)
    return fold(it, found, {"metadata": {"generation": 3}, "status": before or {}})


@pytest.mark.parametrize(
    ("situation", "phase", "ready"),
    [
        (_situation(), "AwaitingApproval", "AsWanted"),
        (_situation(approve="8:short"), "Invalid", "ApprovalRefused"),
        (_situation(approve=f"99:{SHA}"), "Invalid", "ApprovalRefused"),
        (_situation(approve=f"8:{OTHER}"), "AwaitingApproval", "ApprovalRefused"),
        (_situation(rollback="99"), "Invalid", "RollbackRefused"),
        (_situation(memory={"pending": PROMOTE}), "Promoting", "Moving"),
        (_on_trial(5), "Stabilizing", "Stabilizing"),
        (_on_trial(5, memory={"failures": 3}, spec={"rollback": {"automatic": False}}), "Stabilizing", "ProbeFailing"),
        (_situation(facts={"challenger": "7"}), "Stable", "AsWanted"),
        (_situation(facts={"champion": NONE, "challenger": NONE}, memory={"expected": NONE}), "Idle", "AsWanted"),
        (_situation(facts=NOTHING), "Idle", "ModelNotFound"),
        (_situation(facts=_only(_version("8", validation="rejected"))), "Rejected", "AsWanted"),
        (_situation(facts=_only(_version("8", validation="rejected", rolled_back="x"))), "RolledBack", "AsWanted"),
        (_situation(facts={"champion": "8"}, spec={"drift": "Report"}), "Stable", "Drifted"),
        (_situation(spec={"suspend": True}), "AwaitingApproval", "Suspended"),
    ],
)
def test_the_status_says_where_things_stand_and_fits_its_schema(situation: Situation, phase: str, ready: str) -> None:
    status = _fold(situation)
    told = condition(status["conditions"], "Ready")
    assert told is not None
    assert (status["phase"], told["reason"]) == (phase, ready)
    assert told["observedGeneration"] == 3
    assert accepts(KIND, {"student": "math"}, status=status) == []
    again = _fold(replace(situation, now=T + timedelta(hours=1)), status)
    assert again == status, "the same things an hour later are not written again"
    assert list(events(status, again)) == []


def test_a_status_remembers_what_was_known_and_shows_versions_as_people_write_them() -> None:
    move = replace(PROMOTE, action="RollBack", rejects=("8",), version=NONE)
    memory = Memory(
        expected="8", previous=NONE, since=timestamp(T), failures=2, pending=move,
        probe={"at": timestamp(T), "passed": False, "message": "status 500"},
        history=(Entry(version="8", action="Promoted", at=timestamp(T), by="automatic", reason="r", evidence=SHA),),
    )  # fmt: skip
    status = _fold(replace(_situation(), memory=memory))
    assert remember(status) == memory
    assert (status["champion"], status["challenger"], status["previousChampion"]) == ("v7", "v8", "none")
    assert status["evidence"] == {"short": SHA[:12], "sha256": SHA}
    assert accepts(KIND, {"student": "math"}, status=status) == []
    assert remember({}) == Memory()


def test_the_history_keeps_the_newest_entries() -> None:
    entries = tuple(Entry(version=str(n), action="Stable", at="t", by="operator", reason="") for n in range(1, 9))
    status = _fold(_situation(memory={"history": entries}, spec={"historyLimit": 3}))
    assert [row["version"] for row in status["history"]] == ["v6", "v7", "v8"]


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (_situation(facts={"challenger": "7"}), _situation(), ("AwaitingApproval", False)),
        (_situation(), _situation(approve=f"8:{OTHER}"), ("ApprovalRefused", True)),
        (_situation(), _situation(approve=f"99:{SHA}"), ("ApprovalRefused", True)),
        (_situation(), _situation(rollback="99"), ("RollbackRefused", True)),
        (_situation(), _situation(facts={"champion": "6"}), ("Drifted", True)),
        (_situation(), _situation(facts=NOTHING), ("VersionNotFound", True)),
        (_situation(), _situation(facts={"evidence": {"8": _evidence(sha256=OTHER)}}), ("NotPromotable", True)),
    ],
)
def test_what_changes_is_told_once(before: Situation, after: Situation, told: tuple[str, bool]) -> None:
    first = _fold(before)
    second = _fold(after, first)
    said = [(event.reason, event.warning) for event in events(first, second)]
    assert told in said
    assert list(events(second, _fold(after, second))) == []


@pytest.mark.parametrize(
    ("action", "warning"),
    [("Promoted", False), ("Stable", False), ("Adopted", False), ("RolledBack", True), ("Repaired", True)],
)
def test_everything_that_was_done_is_an_event(action: str, warning: bool) -> None:
    before = _fold(_situation())
    entry = Entry(version="8", action=action, at=timestamp(T), by="probe", reason="because")
    said = list(events(before, _fold(_situation(memory={"history": (entry,)}), before)))
    assert [(event.reason, event.warning) for event in said] == [(action, warning)]
    assert "v8" in said[0].message
    assert "because" in said[0].message


def _object(name: str, created: str, student: str = "math", namespace: str = "distil", **meta: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": namespace, "creationTimestamp": created, **meta},
        "spec": {"student": student},
    }


def test_of_two_resources_for_one_student_the_older_acts() -> None:
    old, new = _object("b", "2026-01-01T00:00:00Z"), _object("a", "2026-01-02T00:00:00Z")
    twin, elsewhere = _object("c", "2026-01-01T00:00:00Z"), _object("a", "2025-01-01T00:00:00Z", "physics")
    everything = [old, new, twin, elsewhere]
    assert oldest_rival(old, everything, "math") is None
    assert oldest_rival(new, everything, "math") == old
    assert oldest_rival(twin, everything, "math") == old
    assert oldest_rival(elsewhere, everything, "physics") is None
    leaving = _object("b", "2026-01-01T00:00:00Z", deletionTimestamp="2026-01-03T00:00:00Z")
    assert oldest_rival(new, [leaving, new], "math") is None
    far = _object("b", "2026-01-01T00:00:00Z", namespace="another")
    assert oldest_rival(old, [far, old], "math") == far
    status = conflicting(new, old, T)
    assert status["phase"] == "Conflict"
    assert "distil/b is older" in status["conditions"][0]["message"]
    assert accepts(KIND, {"student": "math"}, status=status) == []


def test_what_hinders_a_look_is_added_to_what_is_known() -> None:
    known = _fold(_situation())
    body = {"metadata": {"generation": 4}, "status": known}
    away = hindered(body, TransientError("MLflow does not answer"), T)
    assert {**away, "conditions": []} == {**known, "conditions": []}
    ready = condition(away["conditions"], "Ready")
    assert ready is not None
    assert (ready["status"], ready["reason"], ready["message"]) == ("False", "Retrying", "MLflow does not answer")
    assert hindered(body, RecipeError("not configured"), T)["phase"] == "Invalid"


def test_the_names_are_those_of_the_library() -> None:
    from stillhouse.lineage.lookup import CHAIN_TAG
    from stillhouse.registry import gate, tags
    from stillhouse.registry.promote import ALIASES

    assert (STATUS_TAG, EVIDENCE_TAG) == (tags.STATUS_TAG, tags.EVIDENCE_TAG)
    assert (APPROVED, REJECTED) == (tags.APPROVED, tags.REJECTED)
    assert UNTRAINED == gate.UNTRAINED
    assert LINEAGE_TAG == CHAIN_TAG
    assert {"champion", "challenger"} <= set(ALIASES)
