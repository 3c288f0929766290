"""The real helm accepts every installation, and Kubernetes 1.33 to 1.36 accept every object of it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from kubernetes_validate.utils import SchemaNotFoundError

from tests.charts.conftest import CHART, NAMESPACE, Helm, Render
from tests.charts.matrix import BUNDLED, KUBERNETES, MATRIX, TEAMS, merged
from tests.charts.policies import title
from tests.charts.schemas import is_ours, problems


@pytest.mark.parametrize("name", MATRIX)
def test_helm_lint_is_strictly_clean(name: str, helm: Helm) -> None:
    done = helm.run("lint", yaml.safe_dump(MATRIX[name]), "--strict")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[WARNING]" not in done.stdout


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("name", MATRIX)
def test_kubernetes_accepts_every_object(name: str, version: str, render: Render) -> None:
    objects = [item for item in render(MATRIX[name], version) if not is_ours(item)]
    assert len(objects) > 5
    assert [f"{title(item)}: {text}" for item in objects for text in problems(item, version)] == []


@pytest.mark.parametrize(
    ("broken", "text"),
    [
        ({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": {"typo": 1}}, "typo"),
        ({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}, "spec": {"replicas": "1"}}, "'1'"),
        ({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "rules": [{"apiGroups": [""]}]}, "verbs"),
    ],
)
@pytest.mark.parametrize("version", KUBERNETES)
def test_the_schemas_refuse_what_kubernetes_refuses(version: str, broken: dict[str, Any], text: str) -> None:
    assert text in " ".join(problems(broken, version))


def test_a_kind_that_kubernetes_does_not_have_is_not_accepted() -> None:
    with pytest.raises(SchemaNotFoundError):
        problems({"apiVersion": "stillhouse.dev/v1", "kind": "Still"}, KUBERNETES[0])


def test_every_template_is_rendered_by_some_installation(render: Render, helm: Helm) -> None:
    text = "".join(helm.template(yaml.safe_dump(values), KUBERNETES[-1]) for values in MATRIX.values())
    files = [path.relative_to(CHART) for path in (CHART / "templates").rglob("*.yaml")]
    assert len(files) > 30
    assert [str(path) for path in files if f"# Source: stillhouse/{path}\n" not in text] == []


def test_every_template_file_holds_one_kind() -> None:
    for path in (CHART / "templates").rglob("*.yaml"):
        kinds = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("kind: ")]
        assert len(kinds) == 1, path


def test_an_old_cluster_is_refused(helm: Helm) -> None:
    done = helm.run("template", "", "--kube-version", "1.32.0")
    assert done.returncode != 0
    assert "1.33" in done.stderr


def test_the_service_monitor_has_the_fields_of_its_kind(render: Render) -> None:
    [monitor] = [item for item in render(MATRIX["available"]) if item["kind"] == "ServiceMonitor"]
    assert set(monitor["spec"]) == {"selector", "endpoints"}
    [endpoint] = monitor["spec"]["endpoints"]
    assert endpoint == {"port": "metrics", "path": "/metrics", "interval": "30s", "scrapeTimeout": "10s"}
    assert monitor["metadata"]["labels"]["release"] == "prometheus"


def test_kopfs_kind_is_the_one_that_its_mode_needs(render: Render) -> None:
    for values, kind, scope in (
        ({}, "KopfPeering", "Namespaced"),
        ({"rbac": {"clusterWide": True}}, "ClusterKopfPeering", "Cluster"),
    ):
        found = [
            i for i in render(values) if i["kind"] == "CustomResourceDefinition" and i["spec"]["group"] == "kopf.dev"
        ]
        assert [(i["spec"]["names"]["kind"], i["spec"]["scope"]) for i in found] == [(kind, scope)]
        [version] = found[0]["spec"]["versions"]
        # kopf writes its keep-alives into the status by a patch of the object itself: there is no status subresource.
        assert "subresources" not in version
        assert version["schema"]["openAPIV3Schema"]["properties"]["status"]["x-kubernetes-preserve-unknown-fields"]


def test_crds_come_and_stay_only_as_the_values_say(render: Render) -> None:
    def definitions(values: dict[str, Any]) -> list[dict[str, Any]]:
        return [item for item in render(values) if item["kind"] == "CustomResourceDefinition"]

    assert definitions(MATRIX["without CRDs and roles"]) == []
    for values, kept in (({}, True), (MATRIX["CRDs not kept"], False)):
        found = definitions(values)
        assert found
        policies = {(item["metadata"].get("annotations") or {}).get("helm.sh/resource-policy") for item in found}
        assert policies == ({"keep"} if kept else {None})


NOTES = [
    ({}, ["serves namespace stillhouse-system.", "deployment/stillhouse-operator", "is no MLflow", "no workspace"]),
    (merged(BUNDLED, TEAMS), ["serves namespaces team-a, team-b.", "workspace: pvc://stillhouse-workspace/",
                              "tracking_uri: http://stillhouse-mlflow.stillhouse-system.svc:5000",
                              "-n team-a create configmap", "--clusterrole=stillhouse-approver"]),
    ({"rbac": {"clusterWide": True}, "workspace": {"existingClaim": "shared"}, "crds": {"enabled": False}},
     ["serves every namespace.", "pvc://shared/", "crds.enabled is false"]),
]  # fmt: skip


@pytest.mark.parametrize(("values", "texts"), NOTES, ids=["minimal", "teams", "cluster-wide"])
def test_the_notes_say_the_next_step_with_real_names(values: dict[str, Any], texts: list[str], helm: Helm) -> None:
    done = helm.run("install", yaml.safe_dump(values), "--dry-run=client")
    assert done.returncode == 0, done.stderr
    notes = done.stdout.partition("NOTES:")[2]
    assert f"helm test stillhouse -n {NAMESPACE}" in notes
    assert [text for text in texts if text not in notes] == []
    assert "<no value>" not in notes
