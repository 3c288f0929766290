"""Names of the API group, of labels and annotations, and the small pure helpers that every kind needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

GROUP = "stillhouse.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
MANAGED_BY = {"app.kubernetes.io/managed-by": "stillhouse"}
SCHEDULE_LABEL = f"{GROUP}/schedule"
TEACHER_SERVER_LABEL = f"{GROUP}/teacher-server"
TEACHER_LABEL_PREFIX = f"teacher.{GROUP}/"
APPROVE = f"{GROUP}/approve"
ROLLBACK = f"{GROUP}/rollback"
RUN_NOW = f"{GROUP}/run-now"
MANIFEST_HASH = f"{GROUP}/manifest-sha256"

Body = Mapping[str, Any]


@dataclass(frozen=True)
class Resource:
    """Where a kind lives in the Kubernetes API; ``group`` is empty for the core group."""

    group: str
    version: str
    kind: str
    plural: str

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


SCHEDULE = Resource(GROUP, VERSION, "DistillationSchedule", "distillationschedules")
RUN = Resource(GROUP, VERSION, "DistillationRun", "distillationruns")
PROMOTION = Resource(GROUP, VERSION, "StudentPromotion", "studentpromotions")
TEACHER = Resource(GROUP, VERSION, "TeacherServer", "teacherservers")
CONFIG_MAP = Resource("", "v1", "ConfigMap", "configmaps")
POD = Resource("", "v1", "Pod", "pods")
SERVICE = Resource("", "v1", "Service", "services")
EVENT = Resource("", "v1", "Event", "events")
DEPLOYMENT = Resource("apps", "v1", "Deployment", "deployments")
REPLICA_SET = Resource("apps", "v1", "ReplicaSet", "replicasets")
DISRUPTION_BUDGET = Resource("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets")
AUTOSCALER = Resource("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
NETWORK_POLICY = Resource("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies")
WORKFLOW = Resource("argoproj.io", "v1alpha1", "Workflow", "workflows")
SCALED_OBJECT = Resource("keda.sh", "v1alpha1", "ScaledObject", "scaledobjects")
PEERING = Resource("kopf.dev", "v1", "KopfPeering", "kopfpeerings")
CLUSTER_PEERING = Resource("kopf.dev", "v1", "ClusterKopfPeering", "clusterkopfpeerings")
RESOURCES = (
    SCHEDULE, RUN, PROMOTION, TEACHER, CONFIG_MAP, POD, SERVICE, EVENT, DEPLOYMENT, REPLICA_SET, DISRUPTION_BUDGET,
    AUTOSCALER, NETWORK_POLICY, SCALED_OBJECT, WORKFLOW,
)  # fmt: skip


def timestamp(moment: datetime) -> str:
    """``moment`` as Kubernetes writes times: UTC, whole seconds, ``Z``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment(text: str) -> datetime:
    """The time that Kubernetes wrote."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def owner_reference(body: Body, *, controller: bool = True) -> dict[str, Any]:
    """What makes an object go when ``body`` goes."""
    return {
        "apiVersion": body["apiVersion"],
        "kind": body["kind"],
        "name": body["metadata"]["name"],
        "uid": body["metadata"]["uid"],
        "controller": controller,
        "blockOwnerDeletion": controller,
    }


def set_condition(
    conditions: Sequence[Mapping[str, Any]],
    kind: str,
    holds: bool | None,
    reason: str,
    message: str,
    *,
    now: datetime,
    generation: int = 0,
) -> list[dict[str, Any]]:
    """``conditions`` with the one of type ``kind`` set; its transition time moves only when its status does.

    ``holds`` None is ``Unknown``. ``reason`` is CamelCase, ``message`` is for people.
    """
    status = {True: "True", False: "False", None: "Unknown"}[holds]
    before = condition(conditions, kind)
    since = before["lastTransitionTime"] if before and before["status"] == status else timestamp(now)
    mine = {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message[:1024],
        "observedGeneration": generation,
        "lastTransitionTime": since,
    }
    return sorted([dict(item) for item in conditions if item["type"] != kind] + [mine], key=lambda item: item["type"])


def condition(conditions: Iterable[Mapping[str, Any]], kind: str) -> dict[str, Any] | None:
    """The condition of type ``kind``."""
    return next((dict(item) for item in conditions if item["type"] == kind), None)


def covers(observed: Any, wanted: Any) -> bool:
    """Whether ``observed`` holds everything that ``wanted`` says (defaults that the server added do not count)."""
    if isinstance(wanted, Mapping):
        return isinstance(observed, Mapping) and all(
            covers(observed.get(key), value) for key, value in wanted.items() if value is not None
        )
    if isinstance(wanted, (list, tuple)):
        return (
            isinstance(observed, (list, tuple))
            and len(observed) == len(wanted)
            and all(covers(one, other) for one, other in zip(observed, wanted, strict=True))
        )
    return bool(observed == wanted)
