"""What a run on a cluster needs, and whether it is there: KFP, MLflow, object store, claim, secrets, kinds, devices.

Looks only. What may not be looked at is no failure: whoever submits need not be allowed to list nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from stillhouse.doctor import Finding, reach
from stillhouse.errors import StillhouseError
from stillhouse.launch.client import Kfp
from stillhouse.launch.endpoint import Endpoint
from stillhouse.launch.kube_look import Cluster, Refused, find_cluster
from stillhouse.launch.submit import out_of_reach
from stillhouse.recipe import Recipe
from stillhouse.recipe.cluster import ClusterSection, TrainPlacement
from stillhouse.recipe.data import FileProblems
from stillhouse.recipe.sources import problem_sources
from stillhouse.storage import S3Settings

_SECRETS = ("teacher", "judge", "huggingface", "s3", "mlflow")
_KINDS = "distillationruns"


def examine_cluster(
    recipe: Recipe | None, env: Mapping[str, str], *, find: Callable[[], Cluster | None] = find_cluster, **options: str
) -> Iterator[Finding]:
    """All findings; ``options`` are those of ``Endpoint.from_env``."""
    section = recipe.cluster if recipe else ClusterSection()
    told = {**options, "namespace": options.get("namespace") or section.namespace}
    try:
        endpoint = Endpoint.from_env(env, **told)
    except StillhouseError as error:
        yield Finding("kfp", False, str(error))
        namespace = told["namespace"]
    else:
        yield from _pipelines(endpoint)
        namespace = endpoint.namespace
    yield from _tracking(section, env)
    if recipe is not None:
        yield from (Finding("data", False, line) for line in out_of_reach(recipe))
        yield from _object_store(recipe, env)
    cluster = find()
    if cluster is None:
        yield Finding(
            "kubernetes", None, "no kubeconfig and no pod: claim, secrets, kinds and devices were not looked at"
        )
        return
    yield from _kubernetes(cluster, namespace or "default", section)


def _pipelines(endpoint: Endpoint) -> Iterator[Finding]:
    kfp = Kfp(endpoint, timeout_s=5.0, tries=1)
    try:
        users = "several users" if kfp.healthz().get("multi_user") else "one user"
        yield Finding("kfp", True, f"{endpoint.url} answers, for {users}")
        next(kfp.find_runs(), None)
    except StillhouseError as error:
        yield Finding("kfp", False, str(error))
    else:
        yield Finding("kfp: access", True, f"runs of namespace {endpoint.namespace or '(none)'} can be listed")


def _tracking(section: ClusterSection, env: Mapping[str, str]) -> Iterator[Finding]:
    uri = section.mlflow.tracking_uri or env.get("MLFLOW_TRACKING_URI", "")
    if not uri.startswith("http"):
        yield Finding("mlflow", None, "left to KFP's MLflow plug-in (cluster.mlflow.tracking_uri is empty)")
        return
    yield reach("mlflow", f"{uri.rstrip('/')}/health", "start it, or correct cluster.mlflow.tracking_uri")


def _object_store(recipe: Recipe, env: Mapping[str, str]) -> Iterator[Finding]:
    sources = [item.path for item in problem_sources(recipe).values() if isinstance(item, FileProblems)]
    if not any(path.startswith("s3://") for path in sources):
        yield Finding("object store", None, "no problems of this recipe are in one")
        return
    settings = S3Settings.from_env(env)
    host = urlsplit(settings.endpoint).netloc
    if not settings.access_key:
        yield Finding(
            "object store", None, f"{host}: no AWS_ACCESS_KEY_ID here; pods take theirs from cluster.secrets.s3"
        )
    found = reach("object store", settings.endpoint, "correct MLFLOW_S3_ENDPOINT_URL or AWS_ENDPOINT_URL")
    # Any answer of the store will do: the root of a bucket store says 403 to strangers.
    answered = found.ok or " answers 4" in found.text
    yield Finding("object store", answered, f"{host} answers" if answered else found.text)


def _kubernetes(cluster: Cluster, namespace: str, section: ClusterSection) -> Iterator[Finding]:
    yield from _claim(cluster, namespace, section)
    for kind in _SECRETS:
        name = getattr(section.secrets, kind)
        if name:
            path = f"/api/v1/namespaces/{namespace}/secrets/{name}"
            advice = f"pods start without it; kubectl create secret generic {name} -n {namespace} if they need it"
            yield _there(cluster, f"secret {kind}", path, f"{name} is there", advice, needed=False)
    yield from _training(cluster, namespace, section)
    yield _there(
        cluster, "operator", f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{_KINDS}.stillhouse.dev",
        "its kinds are installed", "schedules and promotions need it: helm install stillhouse charts/stillhouse",
        needed=False,
    )  # fmt: skip
    yield from _devices(cluster, section)


def _there(cluster: Cluster, what: str, path: str, found: str, advice: str, *, needed: bool = True) -> Finding:
    """Whether something is at ``path``; a thing that is not ``needed`` may be missing."""
    try:
        cluster.get(path, metadata_only=True)
    except Refused as refused:
        if refused.status == 404:
            return Finding(what, False if needed else None, f"is not there; {advice}")
        return _unseen(what, refused)
    return Finding(what, True, found)


def _unseen(what: str, refused: Refused) -> Finding:
    if refused.status in (401, 403):
        return Finding(what, None, "may not be looked at with these credentials")
    return Finding(what, False, f"the Kubernetes API does not answer ({refused}); is the kubeconfig's cluster up?")


def _claim(cluster: Cluster, namespace: str, section: ClusterSection) -> Iterator[Finding]:
    name, _ = section.claim()
    try:
        claim = cluster.get(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{name}")
    except Refused as refused:
        advice = "create it, or correct cluster.workspace"
        missing = Finding("workspace", False, f"claim {name} is not in namespace {namespace}; {advice}")
        yield missing if refused.status == 404 else _unseen("workspace", refused)
        return
    modes = claim.get("spec", {}).get("accessModes") or []
    phase = claim.get("status", {}).get("phase", "")
    if phase == "Lost":
        yield Finding("workspace", False, f"claim {name} has lost its volume; restore it, or name another claim")
    elif "ReadWriteMany" in modes:
        yield Finding("workspace", True, f"claim {name}: {', '.join(modes)}, {phase}")
    else:
        word = f"claim {name} is {', '.join(modes)}: all pods of a run land on one node"
        many = section.stages.train_student.nodes > 1
        yield Finding("workspace", False if many else None, f"{word}; use ReadWriteMany to spread them")


def _training(cluster: Cluster, namespace: str, section: ClusterSection) -> Iterator[Finding]:
    train = section.stages.train_student
    if train.nodes == 1:
        return
    base = "/apis/trainer.kubeflow.org/v1alpha1"
    scope = "" if train.runtime_kind == "ClusterTrainingRuntime" else f"/namespaces/{namespace}"
    plural = f"{train.runtime_kind.lower()}s"
    yield _there(
        cluster, "training runtime", f"{base}{scope}/{plural}/{train.runtime}", f"{train.runtime} is there",
        "install Kubeflow Trainer 2, or correct cluster.stages.train_student.runtime",
    )  # fmt: skip
    if train.queue:
        path = f"/apis/kueue.x-k8s.io/v1beta1/namespaces/{namespace}/localqueues/{train.queue}"
        advice = "create the LocalQueue, or correct cluster.stages.train_student.queue"
        yield _there(cluster, "queue", path, f"{train.queue} is there", advice)


def _devices(cluster: Cluster, section: ClusterSection) -> Iterator[Finding]:
    wanted: dict[str, tuple[int, str]] = {}
    for stage in type(section.stages).model_fields:
        placement = section.placement(stage)
        if placement.accelerator:
            need = placement.accelerator.count * (placement.nodes if isinstance(placement, TrainPlacement) else 1)
            wanted[placement.accelerator.type] = max(wanted.get(placement.accelerator.type, (0, "")), (need, stage))
    if not wanted:
        return
    try:
        nodes = cluster.get("/api/v1/nodes").get("items") or []
    except Refused as refused:
        yield _unseen("devices", refused)
        return
    for kind, (need, stage) in sorted(wanted.items()):
        there = sum(_count(node, kind) for node in nodes)
        advice = (
            "" if there >= need else "; correct the recipe's accelerators, or add nodes (an autoscaler may do that)"
        )
        text = f"{there} on {len(nodes)} nodes, {need} needed by {stage}{advice}"
        yield Finding(kind, True if there >= need else None if there else False, text)


def _count(node: Mapping[str, Any], kind: str) -> int:
    return int(node.get("status", {}).get("allocatable", {}).get(kind, 0))
