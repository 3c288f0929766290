"""What a TeacherServer consists of: Deployment, Service, disruption budget, network policy, autoscaler. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from operators.crds.teacher import ServerPeer, TeacherServerSpec
from operators.resources import (
    AUTOSCALER,
    DEPLOYMENT,
    DISRUPTION_BUDGET,
    NETWORK_POLICY,
    SCALED_OBJECT,
    SERVICE,
    TEACHER_LABEL_PREFIX,
    Body,
    Resource,
    owner_reference,
)
from operators.settings import Settings
from operators.teacher import pod
from operators.teacher.quantity import canonical
from stillhouse import __version__

OPERATOR_LABELS = {"app.kubernetes.io/component": "operator", "app.kubernetes.io/part-of": "stillhouse"}
"""Labels of the operator's own pods, as the chart sets them."""


def need_label(name: str) -> str:
    """The label of pods that need the teacher ``name``."""
    return f"{TEACHER_LABEL_PREFIX}{name}"


def default_image(settings: Settings) -> str:
    """The installation's image with vLLM."""
    own = f"{settings.image_registry}/stillhouse-generate:{settings.image_tag or __version__}"
    return settings.teacher_image or own


def url(body: Body) -> str:
    """Where clients reach the teacher, inside the cluster."""
    meta = body["metadata"]
    return f"http://{meta['name']}.{meta['namespace']}.svc:{pod.PORT}/v1"


def manifests(
    body: Body, spec: TeacherServerSpec, settings: Settings, *, replicas: int, wanted: bool
) -> dict[Resource, dict[str, Any] | None]:
    """The objects, in the order in which they are made; None stands for one that must not be there.

    ``wanted`` is whether the teacher is needed: an autoscaler of KEDA exists only then, because it would start
    replicas by itself. A HorizontalPodAutoscaler leaves a Deployment of 0 replicas alone.
    """
    name, scaling = body["metadata"]["name"], spec.autoscaling
    parts: dict[Resource, Mapping[str, Any] | None] = {
        NETWORK_POLICY: _network_policy(name, spec, settings) if spec.network_policy.enabled else None,
        SERVICE: _service(name),
        DISRUPTION_BUDGET: _disruption_budget(name),
        DEPLOYMENT: _deployment(name, spec, default_image(settings), replicas),
        AUTOSCALER: _horizontal(name, spec) if scaling.type == "hpa" else None,
        SCALED_OBJECT: _keda(name, spec) if scaling.type == "keda" and wanted else None,
    }
    return {kind: None if part is None else _object(body, kind, part) for kind, part in parts.items()}


def _object(body: Body, resource: Resource, spec: Mapping[str, Any]) -> dict[str, Any]:
    meta = body["metadata"]
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {
            "name": meta["name"],
            "namespace": meta["namespace"],
            "labels": pod.labels(meta["name"]),
            "ownerReferences": [owner_reference(body)],
        },
        "spec": dict(spec),
    }


def _deployment(name: str, spec: TeacherServerSpec, image: str, replicas: int) -> dict[str, Any]:
    return {
        "replicas": replicas,
        "revisionHistoryLimit": 2,
        # Old and new side by side would need twice the accelerators, and two models would answer under one name.
        "strategy": {"type": "Recreate"},
        "progressDeadlineSeconds": spec.startup_deadline_seconds,
        "selector": {"matchLabels": pod.selector(name)},
        "template": pod.template(name, spec, image),
    }


def _service(name: str) -> dict[str, Any]:
    port = {"name": "http", "port": pod.PORT, "targetPort": "http", "protocol": "TCP", "appProtocol": "http"}
    return {"type": "ClusterIP", "selector": pod.selector(name), "ports": [port]}


def _disruption_budget(name: str) -> dict[str, Any]:
    """One at a time: clients wait for it. A stricter one would stop nodes from being drained."""
    return {
        "maxUnavailable": 1,
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
        "selector": {"matchLabels": pod.selector(name)},
    }


def _target(name: str) -> dict[str, str]:
    return {"apiVersion": DEPLOYMENT.api_version, "kind": DEPLOYMENT.kind, "name": name}


def _horizontal(name: str, spec: TeacherServerSpec) -> dict[str, Any]:
    scaling = spec.autoscaling
    goal = {"type": "AverageValue", "averageValue": canonical(scaling.metric.average_value)}
    return {
        "scaleTargetRef": _target(name),
        "minReplicas": scaling.min_replicas,
        "maxReplicas": scaling.max_replicas,
        "metrics": [{"type": "Pods", "pods": {"metric": {"name": scaling.metric.name}, "target": goal}}],
    }


def _keda(name: str, spec: TeacherServerSpec) -> dict[str, Any]:
    scaling = spec.autoscaling
    triggers = []
    for item in scaling.triggers:
        row: dict[str, Any] = {"type": item.type, "metadata": dict(item.metadata)}
        triggers.append(
            {**row, "authenticationRef": {"name": item.authentication_ref}} if item.authentication_ref else row
        )
    return {
        "scaleTargetRef": _target(name),
        "minReplicaCount": scaling.min_replicas,
        "maxReplicaCount": scaling.max_replicas,
        "triggers": triggers,
    }


def _network_policy(name: str, spec: TeacherServerSpec, settings: Settings) -> dict[str, Any]:
    peers: list[dict[str, Any]] = [
        {"podSelector": {"matchLabels": {need_label(name): "true"}}},
        {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": settings.namespace}},
            "podSelector": {"matchLabels": OPERATOR_LABELS},
        },
        *(_peer(item) for item in spec.network_policy.additional_from),
    ]
    return {
        "podSelector": {"matchLabels": pod.selector(name)},
        "policyTypes": ["Ingress"],
        "ingress": [{"from": peers, "ports": [{"protocol": "TCP", "port": pod.PORT}]}],
    }


def _peer(item: ServerPeer) -> dict[str, Any]:
    pods = {"podSelector": {"matchLabels": dict(item.pod_labels)} if item.pod_labels else {}}
    spaces = {"namespaceSelector": {"matchLabels": dict(item.namespace_labels)}} if item.namespace_labels else {}
    return {**pods, **spaces}
