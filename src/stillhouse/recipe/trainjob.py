"""What a training on more than one node needs to know of its cluster: the value of ``STILLHOUSE_TRAINJOB``.

Placement writes it (as JSON, into the environment of the task ``train_student``) out of the recipe's section
``cluster``; the launcher reads it. It is no part of a recipe, a stage config or a stage key: where a training runs
does not change what it makes. Knows no Kubernetes API: the manifest made of it is ``launch.trainjob``'s.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator

from stillhouse.errors import RecipeError, nearest
from stillhouse.recipe.base import Config

TRAINJOB_ENV = "STILLHOUSE_TRAINJOB"
Quantity = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?(m|[kKMGTPE]i?)?$")]
"""A Kubernetes quantity such as ``500m``, ``2``, ``8Gi``."""


class Accelerator(Config):
    """Devices of one node."""

    type: str = "nvidia.com/gpu"
    """Resource name that the device plugin advertises."""
    count: int = Field(default=1, ge=1)
    """How many each node gets."""


class Resources(Config):
    """What each node asks for; requests equal limits."""

    cpu: Quantity | None = None
    """CPU cores."""
    memory: Quantity | None = None
    """Main memory."""
    accelerator: Accelerator | None = None
    """Devices; without them training runs on the CPU."""


class SecretEnv(Config):
    """One environment variable, by reference to a key of a Secret."""

    env: str
    """Name of the variable."""
    secret: str
    """Name of the Secret."""
    key: str
    """Key in the Secret."""
    optional: bool = True
    """Whether pods start without it."""


class TrainJobSpec(Config):
    """One TrainJob's place in the cluster."""

    nodes: int = Field(ge=1)
    """Pods, one on each node."""
    processes_per_node: int = Field(default=1, ge=1)
    """Processes of each pod: one for each accelerator; batch_size * gradient_accumulation is divided over all."""
    runtime: str = "torch-distributed"
    """Name of the training runtime."""
    runtime_kind: Literal["ClusterTrainingRuntime", "TrainingRuntime"] = "ClusterTrainingRuntime"
    """Whether the runtime belongs to the cluster or to the namespace."""
    queue: str = ""
    """Kueue's LocalQueue; empty: no queue."""
    image: str
    """Image of the train target, best by digest."""
    resources: Resources = Resources()
    """What each node asks for."""
    node_selector: dict[str, str] = Field(default={})
    """Labels that a node must have."""
    tolerations: tuple[dict[str, Any], ...] = ()
    """Kubernetes tolerations, as in a pod's spec."""
    shared_memory: Quantity | None = None
    """Size of /dev/shm, which NCCL and gloo use between the processes of a node; None keeps the container's 64 MiB."""
    workspace_claim: str
    """PersistentVolumeClaim of the workspace, ReadWriteMany: the launcher and all nodes mount it."""
    workspace_sub_path: str = ""
    """Folder inside the claim; empty: all of it."""
    mount_path: str = "/workspace"
    """Where the workspace is mounted, the same in the launcher and in all nodes."""
    service_account: str = ""
    """Of the nodes' pods; empty: the namespace's default."""
    env: dict[str, str] = Field(default={})
    """Plain variables."""
    secrets: tuple[SecretEnv, ...] = ()
    """Variables by reference."""
    image_pull_secrets: tuple[str, ...] = ()
    """Names of Secrets for the image's registry."""
    labels: dict[str, str] = Field(default={})
    """Labels of the TrainJob and of its pods."""
    fs_group: int | None = None
    """Group that owns the mounted workspace, where its storage class needs to be told."""
    timeout_s: int | None = Field(default=None, ge=1)
    """Longest time that the nodes may run; waiting in a queue does not count. None: no limit."""
    keep: bool = False
    """Leave a complete TrainJob for people to look at; otherwise it is deleted once its result is there."""

    @field_validator("mount_path")
    @classmethod
    def _absolute(cls, value: str) -> str:
        if not PurePosixPath(value).is_absolute():
            raise ValueError(f"{value!r} is not an absolute path")
        return value

    @property
    def processes(self) -> int:
        """Processes of all nodes together (torch's world size)."""
        return self.nodes * self.processes_per_node


def read_spec(text: str) -> TrainJobSpec:
    """Parse the value of ``STILLHOUSE_TRAINJOB``.

    Raises:
        RecipeError: not JSON, an unknown key, or a value that does not fit.
    """
    try:
        return TrainJobSpec.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        hint = f"; {nearest(place, TrainJobSpec.model_fields)}" if first["type"] == "extra_forbidden" else ""
        raise RecipeError(
            f"{TRAINJOB_ENV}: {place or 'value'}: {first['msg']}{hint}; correct the recipe's cluster section"
        ) from error
