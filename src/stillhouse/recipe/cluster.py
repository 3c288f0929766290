"""Where a run runs on Kubernetes: names, images, resources, secrets by name.

No stage config, stage key or recipe digest contains it: where a run runs does not change what it makes. Every name of
an installation is a value here. Knows no API: ``launch.placement`` turns it into the pipeline that is submitted.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from stillhouse.recipe.base import Config
from stillhouse.recipe.trainjob import Accelerator, SecretEnv

Target = Literal["generate", "train", "evaluate"]
Name = Annotated[str, Field(pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$", max_length=253)]
"""Name of a Kubernetes object (RFC 1123): lower case, digits, ``-`` and ``.``; empty where that is allowed."""
Label = Annotated[str, Field(pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$", max_length=63)]
"""Value of a Kubernetes label."""
LabelKey = Annotated[
    str, Field(pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$", max_length=317)
]
"""Key of a Kubernetes label, with or without a prefix."""


def _written(value: Any) -> Any:
    """``cpu: 2`` is a number to YAML and a quantity to Kubernetes."""
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


Cpu = Annotated[str, BeforeValidator(_written), Field(pattern=r"^(([0-9]*\.)?[0-9]+m?)?$")]
"""Kubernetes quantity of CPU: ``2``, ``0.5``, ``500m``."""
Memory = Annotated[str, BeforeValidator(_written), Field(pattern=r"^([0-9]+([EPTGMK]i|[EPTGM])?)?$")]
"""Kubernetes quantity of bytes, whole as KFP wants it: ``8Gi``, ``512Mi``."""
EnvName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
ImageDigest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
MOUNT_PATH = "/workspace"
"""Where the workspace is in every pod."""


class Toleration(Config):
    """One taint that pods put up with; as in a pod's spec."""

    key: str = ""
    """Key of the taint; empty is every one, with operator Exists."""
    operator: Literal["Equal", "Exists"] = "Equal"
    """Whether the value counts."""
    value: str = ""
    """Value of the taint."""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""
    """Which effect; empty is every one."""
    seconds: int | None = None
    """How long a pod stays after NoExecute; null is for good."""


class Placement(Config):
    """What the pods of a stage ask for; empty is as in ``cluster.defaults``, and empty there it is not asked for."""

    cpu: Cpu = ""
    """CPU cores at most, such as ``2`` or ``500m``; also requested, unless ``cpu_request`` says less."""
    memory: Memory = ""
    """Main memory at most, in whole units such as ``8Gi``; also requested, unless ``memory_request`` says less."""
    cpu_request: Cpu = ""
    """CPU cores that are kept for the pod."""
    memory_request: Memory = ""
    """Main memory that is kept for the pod."""
    accelerator: Accelerator | None = None
    """Devices of the pod, such as ``{type: nvidia.com/gpu, count: 1}``."""
    node_selector: dict[LabelKey, Label] = Field(default={})
    """Labels that the node must have."""
    tolerations: tuple[Toleration, ...] = ()
    """Taints that the pods put up with."""
    shared_memory: Memory = ""
    """Size of /dev/shm, in main memory; processes that share tensors need it."""
    timeout_s: int = Field(default=0, ge=0)
    """Longest time of a pod, in seconds; 0 is no limit."""


class TrainPlacement(Placement):
    """As any stage; with more than one node, training is a TrainJob of Kubeflow Trainer and each node gets this."""

    nodes: int = Field(default=1, ge=1)
    """Nodes; more than one need the workspace on a claim that many nodes can mount (ReadWriteMany)."""
    processes_per_node: int = Field(default=1, ge=1)
    """Processes on each node: one for each accelerator."""
    queue: Name = ""
    """Kueue's LocalQueue; waiting in it is no failure. Empty: no queue."""
    runtime: Name = "torch-distributed"
    """Training runtime of the installation."""
    runtime_kind: Literal["ClusterTrainingRuntime", "TrainingRuntime"] = "ClusterTrainingRuntime"
    """Whether the runtime belongs to the cluster or to the namespace."""
    fs_group: int | None = Field(default=None, ge=1)
    """Group that owns the mounted workspace on the nodes, where its storage class needs to be told."""


class StagePlacements(Config):
    """Pods stage by stage; what is left out is as in ``cluster.defaults``."""

    select_teacher: Placement = Placement()
    """Local candidates and the pilot need an accelerator here."""
    generate_traces: Placement = Placement()
    """Each shard's pod; teachers behind a server need none here."""
    filter_traces: Placement = Placement()
    """CPU only."""
    train_student: TrainPlacement = TrainPlacement()
    """Training, on one node or many."""
    evaluate_student: Placement = Placement()
    """Samples from the students."""
    register_student: Placement = Placement()
    """The gate; it may have to measure the champion again."""
    promote_student: Placement = Placement()
    """Moves an alias."""
    report_run: Placement = Placement()
    """The exit handler."""


class Images(Config):
    """Which images the pods run."""

    registry: str = Field(default="", pattern=r"^([a-z0-9][a-z0-9.-]*(:[0-9]+)?(/[a-z0-9._-]+)*)?$")
    """Registry and folder without a scheme, such as ``ghcr.io/stillhouse-dev``; empty is the installation's."""
    tag: str = Field(default="", pattern=r"^[A-Za-z0-9_.-]*$", max_length=128)
    """Tag; empty is the version of the library that submits."""
    digests: dict[Target, ImageDigest] = Field(default={})
    """Content digest of each target; a digest goes before a tag."""
    pull_secrets: tuple[Name, ...] = ()
    """Secrets for the registry."""
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """When nodes ask the registry."""


class Secrets(Config):
    """Names of Secrets in the run's namespace; pods get them as environment by reference, and start without them."""

    teacher: Name = "teacher-secret"
    """Its key ``api_token`` becomes the variable that ``api_key_env`` of each candidate names."""
    judge: Name = "judge-secret"
    """Its key ``api_token`` becomes JUDGE_API_KEY."""
    huggingface: Name = "hf-token"
    """Its key ``HF_TOKEN`` becomes the variable of that name."""
    s3: Name = "s3-secret"
    """Its keys ``AWS_ACCESS_KEY_ID`` and ``AWS_SECRET_ACCESS_KEY`` become the variables of those names."""
    mlflow: Name = ""
    """Its keys MLFLOW_TRACKING_TOKEN, MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD become those variables."""
    more: tuple[SecretEnv, ...] = ()
    """Further variables for every stage, each ``{env, secret, key}``."""


class Mlflow(Config):
    """Where MLflow is, for installations without KFP's own MLflow plug-in."""

    tracking_uri: str = Field(default="", pattern=r"^(https?://[^\s@]+)?$")
    """Address without credentials (those stand in ``secrets.mlflow``); empty leaves it to KFP's plug-in."""
    experiment_name: str = ""
    """Experiment; empty is the recipe's name."""


class ClusterSection(Config):
    """Where a run runs. Part of no stage key and of no recipe digest."""

    namespace: Name = Field(default="", max_length=63)
    """KFP profile (namespace) of the run; empty is the client's default."""
    service_account: Name = ""
    """Service account of the pods; empty is KFP's default."""
    workspace: str = Field(
        default="pvc://stillhouse-workspace/",
        pattern=r"^pvc://[a-z0-9]([-a-z0-9.]*[a-z0-9])?(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*/?$",
    )
    """Claim and folder of the workspace, as ``pvc://claim/sub/path``; mounted at /workspace."""
    pipeline_root: str = Field(default="", pattern=r"^((s3|minio|gs|oci)://\S+)?$")
    """Where KFP keeps artifacts; empty is the profile's own."""
    images: Images = Images()
    """Images of the stages."""
    secrets: Secrets = Secrets()
    """Secrets by name."""
    mlflow: Mlflow = Mlflow()
    """MLflow."""
    env: dict[EnvName, str] = Field(default={})
    """Plain variables for every stage; nothing secret."""
    defaults: Placement = Placement()
    """What every stage asks for."""
    stages: StagePlacements = StagePlacements()
    """What single stages ask for instead."""
    parallelism: int = Field(default=0, ge=0)
    """Shards of generation side by side; 0 is all."""
    teacher_wait_s: int = Field(default=1800, ge=0)
    """How long a stage waits for a teacher that is starting, in seconds."""

    def claim(self) -> tuple[str, str]:
        """The workspace's claim and the folder in it ("" is all of it)."""
        claim, _, folder = self.workspace.removeprefix("pvc://").partition("/")
        return claim, folder.strip("/")

    def placement(self, stage: str) -> Placement:
        """What ``stage`` asks for, with the gaps filled from ``defaults``."""
        own: Placement = getattr(self.stages, stage)
        gaps = {name: getattr(self.defaults, name) for name in Placement.model_fields if not getattr(own, name)}
        return own.model_copy(update=gaps)
