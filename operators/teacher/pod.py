"""The server's pod: vLLM with the model that a TeacherServer names, under the restricted Pod Security Standard.

Pure: a spec in, a pod template out. Nothing is rendered that the API server would drop or write differently (empty
values, quantities), so that what it returns can be compared with what was asked for.
"""

from __future__ import annotations

import hashlib
import math
from typing import Any

from operators.crds.teacher import TeacherServerSpec
from operators.resources import MANAGED_BY, TEACHER_SERVER_LABEL
from operators.teacher.quantity import canonical
from operators.teacher.scripts import source

PORT = 8000
UID = 10001
_WEIGHTS, _CACHE, _TMP = "/weights", "/cache", "/tmp"
_START_PERIOD_S = 10
_DRAIN_S = 10
"""Seconds that a pod goes on answering after it was taken out of the Service."""
_GRACE_S = 90
SECURITY = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "capabilities": {"drop": ["ALL"]},
}


def selector(name: str) -> dict[str, str]:
    """Labels that find the pods of a server; they never change."""
    return {TEACHER_SERVER_LABEL: name}


def labels(name: str) -> dict[str, str]:
    """Labels of everything that belongs to a server."""
    return {
        "app.kubernetes.io/name": "vllm",
        "app.kubernetes.io/instance": name,
        "app.kubernetes.io/component": "teacher",
        "app.kubernetes.io/part-of": "stillhouse",
        **MANAGED_BY,
        **selector(name),
    }


def served_name(name: str, spec: TeacherServerSpec) -> str:
    """The model's name at the endpoint."""
    return spec.served_model_name or name


def template(name: str, spec: TeacherServerSpec, image: str) -> dict[str, Any]:
    """The pod template; ``image`` is the installation's, for servers that name none and for copying weights."""
    pod: dict[str, Any] = {
        "automountServiceAccountToken": False,
        # Otherwise a Service called "vllm" would set VLLM_PORT in every pod of the namespace.
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": _GRACE_S,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": UID,
            "runAsGroup": UID,
            "fsGroup": UID,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_server(name, spec, spec.image or image)],
        "volumes": _volumes(spec),
    }
    if spec.model.startswith("s3://"):
        pod["initContainers"] = [_copy(spec, image)]
    if spec.image_pull_secrets:
        pod["imagePullSecrets"] = [{"name": secret} for secret in spec.image_pull_secrets]
    if spec.node_selector:
        pod["nodeSelector"] = dict(spec.node_selector)
    if spec.tolerations:
        pod["tolerations"] = [item.model_dump(by_alias=True, exclude_defaults=True) for item in spec.tolerations]
    if max(spec.replicas, spec.autoscaling.max_replicas) > 1:
        pod["topologySpreadConstraints"] = [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": selector(name)},
            }
        ]
    return {"metadata": {"labels": labels(name)}, "spec": pod}


def arguments(name: str, spec: TeacherServerSpec) -> list[str]:
    """vLLM's arguments. The spec's fields come last: of an option that is given twice the last one counts."""
    args = [*spec.args, "--model", _model(spec)]
    count = spec.tensor_parallel_size or spec.accelerator.count
    options = {
        "--revision": spec.revision,
        "--quantization": spec.quantization,
        "--dtype": "" if spec.dtype == "auto" else spec.dtype,
        "--max-model-len": spec.max_model_len,
        "--tensor-parallel-size": count if spec.tensor_parallel_size or count > 1 else None,
        "--served-model-name": served_name(name, spec),
        "--host": "0.0.0.0",
        "--port": PORT,
    }
    for option, value in options.items():
        if value:
            args += [option, str(value)]
    return args


def _server(name: str, spec: TeacherServerSpec, image: str) -> dict[str, Any]:
    ask = [
        "python3", "-c", source("ask"), f"http://127.0.0.1:{PORT}/v1", served_name(name, spec),
        spec.probe.prompt, str(spec.probe.timeout_seconds),
    ]  # fmt: skip
    health = {"httpGet": {"path": "/health", "port": "http"}}
    return {
        "name": "vllm",
        "image": image,
        "command": ["python3", "-m", "vllm.entrypoints.openai.api_server"],
        "args": arguments(name, spec),
        "env": _environment(spec),
        "ports": [{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
        "resources": _resources(spec),
        "securityContext": SECURITY,
        # Each replica answers a completion before it counts, and only once: with the key, which nobody else reads.
        "startupProbe": {
            "exec": {"command": ask},
            "periodSeconds": _START_PERIOD_S,
            "timeoutSeconds": spec.probe.timeout_seconds + 5,
            "failureThreshold": math.ceil(2 * spec.startup_deadline_seconds / _START_PERIOD_S),
        },
        "readinessProbe": {**health, "periodSeconds": 10, "timeoutSeconds": 10, "failureThreshold": 3},
        # Generous: a busy server answers late, and a restart loads the weights again.
        "livenessProbe": {**health, "periodSeconds": 20, "timeoutSeconds": 15, "failureThreshold": 9},
        "lifecycle": {"preStop": {"sleep": {"seconds": _DRAIN_S}}},
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": _mounts(spec),
    }


def _copy(spec: TeacherServerSpec, image: str) -> dict[str, Any]:
    """Copies ``s3://`` weights. vLLM's own streaming from S3 needs a package that the image does not have."""
    keys = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    return {
        "name": "weights",
        "image": image,
        "command": ["python3", "-c", source("copy_weights"), spec.model, _model(spec)],
        "env": _plain(spec) + [_secret(key, spec.secrets.s3, key) for key in keys],
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"cpu": "2", "memory": "2Gi"}},
        "securityContext": SECURITY,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [_weights(spec), {"name": "tmp", "mountPath": _TMP}],
    }


def _model(spec: TeacherServerSpec) -> str:
    """What vLLM calls the model: a repository's name, or a folder of the pod."""
    scheme, _, rest = spec.model.partition("://")
    if scheme == "hf":
        return rest
    # Weights of several addresses may share a cache.
    return _WEIGHTS if scheme == "pvc" else f"{_WEIGHTS}/{hashlib.sha256(spec.model.encode()).hexdigest()[:12]}"


def _environment(spec: TeacherServerSpec) -> list[dict[str, Any]]:
    local = not spec.model.startswith("hf://")
    ours = {
        "HOME": _TMP,
        "LOGNAME": "stillhouse",
        "XDG_CACHE_HOME": f"{_TMP}/.cache",
        "XDG_CONFIG_HOME": f"{_TMP}/.config",
        "HF_HOME": _CACHE,
        "HF_HUB_OFFLINE": "1" if local else "0",
        "TRANSFORMERS_OFFLINE": "1" if local else "0",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "PYTHONUNBUFFERED": "1",
    }
    rows = [{"name": key, "value": value} for key, value in ours.items() if key not in spec.env] + _plain(spec)
    if spec.secrets.huggingface and not local:
        rows.append(_secret("HF_TOKEN", spec.secrets.huggingface, "HF_TOKEN"))
    if spec.secrets.api_key:
        rows.append(_secret("VLLM_API_KEY", spec.secrets.api_key, "api_token"))
    return rows


def _plain(spec: TeacherServerSpec) -> list[dict[str, Any]]:
    return [{"name": key, "value": value} if value else {"name": key} for key, value in sorted(spec.env.items())]


def _secret(env: str, secret: str, key: str) -> dict[str, Any]:
    return {"name": env, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}


def _resources(spec: TeacherServerSpec) -> dict[str, Any]:
    devices = {spec.accelerator.type: str(spec.accelerator.count)} if spec.accelerator.count else {}
    limits = {key: canonical(value) for key, value in {**spec.resources.limits, **devices}.items()}
    requests = {key: canonical(value) for key, value in {**spec.resources.requests, **devices}.items()}
    return {key: value for key, value in (("requests", requests), ("limits", limits)) if value}


def _volumes(spec: TeacherServerSpec) -> list[dict[str, Any]]:
    def scratch(name: str) -> dict[str, Any]:
        return {"name": name, "emptyDir": {}}

    def claim(name: str, claim_name: str, **rest: Any) -> dict[str, Any]:
        return {"name": name, "persistentVolumeClaim": {"claimName": claim_name, **rest}}

    scheme, _, rest = spec.model.partition("://")
    shared = {"medium": "Memory", "sizeLimit": canonical(spec.shared_memory)}
    cache = claim("cache", spec.cache.claim) if spec.cache and scheme == "hf" else scratch("cache")
    volumes = [scratch("tmp"), {"name": "shm", "emptyDir": shared}, cache]
    if scheme == "pvc":
        volumes.append(claim("weights", rest.partition("/")[0], readOnly=True))
    elif scheme == "s3":
        volumes.append(claim("weights", spec.cache.claim) if spec.cache else scratch("weights"))
    return volumes


def _mounts(spec: TeacherServerSpec) -> list[dict[str, Any]]:
    cache: dict[str, Any] = {"name": "cache", "mountPath": _CACHE}
    local = not spec.model.startswith("hf://")
    if spec.cache and spec.cache.path and not local:
        cache["subPath"] = spec.cache.path
    mounts = [{"name": "tmp", "mountPath": _TMP}, {"name": "shm", "mountPath": "/dev/shm"}, cache]
    return [*mounts, {**_weights(spec), "readOnly": True}] if local else mounts


def _weights(spec: TeacherServerSpec) -> dict[str, Any]:
    """Where weights that are files are mounted; ``pvc://claim/path`` mounts that path alone."""
    scheme, _, rest = spec.model.partition("://")
    path = rest.partition("/")[2].strip("/") if scheme == "pvc" else (spec.cache.path if spec.cache else "")
    mount = {"name": "weights", "mountPath": _WEIGHTS}
    return {**mount, "subPath": path} if path else mount
