"""A TrainJob of Kubeflow Trainer (v1alpha1, from Trainer 2.2 on) as a plain object. Pure; knows no API and no files.

What the API of TrainJob offers for the training container stands in ``spec.trainer``; everything else about its pods
(volumes, placement, security) is a runtime patch. ``spec.suspend`` is not said: where the TrainJob names a queue,
Kueue's webhook suspends it until it is admitted, and without Kueue it starts at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stillhouse.digest import sha256_json
from stillhouse.recipe.trainjob import Resources, TrainJobSpec

GROUP, VERSION, PLURAL, KIND = "trainer.kubeflow.org", "v1alpha1", "trainjobs", "TrainJob"
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
SPEC_ANNOTATION = "stillhouse.dev/trainjob-spec"
LAUNCH_ANNOTATION = "stillhouse.dev/launch"
REPLICATED_JOB = CONTAINER = "node"
"""Names that Kubeflow's torch runtimes give to the training pods' job and container."""
_MANAGER = "stillhouse.dev/launcher"


def job_name(stage_key: str) -> str:
    """Name of the TrainJob that does the work of ``stage_key``: the same for every try, so that there is only one."""
    return f"sh-{stage_key[:12]}"


def spec_digest(spec: TrainJobSpec) -> str:
    """Identity of a TrainJob's place in the cluster; a job in another place is not taken over.

    Labels and plain variables (which may name a run) are no part of it.
    """
    return sha256_json(spec.model_dump(mode="json", exclude={"labels", "env", "keep"}))[:32]


def manifest(
    spec: TrainJobSpec,
    *,
    name: str,
    call: str,
    env: Mapping[str, str],
    launch: str,
    owner: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The TrainJob ``name`` whose processes do the call in the file ``call``.

    ``env`` comes from the launcher's own environment and stands behind ``spec.env``; ``launch`` tells this launcher's
    objects from an earlier one's; ``owner`` is an owner reference, with which the TrainJob disappears.
    """
    labels = {"app.kubernetes.io/managed-by": "stillhouse", "stillhouse.dev/stage": "train-student", **spec.labels}
    metadata: dict[str, Any] = {
        "name": name,
        "labels": labels | ({QUEUE_LABEL: spec.queue} if spec.queue else {}),
        "annotations": {SPEC_ANNOTATION: spec_digest(spec), LAUNCH_ANNOTATION: launch},
    }
    if owner:
        metadata["ownerReferences"] = [dict(owner)]
    body: dict[str, Any] = {
        "runtimeRef": {"apiGroup": GROUP, "kind": spec.runtime_kind, "name": spec.runtime},
        "trainer": _trainer(spec, call, env),
        "runtimePatches": [{"manager": _MANAGER, "trainingRuntimeSpec": _patch(spec, labels)}],
    }
    if spec.timeout_s:
        body["activeDeadlineSeconds"] = spec.timeout_s
    return {"apiVersion": f"{GROUP}/{VERSION}", "kind": KIND, "metadata": metadata, "spec": body}


def _trainer(spec: TrainJobSpec, call: str, env: Mapping[str, str]) -> dict[str, Any]:
    plain = {"HOME": "/tmp", **env, **spec.env}
    variables: dict[str, dict[str, Any]] = {key: {"value": value} for key, value in sorted(plain.items())}
    for item in spec.secrets:
        reference = {"name": item.secret, "key": item.key, "optional": item.optional}
        variables[item.env] = {"valueFrom": {"secretKeyRef": reference}}
    trainer: dict[str, Any] = {
        "image": spec.image,
        "command": ["torchrun"],
        "args": ["-m", "stillhouse.training.worker", call],
        "env": [{"name": name, **value} for name, value in variables.items()],
        "numNodes": spec.nodes,
        "numProcPerNode": spec.processes_per_node,
    }
    if resources := _resources(spec.resources):
        trainer["resourcesPerNode"] = {"requests": resources, "limits": resources}
    return trainer


def _resources(resources: Resources) -> dict[str, str]:
    wanted = {"cpu": resources.cpu, "memory": resources.memory}
    if resources.accelerator:
        wanted[resources.accelerator.type] = str(resources.accelerator.count)
    return {name: amount for name, amount in wanted.items() if amount}


def _patch(spec: TrainJobSpec, labels: Mapping[str, str]) -> dict[str, Any]:
    pod = {"metadata": {"labels": dict(labels)}, "spec": _pod_spec(spec)}
    job = {"name": REPLICATED_JOB, "template": {"spec": {"template": pod}}}
    return {"template": {"spec": {"replicatedJobs": [job]}}}


def _pod_spec(spec: TrainJobSpec) -> dict[str, Any]:
    """Restricted by the Pod Security Standards; writable are the workspace, /tmp and /dev/shm."""
    workspace = {"name": "workspace", "mountPath": spec.mount_path}
    if spec.workspace_sub_path:
        workspace["subPath"] = spec.workspace_sub_path
    mounts = [workspace, {"name": "tmp", "mountPath": "/tmp"}]
    volumes: list[dict[str, Any]] = [
        {"name": "workspace", "persistentVolumeClaim": {"claimName": spec.workspace_claim}},
        {"name": "tmp", "emptyDir": {}},
    ]
    if spec.shared_memory:
        mounts.append({"name": "shared-memory", "mountPath": "/dev/shm"})
        volumes.append({"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": spec.shared_memory}})
    security = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    container = {
        "name": CONTAINER,
        "volumeMounts": mounts,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            **security,
        },
    }
    optional = {
        "nodeSelector": dict(spec.node_selector),
        "tolerations": [dict(item) for item in spec.tolerations],
        "serviceAccountName": spec.service_account,
        "imagePullSecrets": [{"name": name} for name in spec.image_pull_secrets],
    }
    return {
        "volumes": volumes,
        "containers": [container],
        "securityContext": security | ({"fsGroup": spec.fs_group} if spec.fs_group is not None else {}),
        **{name: value for name, value in optional.items() if value},
    }
