"""Kubeflow Pipelines over REST (v2beta1): the few calls of a controller. Starting runs is the command's work."""

from __future__ import annotations

import json
from typing import Any

from operators.rest import Rest
from operators.settings import Settings

_BASE = "/apis/v2beta1"
FINAL = {"SUCCEEDED": True, "SKIPPED": True, "FAILED": False, "CANCELED": False}
"""States that a run does not leave by itself, and whether they are good."""


class KfpApi:
    """Runs: read, terminate. See ``operators.rest.Rest.call`` for what is raised."""

    def __init__(self, rest: Rest) -> None:
        self.rest = rest

    @classmethod
    def connect(cls, settings: Settings) -> KfpApi:
        def headers() -> dict[str, str]:
            token = settings.kfp_token()
            return {"Authorization": f"Bearer {token}"} if token else {}

        return cls(
            Rest(
                "KFP",
                settings.kfp_endpoint,
                headers=headers,
                ca_file=settings.kfp_ca_file,
                setting="KF_PIPELINES_ENDPOINT",
            )
        )

    async def run(self, run_id: str) -> dict[str, Any] | None:
        """The run with its tasks, or None where KFP no longer has it."""
        found: dict[str, Any] | None = await self.rest.call("GET", f"{_BASE}/runs/{run_id}", missing=None)
        return found

    async def find(self, display_name: str, namespace: str = "") -> dict[str, Any] | None:
        """The newest run of exactly this display name."""
        clause = {"operation": "EQUALS", "key": "display_name", "string_value": display_name}
        params = {"filter": json.dumps({"predicates": [clause]}), "sort_by": "created_at desc", "page_size": 1}
        if namespace:
            params["namespace"] = namespace
        answer = await self.rest.call("GET", f"{_BASE}/runs", params=params)
        runs = answer.get("runs") or []
        return dict(runs[0]) if runs else None

    async def terminate(self, run_id: str) -> None:
        """Stop a run; one that has ended or is unknown is left alone."""
        run = await self.run(run_id)
        if run is None or run.get("state") in FINAL:
            return
        await self.rest.call("POST", f"{_BASE}/runs/{run_id}:terminate", missing={})
