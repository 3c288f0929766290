"""What is next for a student: pure. (spec, memory, facts, annotations, now, probe) in, a ``Decision`` out.

One step at a time, and the first that applies:

1. finish, or drop, a move that was begun            ``status.pending``
2. take the champion that is found at the first look
3. a rollback asked for by annotation
4. drift: the alias is not where this resource left it
5. the trial of a new champion: probe, roll back, or call it stable
6. promote the challenger, if it may be

Moves are decided in one look and made in the next: in between they stand in the status. The writes of a decision are
idempotent and come before its memory is written. Knows neither Kubernetes nor MLflow.
"""

from __future__ import annotations

from dataclasses import replace

from operators.promotion.facts import APPROVED, NONE, UNKNOWN, Entry, Pending, uri
from operators.promotion.judge import rule, standing
from operators.promotion.moves import finish, restorable, rollback_wanted
from operators.promotion.situation import NOW, Decision, Situation, crowned, mark, replaced, settled, without_trial
from operators.promotion.trial import trial


def decide(it: Situation) -> Decision:
    """The next step. Nothing moves while the resource is suspended or the model does not exist."""
    if it.spec.suspend:
        return Decision(memory=it.memory)
    if not it.facts.exists:
        return Decision(memory=replace(it.memory, expected=it.memory.expected or NONE))
    if it.memory.pending is not None:
        return finish(it, it.memory.pending)
    if it.memory.expected is None:
        return _found(it)
    return _rollback_asked(it) or _drift(it) or trial(it) or _promotion(it)


def _found(it: Situation) -> Decision:
    champion = it.facts.champion
    memory, version = replace(it.memory, expected=champion), it.facts.versions.get(champion)
    if version is None:
        return Decision(memory=memory, again_s=NOW)
    entry = Entry(version=champion, action="Adopted", at=it.at, by="others", reason="was champion at the first look")
    memory = replace(memory, previous=replaced(it.spec.student, version), history=(*memory.history, entry))
    return Decision(memory=memory, writes=mark(version, UNKNOWN), again_s=NOW)


def _rollback_asked(it: Situation) -> Decision | None:
    if not rollback_wanted(it):
        return None
    target, champion, expected = it.ask.rollback_target, it.facts.champion, it.memory.expected or NONE
    if target == champion == expected:
        return Decision(memory=it.memory, consumed=True, again_s=NOW)
    leaving = tuple(sorted({champion, expected} - {target, NONE}))
    reason = "rolled back by hand"
    return it.began(
        Pending(
            action="RollBack", version=target, over=champion, by="annotation", reason=reason, at=it.at, rejects=leaving
        )
    )


def _drift(it: Situation) -> Decision | None:
    champion, expected = it.facts.champion, it.memory.expected or NONE
    if champion == expected:
        return None
    if it.spec.drift == "Ignore":
        return _adopt(it, "others", "the alias was moved by others, and drift is Ignore", trial=False)
    if it.memory.since is None and _is_promotion(it):
        reason = f"promoted by its pipeline over {uri(it.spec.student, expected)}, as its evidence allows"
        return _adopt(it, "pipeline", reason, trial=True)
    if it.spec.drift == "Report" or not restorable(it, expected):
        # A trial of a version that is no longer champion says nothing.
        over = it.memory.since is not None
        return Decision(memory=without_trial(it.memory), again_s=NOW) if over else None
    reason = f"the alias champion was moved to {_name(champion)} by others"
    return it.began(Pending(action="Repair", version=expected, over=champion, by="operator", reason=reason, at=it.at))


def _is_promotion(it: Situation) -> bool:
    """Whether the move is one that this resource would have made itself: how pipelines promote (mode Automatic)."""
    version = it.facts.versions.get(it.facts.champion)
    if it.spec.mode != "Automatic" or version is None or version.validation != APPROVED:
        return False
    expected = uri(it.spec.student, it.memory.expected or NONE)
    ruling = rule(it.spec.policy, it.spec.student, version, it.facts.evidence.get(version.version), it.now)
    return ruling.passed and ruling.against == expected and version.promoted_over in (None, expected)


def _adopt(it: Situation, by: str, reason: str, *, trial: bool) -> Decision:
    champion, expected = it.facts.champion, it.memory.expected or NONE
    version = it.facts.versions.get(champion)
    entry = Entry(
        version=champion, action="Adopted", at=it.at, by=by, reason=reason, evidence=version.evidence if version else ""
    )
    memory = crowned(it, champion, expected, entry) if trial else settled(it.memory, champion, expected, entry)
    return Decision(memory=memory, writes=mark(version, uri(it.spec.student, expected)) if version else (), again_s=NOW)


def _promotion(it: Situation) -> Decision:
    found = standing(it.spec, it.facts, it.ask, it.now)
    if not found.eligible or found.version is None:
        return Decision(memory=it.memory)
    evidence = it.facts.versions[found.version].evidence
    return it.began(
        Pending(
            action="Promote", version=found.version, over=it.facts.champion, by=found.by, reason=found.message,
            at=it.at, evidence=evidence,
        )
    )  # fmt: skip


def _name(version: str) -> str:
    return NONE if version == NONE else f"v{version}"
