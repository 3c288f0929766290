"""``TeacherServer``: a teacher that vLLM serves while somebody needs it. What may be written in one."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator, model_validator

from operators.crds.base import Column, Condition, Kind, Rule, Spec, Status
from operators.resources import TEACHER
from stillhouse.errors import nearest

Name = Annotated[str, Field(pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$", max_length=253)]
"""Name of an object in the same namespace; empty where that is allowed."""
_QUANTITY = r"^([0-9]+(\.[0-9]+)?|\.[0-9]+)(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$"


def _written(value: Any) -> Any:
    """``cpu: 2`` is a number to YAML and a quantity to Kubernetes."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Quantity = Annotated[
    str,
    BeforeValidator(_written),
    Field(pattern=_QUANTITY, max_length=32),
    WithJsonSchema({"x-kubernetes-int-or-string": True, "pattern": _QUANTITY, "maxLength": 32}),
]
"""Kubernetes quantity: ``2``, ``500m``, ``8Gi``."""
Value = Annotated[str, Field(max_length=4096)]
Text = Annotated[str, Field(max_length=512)]
Key = Annotated[
    str, Field(pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$", max_length=317)
]

FIELD_OF = {
    "model": "spec.model",
    "served-model-name": "spec.servedModelName",
    "revision": "spec.revision",
    "host": "",
    "port": "",
    "uds": "",
    "api-key": "spec.secrets.apiKey",
    "config": "",
    "root-path": "",
    "middleware": "",
    "headless": "",
    "grpc": "",
    "ssl-keyfile": "",
    "ssl-certfile": "",
    "ssl-ca-certs": "",
    "ssl-cert-reqs": "",
}
"""vLLM's options that ``args`` may not hold, and the field to use instead (empty: there is none)."""
SECRET_ENV = (
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "VLLM_API_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
)
"""Variables that come from Secrets by reference and never stand in a spec."""
_LISTED = "|".join(sorted(FIELD_OF, key=lambda flag: (-len(flag), flag)))
_FORBIDDEN = rf"^--?({_LISTED.replace('-', '[-_]')})(=.*)?$"
_ABBREVIATION = 3
"""argparse takes an option's beginning for the option; from so many letters on, beginnings are refused, too."""


class ServerAccelerator(Spec):
    """Devices of each replica."""

    type: Key = "nvidia.com/gpu"
    """Resource name of the device."""
    count: int = Field(default=1, ge=0, le=64)
    """Devices of each replica; 0 asks for none."""


class ServerResources(Spec):
    """CPU and memory of each replica; accelerators stand in ``accelerator``."""

    requests: dict[str, Quantity] = Field(default={"cpu": "1", "memory": "4Gi"}, max_length=16)
    """What is kept for it."""
    limits: dict[str, Quantity] = Field(default={}, max_length=16)
    """What it gets at most."""


class ServerToleration(Spec):
    """As in a pod's spec."""

    key: str = Field(default="", max_length=317)
    """Key of the taint; empty is every one, with operator Exists."""
    operator: Literal["Equal", "Exists"] = "Equal"
    """Whether the value counts."""
    value: str = Field(default="", max_length=63)
    """Value of the taint."""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""
    """Which effect; empty is every one."""
    toleration_seconds: int | None = Field(default=None, ge=0)
    """How long a pod stays after NoExecute; absent is for good."""


class ServerSecrets(Spec):
    """Names of Secrets in the same namespace; pods get single keys of them as environment, by reference."""

    huggingface: Name = ""
    """Its key ``HF_TOKEN``; for ``hf://`` models that are not public."""
    s3: Name = ""
    """Its keys ``AWS_ACCESS_KEY_ID`` and ``AWS_SECRET_ACCESS_KEY``; needed for ``s3://`` models."""
    api_key: Name = ""
    """Its key ``api_token`` is what clients must send; empty asks for no key."""


class ServerCache(Spec):
    """A volume that keeps downloaded weights over restarts and scaling to zero."""

    claim: Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)]
    """PersistentVolumeClaim; with more than one replica it must be one that many nodes can mount."""
    path: str = Field(
        default="", pattern=r"^([A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*)?$", max_length=512
    )
    """Folder in it."""


class ScaleToZero(Spec):
    """No replicas while nobody needs the teacher."""

    enabled: bool = True
    """False serves all the time."""
    idle_seconds: int = Field(default=600, ge=0, le=604800)
    """How long it stays after the last pod that needed it ended."""


class ServerMetric(Spec):
    """A metric of the pods, from an adapter of the custom metrics API."""

    name: str = Field(default="vllm_num_requests_waiting", pattern=r"^[A-Za-z_][A-Za-z0-9_.:-]*$", max_length=253)
    """The metric's name at the adapter."""
    average_value: Quantity = "5"
    """Wanted mean over the replicas."""


class ServerTrigger(Spec):
    """A trigger of KEDA, as in a ScaledObject."""

    type: str = Field(min_length=1, max_length=63)
    """KEDA's name of the scaler, such as ``prometheus``."""
    metadata: dict[str, Value] = Field(max_length=32)
    """The scaler's settings; nothing secret."""
    authentication_ref: Name = ""
    """TriggerAuthentication with the scaler's credentials."""


class ServerAutoscaling(Spec):
    """Who chooses the number of replicas while the teacher is needed."""

    cel: ClassVar[tuple[Rule, ...]] = (
        Rule("self.minReplicas <= self.maxReplicas", "minReplicas must be at most maxReplicas", ".minReplicas"),
        Rule("self.type != 'keda' || size(self.triggers) > 0", "type keda needs at least one of triggers", ".triggers"),
    )

    type: Literal["none", "hpa", "keda"] = "none"
    """``none``: spec.replicas. ``hpa``: a HorizontalPodAutoscaler. ``keda``: a ScaledObject; needs KEDA."""
    min_replicas: int = Field(default=1, ge=1, le=1000)
    """Fewest replicas while it is needed."""
    max_replicas: int = Field(default=1, ge=1, le=1000)
    """Most replicas."""
    metric: ServerMetric = ServerMetric()
    """What an ``hpa`` goes by."""
    triggers: tuple[ServerTrigger, ...] = Field(default=(), max_length=16)
    """What ``keda`` goes by."""

    @model_validator(mode="after")
    def _agree(self) -> ServerAutoscaling:
        if self.min_replicas > self.max_replicas:
            raise ValueError("minReplicas must be at most maxReplicas")
        if self.type == "keda" and not self.triggers:
            raise ValueError("type keda needs at least one of triggers")
        return self


class ServerPeer(Spec):
    """Pods by labels; both selectors together, as in a NetworkPolicy."""

    pod_labels: dict[str, str] = Field(default={}, max_length=16)
    """Labels of the pods; empty is every pod."""
    namespace_labels: dict[str, str] = Field(default={}, max_length=16)
    """Labels of their namespaces; empty is this namespace alone."""


class ServerNetworkPolicy(Spec):
    """Who may connect: pods labelled as needing this teacher, the operator, and nobody else."""

    enabled: bool = True
    """False makes no NetworkPolicy."""
    additional_from: tuple[ServerPeer, ...] = Field(default=(), max_length=16)
    """Others who may connect."""


class ServerProbe(Spec):
    """The real completion that must be answered before the teacher counts as ready."""

    prompt: str = Field(default="Say yes.", min_length=1, max_length=1000)
    """What is asked; one token is enough as an answer."""
    timeout_seconds: int = Field(default=60, ge=1, le=600)
    """Longest wait for it."""


class TeacherServerSpec(Spec):
    """A teacher behind an OpenAI-compatible endpoint, served by vLLM while a run needs it."""

    cel: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.model.startsWith('hf://') || !has(self.revision) || self.revision == ''",
            "revision is a commit of an hf:// model; for other models leave it out",
            ".revision",
        ),
        Rule(
            f"!has(self.args) || self.args.all(a, !a.matches('{_FORBIDDEN}'))",
            "args may not set what the operator sets or what would break the endpoint "
            f"(--{', --'.join(FIELD_OF)}); use the fields of the spec",
            ".args",
        ),
        Rule(
            f"!has(self.env) || self.env.all(k, !(k in {list(SECRET_ENV)!r}))",
            "keys and tokens come from Secrets: use spec.secrets",
            ".env",
        ),
        Rule(
            "!self.model.startsWith('s3://') || (has(self.secrets) && has(self.secrets.s3) && self.secrets.s3 != '')",
            "an s3:// model needs secrets.s3, the name of a Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            ".secrets",
        ),
    )

    model: str = Field(
        pattern=(
            r"^(hf://[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?"
            r"|s3://[a-z0-9][a-z0-9.-]*[a-z0-9](/[A-Za-z0-9_-][A-Za-z0-9._-]*)+/?"
            r"|pvc://[a-z0-9]([-a-z0-9.]*[a-z0-9])?(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*/?)$"
        ),
        max_length=512,
    )
    """``hf://org/name``, ``s3://bucket/path`` or ``pvc://claim/path``."""
    revision: str = Field(default="", pattern=r"^([0-9a-f]{40})?$")
    """Commit of an ``hf://`` model; without one the server takes the newest, and a restart may change the teacher."""
    served_model_name: str = Field(default="", pattern=r"^([A-Za-z0-9][A-Za-z0-9._/:-]*)?$", max_length=253)
    """The model's name at the endpoint (``model`` in a recipe); empty is this object's name."""
    quantization: str = Field(default="", pattern=r"^[a-z0-9_]*$", max_length=63)
    """vLLM's ``--quantization``; empty leaves it to the weights."""
    dtype: Literal["auto", "half", "float16", "bfloat16", "float", "float32"] = "auto"
    """vLLM's ``--dtype``."""
    max_model_len: int | None = Field(default=None, ge=1, le=100_000_000)
    """vLLM's ``--max-model-len``, in tokens; absent is what the model allows."""
    tensor_parallel_size: int | None = Field(default=None, ge=1, le=64)
    """vLLM's ``--tensor-parallel-size``; absent is the number of accelerators."""
    args: tuple[Text, ...] = Field(default=(), max_length=64)
    """More arguments of vLLM's server; fields of this spec win."""
    env: dict[str, Value] = Field(default={}, max_length=64)
    """Plain variables of the server; nothing secret."""
    image: str = Field(default="", pattern=r"^\S*$", max_length=512)
    """Image with vLLM as a Python module; empty is the installation's ``generate`` image."""
    image_pull_secrets: tuple[Name, ...] = Field(default=(), max_length=16)
    """Secrets for the registry."""
    replicas: int = Field(default=1, ge=1, le=1000)
    """Replicas while it is needed, unless ``autoscaling`` chooses."""
    accelerator: ServerAccelerator = ServerAccelerator()
    """Devices of each replica."""
    resources: ServerResources = ServerResources()
    """CPU and memory of each replica."""
    node_selector: dict[str, str] = Field(default={}, max_length=32)
    """Labels that the node must have."""
    tolerations: tuple[ServerToleration, ...] = Field(default=(), max_length=32)
    """Taints that the pods put up with."""
    shared_memory: Quantity = "2Gi"
    """Size of /dev/shm, in main memory."""
    secrets: ServerSecrets = ServerSecrets()
    """Secrets by name."""
    cache: ServerCache | None = None
    """Where downloaded weights stay; absent downloads them at each start."""
    scale_to_zero: ScaleToZero = ScaleToZero()
    """Whether and when it stops."""
    autoscaling: ServerAutoscaling = ServerAutoscaling()
    """More replicas under load."""
    network_policy: ServerNetworkPolicy = ServerNetworkPolicy()
    """Who may connect."""
    probe: ServerProbe = ServerProbe()
    """When it is ready."""
    suspend: bool = False
    """True stops it, whoever needs it."""
    startup_deadline_seconds: int = Field(default=1800, ge=10, le=86400)
    """A server that is not ready by then counts as failed; it is still looked at and may recover."""

    @field_validator("args")
    @classmethod
    def _allowed(cls, args: tuple[str, ...]) -> tuple[str, ...]:
        for arg in args:
            flag = re.match(r"^--?([A-Za-z][\w.-]*)", arg)
            if flag is None:
                continue
            name = flag[1].lower().replace("_", "-")
            refused = [known for known in FIELD_OF if known == name or _shortened(name, known)]
            if refused:
                instead = FIELD_OF[refused[0]]
                raise ValueError(
                    f"{arg!r}: --{refused[0]} is set by the operator; " + (f"use {instead}" if instead else "remove it")
                )
        return args

    @field_validator("env")
    @classmethod
    def _plain(cls, env: dict[str, str]) -> dict[str, str]:
        for name in env:
            if name in SECRET_ENV:
                raise ValueError(f"{name}: keys and tokens come from Secrets; use spec.secrets")
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
                raise ValueError(f"{name!r}: no name of a variable")
        return env

    @field_validator("image_pull_secrets")
    @classmethod
    def _named(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if "" in names:
            raise ValueError("an empty name")
        return names

    @model_validator(mode="after")
    def _fits(self) -> TeacherServerSpec:
        if self.revision and not self.model.startswith("hf://"):
            raise ValueError("revision is a commit of an hf:// model; for other models leave it out")
        if self.model.startswith("s3://") and not self.secrets.s3:
            raise ValueError("an s3:// model needs secrets.s3, the name of a Secret with AWS credentials")
        unknown = [
            key for key in (*self.resources.requests, *self.resources.limits) if not re.fullmatch(_RESOURCE, key)
        ]
        if unknown:
            raise ValueError(f"resources: {unknown[0]!r} is no resource; {nearest(unknown[0], _RESOURCES)}")
        return self


_RESOURCES = ("cpu", "memory", "ephemeral-storage")
_RESOURCE = rf"{'|'.join(_RESOURCES)}|hugepages-\w+|[a-z0-9.-]+/[A-Za-z0-9._-]+"


def _shortened(name: str, known: str) -> bool:
    return len(name) >= _ABBREVIATION and known.startswith(name)


class TeacherServerStatus(Status):
    """What is."""

    phase: str = ""
    """Idle, Starting, Ready, Stopping, Failed or Invalid."""
    message: str = ""
    """The phase in one sentence."""
    url: str = ""
    """Base URL for ``teacher.candidates[].endpoints`` of a recipe."""
    model: str = ""
    """The model's name at the endpoint."""
    replicas: int = 0
    """Wanted replicas."""
    ready_replicas: int = 0
    """Replicas that answer."""
    needed_by: tuple[str, ...] = ()
    """Pods that need it, at most twenty."""
    idle_since: str | None = None
    """When the last pod that needed it was gone."""
    starting_since: str | None = None
    """Since when it has been starting; the deadline counts from here."""
    autoscaler: str = ""
    """``hpa`` or ``keda`` where one was made."""
    observed_generation: int = 0
    """The generation that this speaks of."""
    conditions: tuple[Condition, ...] = ()
    """SpecValid, Needed, Available, Ready, Degraded."""


KIND = Kind(
    resource=TEACHER,
    short_names=("tserve",),
    spec=TeacherServerSpec,
    status=TeacherServerStatus,
    columns=(
        Column("Phase", ".status.phase"),
        Column("Ready", ".status.readyReplicas", "integer"),
        Column("Wanted", ".status.replicas", "integer"),
        Column("Model", ".spec.model"),
        Column("URL", ".status.url", priority=1),
        Column("Message", ".status.message", priority=1),
        Column("Age", ".metadata.creationTimestamp", "date"),
    ),
    rules=(
        Rule(
            "size(self.metadata.name) <= 63 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
            "the name becomes a Service: at most 63 lower case letters, digits and '-', beginning with a letter",
        ),
    ),
)
