"""Kubernetes' own schemas, as the package kubernetes-validate ships them, strict: unknown fields are refused.

Read here rather than by ``kubernetes_validate.validate``, which loads two megabytes for every object.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import jsonschema
import referencing
from kubernetes_validate.utils import SchemaNotFoundError, all_versions, schema_contents

OURS = ("stillhouse.dev", "kopf.dev", "monitoring.coreos.com")
"""API groups that Kubernetes does not know."""


@cache
def _registry(folder: str, version: str) -> Any:
    definitions = schema_contents(f"kubernetes-json-schema/{folder}/_definitions.json", version)
    resource = referencing.Resource.from_contents(definitions)
    # Crawled here, once; otherwise the whole file is crawled again for every reference into it.
    return referencing.Registry().with_resource("_definitions.json", resource).crawl()


@cache
def _validator(kind: str, api_version: str, version: str) -> Any:
    assert version in all_versions(), f"kubernetes-validate knows no {version}"
    folder = f"v{version}-local-strict"
    group, _, release = api_version.rpartition("/")
    name = f"{kind.lower()}-{group.split('.')[0]}-{release}".replace("--", "-")
    try:
        schema = schema_contents(f"kubernetes-json-schema/{folder}/{name}.json", version)
    except FileNotFoundError:
        raise SchemaNotFoundError(kind, version, api_version) from None
    schema = {"$id": f"{name}.json", **schema}
    return jsonschema.Draft202012Validator(schema, registry=_registry(folder, version))


def problems(item: Mapping[str, Any], version: str) -> list[str]:
    """What Kubernetes ``version`` would not accept of ``item``.

    Raises:
        SchemaNotFoundError: Kubernetes has no such kind.
    """
    validator = _validator(item["kind"], item["apiVersion"], version)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(item)]


def is_ours(item: Mapping[str, Any]) -> bool:
    """Whether the kind comes from a custom resource definition."""
    return bool(item["apiVersion"].partition("/")[0] in OURS)
