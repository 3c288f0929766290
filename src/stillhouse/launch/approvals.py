"""StudentPromotions on Kubernetes, from where people stand: finding one, and the annotations that approve or roll back.

What may be asked for is decided purely, from the status that the operator wrote; the operator checks everything again.
Knows no MLflow. The ``kubernetes`` client is imported inside functions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stillhouse.errors import RecipeError, TransientError, nearest

GROUP, VERSION, PLURAL = "stillhouse.dev", "v1alpha1", "studentpromotions"
APPROVE, ROLLBACK = f"{GROUP}/approve", f"{GROUP}/rollback"
SHORTEST_PREFIX = 8
_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_TIMEOUT_S = (10, 30)
Promotion = Mapping[str, Any]


class Promotions:
    """The StudentPromotions of a namespace."""

    def __init__(self, client: Any, namespace: str) -> None:
        from kubernetes.client import CustomObjectsApi

        self.namespace = namespace
        self._api, self._where = CustomObjectsApi(client), (GROUP, VERSION, namespace, PLURAL)

    def all(self) -> list[dict[str, Any]]:
        """Every one of them.

        Raises:
            RecipeError: the kind is not installed, or may not be read.
            TransientError: the API does not answer.
        """
        with _errors(f"StudentPromotions of namespace {self.namespace}"):
            answer = self._api.list_namespaced_custom_object(*self._where, _request_timeout=_TIMEOUT_S)
            return list(answer.get("items") or [])

    def annotate(self, name: str, key: str, value: str) -> None:
        """Set an annotation. Raises as ``all``."""
        patch = {"metadata": {"annotations": {key: value}}}
        with _errors(f"StudentPromotion {self.namespace}/{name}"):
            self._api.patch_namespaced_custom_object(*self._where, name, patch, _request_timeout=_TIMEOUT_S)


def connect(namespace: str = "") -> Promotions:
    """The cluster of this pod or of the kubeconfig; ``namespace`` goes before the pod's or the context's own.

    Raises:
        RecipeError: there is neither.
    """
    from kubernetes import client, config

    settings = client.Configuration()
    try:
        config.load_incluster_config(client_configuration=settings)
        own = _NAMESPACE_FILE.read_text(encoding="utf-8").strip()
    except (config.ConfigException, OSError):
        try:
            config.load_kube_config(client_configuration=settings)
            own = config.list_kube_config_contexts()[1]["context"].get("namespace", "")
        except (config.ConfigException, OSError) as error:
            raise RecipeError(f"no cluster: {error}; set KUBECONFIG, or run in a pod") from error
    settings.retries = False
    return Promotions(client.ApiClient(settings), namespace or own or "default")


def find(promotions: Sequence[Promotion], name: str, namespace: str) -> Promotion:
    """The StudentPromotion for the student ``name``, else the one that is called ``name``.

    Of several for one student, the one that acts: the others are in phase Conflict.

    Raises:
        RecipeError: there is none; says which there are.
    """
    found = [item for item in promotions if item["spec"].get("student") == name]
    found = found or [item for item in promotions if item["metadata"]["name"] == name]
    if not found:
        known = {str(item["spec"].get("student")) for item in promotions}
        known |= {str(item["metadata"]["name"]) for item in promotions}
        raise RecipeError(f"{name}: no StudentPromotion of it in namespace {namespace}; {nearest(name, known)}")
    return next((item for item in found if _status(item).get("phase") != "Conflict"), found[0])


def approval(promotion: Promotion, version: str, evidence: str) -> str:
    """The annotation that approves ``version``; ``evidence`` is the sha256 of its evidence, or its first digits.

    Raises:
        RecipeError: that version does not wait, or its evidence is other; says what is right.
    """
    status, student = _status(promotion), promotion["spec"]["student"]
    _refuse_conflict(promotion)
    number, prefix = version.strip().removeprefix("v"), _prefix(evidence)
    if promotion["spec"].get("mode") == "Automatic":
        raise RecipeError(f"{student}: mode is Automatic, so that nothing waits for approval")
    challenger = str(status.get("challenger") or "")
    if not challenger:
        champion = status.get("champion") or "none yet"
        raise RecipeError(f"{student}: no version waits for approval; champion: {champion}")
    sha256 = str((status.get("evidence") or {}).get("sha256") or "")
    if challenger != f"v{number}":
        right = f"{challenger} waits, evidence {sha256[:12]}" if sha256 else f"{challenger} is the challenger"
        raise RecipeError(f"{student} v{number} does not wait for approval; {right}")
    for kind, reasons in (("GatePassed", ()), ("Approved", ("Stale", "Spent"))):
        told = _condition(status, kind)
        if told.get("status") == "False" and (not reasons or told.get("reason") in reasons):
            raise RecipeError(f"{student} {challenger} cannot be promoted: {told.get('message')}")
    if not sha256.startswith(prefix):
        raise RecipeError(
            f"{student} {challenger}: its evidence is {sha256}, not {prefix}…; look at it first: "
            f"stillhouse lineage models:/{student}/{number}"
        )
    return f"{number}:{sha256}"


def rollback_target(promotion: Promotion, to: str = "") -> str:
    """The annotation that rolls back to version ``to``, by default to the previous champion.

    Raises:
        RecipeError: nobody knows a previous champion, or ``to`` is champion already, or is no version.
    """
    status, student = _status(promotion), promotion["spec"]["student"]
    _refuse_conflict(promotion)
    target = (to or str(status.get("previousChampion") or "")).strip().removeprefix("v")
    if not target:
        raise RecipeError(f"{student}: no previous champion is known; name a version with --to")
    if not re.fullmatch(r"[1-9][0-9]{0,9}|none", target):
        raise RecipeError(f"--to {to}: not a version's number (or none: no champion at all)")
    champion = str(status.get("champion") or "none").removeprefix("v")
    if target == champion == str(status.get("expectedChampion") or champion).removeprefix("v"):
        raise RecipeError(f"{student}: v{target} is champion already" if target != "none" else f"{student} has none")
    return target


def _prefix(evidence: str) -> str:
    """The digits of a hash, as people copy it: with or without ``sha256:`` and an ellipsis."""
    text = evidence.strip().lower().removeprefix("sha256:").rstrip("….")
    if not re.fullmatch(rf"[0-9a-f]{{{SHORTEST_PREFIX},64}}", text):
        raise RecipeError(
            f"--evidence {evidence}: must be the evidence's sha256, or at least its first {SHORTEST_PREFIX} digits"
        )
    return text


def _refuse_conflict(promotion: Promotion) -> None:
    if _status(promotion).get("phase") == "Conflict":
        raise RecipeError(
            f"StudentPromotion {promotion['metadata']['name']}: {_condition(_status(promotion), 'Conflict')['message']}"
        )


def _status(promotion: Promotion) -> Mapping[str, Any]:
    return promotion.get("status") or {}


def _condition(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    return next((item for item in status.get("conditions") or () if item["type"] == kind), {"message": ""})


@contextmanager
def _errors(where: str) -> Iterator[None]:
    """What the API refuses, in our words."""
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ApiException as error:
        code, text = int(error.status or 0), _message(error)
        if code == 404:
            raise RecipeError(f"{where}: not found ({text}); is the chart installed, with its CRDs?") from error
        if code in (401, 403):
            raise RecipeError(f"{where}: you may not do this ({text}); ask for the rights to them") from error
        if code in (400, 422):
            raise RecipeError(f"{where}: refused ({text})") from error
        raise TransientError(f"{where}: the Kubernetes API answers {code} ({text}); try again") from error
    except (HTTPError, OSError, ValueError) as error:
        raise TransientError(
            f"{where}: the Kubernetes API does not answer ({type(error).__name__}); try again"
        ) from error


def _message(error: Any) -> str:
    try:
        text = json.loads(error.body or "{}").get("message", "")
    except (ValueError, AttributeError):
        text = ""
    return " ".join(str(text or error.reason or "").split())[:400]
