"""What a TeacherServer consists of: valid for Kubernetes 1.33-1.36, restricted, and exactly what the spec says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import kubernetes_validate
import pytest

from operators.crds.base import parse
from operators.crds.teacher import TeacherServerSpec
from operators.resources import (
    AUTOSCALER,
    DEPLOYMENT,
    DISRUPTION_BUDGET,
    NETWORK_POLICY,
    SCALED_OBJECT,
    SERVICE,
    Resource,
)
from operators.settings import Settings
from operators.teacher import manifests
from operators.teacher.quantity import canonical
from stillhouse import __version__
from tests.operators.test_crd_teacher import COMMIT, HF, PVC, S3

TRIGGER = {"type": "prometheus", "metadata": {"query": "up", "threshold": "5"}, "authenticationRef": "prom"}
FULL: dict[str, Any] = {
    **HF, "revision": COMMIT, "servedModelName": "teacher", "quantization": "fp8", "dtype": "bfloat16",
    "maxModelLen": 8192, "tensorParallelSize": 2, "args": ["--max-num-seqs", "64", "--dtype", "half"],
    "env": {"B": "", "A": "1", "HF_HOME": "/elsewhere"},
    "image": "vllm/vllm-openai:v0.11.0", "imagePullSecrets": ["registry"], "replicas": 3,
    "accelerator": {"type": "nvidia.com/gpu", "count": 4},
    "resources": {"requests": {"cpu": "0.5", "memory": "1024Mi"}, "limits": {"memory": "1.5Gi"}},
    "nodeSelector": {"gpu": "h100"}, "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
    "sharedMemory": "16384Mi", "secrets": {"huggingface": "hf-token", "apiKey": "teacher-secret"},
    "cache": {"claim": "hf-cache", "path": "hub"},
    "networkPolicy": {"additionalFrom": [{"podLabels": {"app": "notebook"}}, {"namespaceLabels": {"team": "a"}}]},
}  # fmt: skip
SPECS = [
    pytest.param(HF, id="hf"),
    pytest.param(FULL, id="full"),
    pytest.param(S3, id="s3"),
    pytest.param({**S3, "cache": {"claim": "cache"}}, id="s3 with cache"),
    pytest.param(PVC, id="pvc"),
    pytest.param({"model": "pvc://models"}, id="whole claim"),
    pytest.param({**HF, "accelerator": {"count": 0}, "resources": {"requests": {}}}, id="cpu"),
    pytest.param({**HF, "autoscaling": {"type": "hpa", "maxReplicas": 4}}, id="hpa"),
    pytest.param({**HF, "autoscaling": {"type": "keda", "maxReplicas": 4, "triggers": [TRIGGER]}}, id="keda"),
    pytest.param({**HF, "networkPolicy": {"enabled": False}}, id="no policy"),
]
BODY = {
    "apiVersion": "stillhouse.dev/v1alpha1",
    "kind": "TeacherServer",
    "metadata": {"name": "qwen", "namespace": "distil", "uid": "u-1"},
}


def rendered(spec: dict[str, Any], **more: Any) -> dict[Resource, Any]:
    options = {"replicas": 1, "wanted": True, **more}
    return manifests.manifests(
        BODY, parse(TeacherServerSpec, {"spec": spec}), Settings(namespace="stillhouse"), **options
    )


def container(spec: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = rendered(spec)[DEPLOYMENT]["spec"]["template"]["spec"]["containers"][0]
    return found


def env(spec: dict[str, Any]) -> dict[str, Any]:
    return {row["name"]: row.get("value", row.get("valueFrom")) for row in container(spec)["env"]}


@pytest.mark.parametrize("version", ["1.33", "1.34", "1.35", "1.36"])
@pytest.mark.parametrize("spec", SPECS)
def test_every_object_is_valid_owned_and_labelled(spec: dict[str, Any], version: str) -> None:
    objects = {kind: item for kind, item in rendered(spec).items() if item is not None}
    assert {SERVICE, DEPLOYMENT, DISRUPTION_BUDGET} <= set(objects)
    for kind, item in objects.items():
        if kind != SCALED_OBJECT:  # KEDA's own kind has no schema here
            kubernetes_validate.validate(item, version, strict=True)
        assert item["metadata"]["ownerReferences"][0]["uid"] == "u-1"
        assert item["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "stillhouse"
        assert (item["metadata"]["name"], item["metadata"]["namespace"]) == ("qwen", "distil")


def violations(pod: dict[str, Any]) -> Iterator[str]:
    """What the restricted Pod Security Standard refuses (its checks, one by one), and two rules of ours."""
    whole = pod["securityContext"]
    if whole.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
        yield "seccomp"
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(name):
            yield name
    allowed = {
        "configMap",
        "downwardAPI",
        "emptyDir",
        "persistentVolumeClaim",
        "projected",
        "secret",
        "csi",
        "ephemeral",
    }
    for volume in pod["volumes"]:
        if set(volume) - {"name"} - allowed:
            yield f"volume {volume['name']}"
    for item in (*pod.get("initContainers", ()), *pod["containers"]):
        own = item["securityContext"]
        if own.get("privileged") or own.get("allowPrivilegeEscalation") is not False:
            yield f"{item['name']}: privileges"
        if own.get("capabilities", {}).get("drop") != ["ALL"] or own["capabilities"].get("add"):
            yield f"{item['name']}: capabilities"
        if not own.get("runAsNonRoot") or whole.get("runAsUser") == 0 or own.get("runAsUser") == 0:
            yield f"{item['name']}: root"
        if any("hostPort" in port for port in item.get("ports", ())):
            yield f"{item['name']}: host port"
        if not own.get("readOnlyRootFilesystem"):
            yield f"{item['name']}: writable root"
    if pod.get("automountServiceAccountToken") is not False:
        yield "service account token"


@pytest.mark.parametrize("spec", SPECS)
def test_pods_meet_the_restricted_standard_and_can_write_only_where_they_must(spec: dict[str, Any]) -> None:
    pod = rendered(spec)[DEPLOYMENT]["spec"]["template"]["spec"]
    assert list(violations(pod)) == []
    assert {volume["name"] for volume in pod["volumes"]} >= {
        mount["name"] for item in pod["containers"] for mount in item["volumeMounts"]
    }
    paths = {mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"] if not mount.get("readOnly")}
    assert paths == {"/tmp", "/dev/shm", "/cache"}


def test_the_checker_of_the_standard_sees_what_it_should() -> None:
    pod = rendered(HF)[DEPLOYMENT]["spec"]["template"]["spec"]
    bad = {**pod, "hostNetwork": True, "volumes": [{"name": "x", "hostPath": {"path": "/"}}], "securityContext": {}}
    bad["containers"] = [{**pod["containers"][0], "securityContext": {"privileged": True, "capabilities": {}}}]
    assert len(list(violations(bad))) == 7


def test_no_empty_value_is_rendered_that_the_api_server_would_drop() -> None:
    def empties(value: Any, path: str) -> Iterator[str]:
        rows = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, item in rows:
            if item in (None, "", [], {}) and key not in ("emptyDir", "podSelector", "resources"):
                yield f"{path}.{key}"
            yield from empties(item, f"{path}.{key}")

    for spec in (param.values[0] for param in SPECS):
        for item in rendered(spec).values():
            assert list(empties(item or {}, "")) == []


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (HF, ["--model", "Qwen/Qwen3-32B", "--served-model-name", "qwen", "--host", "0.0.0.0", "--port", "8000"]),
        ({**HF, "accelerator": {"count": 8}}, ["--tensor-parallel-size", "8"]),
        ({**HF, "accelerator": {"count": 8}, "tensorParallelSize": 1}, ["--tensor-parallel-size", "1"]),
        (PVC, ["--model", "/weights"]),
        (FULL, ["--revision", COMMIT, "--quantization", "fp8", "--dtype", "bfloat16", "--max-model-len", "8192"]),
    ],
)  # fmt: skip
def test_the_spec_becomes_vllms_arguments(spec: dict[str, Any], expected: list[str]) -> None:
    args = container(spec)["args"]
    at = args.index(expected[0])
    assert args[at : at + len(expected)] == expected


def test_fields_win_over_arguments_because_they_come_last() -> None:
    args = container(FULL)["args"]
    assert args[:4] == FULL["args"]
    assert [args[i + 1] for i, arg in enumerate(args) if arg == "--dtype"][-1] == "bfloat16"


@pytest.mark.parametrize(("spec", "offline"), [(HF, "0"), (S3, "1"), (PVC, "1")])
def test_the_hub_is_asked_only_for_its_own_models(spec: dict[str, Any], offline: str) -> None:
    assert env(spec)["HF_HUB_OFFLINE"] == env(spec)["TRANSFORMERS_OFFLINE"] == offline


def test_secrets_are_given_by_reference_and_only_where_they_are_needed() -> None:
    assert env(FULL)["HF_TOKEN"] == {"secretKeyRef": {"name": "hf-token", "key": "HF_TOKEN"}}
    assert env(FULL)["VLLM_API_KEY"] == {"secretKeyRef": {"name": "teacher-secret", "key": "api_token"}}
    assert not {"HF_TOKEN", "VLLM_API_KEY", "AWS_SECRET_ACCESS_KEY"} & set(
        env({**S3, "secrets": {"s3": "s", "huggingface": "h"}})
    )
    copy = rendered(S3)[DEPLOYMENT]["spec"]["template"]["spec"]["initContainers"][0]
    names = {row["name"]: row["valueFrom"]["secretKeyRef"]["name"] for row in copy["env"]}
    assert names == {"AWS_ACCESS_KEY_ID": "s3-secret", "AWS_SECRET_ACCESS_KEY": "s3-secret"}


def test_own_variables_replace_ours() -> None:
    assert (env(FULL)["HF_HOME"], env(FULL)["A"], env(FULL)["B"]) == ("/elsewhere", "1", None)
    assert [row["name"] for row in container(FULL)["env"]].count("HF_HOME") == 1


def test_weights_from_s3_are_copied_by_the_installations_image_to_where_the_server_reads() -> None:
    pod = rendered({**S3, "image": "vllm/vllm-openai:v0.11.0"})[DEPLOYMENT]["spec"]["template"]["spec"]
    copy, server = pod["initContainers"][0], pod["containers"][0]
    assert copy["image"] == f"ghcr.io/stillhouse-dev/stillhouse-generate:{__version__}"
    assert server["image"] == "vllm/vllm-openai:v0.11.0"
    assert copy["command"][-2:] == ["s3://weights/qwen/32b", server["args"][server["args"].index("--model") + 1]]


def test_quantities_are_written_as_kubernetes_writes_them_back() -> None:
    expected = {
        "requests": {"cpu": "500m", "memory": "1Gi", "nvidia.com/gpu": "4"},
        "limits": {"memory": "1536Mi", "nvidia.com/gpu": "4"},
    }
    assert container(FULL)["resources"] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", "1"),
        ("1000m", "1"),
        ("0.5", "500m"),
        (".25", "250m"),
        ("1024Mi", "1Gi"),
        ("1.5Gi", "1536Mi"),
        ("1000Mi", "1000Mi"),
        ("2000", "2k"),
        ("2048", "2048"),
        ("0", "0"),
        ("0Gi", "0"),
        ("1500M", "1500M"),
        ("1000M", "1G"),
        ("0.0001", "1m"),
    ],
)
def test_a_quantitys_canonical_form(text: str, expected: str) -> None:
    assert canonical(text) == expected


def test_no_second_set_of_accelerators_is_needed_and_nodes_can_be_drained() -> None:
    objects = rendered(FULL)
    assert objects[DEPLOYMENT]["spec"]["strategy"] == {"type": "Recreate"}
    assert objects[DISRUPTION_BUDGET]["spec"]["maxUnavailable"] == 1
    spread = objects[DEPLOYMENT]["spec"]["template"]["spec"]["topologySpreadConstraints"][0]
    assert spread["labelSelector"]["matchLabels"] == objects[SERVICE]["spec"]["selector"]
    assert "topologySpreadConstraints" not in rendered(HF)[DEPLOYMENT]["spec"]["template"]["spec"]


def test_only_pods_that_need_it_and_the_operator_may_connect() -> None:
    rule = rendered(FULL)[NETWORK_POLICY]["spec"]["ingress"][0]
    assert rule["from"] == [
        {"podSelector": {"matchLabels": {"teacher.stillhouse.dev/qwen": "true"}}},
        {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "stillhouse"}},
            "podSelector": {
                "matchLabels": {"app.kubernetes.io/component": "operator", "app.kubernetes.io/part-of": "stillhouse"}
            },
        },
        {"podSelector": {"matchLabels": {"app": "notebook"}}},
        {"podSelector": {}, "namespaceSelector": {"matchLabels": {"team": "a"}}},
    ]
    assert rendered({**HF, "networkPolicy": {"enabled": False}})[NETWORK_POLICY] is None


def test_an_empty_peer_allows_this_namespaces_pods_and_is_a_valid_peer() -> None:
    spec = {**HF, "networkPolicy": {"additionalFrom": [{}]}}
    assert rendered(spec)[NETWORK_POLICY]["spec"]["ingress"][0]["from"][2] == {"podSelector": {}}


def test_keda_is_there_only_while_the_teacher_is_wanted() -> None:
    spec = {**HF, "autoscaling": {"type": "keda", "minReplicas": 2, "maxReplicas": 4, "triggers": [TRIGGER]}}
    made = rendered(spec)[SCALED_OBJECT]["spec"]
    assert (made["minReplicaCount"], made["maxReplicaCount"]) == (2, 4)
    assert made["triggers"][0]["authenticationRef"] == {"name": "prom"}
    assert rendered(spec, wanted=False)[SCALED_OBJECT] is None
    assert rendered(spec)[AUTOSCALER] is None


def test_a_pod_counts_only_after_it_answered_a_completion() -> None:
    server = container({**HF, "probe": {"prompt": "$(rm -rf /) `x`", "timeoutSeconds": 7}})
    command = server["startupProbe"]["exec"]["command"]
    assert command[:2] == ["python3", "-c"]
    assert command[3:] == ["http://127.0.0.1:8000/v1", "qwen", "$(rm -rf /) `x`", "7"]
    probe = server["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 2 * 1800
    assert server["readinessProbe"]["httpGet"]["path"] == server["livenessProbe"]["httpGet"]["path"] == "/health"


@pytest.mark.parametrize(
    ("settings", "image"),
    [
        (Settings(), f"ghcr.io/stillhouse-dev/stillhouse-generate:{__version__}"),
        (Settings(image_registry="reg:5000/a", image_tag="1.2"), "reg:5000/a/stillhouse-generate:1.2"),
        (Settings(teacher_image="reg/x@sha256:0"), "reg/x@sha256:0"),
    ],
)
def test_the_image_of_a_server_that_names_none(settings: Settings, image: str) -> None:
    assert manifests.default_image(settings) == image
