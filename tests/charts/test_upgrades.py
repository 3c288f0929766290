"""An upgrade keeps data and resources: what cannot change does not, and what was there is not gone."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest

from tests.charts.conftest import Render
from tests.charts.immutable import RECORDED, SNAPSHOTS, chart_version, immutable, lasting
from tests.charts.matrix import AIR_GAPPED, AVAILABLE, BUNDLED, FURTHER, MATRIX, MONITORED, PLACED, TEAMS, merged

VERSIONS = sorted(path.stem.removeprefix("immutable-") for path in SNAPSHOTS.glob("immutable-*.json"))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", RECORDED)
def test_everything_that_an_earlier_version_made_is_still_there_and_unchanged(
    name: str, version: str, render: Render
) -> None:
    snapshot = json.loads((SNAPSHOTS / f"immutable-{version}.json").read_text(encoding="utf-8"))[name]
    now = lasting(render(MATRIX[name]))
    assert len(snapshot) > 8
    assert {key: now.get(key, "gone") for key in snapshot} == snapshot


def test_this_version_is_recorded(render: Render) -> None:
    snapshot = json.loads((SNAPSHOTS / f"immutable-{chart_version()}.json").read_text(encoding="utf-8"))
    assert set(snapshot) == set(RECORDED)
    for name in RECORDED:
        # The definitions of stillhouse's own kinds have a contract test of their own.
        now = {key for key in lasting(render(MATRIX[name])) if not key.startswith("CustomResourceDefinition")}
        assert now - set(snapshot[name]) == set(), "run: python -m tests.charts.immutable"


CHANGES: dict[str, dict[str, Any]] = {
    "more replicas": merged(AVAILABLE, {"mlflow": {"replicas": 3}}),
    "monitoring": MONITORED,
    "another registry and digests": AIR_GAPPED,
    "labels": {"commonLabels": {"team": "other"}, "operator": {"podLabels": {"tier": "control"}}},
    "placement": PLACED,
    "teams": TEAMS,
    "further settings": FURTHER,
    "no network policies": {"networkPolicy": {"enabled": False}},
    "no tests": {"tests": {"enabled": False}},
    "no metrics": {"metrics": {"enabled": False}},
    "other resources": {
        "postgresql": {"resources": {"limits": {"memory": "4Gi"}}},
        "objectStore": {"resources": {"limits": {"memory": "4Gi"}}},
        "mlflow": {"resources": {"limits": {"memory": "4Gi"}}, "migrations": {"backoffLimit": 3}},
    },
    "a new MLflow": {"mlflow": {"image": {"digest": "sha256:" + "e" * 64}}},
    "another bucket": {"objectStore": {"bucket": "other-bucket"}},
    "the whole cluster": {"rbac": {"clusterWide": True}},
}
DATA = ("StatefulSet", "PersistentVolumeClaim", "Service", "Deployment")


@pytest.mark.parametrize("change", CHANGES)
def test_changing_values_changes_nothing_that_cannot_change(change: str, render: Render) -> None:
    before = immutable(render(BUNDLED))
    after = immutable(render(merged(BUNDLED, CHANGES[change])))
    both = before.keys() & after.keys()
    assert {key: after[key] for key in both} == {key: before[key] for key in both}
    assert [key for key in before if key.startswith(DATA) and key not in after] == []


def test_a_job_with_another_template_has_another_name(render: Render) -> None:
    def jobs(values: dict[str, Any]) -> dict[str, str]:
        return {item["metadata"]["name"].rpartition("-")[0]: item["metadata"]["name"] for item in render(values)
                if item["kind"] == "Job"}  # fmt: skip

    before = jobs(BUNDLED)
    assert set(before) == {"stillhouse-mlflow-migrations", "stillhouse-bucket"}
    newer = jobs(merged(BUNDLED, CHANGES["a new MLflow"]))
    assert newer["stillhouse-mlflow-migrations"] != before["stillhouse-mlflow-migrations"]
    assert newer["stillhouse-bucket"] == before["stillhouse-bucket"]
    assert jobs(merged(BUNDLED, CHANGES["another bucket"]))["stillhouse-bucket"] != before["stillhouse-bucket"]
    assert jobs(merged(BUNDLED, MONITORED)) == before


def test_a_changed_selector_or_volume_would_be_seen(render: Render) -> None:
    objects = deepcopy(render(MATRIX["bundled"]))
    before = immutable(deepcopy(objects))
    for item in objects:
        if item["kind"] == "StatefulSet":
            item["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"] = "1Gi"
        if item["kind"] == "Deployment":
            item["spec"]["selector"]["matchLabels"]["new"] = "label"
    after = immutable(objects)
    assert len([key for key in before if before[key] != after[key]]) == 4


def test_no_database_or_store_waits_for_a_hook(render: Render) -> None:
    hooks = [item for item in render(MATRIX["everything"]) if "helm.sh/hook" in item["metadata"].get("annotations", {})]
    assert [item["metadata"]["annotations"]["helm.sh/hook"] for item in hooks] == ["test"]


def test_mlflow_starts_only_when_the_schema_is_its_own(render: Render) -> None:
    objects = render(MATRIX["bundled"])
    [job] = [item for item in objects if item["kind"] == "Job" and "migrations" in item["metadata"]["name"]]
    [server] = [
        item for item in objects if item["metadata"]["name"] == "stillhouse-mlflow" and item["kind"] == "Deployment"
    ]
    [waiting] = server["spec"]["template"]["spec"]["initContainers"]
    [migrating] = job["spec"]["template"]["spec"]["containers"]
    assert migrating["command"] == ["mlflow", "db", "upgrade", "$(MLFLOW_BACKEND_STORE_URI)"]
    assert waiting["image"] == migrating["image"] == server["spec"]["template"]["spec"]["containers"][0]["image"]
    for container in (waiting, migrating, server["spec"]["template"]["spec"]["containers"][0]):
        env = {item["name"]: item for item in container["env"]}
        assert env["MLFLOW_BACKEND_STORE_URI"]["value"] == "postgresql://mlflow@stillhouse-postgresql:5432/mlflow"
        assert env["PGPASSWORD"]["valueFrom"]["secretKeyRef"] == {"name": "pg-secret", "key": "password"}
    without = render(merged(BUNDLED, {"mlflow": {"migrations": {"enabled": False}}}))
    assert not [item for item in without if "migrations" in item["metadata"]["name"]]
