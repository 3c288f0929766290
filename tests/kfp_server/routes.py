"""Method and path of everything the server speaks, by the operation's name. Pure."""

from __future__ import annotations

import re

V2 = "/apis/v2beta1"
ROUTES: dict[str, tuple[str, str]] = {
    "get_healthz": ("GET", f"{V2}/healthz"),
    "create_experiment": ("POST", f"{V2}/experiments"),
    "list_experiments": ("GET", f"{V2}/experiments"),
    "get_experiment": ("GET", f"{V2}/experiments/{{experiment_id}}"),
    "delete_experiment": ("DELETE", f"{V2}/experiments/{{experiment_id}}"),
    "archive_experiment": ("POST", f"{V2}/experiments/{{experiment_id}}:archive"),
    "unarchive_experiment": ("POST", f"{V2}/experiments/{{experiment_id}}:unarchive"),
    "create_pipeline": ("POST", f"{V2}/pipelines"),
    "list_pipelines": ("GET", f"{V2}/pipelines"),
    "upload_pipeline": ("POST", f"{V2}/pipelines/upload"),
    "upload_pipeline_version": ("POST", f"{V2}/pipelines/upload_version"),
    "get_pipeline_by_name": ("GET", f"{V2}/pipelines/names/{{name}}"),
    "get_pipeline": ("GET", f"{V2}/pipelines/{{pipeline_id}}"),
    "delete_pipeline": ("DELETE", f"{V2}/pipelines/{{pipeline_id}}"),
    "list_pipeline_versions": ("GET", f"{V2}/pipelines/{{pipeline_id}}/versions"),
    "get_pipeline_version": ("GET", f"{V2}/pipelines/{{pipeline_id}}/versions/{{pipeline_version_id}}"),
    "delete_pipeline_version": ("DELETE", f"{V2}/pipelines/{{pipeline_id}}/versions/{{pipeline_version_id}}"),
    "create_run": ("POST", f"{V2}/runs"),
    "list_runs": ("GET", f"{V2}/runs"),
    "get_run": ("GET", f"{V2}/runs/{{run_id}}"),
    "delete_run": ("DELETE", f"{V2}/runs/{{run_id}}"),
    "archive_run": ("POST", f"{V2}/runs/{{run_id}}:archive"),
    "unarchive_run": ("POST", f"{V2}/runs/{{run_id}}:unarchive"),
    "terminate_run": ("POST", f"{V2}/runs/{{run_id}}:terminate"),
    "retry_run": ("POST", f"{V2}/runs/{{run_id}}:retry"),
    "read_log": ("GET", "/apis/v1alpha1/runs/{run_id}/nodes/{node_id}/log"),
}
UNPUBLISHED = ("read_log",)
"""Operations of the API server that its generated client does not contain (the server's own main.go routes them)."""


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/:]+)", re.escape(path)))


_COMPILED = [(name, method, _pattern(path)) for name, (method, path) in ROUTES.items()]


def find(method: str, path: str) -> tuple[str, dict[str, str]] | None:
    """The operation and its path parameters; None where nothing is served."""
    for name, wanted, pattern in _COMPILED:
        found = pattern.fullmatch(path) if wanted == method else None
        if found:
            return name, found.groupdict()
    return None
