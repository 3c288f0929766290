"""MLflow over REST: the registry's aliases, versions and tags, and what finished runs say of themselves.

Only what controllers need; the ``mlflow`` package is not loaded. Knows no gate and no policy.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from typing import Any

from operators.errors import Conflict
from operators.rest import Rest
from operators.settings import Settings
from stillhouse.errors import TransientError

_BASE = "/api/2.0/mlflow"


def headers(env: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Authorization as the ``mlflow`` client takes it from the environment."""
    if token := env.get("MLFLOW_TRACKING_TOKEN"):
        return {"Authorization": f"Bearer {token}"}
    if user := env.get("MLFLOW_TRACKING_USERNAME"):
        pair = f"{user}:{env.get('MLFLOW_TRACKING_PASSWORD', '')}".encode()
        return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
    return {}


class MlflowApi:
    """See ``operators.rest.Rest.call`` for what is raised."""

    def __init__(self, rest: Rest) -> None:
        self.rest = rest

    @classmethod
    def connect(cls, settings: Settings) -> MlflowApi:
        return cls(
            Rest(
                "MLflow",
                settings.mlflow_uri,
                headers=headers,
                ca_file=settings.mlflow_ca_file,
                setting="MLFLOW_TRACKING_URI",
            )
        )

    async def pipeline_run(self, kfp_run_id: str) -> dict[str, str]:
        """The tags that the exit handler of a KFP run left behind, with ``run_id`` and ``experiment_id``; empty where
        there is none (yet)."""
        experiments = await self.rest.call("POST", f"{_BASE}/experiments/search", json={"max_results": 1000})
        ids = [item["experiment_id"] for item in experiments.get("experiments") or []]
        if not ids:
            return {}
        query = f"tags.`stillhouse.kfp_run_id` = '{kfp_run_id}' and tags.`stillhouse.kind` = 'pipeline_run'"
        answer = await self.rest.call(
            "POST", f"{_BASE}/runs/search", json={"experiment_ids": ids, "filter": query, "max_results": 1}
        )
        runs = answer.get("runs") or []
        if not runs:
            return {}
        told = {str(tag["key"]): str(tag["value"]) for tag in runs[0]["data"].get("tags", [])}
        return told | {key: str(runs[0]["info"].get(key) or "") for key in ("run_id", "experiment_id")}

    async def model(self, name: str) -> dict[str, Any] | None:
        """A registered model with its aliases; None where there is none."""
        answer = await self.rest.call("GET", f"{_BASE}/registered-models/get", params={"name": name}, missing=None)
        return dict(answer["registered_model"]) if answer else None

    async def version(self, name: str, version: str) -> dict[str, Any] | None:
        """A version with its tags; None where there is none."""
        params = {"name": name, "version": version}
        answer = await self.rest.call("GET", f"{_BASE}/model-versions/get", params=params, missing=None)
        return dict(answer["model_version"]) if answer else None

    async def set_version_tag(self, name: str, version: str, key: str, value: str) -> None:
        """Set a tag. Raises Conflict where the version is gone."""
        await self._write("POST", "model-versions/set-tag", name=name, version=version, key=key, value=value)

    async def set_alias(self, name: str, alias: str, version: str) -> None:
        """Move an alias to a version. Raises Conflict where the version is gone."""
        await self._write("POST", "registered-models/alias", name=name, alias=alias, version=version)

    async def delete_alias(self, name: str, alias: str) -> None:
        """Take an alias away; fine if there is none. Raises Conflict where the model is gone."""
        await self._write("DELETE", "registered-models/alias", name=name, alias=alias)

    async def _write(self, method: str, path: str, **fields: str) -> None:
        if await self.rest.call(method, f"{_BASE}/{path}", json=fields, missing=None) is None:
            raise Conflict(f"MLflow: {fields['name']} is not as it was a moment ago; looking again")

    async def run_file(self, run_id: str, path: str) -> bytes | str:
        """A file of a run as MLflow serves it, or in words why it cannot be read; empty words: it is not there.

        Raises:
            TransientError: no answer, or one that says to come back (401, 408, 429, 502, 503, 504).
        """
        code, content = await self.rest.content("/get-artifact", {"path": path, "run_uuid": run_id})
        if code == 200:
            return content
        if code in _COME_BACK:
            raise TransientError(f"MLflow answers {code} to /get-artifact; trying again")
        # What is missing and what this server cannot read look alike on some stores: a listing tells them apart.
        listed, text = await self.rest.content(f"{_BASE}/artifacts/list", {"run_id": run_id})
        if listed in _COME_BACK:
            raise TransientError(f"MLflow answers {listed} to artifacts/list; trying again")
        if listed == 404 or (listed == 200 and path not in _paths(text)):
            return ""
        return f"/get-artifact answers {code}"


_COME_BACK = (401, 408, 429, 502, 503, 504)


def _paths(listing: bytes) -> set[str]:
    try:
        return {str(item["path"]) for item in json.loads(listing).get("files") or []}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise TransientError("MLflow's list of artifacts is no list; trying again") from error
