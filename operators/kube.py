"""The Kubernetes API, as the reconcilers need it: plain dicts in and out, the error tree for failures.

lightkube speaks underneath. Knows resources by ``operators.resources.Resource`` and nothing of what they mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import httpx2
from lightkube import AsyncClient, KubeConfig
from lightkube.config.models import Cluster, User
from lightkube.core.exceptions import ConfigError
from lightkube.generic_resource import create_global_resource, create_namespaced_resource
from lightkube.types import PatchType

from operators.errors import Conflict, NameTaken, QuotaExceeded, Throttled
from operators.resources import MANIFEST_HASH, Body, Resource, covers
from stillhouse.digest import sha256_json
from stillhouse.errors import RecipeError, StillhouseError, TransientError

FIELD_MANAGER = "stillhouse"


@cache
def _class(resource: Resource) -> Any:
    return create_namespaced_resource(resource.group, resource.version, resource.kind, resource.plural)


class Kube:
    """Namespaced objects of any kind. Every method raises TransientError when the API does not answer as it should."""

    def __init__(self, client: AsyncClient) -> None:
        # Its overloads speak of static classes; ours are made from a Resource.
        self._client: Any = client

    @classmethod
    def connect(cls, server: str = "") -> Kube:
        """In a pod by its service account, elsewhere by the kubeconfig; ``server`` needs no authentication.

        Raises:
            RecipeError: no cluster is configured.
        """
        try:
            config = _open(server) if server else KubeConfig.from_env()
            timeout = httpx2.Timeout(30.0)
            return cls(AsyncClient(config=config, timeout=timeout, field_manager=FIELD_MANAGER, trust_env=not server))
        except ConfigError as error:
            raise RecipeError(f"no cluster: {error}; run in a pod, or set KUBECONFIG") from error

    async def close(self) -> None:
        await self._client.close()

    async def get(self, resource: Resource, namespace: str, name: str) -> dict[str, Any] | None:
        """The object, or None where there is none."""
        try:
            return _plain(await self._client.get(_class(resource), name, namespace=namespace))
        except httpx2.HTTPError as error:
            if _code(error) == 404:
                return None
            raise translate(error, f"{resource.kind} {namespace}/{name}") from error

    async def list(
        self, resource: Resource, namespace: str, labels: Mapping[str, str] | None = None
    ) -> list[dict[str, Any]]:
        """The objects of a namespace (``*`` is all of them) with these labels."""
        try:
            found = self._client.list(_class(resource), namespace=namespace, labels=dict(labels or {}) or None)
            items = [_plain(item) async for item in found]
        except httpx2.HTTPError as error:
            if _code(error) == 404:
                return []
            raise translate(error, f"{resource.kind}s of {namespace}") from error
        # A mock of the API may not select; asking twice costs nothing.
        return [item for item in items if covers(item["metadata"].get("labels") or {}, labels or {})]

    async def create(self, resource: Resource, body: Body) -> tuple[dict[str, Any], bool]:
        """Create ``body``; returns the object and whether it is new. One of that name that exists is left alone.

        An answer that was lost is asked for again, so that nothing is ever made twice.
        """
        meta = body["metadata"]
        try:
            made = await self._client.create(_class(resource)(dict(body)), namespace=meta["namespace"])
            return _plain(made), True
        except httpx2.HTTPError as error:
            if _code(error) == 409 or not isinstance(error, httpx2.HTTPStatusError):
                existing = await self.get(resource, meta["namespace"], meta["name"])
                if existing is not None:
                    return existing, False
            raise translate(error, f"{resource.kind} {meta['namespace']}/{meta['name']}") from error

    async def create_cluster_wide(self, resource: Resource, name: str) -> None:
        """Create an empty cluster-scoped object; one of that name that exists is left alone."""
        kind: Any = create_global_resource(resource.group, resource.version, resource.kind, resource.plural)
        body = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": name}}
        try:
            await self._client.create(kind(body))
        except httpx2.HTTPError as error:
            if _code(error) != 409:
                raise translate(error, f"{resource.kind} {name}") from error

    async def patch(
        self, resource: Resource, namespace: str, name: str, patch: Body, *, status: bool = False
    ) -> dict[str, Any] | None:
        """Merge ``patch`` into the object (its status subresource with ``status``); None where it is gone."""
        kind: Any = _class(resource)
        kind = kind.Status if status else kind
        try:
            done = await self._client.patch(kind, name, dict(patch), namespace=namespace, patch_type=PatchType.MERGE)
            return _plain(done)
        except httpx2.HTTPError as error:
            if _code(error) == 404:
                return None
            raise translate(error, f"{resource.kind} {namespace}/{name}") from error

    async def set_status(self, resource: Resource, body: Body, status: Body) -> None:
        """Write ``status`` where it differs from what ``body`` says; fields of ours that are gone are removed."""
        before = body.get("status") or {}
        if before == status:
            return
        meta = body["metadata"]
        await self.patch(resource, meta["namespace"], meta["name"], {"status": _turn(before, status)}, status=True)

    async def apply(self, resource: Resource, body: Body, *, owned: bool = False) -> str:
        """Make the object as ``body`` says (server-side apply, ours wins): ``created``, ``changed`` or ``same``.

        Raises:
            NameTaken: with ``owned``, where an object of that name does not have the owner that ``body`` has.
        """
        wanted = {**body, "metadata": {**body["metadata"]}}
        meta = wanted["metadata"]
        meta["annotations"] = {**(meta.get("annotations") or {}), MANIFEST_HASH: sha256_json(dict(body))}
        observed = await self.get(resource, meta["namespace"], meta["name"])
        if owned and observed is not None and not _owners(observed) & _owners(body):
            where = f"{resource.kind} {meta['namespace']}/{meta['name']}"
            raise NameTaken(f"{where}: is there and belongs to somebody else; delete it, or choose another name")
        if observed is not None and covers(observed, wanted):
            return "same"
        try:
            await self._client.apply(_class(resource)(wanted), namespace=meta["namespace"], force=True)
        except httpx2.HTTPError as error:
            raise translate(error, f"{resource.kind} {meta['namespace']}/{meta['name']}") from error
        return "created" if observed is None else "changed"

    async def delete(self, resource: Resource, namespace: str, name: str) -> bool:
        """Delete the object; False where there is none."""
        try:
            await self._client.delete(_class(resource), name, namespace=namespace)
        except httpx2.HTTPError as error:
            if _code(error) == 404:
                return False
            raise translate(error, f"{resource.kind} {namespace}/{name}") from error
        return True


def _open(server: str) -> KubeConfig:
    return KubeConfig.from_one(cluster=Cluster(server=server), user=User())


def _turn(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """The merge patch that turns ``before`` into ``after``: what is gone at any depth is set to null."""
    patch: dict[str, Any] = {key: None for key in before if key not in after}
    for key, value in after.items():
        old = before.get(key)
        patch[key] = _turn(old, value) if isinstance(value, Mapping) and isinstance(old, Mapping) else value
    return patch


def _owners(body: Body) -> set[str]:
    return {row["uid"] for row in body["metadata"].get("ownerReferences") or ()}


def _plain(item: Any) -> dict[str, Any]:
    return dict(item.to_dict())


def _code(error: httpx2.HTTPError) -> int:
    return error.response.status_code if isinstance(error, httpx2.HTTPStatusError) and error.response is not None else 0


def translate(error: httpx2.HTTPError, where: str) -> StillhouseError:
    """What a failed call means. Refusals of the object itself are the user's; all else may be tried again."""
    code = _code(error)
    text = " ".join(_said(error).split())
    if not code:
        return TransientError(f"{where}: the Kubernetes API does not answer ({type(error).__name__}: {text})")
    if code == 409:
        return Conflict(f"{where}: was changed by somebody else; trying again")
    if code == 429 and isinstance(error, httpx2.HTTPStatusError):
        return Throttled(f"{where}: the Kubernetes API is throttling", _retry_after(error.response.headers))
    if code == 403 and "exceeded quota" in text:
        return QuotaExceeded(f"{where}: {text}; free some of the quota, or raise it")
    if code == 403:
        return TransientError(
            f"{where}: the operator's service account may not do this ({text}); see the chart's roles"
        )
    if code in (400, 422):
        return RecipeError(f"{where}: refused by the Kubernetes API ({text})")
    return TransientError(f"{where}: the Kubernetes API answers {code} ({text})")


def _said(error: httpx2.HTTPError) -> str:
    """The API's own words: lightkube reads them only where the content type says no more than application/json."""
    try:
        return str(error.response.json()["message"]) if isinstance(error, httpx2.HTTPStatusError) else str(error)
    except (ValueError, LookupError, TypeError):
        return str(error)


def _retry_after(headers: Mapping[str, str]) -> float:
    try:
        return max(0.0, float(headers.get("Retry-After", "1")))
    except ValueError:
        return 1.0


__all__ = ["Kube", "translate"]
