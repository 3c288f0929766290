"""The manifest: against Kubeflow's own models, and against what a restricted namespace lets in."""

from __future__ import annotations

import json
import os
import re
from typing import Any

import pytest

from stillhouse.errors import RecipeError
from stillhouse.launch.kube_jobs import owner_reference
from stillhouse.launch.trainjob_manifest import job_name, manifest, spec_digest
from stillhouse.recipe.trainjob import Accelerator, Resources, SecretEnv, TrainJobSpec, read_spec

SMALL = TrainJobSpec(nodes=2, image="ghcr.io/x/stillhouse-train:1", workspace_claim="claim")
FULL = TrainJobSpec(
    nodes=4,
    processes_per_node=8,
    runtime="torch-blessed",
    runtime_kind="TrainingRuntime",
    queue="team-a",
    image="ghcr.io/x/stillhouse-train@sha256:" + "0" * 64,
    resources=Resources(cpu="16", memory="128Gi", accelerator=Accelerator(type="nvidia.com/gpu", count=8)),
    node_selector={"pool": "a100"},
    tolerations=({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},),
    shared_memory="16Gi",
    workspace_claim="claim",
    workspace_sub_path="team-a",
    service_account="pipeline-runner",
    env={"HF_HUB_OFFLINE": "1"},
    secrets=(SecretEnv(env="HF_TOKEN", secret="hf-token", key="HF_TOKEN"),),
    image_pull_secrets=("registry",),
    labels={"stillhouse.dev/recipe": "r"},
    fs_group=10001,
    timeout_s=3600,
)
OWNER = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": "w", "uid": "u"}


def made(spec: TrainJobSpec) -> dict[str, Any]:
    env = {"MLFLOW_RUN_ID": "r", "HF_HUB_OFFLINE": "0", "HF_TOKEN": "of the launcher"}
    return manifest(spec, name="sh-0123456789ab", call="/workspace/call.json", env=env, launch="l", owner=OWNER)


def pod_template(body: dict[str, Any]) -> dict[str, Any]:
    (patch,) = body["spec"]["runtimePatches"]
    (job,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    assert job["name"] == "node"
    template: dict[str, Any] = job["template"]["spec"]["template"]
    return template


def needed(module: str) -> Any:
    return __import__(module) if os.environ.get("CI") else pytest.importorskip(module)


@pytest.mark.parametrize("spec", [SMALL, FULL], ids=["small", "full"])
def test_kubeflows_own_models_know_every_field(spec: TrainJobSpec) -> None:
    """They drop what they do not know: what comes back whole has nothing unknown in it."""
    needed("kubeflow_trainer_api")
    from kubeflow_trainer_api.models import TrainerV1alpha1TrainJob

    body = json.loads(json.dumps(made(spec)))
    read = TrainerV1alpha1TrainJob.from_dict(body)
    assert read is not None
    assert json.loads(read.to_json()) == body
    body["spec"]["podTemplateOverrides"] = []
    assert "podTemplateOverrides" not in TrainerV1alpha1TrainJob.from_dict(body).to_dict()["spec"]  # type: ignore[union-attr]


@pytest.mark.parametrize("spec", [SMALL, FULL], ids=["small", "full"])
@pytest.mark.parametrize("version", ["1.33", "1.35"])
def test_the_pods_that_come_of_it_are_pods_of_kubernetes(spec: TrainJobSpec, version: str) -> None:
    kubernetes_validate = needed("kubernetes_validate")
    body = made(spec)
    template = pod_template(body)
    trainer = body["spec"]["trainer"]
    (container,) = template["spec"]["containers"]
    whole = container | {"image": trainer["image"], "env": trainer["env"], "command": trainer["command"]}
    whole |= {"resources": trainer.get("resourcesPerNode", {})}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", **template["metadata"]}}
    kubernetes_validate.validate(pod | {"spec": template["spec"] | {"containers": [whole]}}, version, strict=True)


@pytest.mark.parametrize("spec", [SMALL, FULL], ids=["small", "full"])
def test_the_pods_are_restricted_and_write_where_they_may(spec: TrainJobSpec) -> None:
    pod = pod_template(made(spec))["spec"]
    (container,) = pod["containers"]
    security = container["securityContext"]
    assert pod["securityContext"]["runAsNonRoot"] is security["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert security["allowPrivilegeEscalation"] is False
    assert security["readOnlyRootFilesystem"] is True
    assert security["capabilities"] == {"drop": ["ALL"]}
    places = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert places == {"/workspace", "/tmp"} | ({"/dev/shm"} if spec.shared_memory else set())
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    # The API of runtime patches takes no variables for this container; they stand in the trainer.
    assert "env" not in container


def test_every_word_of_a_spec_arrives() -> None:
    body = made(FULL)
    spec, trainer, pod = body["spec"], body["spec"]["trainer"], pod_template(body)["spec"]
    assert spec["runtimeRef"]["name"] == "torch-blessed"
    assert spec["runtimeRef"]["kind"] == "TrainingRuntime"
    assert spec["activeDeadlineSeconds"] == 3600
    assert "suspend" not in spec, "Kueue's webhook suspends; without Kueue a suspended TrainJob would never start"
    assert (trainer["numNodes"], trainer["numProcPerNode"]) == (4, 8)
    assert trainer["command"] + trainer["args"] == [
        "torchrun", "-m", "stillhouse.training.worker", "/workspace/call.json",
    ]  # fmt: skip
    expected = {"cpu": "16", "memory": "128Gi", "nvidia.com/gpu": "8"}
    assert trainer["resourcesPerNode"] == {"requests": expected, "limits": expected}
    assert body["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team-a"
    assert body["metadata"]["ownerReferences"] == [OWNER]
    assert pod["nodeSelector"] == {"pool": "a100"}
    assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert pod["serviceAccountName"] == "pipeline-runner"
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    assert pod["securityContext"]["fsGroup"] == 10001
    assert pod["volumes"][0]["persistentVolumeClaim"] == {"claimName": "claim"}
    assert pod["volumes"][2]["emptyDir"] == {"medium": "Memory", "sizeLimit": "16Gi"}
    assert pod["containers"][0]["volumeMounts"][0]["subPath"] == "team-a"
    labels = pod_template(body)["metadata"]["labels"]
    assert labels["stillhouse.dev/recipe"] == "r"
    assert "kueue.x-k8s.io/queue-name" not in labels, "the TrainJob is queued, not each of its pods"


def test_a_variable_is_named_once_and_a_secret_goes_before_a_plain_value() -> None:
    variables = made(FULL)["spec"]["trainer"]["env"]
    names = [item["name"] for item in variables]
    assert len(names) == len(set(names))
    assert not any(name.startswith("PET_") for name in names), "reserved by the torch runtime"
    by_name = {item["name"]: item for item in variables}
    assert by_name["HF_HUB_OFFLINE"]["value"] == "1"
    reference = {"name": "hf-token", "key": "HF_TOKEN", "optional": True}
    assert by_name["HF_TOKEN"] == {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": reference}}
    assert "of the launcher" not in json.dumps(made(FULL))


def test_what_is_not_said_is_left_to_the_runtime() -> None:
    body = made(SMALL)
    assert set(body["spec"]) == {"runtimeRef", "trainer", "runtimePatches"}
    assert "resourcesPerNode" not in body["spec"]["trainer"]
    assert set(pod_template(body)["spec"]) == {"volumes", "containers", "securityContext"}
    assert "kueue.x-k8s.io/queue-name" not in body["metadata"]["labels"]


def test_the_name_is_the_stages_and_fits_into_the_names_of_pods() -> None:
    name = job_name("0123456789abcdef0123456789abcdef")
    assert name == "sh-0123456789ab"
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name)
    assert len(f"{name}-node-0-999-abcde") <= 63


def test_the_place_in_the_cluster_is_what_tells_two_trainjobs_apart() -> None:
    assert spec_digest(SMALL) == spec_digest(SMALL.model_copy(update={"labels": {"a": "b"}, "env": {"RUN": "7"}}))
    assert spec_digest(SMALL) != spec_digest(SMALL.model_copy(update={"nodes": 3}))
    assert spec_digest(SMALL) != spec_digest(SMALL.model_copy(update={"image": "other"}))


def test_a_pod_without_a_controller_owns_nothing() -> None:
    assert owner_reference({"metadata": {"name": "p"}}) is None
    assert owner_reference({"metadata": {"ownerReferences": [OWNER]}}) is None
    assert owner_reference({"metadata": {"ownerReferences": [OWNER | {"controller": True}]}}) == OWNER


def test_a_spec_survives_its_way_through_the_environment() -> None:
    assert read_spec(FULL.model_dump_json()) == FULL
    assert FULL.processes == 32


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"nodes": 0}, "nodes: Input should be greater"),
        ({"que": "team-a"}, r"que: Extra inputs.*did you mean queue\?"),
        ({"mount_path": "workspace"}, "mount_path: .*not an absolute path"),
        ({"resources": {"memory": "much"}}, r"resources\.memory"),
    ],
)
def test_a_spec_that_does_not_fit_names_the_field(changes: dict[str, Any], words: str) -> None:
    text = json.dumps({**json.loads(SMALL.model_dump_json()), **changes})
    with pytest.raises(RecipeError, match=f"STILLHOUSE_TRAINJOB: {words}"):
        read_spec(text)


def test_a_spec_that_is_no_json_is_one_line() -> None:
    with pytest.raises(RecipeError, match="Invalid JSON") as caught:
        read_spec("{")
    assert "\n" not in str(caught.value)
