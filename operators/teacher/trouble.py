"""Why a server does not start, from what Kubernetes says of its Deployment and its pods. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from operators.logs import without_secrets
from operators.resources import Body
from stillhouse.errors import printable

_IMAGE = ("ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable")
_BEGIN = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")
_ADVICE = {
    "ImagePullBackOff": "check spec.image and spec.imagePullSecrets",
    "CreateContainerConfigError": "check that the Secrets and claims of the spec exist with the keys that are named",
    "CrashLoopBackOff": "read its last words, then correct spec.args, spec.model or spec.resources",
    "OOMKilled": "raise spec.resources.limits.memory, or serve a smaller model",
    "Unschedulable": "free or add nodes, or ask for less in spec.accelerator and spec.resources",
    "QuotaExceeded": "free some of the namespace's quota, or raise it",
    "FailedCreate": "correct what the API server refuses",
}
_LENGTH = 500


@dataclass(frozen=True)
class Trouble:
    """``reason`` is Kubernetes' own word where it has one; ``text`` says what to do as well."""

    reason: str
    text: str


def find(deployment: Body | None, pods: Iterable[Body]) -> Trouble | None:
    """The first trouble, the gravest kind first; None where all goes well so far."""
    living = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
    found = [trouble for pod in living for trouble in _of_pod(pod)] + list(_of_deployment(deployment or {}))
    order = list(_ADVICE)
    return min(found, key=lambda item: order.index(item.reason), default=None)


def told(reason: str, text: str) -> Trouble:
    """One line with the advice that belongs to ``reason``; what came from outside is made harmless."""
    words = printable(without_secrets(" ".join(text.split())))
    return Trouble(reason, f"{words}; {_ADVICE[reason]}" if words else _ADVICE[reason])


def _last(words: str) -> str:
    """The end of a container's last words: of a crash it says more than the beginning."""
    line = " ".join(words.split())
    return line if len(line) <= _LENGTH else f"... {line[-_LENGTH:]}"


def _of_deployment(deployment: Body) -> Iterator[Trouble]:
    for row in (deployment.get("status") or {}).get("conditions") or ():
        if row["type"] == "ReplicaFailure" and row["status"] == "True":
            text = str(row.get("message", ""))
            yield told("QuotaExceeded" if "exceeded quota" in text else "FailedCreate", text)


def _of_pod(pod: Body) -> Iterator[Trouble]:
    status = pod.get("status") or {}
    name = pod["metadata"]["name"]
    for row in status.get("conditions") or ():
        if row["type"] == "PodScheduled" and row["status"] == "False" and row.get("reason") == "Unschedulable":
            yield told("Unschedulable", f"pod {name}: {row.get('message', '')}")
    for row in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        trouble = _of_container(name, row)
        if trouble is not None:
            yield trouble


def _of_container(pod: str, row: Mapping[str, Any]) -> Trouble | None:
    where = f"pod {pod}, container {row.get('name', '')}"
    waiting = (row.get("state") or {}).get("waiting") or {}
    reason, text = waiting.get("reason", ""), waiting.get("message", "")
    if reason in _IMAGE:
        return told(
            "ImagePullBackOff", f"{where}: the image cannot be pulled ({reason}: {text or row.get('image', '')})"
        )
    if reason in _BEGIN:
        return told("CreateContainerConfigError", f"{where}: {text or reason}")
    ended = (row.get("state") or {}).get("terminated") or (row.get("lastState") or {}).get("terminated") or {}
    if ended.get("reason") == "OOMKilled" and not row.get("ready"):
        return told("OOMKilled", f"{where}: was killed because it used more memory than its limit")
    if reason == "CrashLoopBackOff" or (ended.get("exitCode") and not row.get("ready")):
        words = _last(ended.get("message") or text)
        return told("CrashLoopBackOff", f"{where}: ended with {ended.get('exitCode', '?')} ({words})")
    return None
