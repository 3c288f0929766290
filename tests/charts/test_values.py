"""What values may say: the schema and the checks refuse the rest in words, and all that lists values agrees."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from operators.resources import GROUP, RESOURCES
from operators.teacher.manifests import OPERATOR_LABELS
from stillhouse import __version__
from tests.charts.conftest import CHART, ROOT, Helm, Render
from tests.charts.matrix import BUNDLED, EXTERNAL, MATRIX, MLFLOW, POSTGRESQL, SEAWEEDFS, TEAMS, merged

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"operater": {}}, "additional properties 'operater' not allowed"),
    ({"operator": {"replica": 2}}, "additional properties 'replica' not allowed"),
    ({"operator": {"replicas": "two"}}, "at '/operator/replicas': got string, want integer"),
    ({"operator": {"replicas": 0}}, "at '/operator/replicas'"),
    ({"operator": {"logLevel": "LOUD"}}, "at '/operator/logLevel'"),
    ({"operator": {"logFormat": "xml"}}, "at '/operator/logFormat'"),
    ({"operator": {"watchNamespaces": "team-a"}}, "got string, want array"),
    ({"operator": {"watchNamespaces": ["Team_A"]}}, "at '/operator/watchNamespaces/0'"),
    ({"operator": {"resources": {"limits": None}}}, "missing property 'limits'"),
    ({"operator": {"resyncSeconds": 0}}, "at '/operator/resyncSeconds'"),
    ({"operator": {"env": [{"value": "x"}]}}, "missing property 'name'"),
    ({"operator": {"env": [{"name": "MY_API_KEY", "value": "x"}]}}, "operator.env holds MY_API_KEY in clear text"),
    ({"mlflow": {"env": [{"name": "DB_PASSWORD", "value": "x"}]}}, "mlflow.env holds DB_PASSWORD in clear text"),
    ({"operator": {"replicas": 2, "peering": ""}}, "without peering every replica would act"),
    ({"operator": {"replicas": 2}, "podDisruptionBudget": {"minAvailable": 2}}, "no node could ever be drained"),
    ({"operator": {"watchNamespaces": ["a"]}, "rbac": {"clusterWide": True}}, "set one of the two"),
    ({"image": {"tag": "latest"}}, "image.tag is latest"),
    ({"image": {"tag": "a b"}}, "at '/image/tag'"),
    ({"image": {"registry": "https://ghcr.io/x"}}, "at '/image/registry'"),
    ({"image": {"digests": {"operator": "sha256:123"}}}, "at '/image/digests/operator'"),
    ({"image": {"digests": {"other": ""}}}, "additional properties 'other' not allowed"),
    ({"image": {"pullPolicy": "Sometimes"}}, "at '/image/pullPolicy'"),
    ({"imagePullSecrets": ["name"]}, "at '/imagePullSecrets/0'"),
    ({"teacher": {"image": "vllm/vllm:latest"}}, "teacher.image is vllm/vllm:latest"),
    ({"teacher": {"image": "host:5000/vllm"}}, "name a version"),
    ({"kfp": {"endpoint": "kfp.example.com"}}, "at '/kfp/endpoint'"),
    ({"kfp": {"endpoint": "http://user:word@kfp"}}, "at '/kfp/endpoint'"),
    ({"kfp": {"token": "x"}}, "additional properties 'token' not allowed"),
    ({"plugins": {"allowedImports": ["team.*"]}}, "at '/plugins/allowedImports/0'"),
    ({"mlflow": {"trackingUri": "https://user:word@mlflow"}}, "at '/mlflow/trackingUri'"),
    ({"mlflow": {"password": "x"}}, "additional properties 'password' not allowed"),
    ({"mlflow": {"existingSecret": {"password": "x"}}}, "got object, want string"),
    ({"mlflow": {"enabled": True}}, "mlflow.image.digest is empty: pin ghcr.io/mlflow/mlflow by the digest"),
    ({"mlflow": {"enabled": True}, "thirdPartyImages": {"allowTags": True}}, "mlflow.image.tag are empty"),
    (merged(BUNDLED, {"postgresql": {"image": {"digest": "", "tag": "17"}}}), "postgresql.image.digest is empty"),
    (merged(MLFLOW, SEAWEEDFS), "needs exactly one database, and 0 are set"),
    (merged(BUNDLED, {"mlflow": {"backendStore": {"existingSecret": "x"}}}), "exactly one database, and 2 are set"),
    (merged(BUNDLED, {"postgresql": {"existingSecret": ""}}), "postgresql.existingSecret is empty"),
    (merged(BUNDLED, {"mlflow": {"trackingUri": "https://other"}}), "mlflow.trackingUri names another"),
    (merged(MLFLOW, POSTGRESQL), "objectStore.existingSecret is empty"),
    ({"postgresql": {"password": "x"}}, "additional properties 'password' not allowed"),
    ({"postgresql": {"username": "a; drop"}}, "at '/postgresql/username'"),
    ({"postgresql": {"external": {"sslmode": "allow"}}}, "at '/postgresql/external/sslmode'"),
    ({"postgresql": {"external": {"host": "user:word@db"}}}, "at '/postgresql/external/host'"),
    ({"objectStore": {"provider": "ceph"}}, "at '/objectStore/provider'"),
    ({"objectStore": {"accessKey": "x"}}, "additional properties 'accessKey' not allowed"),
    (merged(SEAWEEDFS, {"objectStore": {"endpoint": "https://s3"}}), "objectStore.endpoint names another store"),
    ({"workspace": {"create": True, "existingClaim": "x"}}, "workspace.existingClaim names one that exists"),
    ({"workspace": {"accessModes": ["Everything"]}}, "at '/workspace/accessModes/0'"),
    ({"workspace": {"size": "lots"}}, "at '/workspace/size'"),
    ({"serviceAccount": {"create": False}}, "name the account that exists in serviceAccount.name"),
    ({"metrics": {"enabled": False, "serviceMonitor": {"enabled": True}}}, "needs metrics.enabled"),
    ({"networkPolicy": {"kfp": {"ports": [0]}}}, "at '/networkPolicy/kfp/ports/0'"),
    ({"networkPolicy": {"runs": {"enabled": True}}, "rbac": {"clusterWide": True}}, "needs runs.namespaces"),
    ({"fullnameOverride": "Not_A_Name"}, "at '/fullnameOverride'"),
    ({"commonLabels": {"a": 1}}, "at '/commonLabels/a'"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("values", "text"), REFUSED, ids=[f"{index}-{case[1][:48]}" for index, case in enumerate(REFUSED)]
)
def test_bad_values_are_refused_in_words(values: dict[str, Any], text: str, helm: Helm) -> None:
    done = helm.run("template", yaml.safe_dump(values))
    assert done.returncode != 0
    assert text in done.stderr


def _leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, (*path, key))
    else:
        yield path


def test_the_schema_knows_every_value_and_no_other() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))

    def compare(part: dict[str, Any], value: Any, path: str) -> None:
        part = schema["$defs"][part["$ref"].rpartition("/")[2]] if "$ref" in part else part
        if "properties" in part:
            assert part["additionalProperties"] is False, path
            assert set(part["properties"]) - {"global"} == set(value), path
            for key, inner in value.items():
                compare(part["properties"][key], inner, f"{path}.{key}")

    compare(schema, values, "")
    assert len(list(_leaves(values))) > 150
    assert set(re.findall(r"\$defs/(\w+)", json.dumps(schema))) == set(schema["$defs"])


def test_every_value_has_a_line_in_the_readme_and_is_used_by_a_template() -> None:
    readme = (CHART / "README.md").read_text(encoding="utf-8")
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    templates = "".join(path.read_text(encoding="utf-8") for path in (CHART / "templates").rglob("*.*"))
    described = set(re.findall(r"^\| `([\w.]+)` \|", readme, flags=re.MULTILINE))
    for path in _leaves(values):
        assert any(".".join(path[:length]) in described for length in range(1, len(path) + 1)), path
    unused = [
        key
        for key in described
        if not re.search(rf"\.{key.rpartition('.')[2]}\b|\"{key.rpartition('.')[2]}\"", templates)
    ]
    assert unused == ["image.digests.operator"] or unused == []


def test_the_readme_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "chart-readme", "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_the_chart_carries_the_version_of_the_library() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert chart["appVersion"] == __version__


def _operator(objects: list[dict[str, Any]]) -> dict[str, Any]:
    [deployment] = [
        item
        for item in objects
        if item["kind"] == "Deployment" and item["metadata"]["labels"]["app.kubernetes.io/component"] == "operator"
    ]
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    return dict(container)


def test_the_chart_sets_every_setting_that_the_operator_reads(render: Render) -> None:
    source = (ROOT / "operators" / "settings.py").read_text(encoding="utf-8")
    read = set(re.findall(r'(?:read\(|_number\(env, )"([A-Z_0-9]+)"', source))
    assert len(read) > 15
    given = {env["name"] for env in _operator(render(EXTERNAL))["env"]}
    assert read - given == set()
    assert {"MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "POD_ID"} <= given
    assert {
        "STILLHOUSE_CUSTOM_IMPORTS",
        "AWS_ACCESS_KEY_ID",
        "MLFLOW_S3_ENDPOINT_URL",
        "STILLHOUSE_S3_CA_FILE",
    } <= given


def test_the_operators_settings_carry_the_values(render: Render) -> None:
    values = merged(BUNDLED, TEAMS, MATRIX["air-gapped"])
    env = {item["name"]: item.get("value") for item in _operator(render(values))["env"]}
    registry = "registry.internal:5000/mirror/stillhouse"
    assert env["STILLHOUSE_WATCH_NAMESPACES"] == "team-a,team-b"
    assert env["STILLHOUSE_CUSTOM_IMPORTS"] == "team_a.rewards,team_b"
    assert env["MLFLOW_TRACKING_URI"] == "http://stillhouse-mlflow.stillhouse-system.svc:5000"
    assert env["MLFLOW_S3_ENDPOINT_URL"] == "http://stillhouse-objectstore.stillhouse-system.svc:9000"
    assert env["STILLHOUSE_IMAGE_REGISTRY"] == registry
    assert env["STILLHOUSE_TEACHER_IMAGE"] == f"{registry}/stillhouse-generate@sha256:{'2' * 64}"
    assert json.loads(env["STILLHOUSE_IMAGE_DIGESTS"] or "") == {
        "generate": f"sha256:{'2' * 64}",
        "train": f"sha256:{'3' * 64}",
        "evaluate": f"sha256:{'4' * 64}",
    }
    alone = {item["name"]: item.get("value") for item in _operator(render({}))["env"]}
    assert alone["STILLHOUSE_WATCH_NAMESPACES"] == "stillhouse-system"
    assert alone["STILLHOUSE_CUSTOM_IMPORTS"] == ""
    assert "MLFLOW_TRACKING_URI" not in alone
    everywhere = {item["name"]: item.get("value") for item in _operator(render(MATRIX["cluster-wide"]))["env"]}
    assert everywhere["STILLHOUSE_WATCH_NAMESPACES"] == ""


def test_a_teachers_policy_recognizes_the_operators_pods(render: Render) -> None:
    for values in ({}, MATRIX["everything"]):
        [labels] = [
            item["spec"]["template"]["metadata"]["labels"]
            for item in render(values)
            if item["kind"] == "Deployment" and item["metadata"]["name"].endswith("-operator")
        ]
        assert labels.items() >= OPERATOR_LABELS.items()


def test_the_token_for_kfp_has_its_audience_and_lies_where_the_operator_looks(render: Render) -> None:
    deployment = next(item for item in render({}) if item["kind"] == "Deployment")
    spec = deployment["spec"]["template"]["spec"]
    [container] = spec["containers"]
    env = {item["name"]: item.get("value") for item in container["env"]}
    volume = next(item for item in spec["volumes"] if item["name"] == "kfp-token")
    [source] = volume["projected"]["sources"]
    mount = next(item for item in container["volumeMounts"] if item["name"] == "kfp-token")
    assert source["serviceAccountToken"]["audience"] == "pipelines.kubeflow.org"
    assert env["KF_PIPELINES_SA_TOKEN_PATH"] == f"{mount['mountPath']}/{source['serviceAccountToken']['path']}"


@pytest.mark.parametrize(
    ("values", "kind"), [(TEAMS, "Role"), (merged({"rbac": {"clusterWide": True, "keda": True}}), "ClusterRole")]
)
def test_the_operator_may_do_what_its_code_does_and_in_every_watched_namespace(
    values: dict[str, Any], kind: str, render: Render
) -> None:
    objects = render(values)
    roles = [item for item in objects if item["kind"] == kind and item["metadata"]["name"] == "stillhouse-operator"]
    assert [role["metadata"].get("namespace") for role in roles] == (["team-a", "team-b"] if kind == "Role" else [None])
    bindings = [
        item
        for item in objects
        if item["kind"] == f"{kind}Binding" and item["metadata"]["name"] == "stillhouse-operator"
    ]
    assert len(bindings) == len(roles)
    for role in roles:
        allowed = {
            (group, resource, verb)
            for rule in role["rules"]
            for group in rule["apiGroups"]
            for resource in rule["resources"]
            for verb in rule["verbs"]
        }
        assert [r.plural for r in RESOURCES if r.plural != "events" and (r.group, r.plural, "get") not in allowed] == []
        for plural in ("distillationschedules", "distillationruns", "studentpromotions", "teacherservers"):
            # kopf: list and watch, finalizers and annotations by patch, the status as a subresource.
            assert {(GROUP, plural, verb) for verb in ("list", "watch", "patch")} <= allowed
            assert (GROUP, f"{plural}/status", "patch") in allowed
        assert {
            (GROUP, "distillationruns", "create"),
            (GROUP, "distillationruns", "delete"),
            ("", "events", "create"),
        } <= allowed
        assert ("", "secrets", "get") not in allowed
        assert not any(
            verb in ("update", "deletecollection") for group, resource, verb in allowed if "/" not in resource
        )


def test_an_editor_cannot_approve_and_an_approver_is_never_aggregated(render: Render) -> None:
    roles = {item["metadata"]["name"]: item for item in render({}) if item["kind"] == "ClusterRole"}
    editor, approver = roles["stillhouse-editor"], roles["stillhouse-approver"]
    on_promotions = [rule["verbs"] for rule in editor["rules"] if "studentpromotions" in rule["resources"]]
    assert on_promotions == [["get", "list", "watch"]]
    assert not [label for label in approver["metadata"]["labels"] if "aggregate" in label]
    assert {r for rule in approver["rules"] for r in rule["resources"]} == {
        "studentpromotions",
        "studentpromotions/status",
    }
