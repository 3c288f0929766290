"""Looking at a Kubernetes cluster, as whoever the kubeconfig or the pod's service account is. Reads only.

Secrets are asked for by their metadata: no value of one is ever fetched.
"""

from __future__ import annotations

import json
from typing import Any

_TIMEOUT_S = (3, 10)
_METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"


class Refused(Exception):
    """The API did not give what was asked for: ``status`` 403, 404, …, or 0 for no answer."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Cluster:
    """Plain GET requests to the API."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def get(self, path: str, *, metadata_only: bool = False) -> dict[str, Any]:
        """The object or list at ``path``. Raises Refused."""
        from kubernetes.client import ApiException  # type: ignore[import-untyped]
        from urllib3.exceptions import HTTPError

        accept = _METADATA_ONLY if metadata_only else "application/json"
        try:
            answer = self._client.call_api(
                path, "GET", header_params={"Accept": accept}, auth_settings=["BearerToken"],
                _preload_content=False, _return_http_data_only=True, _request_timeout=_TIMEOUT_S,
            )  # fmt: skip
            found: dict[str, Any] = json.loads(answer.data)
        except ApiException as error:
            raise Refused(int(error.status or 0), str(error.reason)) from error
        except (HTTPError, OSError, ValueError) as error:
            raise Refused(0, type(error).__name__) from error
        return found


def find_cluster() -> Cluster | None:
    """The cluster of this pod or of the kubeconfig; None where there is neither."""
    from kubernetes import client, config  # type: ignore[import-untyped]

    settings = client.Configuration()
    try:
        config.load_incluster_config(client_configuration=settings)
    except config.ConfigException:
        try:
            config.load_kube_config(client_configuration=settings)
        except (config.ConfigException, OSError):
            return None
    settings.retries = False
    return Cluster(client.ApiClient(settings))
