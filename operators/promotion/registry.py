"""The edge to MLflow: what it says of a student as ``Facts``, and ``Write``s made. Decides nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

from operators.errors import Conflict
from operators.mlflow import MlflowApi
from operators.promotion.facts import (
    CHALLENGER,
    CHAMPION,
    EVIDENCE_TAG,
    LINEAGE_TAG,
    NONE,
    PROMOTED_TAG,
    ROLLED_BACK_TAG,
    STATUS_TAG,
    Ask,
    Evidence,
    Facts,
    Memory,
    Version,
    Write,
)

EVIDENCE_FILE = "evidence.json"


async def look(mlflow: MlflowApi, student: str, memory: Memory, ask: Ask) -> Facts:
    """The student's aliases, and every version and evidence that a decision may rest on.

    Raises:
        RecipeError: MLflow is not configured.
        TransientError: it does not answer, or the registry changed while it was read.
    """
    model = await mlflow.model(student)
    if model is None:
        return Facts(exists=False)
    aliases = {str(item["alias"]): str(item["version"]) for item in model.get("aliases") or []}
    champion, challenger = aliases.get(CHAMPION, NONE), aliases.get(CHALLENGER, NONE)
    versions: dict[str, Version] = {}
    for number in _named(champion, challenger, memory, ask):
        found = await mlflow.version(student, number)
        if found is not None:
            versions[number] = version_of(found)
        elif number in (champion, challenger):
            raise Conflict(f"MLflow: {student} changed while it was read; looking again")
    judged = {challenger} - {champion}
    if memory.expected not in (None, champion):
        judged.add(champion)
    evidence = {
        number: await _evidence(mlflow, versions[number]) for number in sorted(judged - {NONE}) if number in versions
    }
    return Facts(champion=champion, challenger=challenger, versions=versions, evidence=evidence)


def _named(champion: str, challenger: str, memory: Memory, ask: Ask) -> list[str]:
    named: set[str | None] = {champion, challenger, memory.expected, memory.previous, ask.rollback_target or None}
    if ask.approval is not None:
        named.add(ask.approval.version or None)
    if memory.pending is not None:
        named |= {memory.pending.version, memory.pending.over, *memory.pending.rejects}
    return sorted((item for item in named if item and item != NONE), key=int)


def version_of(plain: Mapping[str, Any]) -> Version:
    """A version out of MLflow's answer."""
    tags = {str(item["key"]): str(item.get("value", "")) for item in plain.get("tags") or []}
    told = _told(tags.get(LINEAGE_TAG, ""))
    return Version(
        version=str(plain["version"]),
        run_id=str(plain.get("run_id") or ""),
        created_s=float(plain.get("creation_timestamp") or 0) / 1000,
        validation=tags.get(STATUS_TAG, ""),
        evidence=tags.get(EVIDENCE_TAG, ""),
        promoted_over=tags.get(PROMOTED_TAG),
        rolled_back=tags.get(ROLLED_BACK_TAG, ""),
        told_verdict=str(told.get("verdict", "")),
        told_against=str(told.get("against", "")),
        told_evidence=str(told.get("evidence_sha256", "")),
    )


def _told(lineage: str) -> Mapping[str, Any]:
    """What the lineage that a version carries says of its verdict."""
    try:
        nodes = json.loads(lineage or "{}").get("nodes") or []
        return next((dict(node["facts"]) for node in nodes if node.get("kind") == "verdict"), {})
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}


async def _evidence(mlflow: MlflowApi, version: Version) -> Evidence:
    if not version.run_id:
        return Evidence(state="gone", why="it belongs to no run, so that there is no evidence.json")
    found = await mlflow.run_file(version.run_id, EVIDENCE_FILE)
    if isinstance(found, bytes):
        return evidence_of(found)
    if not found:
        return Evidence(state="gone", why=f"{EVIDENCE_FILE} is gone from its run {version.run_id}")
    return Evidence(state="unreadable", why=found)


def evidence_of(content: bytes) -> Evidence:
    """The evidence in a file; one that cannot be understood has a hash and no verdict."""
    digest = sha256(content).hexdigest()
    try:
        plain = json.loads(content)
        return Evidence(
            state="read",
            sha256=digest,
            verdict=str(plain["verdict"]),
            against=str(plain["against"]),
            name=str(plain["name"]),
            checks=frozenset(str(row["kind"]) for row in plain["checks"]),
        )
    except (ValueError, KeyError, TypeError):
        return Evidence(state="read", sha256=digest)


async def make(mlflow: MlflowApi, student: str, writes: Iterable[Write]) -> None:
    """Make the changes, in order. Each may be made twice.

    Raises:
        TransientError: MLflow does not answer, or something that is named is gone; looking again decides anew.
    """
    for write in writes:
        if write.kind == "tag":
            await mlflow.set_version_tag(student, write.version, write.key, write.value)
        elif write.kind == "alias":
            await mlflow.set_alias(student, CHAMPION, write.version)
        else:
            await mlflow.delete_alias(student, CHAMPION)
