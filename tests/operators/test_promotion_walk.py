"""Random histories of a student: people, pipelines, crashes and lost statuses, and what must hold through all of them.

The registry is a small model of MLflow's; decisions, writes and the status (there and back) are the real ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from operators.crds.promotion import PromotionSpec
from operators.promotion.facts import (
    NONE,
    PROMOTED_TAG,
    Evidence,
    Facts,
    Memory,
    Version,
    Write,
    ask,
    uri,
)
from operators.promotion.judge import standing
from operators.promotion.plan import decide
from operators.promotion.situation import Answer, Decision, Situation
from operators.promotion.status import fold, remember

STUDENT = "math"
TRIAL = {"windowSeconds": 60, "periodSeconds": 10, "failureThreshold": 2, "probe": {"http": {"url": "http://x"}}}


def _sha(version: str, salt: str = "") -> str:
    import hashlib

    return hashlib.sha256(f"{version}{salt}".encode()).hexdigest()


@dataclass
class Sim:
    """A registry, a resource, and the operator's looks. ``crowned`` is every champion by the operator's own hand."""

    champion: str = NONE
    challenger: str = NONE
    versions: dict[str, Version] = field(default_factory=dict)
    evidence: dict[str, Evidence] = field(default_factory=dict)
    status: dict[str, Any] = field(default_factory=dict)
    spec: dict[str, Any] = field(default_factory=lambda: {"student": STUDENT, "stabilization": TRIAL})
    notes: dict[str, str] = field(default_factory=dict)
    now: datetime = datetime(2026, 3, 2, tzinfo=UTC)
    good: bool = True
    ever: set[str] = field(default_factory=lambda: {NONE})
    promoted: list[tuple[str, str]] = field(default_factory=list)

    def facts(self) -> Facts:
        return Facts(
            champion=self.champion, challenger=self.challenger, versions=dict(self.versions), evidence=self.evidence
        )

    def situation(self) -> Situation:
        return Situation(
            spec=PromotionSpec.model_validate(self.spec),
            memory=remember(self.status),
            facts=self.facts(),
            ask=ask(self.notes.get("approve"), self.notes.get("rollback")),
            now=self.now,
        )

    def look(self, crash: int | None = None) -> Decision:
        """One look of the operator; ``crash``: it dies after so many writes, before the status."""
        it = self.situation()
        decision = decide(it)
        if decision.probe:
            it = replace(it, answer=Answer(self.good, "" if self.good else "status 500"))
            decision = decide(it)
        self.check(it, decision)
        for number, write in enumerate(decision.writes):
            if number == crash:
                return decision
            self.make(it, write)
        if crash is not None and crash >= len(decision.writes):
            return decision
        self.keep(it, decision)
        return decision

    def make(self, it: Situation, write: Write) -> None:
        if write.kind == "tag":
            self.versions[write.version] = self.versions[write.version].tagged(write.key, write.value)
            return
        target = write.version if write.kind == "alias" else NONE
        move = it.memory.pending
        assert move is not None, "an alias moves only after its move stood in the status"
        if move.action == "Promote":
            self.check_promotion(it, target)
        else:
            assert target in self.ever, "a rollback or repair restores somebody who was champion"
        self.champion = target
        self.ever.add(target)

    def check_promotion(self, it: Situation, target: str) -> None:
        version, evidence = self.versions[target], self.evidence[target]
        assert version.validation != "rejected"
        assert evidence.state == "read", "here every evidence that exists can be read"
        assert (evidence.verdict, evidence.sha256) == ("passed", version.evidence)
        assert evidence.against == uri(STUDENT, self.champion)
        if it.spec.mode == "Manual":
            assert self.notes["approve"] == f"{target}:{version.evidence}"

    def check(self, it: Situation, decision: Decision) -> None:
        if it.spec.suspend:
            assert (decision.writes, decision.memory) == ((), it.memory)
        if it.memory.pending and it.memory.pending.by == "probe":
            assert it.memory.pending.version == it.memory.previous, "exactly the previous champion"

    def keep(self, it: Situation, decision: Decision) -> None:
        before = remember(self.status).history
        after = replace(it, memory=decision.memory, facts=it.facts.after(decision.writes))
        found = standing(after.spec, after.facts, after.ask, after.now)
        self.status = fold(after, found, {"metadata": {"generation": 1}, "status": self.status})
        if decision.consumed:
            del self.notes["rollback"]
        for entry in decision.memory.history[len(before) :]:
            if entry.action == "Promoted":
                self.promoted.append((entry.version, entry.evidence))
            if entry.action in ("Adopted", "Promoted"):
                self.ever.add(entry.version)

    def settle(self) -> None:
        """Look until nothing is left to do at once; that must come soon."""
        for _ in range(12):
            if self.look().again_s != 0.0:
                return
        raise AssertionError(f"the operator goes in circles: {self.status}")

    # What often happens.

    def cycle(self, seconds: int) -> None:
        """A student is registered, approved and promoted, and time passes."""
        self.register(True, False)
        self.approve(True)
        self.settle()
        self.wait(seconds)
        self.settle()

    def fail_trial(self) -> None:
        self.good = False
        for _ in range(3):
            self.settle()
            self.wait(10)
        self.settle()

    def undo(self, drift: str) -> None:
        """Somebody moves the alias back in MLflow's own UI."""
        self.set("drift", drift)
        before = remember(self.status).previous
        if before in self.versions:
            self.champion = before
        self.settle()

    # What people and pipelines do.

    def register(self, passed: bool, stale: bool) -> None:
        number = str(len(self.versions) + 1)
        while number in self.versions:
            number = str(int(number) + 1)
        against = uri(STUDENT, "99" if stale else self.champion)
        self.versions[number] = Version(
            version=number, run_id="r", evidence=_sha(number), validation="pending" if passed else "rejected"
        )
        self.evidence[number] = Evidence(
            state="read", sha256=_sha(number), verdict="passed" if passed else "failed", against=against, name=STUDENT
        )
        if passed:
            self.challenger = number

    def pipeline_promotes(self) -> None:
        number = self.challenger
        if number != NONE and self.evidence[number].against == uri(STUDENT, self.champion):
            self.versions[number] = replace(self.versions[number], validation="approved")
            self.champion = number
            self.ever.add(number)

    def approve(self, right: bool) -> None:
        if self.challenger != NONE:
            self.notes["approve"] = f"{self.challenger}:{_sha(self.challenger, '' if right else 'x')}"

    def move(self, pick: int) -> None:
        choice = [NONE, *self.versions]
        self.champion = choice[pick % len(choice)]
        self.ever.add(self.champion)

    def ask_back(self, pick: int) -> None:
        self.notes["rollback"] = ["none", "98", "soon", *self.versions][pick % (3 + len(self.versions))]

    def reject(self, pick: int) -> None:
        if self.versions:
            number = list(self.versions)[pick % len(self.versions)]
            self.versions[number] = replace(self.versions[number], validation="rejected")

    def spoil(self, pick: int) -> None:
        if self.versions:
            number = list(self.versions)[pick % len(self.versions)]
            self.evidence[number] = replace(self.evidence[number], sha256=_sha(number, "spoiled"))

    def delete(self, pick: int) -> None:
        if self.versions:
            number = list(self.versions)[pick % len(self.versions)]
            del self.versions[number]
            self.champion = NONE if self.champion == number else self.champion
            self.challenger = NONE if self.challenger == number else self.challenger

    def set(self, name: str, value: Any) -> None:
        self.spec = {**self.spec, name: value}

    def wait(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    def probe_is(self, good: bool) -> None:
        self.good = good


def _step(name: str, *values: Any) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.tuples(st.just(name), *values)


_PICK = st.integers(0, 6)
_USUAL = (
    _step("register", st.just(True), st.just(False)),
    _step("approve", st.just(True)),
    _step("settle"),
    _step("look", st.one_of(st.none(), st.integers(0, 4))),
    _step("wait", st.sampled_from([5, 10, 70])),
    _step("probe_is", st.booleans()),
    _step("pipeline_promotes"),
    _step("cycle", st.sampled_from([5, 70])),
    _step("fail_trial"),
    _step("set", st.just("mode"), st.sampled_from(["Manual", "Automatic"])),
)
_UNUSUAL = (
    _step("register", st.booleans(), st.booleans()),
    _step("approve", st.booleans()),
    _step("move", _PICK),
    _step("undo", st.sampled_from(["Report", "Ignore", "Repair"])),
    _step("ask_back", _PICK),
    _step("reject", _PICK),
    _step("spoil", _PICK),
    _step("set", st.just("drift"), st.sampled_from(["Repair", "Report", "Ignore"])),
    _step("set", st.just("suspend"), st.booleans()),
    _step("set", st.just("stabilization"), st.sampled_from([TRIAL, {"windowSeconds": 60}, None])),
    _step("set", st.just("rollback"), st.sampled_from([{"automatic": True}, {"automatic": False}])),
)
_LOSS = (_step("delete", _PICK),)


def _walk(sim: Sim, steps: list[tuple[Any, ...]]) -> None:
    for name, *values in steps:
        getattr(sim, name)(*values)
    sim.good = True
    for _ in range(12):
        sim.settle()
        sim.wait(30)
    before = sim.status
    decision = sim.look()
    assert decision.writes == ()
    assert decision.memory.pending is None, "nothing stays half done"
    assert sim.status == before or sim.spec.get("suspend"), "a steady object causes no writes"
    assert len(set(sim.promoted)) == len(sim.promoted), "no approval promotes twice"


@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(st.lists(st.one_of(*_USUAL, *_USUAL, *_UNUSUAL), min_size=8, max_size=50))
def test_whatever_people_and_pipelines_do_the_champion_has_passed_its_gate_or_was_champion(
    steps: list[tuple[Any, ...]],
) -> None:
    sim = Sim()
    sim.settle()
    _walk(sim, [step for step in steps if step != ("set", "suspend", True)])


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(st.lists(st.one_of(*_USUAL, *_UNUSUAL, *_LOSS), min_size=8, max_size=50))
def test_versions_that_vanish_and_resources_that_are_suspended_lead_to_no_wrong_move(
    steps: list[tuple[Any, ...]],
) -> None:
    sim = Sim()
    for name, *values in steps:
        getattr(sim, name)(*values)
    sim.set("suspend", False)
    for _ in range(12):
        sim.settle()
        sim.wait(30)
    assert remember(sim.status).pending is None


def test_a_promotion_that_is_killed_after_any_write_is_finished_once() -> None:
    for crash in range(4):
        sim = Sim()
        sim.settle()
        sim.register(True, False)
        sim.approve(True)
        sim.look()
        assert sim.status["phase"] == "Promoting"
        sim.look(crash)
        sim.settle()
        assert (sim.champion, sim.promoted) == ("1", [("1", _sha("1"))])
        assert sim.versions["1"].validation == "approved"
        assert sim.versions["1"].promoted_over == "the untrained student"


def test_a_rollback_that_is_killed_after_any_write_is_finished_once() -> None:
    for crash in range(4):
        sim = Sim()
        sim.settle()
        for _ in range(2):
            sim.register(True, False)
            sim.approve(True)
            sim.settle()
            sim.wait(61)
            sim.settle()
        assert sim.champion == "2"
        sim.notes["rollback"] = "1"
        sim.look()
        sim.look(crash)
        sim.settle()
        assert sim.champion == "1"
        assert (sim.versions["2"].validation, sim.versions["2"].rolled_back) == ("rejected", "rolled back by hand")
        assert [row["action"] for row in sim.status["history"]].count("RolledBack") == 1
        assert "rollback" not in sim.notes


def test_a_status_that_was_lost_is_found_again_in_the_registry() -> None:
    sim = Sim()
    sim.settle()
    for _ in range(2):
        sim.register(True, False)
        sim.approve(True)
        sim.settle()
        sim.wait(61)
        sim.settle()
    sim.status = {}
    sim.settle()
    assert remember(sim.status) == Memory(expected="2", previous="1", history=remember(sim.status).history), (
        "the previous champion stands in a tag"
    )
    assert sim.versions["2"].promoted_over == uri(STUDENT, "1"), PROMOTED_TAG
