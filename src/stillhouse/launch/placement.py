"""The compiled pipeline, placed: images, resources, volumes, secrets, labels and environment of one installation.

Pure: text in, text out. Commands and arguments stay byte for byte what ``pipelines`` compiled; what the pipeline's own
format has fields for (images, resources, plain variables, parallelism) goes there, everything else into the platform
spec through kfp-kubernetes (``launch.pods``). Knows no server.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import yaml

from stillhouse.errors import RecipeError
from stillhouse.launch.pods import PodSpec, container_of, platform_of
from stillhouse.plugins import IMPORTS_ENV
from stillhouse.recipe import Recipe
from stillhouse.recipe.cluster import MOUNT_PATH, Placement, TrainPlacement
from stillhouse.recipe.trainjob import TRAINJOB_ENV, Resources, SecretEnv, TrainJobSpec

DIGESTS_ENV = "STILLHOUSE_IMAGE_DIGESTS"
STAGE_LABEL = "stillhouse.dev/stage"
RECIPE_LABEL = "stillhouse.dev/recipe"
TEACHER_LABEL = "teacher.stillhouse.dev/"
ASK_A_TEACHER = ("select_teacher", "generate_traces", "evaluate_student")
_LOAD_MODELS = ("select_teacher", "generate_traces", "train_student", "evaluate_student", "register_student")
_READ_PROBLEMS = ("select_teacher", "generate_traces", "filter_traces", "evaluate_student", "register_student")
_ASK_A_JUDGE = ("filter_traces", "evaluate_student")
_FIELDS = {
    "STILLHOUSE_KFP_RUN_ID": "metadata.labels['pipeline/runid']",
    # The run's own name is in no pod; Argo's name of the workflow is, and it is the run's resource name.
    "STILLHOUSE_KFP_RUN_NAME": "metadata.labels['workflows.argoproj.io/workflow']",
    "STILLHOUSE_KFP_NAMESPACE": "metadata.namespace",
}
_IMAGE = re.compile(r"(?P<registry>.+)/stillhouse-(?P<target>[a-z]+):(?P<tag>[^/@]+)")
_EXECUTOR = "exec-"
# libyaml's where it is there: ten times as fast, the same safe subset.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_LAUNCHER = Placement(cpu="1", memory="2Gi", cpu_request="100m", memory_request="512Mi")
"""The pod that starts a TrainJob and waits for it needs no accelerator; the job's nodes have limits of their own."""


@dataclass(frozen=True)
class Installation:
    """What the place of submission adds to a recipe: its images, and which plug-ins of one's own it allows."""

    registry: str = ""
    """As ``cluster.images.registry``, which goes before it; empty is what was compiled."""
    tag: str = ""
    """As ``cluster.images.tag``, which goes before it."""
    custom_imports: str | None = None
    """Handed to every pod; None leaves what the image says."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """By target; hold where the recipe names neither registry, tag nor digest of its own."""

    @property
    def only_its_own_images(self) -> bool:
        """Whether code from elsewhere is kept out: plug-ins by ``custom_imports``, and so other images too."""
        return self.custom_imports is not None and self.custom_imports.strip() != "*"

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Installation:
        """``STILLHOUSE_IMAGE_REGISTRY``, ``_TAG``, ``_DIGESTS`` (JSON by target) and ``STILLHOUSE_CUSTOM_IMPORTS``.

        Raises:
            RecipeError: a registry with a scheme, or digests that are none.
        """
        registry = env.get("STILLHOUSE_IMAGE_REGISTRY", "").rstrip("/")
        if "://" in registry:
            raise RecipeError(
                f"STILLHOUSE_IMAGE_REGISTRY = {registry!r}: a registry has no scheme; "
                f"write {registry.partition('://')[2]}"
            )
        return cls(registry, env.get("STILLHOUSE_IMAGE_TAG", ""), env.get(IMPORTS_ENV), _digests(env))


def _digests(env: Mapping[str, str]) -> dict[str, str]:
    text = env.get(DIGESTS_ENV, "") or "{}"
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    good = isinstance(found, dict) and all(re.fullmatch(r"sha256:[0-9a-f]{64}", str(item)) for item in found.values())
    if not good:
        raise RecipeError(f'{DIGESTS_ENV} = {text!r}: must be JSON such as {{"train": "sha256:<64 digits>"}}')
    return dict(found)


def place(pipeline_yaml: str, recipe: Recipe, recipe_sha256: str, installation: Installation | None = None) -> str:
    """``pipeline_yaml`` (what ``python -m pipelines`` wrote) for the cluster that ``recipe.cluster`` describes.

    Returns:
        Two YAML documents: the pipeline, and the platform spec of its executors. Equal input gives equal text.
    """
    installation = installation or Installation()
    spec: dict[str, Any] = yaml.load(pipeline_yaml, Loader=_Loader)
    platform: dict[str, Any] = {}
    for executor, told in spec["deploymentSpec"]["executors"].items():
        stage = executor.removeprefix(_EXECUTOR).replace("-", "_")
        pod = _pod(stage, told["container"]["image"], recipe, recipe_sha256, installation)
        told["container"] = {**told["container"], **container_of(pod)}
        platform[executor] = platform_of(pod)
    _limit_parallelism(spec, recipe.cluster.parallelism)
    head = "".join(f"{line}\n" for line in pipeline_yaml.splitlines() if line.startswith("#"))
    second = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": platform}}}}
    texts = [yaml.dump(document, Dumper=_Dumper, sort_keys=True, allow_unicode=True) for document in (spec, second)]
    return head + "---\n".join(texts)


def _pod(stage: str, compiled: str, recipe: Recipe, recipe_sha256: str, installation: Installation) -> PodSpec:
    cluster = recipe.cluster
    placement = cluster.placement(stage)
    image, digest = _image(compiled, recipe, installation)
    env = _environment(recipe, installation)
    env |= {"STILLHOUSE_RECIPE_NAME": recipe.name, "STILLHOUSE_RECIPE_SHA256": recipe_sha256}
    if digest:
        env["STILLHOUSE_IMAGE_DIGEST"] = digest
    secrets = tuple(_secrets(stage, recipe))
    labels = {STAGE_LABEL: stage.replace("_", "-"), RECIPE_LABEL: recipe.name[:63].rstrip("-")}
    if isinstance(placement, TrainPlacement) and placement.nodes > 1:
        env[TRAINJOB_ENV] = trainjob(placement, image, env, secrets, recipe).model_dump_json()
        placement = _LAUNCHER
    if stage in ASK_A_TEACHER and (stage != "evaluate_student" or recipe.evaluate.teacher):
        labels |= {f"{TEACHER_LABEL}{name}": "true" for name in teacher_services(recipe)}
    claim, folder = cluster.claim()
    return PodSpec(
        image=image, pull_policy=cluster.images.pull_policy, pull_secrets=cluster.images.pull_secrets,
        placement=placement, env=env, fields=_FIELDS, secrets=secrets, labels=labels,
        claim=claim, folder=folder, mount_path=MOUNT_PATH,
    )  # fmt: skip


def _environment(recipe: Recipe, installation: Installation) -> dict[str, str]:
    cluster = recipe.cluster
    env = {**cluster.env, "STILLHOUSE_TEACHER_WAIT_S": str(cluster.teacher_wait_s)}
    if installation.custom_imports is not None:
        env[IMPORTS_ENV] = installation.custom_imports
    if cluster.mlflow.tracking_uri:
        env["MLFLOW_TRACKING_URI"] = cluster.mlflow.tracking_uri
        env["MLFLOW_EXPERIMENT_NAME"] = cluster.mlflow.experiment_name or recipe.name
    return env


def _image(compiled: str, recipe: Recipe, installation: Installation) -> tuple[str, str]:
    """The image to run instead of the compiled one, and its digest where it is known."""
    found = _IMAGE.fullmatch(compiled)
    if found is None:
        raise ValueError(f"{compiled}: not an image of this project")
    images = recipe.cluster.images
    target: Any = found["target"]
    own = installation.registry or found["registry"]
    if installation.only_its_own_images and images.registry not in ("", own):
        raise RecipeError(
            f"cluster.images.registry = {images.registry!r}: this installation runs only its own images ({own}), as it "
            f"runs only its own plug-ins ({IMPORTS_ENV}); leave it out, or have the installation allow all"
        )
    name = f"{images.registry or own}/stillhouse-{target}"
    digest = images.digests.get(target, "")
    if not digest and not images.registry and not images.tag:
        digest = installation.digests.get(target, "")
    if digest:
        return f"{name}@{digest}", digest
    return f"{name}:{images.tag or installation.tag or found['tag']}", ""


def _secrets(stage: str, recipe: Recipe) -> Iterator[SecretEnv]:
    """What ``stage`` may know, by reference; each stage only what it needs."""
    names = recipe.cluster.secrets
    if names.teacher and stage in ASK_A_TEACHER:
        variables = {item.api_key_env for item in recipe.teacher.candidates if item.type == "openai"}
        yield from (SecretEnv(env=env, secret=names.teacher, key="api_token") for env in sorted(variables))
    if names.judge and stage in _ASK_A_JUDGE:
        yield SecretEnv(env="JUDGE_API_KEY", secret=names.judge, key="api_token")
    if names.huggingface and stage in _LOAD_MODELS:
        yield SecretEnv(env="HF_TOKEN", secret=names.huggingface, key="HF_TOKEN")
    if names.s3 and stage in _READ_PROBLEMS:
        for env in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            yield SecretEnv(env=env, secret=names.s3, key=env)
    if names.mlflow:
        for env in ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME"):
            yield SecretEnv(env=env, secret=names.mlflow, key=env)
    yield from names.more


def teacher_services(recipe: Recipe) -> tuple[str, ...]:
    """Names of the Services in the cluster that the recipe's candidates are asked through.

    ``http://qwen:8000/v1`` and ``http://qwen.teachers.svc:8000/v1`` both mean the Service ``qwen``; an address of the
    wide world is none.
    """
    found = set()
    for candidate in recipe.teacher.candidates:
        for endpoint in candidate.endpoints if candidate.type == "openai" else ():
            host = urlsplit(endpoint).hostname or ""
            name, *rest = host.split(".")
            inside = not rest or rest[1:2] == ["svc"]
            if inside and name != "localhost" and re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", name):
                found.add(name)
    return tuple(sorted(found))


def trainjob(
    placement: TrainPlacement, image: str, env: Mapping[str, str], secrets: tuple[SecretEnv, ...], recipe: Recipe
) -> TrainJobSpec:
    """What the task ``train_student`` needs to start a TrainJob: the value of ``STILLHOUSE_TRAINJOB``."""
    cluster = recipe.cluster
    claim, folder = cluster.claim()
    return TrainJobSpec(
        nodes=placement.nodes,
        processes_per_node=placement.processes_per_node,
        runtime=placement.runtime,
        runtime_kind=placement.runtime_kind,
        queue=placement.queue,
        image=image,
        resources=Resources(
            cpu=placement.cpu or None, memory=placement.memory or None, accelerator=placement.accelerator
        ),
        node_selector=dict(placement.node_selector),
        tolerations=tuple(toleration(item) for item in placement.tolerations),
        shared_memory=placement.shared_memory or None,
        workspace_claim=claim,
        workspace_sub_path=folder,
        mount_path=MOUNT_PATH,
        service_account=cluster.service_account,
        env=dict(env),
        secrets=secrets,
        image_pull_secrets=cluster.images.pull_secrets,
        labels={RECIPE_LABEL: recipe.name[:63].rstrip("-")},
        fs_group=placement.fs_group,
        timeout_s=placement.timeout_s or None,
    )


def toleration(item: Any) -> dict[str, Any]:
    """A ``recipe.cluster.Toleration`` as it stands in a pod's spec."""
    plain = {"key": item.key, "operator": item.operator, "value": item.value, "effect": item.effect}
    told: dict[str, Any] = {name: value for name, value in plain.items() if value}
    return told if item.seconds is None else {**told, "tolerationSeconds": item.seconds}


def _limit_parallelism(spec: dict[str, Any], limit: int) -> None:
    """At most ``limit`` iterations of each loop side by side; 0 leaves them all."""
    dags = [spec["root"]["dag"], *(item["dag"] for item in spec["components"].values() if "dag" in item)]
    for task in (task for dag in dags for task in dag["tasks"].values()):
        if limit and "parameterIterator" in task:
            task["iteratorPolicy"] = {"parallelismLimit": limit}
