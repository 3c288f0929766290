"""The few calls to the Kubernetes API that a launcher of TrainJobs needs. Knows no training and decides nothing.

The client's exceptions end here: what the API refused is ``Refused``, what may go well in a moment is ``Away``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from stillhouse.errors import RecipeError
from stillhouse.launch.trainjob_manifest import GROUP, KIND, PLURAL, REPLICATED_JOB, VERSION

_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_TIMEOUT_S = (10, 30)
_LOG_LINES = 30
# 401: a service account's token is renewed while the pod runs.
_PASSING = (0, 401, 408, 425, 429)


class Away(Exception):
    """The API did not answer, or asks to come back later; whether a call that changes something was done is unknown."""

    def __init__(self, text: str, retry_after_s: float = 0.0) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


class Exists(Exception):
    """There is an object of that name."""


class Refused(Exception):
    """The API refused: no such thing, no right, no quota, an object that it does not accept."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Jobs(Protocol):
    """What a launcher asks of the cluster; objects are plain."""

    namespace: str

    def create(self, body: Mapping[str, Any]) -> dict[str, Any]: ...
    def get(self, name: str) -> dict[str, Any] | None: ...
    def delete(self, name: str) -> None: ...
    def pods(self, name: str) -> list[dict[str, Any]]: ...
    def warnings(self, name: str) -> list[str]: ...
    def log_tail(self, pod: str) -> str: ...
    def owner(self) -> dict[str, Any] | None: ...


class KubeJobs:
    """``Jobs`` through the official client."""

    def __init__(self, client: Any, namespace: str) -> None:
        from kubernetes.client import CoreV1Api, CustomObjectsApi

        self.namespace = namespace
        self._custom, self._core = CustomObjectsApi(client), CoreV1Api(client)
        self._where = (GROUP, VERSION, namespace, PLURAL)

    def create(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Create the TrainJob ``body``. Raises Exists, Refused or Away.

        Validation is strict: a Trainer too old for runtime patches would drop them, and the workspace with them.
        """
        call = self._custom.create_namespaced_custom_object
        with _api_errors():
            return _object(call(*self._where, dict(body), field_validation="Strict", _request_timeout=_TIMEOUT_S))

    def get(self, name: str) -> dict[str, Any] | None:
        """The TrainJob ``name``, or None. Raises Refused or Away."""
        call = self._custom.get_namespaced_custom_object
        return _unless_gone(lambda: call(*self._where, name, _request_timeout=_TIMEOUT_S))

    def delete(self, name: str) -> None:
        """Delete the TrainJob ``name`` once its pods are gone; fine if there is none. Raises Refused or Away."""
        call = self._custom.delete_namespaced_custom_object
        options = {"propagationPolicy": "Foreground"}
        _unless_gone(lambda: call(*self._where, name, body=options, _request_timeout=_TIMEOUT_S))

    def pods(self, name: str) -> list[dict[str, Any]]:
        """Pods of the TrainJob ``name``. Raises Refused or Away."""
        selector = f"jobset.sigs.k8s.io/jobset-name={name}"
        rows = self._list(self._core.list_namespaced_pod, label_selector=selector)
        return [row for row in rows if _labels(row).get("jobset.sigs.k8s.io/jobset-name") == name]

    def warnings(self, name: str) -> list[str]:
        """What the cluster complains of about the TrainJob ``name`` and its job, the newest last. As ``pods``."""
        names = {name, f"{name}-{REPLICATED_JOB}-0"}
        rows = [
            row
            for item in sorted(names)
            for row in self._list(self._core.list_namespaced_event, field_selector=f"involvedObject.name={item}")
            if row.get("involvedObject", {}).get("name") == item and row.get("type") == "Warning"
        ]
        rows.sort(key=lambda row: row.get("lastTimestamp") or row.get("eventTime") or "")
        return list(dict.fromkeys(str(row.get("message", "")) for row in rows))

    def log_tail(self, pod: str) -> str:
        """The last lines of ``pod``'s log. Raises Refused or Away."""
        call = self._core.read_namespaced_pod_log
        with _api_errors():
            text: str = call(pod, self.namespace, tail_lines=_LOG_LINES, _request_timeout=_TIMEOUT_S)
            return text

    def owner(self) -> dict[str, Any] | None:
        """Reference to what owns this very pod (the workflow of the run): what it owns too goes with it.

        Not the pod itself: a try that follows it takes its TrainJob over. Raises Refused or Away.
        """
        pod = os.environ.get("KFP_POD_NAME") or os.environ.get("HOSTNAME", "")
        read = self._core.read_namespaced_pod
        found = _unless_gone(
            lambda: _plain(read(pod, self.namespace, _preload_content=False, _request_timeout=_TIMEOUT_S))
        )
        return owner_reference(found) if found else None

    def _list(self, call: Callable[..., Any], **options: str) -> list[dict[str, Any]]:
        with _api_errors():
            answer = call(self.namespace, _preload_content=False, _request_timeout=_TIMEOUT_S, **options)
            rows: list[dict[str, Any]] = _plain(answer).get("items") or []
            return rows


def owner_reference(pod: Mapping[str, Any]) -> dict[str, Any] | None:
    """Reference to the controller of ``pod``, as an owner that does not control."""
    for owner in pod.get("metadata", {}).get("ownerReferences") or []:
        if owner.get("controller"):
            return {name: owner[name] for name in ("apiVersion", "kind", "name", "uid")}
    return None


def in_cluster() -> KubeJobs:
    """With this pod's service account, in this pod's namespace.

    Raises:
        RecipeError: this is no pod.
    """
    from kubernetes import client, config

    settings = client.Configuration()
    try:
        config.load_incluster_config(client_configuration=settings)
        namespace = os.environ.get("STILLHOUSE_KFP_NAMESPACE") or _NAMESPACE_FILE.read_text(encoding="utf-8").strip()
    except (config.ConfigException, FileNotFoundError) as error:
        raise RecipeError(
            f"training on more than one node runs on Kubernetes, and this is no pod ({error}); submit the recipe, or "
            "train on one node"
        ) from error
    # Repeating is the launcher's, which knows what may be repeated.
    settings.retries = False
    return KubeJobs(client.ApiClient(settings), namespace)


def _plain(answer: Any) -> dict[str, Any]:
    return _object(json.loads(answer.data))


def _object(answer: Any) -> dict[str, Any]:
    """``answer``, which the client leaves as text where it is no JSON (a proxy's page, an answer that was cut off)."""
    if not isinstance(answer, dict):
        raise ValueError(f"no object but {str(answer)[:80]!r}")
    return answer


def _labels(row: Mapping[str, Any]) -> Mapping[str, str]:
    return row.get("metadata", {}).get("labels") or {}


def _unless_gone(call: Callable[[], Any]) -> dict[str, Any] | None:
    try:
        with _api_errors():
            return _object(call())
    except Refused as error:
        if error.status == 404:
            return None
        raise


@contextmanager
def _api_errors() -> Iterator[None]:
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ApiException as error:
        text = _message(error)
        if error.status == 409:
            raise Exists(text) from error
        if error.status in _PASSING or error.status >= 500:
            raise Away(f"{error.status} {text}", _seconds((error.headers or {}).get("Retry-After"))) from error
        raise Refused(error.status, text) from error
    except (HTTPError, OSError, ValueError) as error:  # ValueError: an answer that was cut off, or is no JSON
        raise Away(f"{type(error).__name__}: {error}") from error


def _message(error: Any) -> str:
    """The message of the API's Status object, else the HTTP reason."""
    try:
        text = json.loads(error.body or "{}").get("message", "")
    except (ValueError, AttributeError):
        text = ""
    return " ".join(str(text or error.reason or "").split())[:800]


def _seconds(value: str | None) -> float:
    return float(value) if value and value.isdigit() else 0.0


__all__ = ["KIND", "Away", "Exists", "Jobs", "KubeJobs", "Refused", "in_cluster", "owner_reference"]
