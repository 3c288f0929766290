"""MLflow over REST: the registry's aliases, versions and tags, and what finished runs say of themselves.

Only what controllers need; the ``mlflow`` package is not loaded. Knows no gate and no policy.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping

from operators.rest import Rest
from operators.settings import Settings

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
        """The tags that the exit handler of a KFP run left behind; empty where there is none (yet)."""
        experiments = await self.rest.call("POST", f"{_BASE}/experiments/search", json={"max_results": 1000})
        ids = [item["experiment_id"] for item in experiments.get("experiments") or []]
        if not ids:
            return {}
        query = f"tags.`stillhouse.kfp_run_id` = '{kfp_run_id}' and tags.`stillhouse.kind` = 'pipeline_run'"
        answer = await self.rest.call(
            "POST", f"{_BASE}/runs/search", json={"experiment_ids": ids, "filter": query, "max_results": 1}
        )
        runs = answer.get("runs") or []
        return {tag["key"]: tag["value"] for tag in runs[0]["data"].get("tags", [])} if runs else {}
