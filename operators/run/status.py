"""What a run's status says: each function folds one thing that was found out into it. Pure.

A status goes Pending, Submitted, Running and then one of the four ends, which it never leaves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from operators.crds.run import LONGEST_NAME
from operators.resources import Body, set_condition, timestamp
from operators.run.look import Run, Trouble

ENDS = ("Succeeded", "Failed", "Cancelled", "TimedOut")
Row = dict[str, Any]


def run_label(body: Body) -> str:
    """The KFP run's identity: the object's name and five characters of its uid, so that a namesake is another run."""
    uid = hashlib.sha256(str(body["metadata"]["uid"]).encode()).hexdigest()[:5]
    return f"{body['metadata']['name'][:LONGEST_NAME]}-{uid}"


def before(body: Body) -> Row:
    """The status that the object has; at first, that nothing has happened."""
    row: Row = dict(body.get("status") or {})
    row.setdefault("phase", "Pending")
    row["observedGeneration"] = int(body["metadata"].get("generation") or 1)
    return row


def waits(row: Row, reason: str, message: str, now: datetime, *, recipe: bool | None = None) -> Row:
    """Not submitted yet, and why. ``recipe`` says whether it is the recipe that is missing."""
    row = {**row, "phase": "Pending", "reason": reason, "message": message}
    if recipe is not None:
        row = _set(row, "RecipeValid", recipe, reason, message, now)
    return _set(row, "Submitted", False, reason, message, now)


def trying(row: Row, label: str, name: str, namespace: str, now: datetime) -> Row:
    """About to submit. Written before it is done, so that whatever comes of it can be found again."""
    row = {**row, "phase": "Pending", "runLabel": label, "runName": name, "submitTry": {"startedAt": timestamp(now)}}
    return {**row, "kfpNamespace": namespace} if namespace else row


def no_answer(row: Row, message: str, now: datetime) -> Row:
    """The try has ended without an answer; it may have started a run all the same."""
    row = {**row, "submitTry": {**row["submitTry"], "endedAt": timestamp(now)}}
    return waits(row, "Retrying", message, now)


def submitted(row: Row, answer: Mapping[str, Any], now: datetime) -> Row:
    """KFP has the run."""
    names = {
        "runId": "run_id", "runName": "run_name", "url": "url", "recipeSha256": "recipe_sha256",
        "pipelineVersion": "pipeline_version",
    }  # fmt: skip
    row = {**row, **{key: str(answer[name]) for key, name in names.items() if answer.get(name)}}
    row.pop("submitTry", None)
    row |= {"phase": "Submitted", "reason": "Submitted", "startTime": timestamp(now)}
    row["message"] = f"KFP has it as {row['runName']}"
    row = _set(row, "RecipeValid", True, "Valid", "", now)
    return _set(row, "Submitted", True, "Submitted", row["message"], now)


def mirrored(row: Row, run: Run, trouble: Trouble | None, now: datetime) -> Row:
    """What KFP says of it, and what keeps it from going on."""
    row = {**row, "tasks": dict(run.tasks)} if run.tasks else row
    if run.created:
        row = {**row, "startTime": _whole_seconds(run.created)}
    if run.phase in ENDS:
        if run.failed_stage:
            row = {**row, "failedStage": run.failed_stage}
        ended = _whole_seconds(run.finished) if run.finished and not run.finished.startswith("1970-") else ""
        return end(row, run.phase, run.phase, run.message, now, ended=ended)
    row = {**row, "phase": run.phase, "reason": run.phase, "message": run.message}
    if trouble is None:
        return _set(row, "Progressing", True, run.phase, "", now)
    row |= {"reason": trouble.reason, "message": trouble.message}
    # Waiting in a queue is not failing to go on.
    return _set(row, "Progressing", trouble.reason == "Queued", trouble.reason, trouble.message, now)


def end(row: Row, phase: str, reason: str, message: str, now: datetime, *, ended: str = "") -> Row:
    """It has ended."""
    row = {**row, "phase": phase, "reason": reason, "message": message, "completionTime": ended or timestamp(now)}
    row.pop("submitTry", None)
    good = phase == "Succeeded"
    row = _set(row, "Progressing", False, reason, message, now)
    row = _set(row, "Complete", good, reason, message, now)
    return _set(row, "Failed", not good, reason, message, now)


def refused(row: Row, message: str, now: datetime) -> Row:
    """The recipe cannot run; running again changes nothing."""
    row = _set(row, "RecipeValid", False, "Refused", message, now)
    row = _set(row, "Submitted", False, "RecipeInvalid", message, now)
    return end(row, "Failed", "RecipeInvalid", message, now)


def _set(row: Row, kind: str, holds: bool | None, reason: str, message: str, now: datetime) -> Row:
    conditions = set_condition(
        row.get("conditions") or [], kind, holds, reason, message, now=now, generation=row["observedGeneration"]
    )
    return {**row, "conditions": conditions}


def _whole_seconds(text: str) -> str:
    """KFP's time as Kubernetes writes them."""
    try:
        return timestamp(datetime.fromisoformat(text.replace("Z", "+00:00")))
    except ValueError:
        return text
