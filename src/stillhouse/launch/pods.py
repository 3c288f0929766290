"""One task's pod, in the words of KFP: what its compiler writes for a container, what kfp-kubernetes for the rest.

Every field is made by kfp's own functions on a stand-in for a task, so that it is what a pipeline in Python would have
compiled to. Knows no recipe beyond ``Placement``.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from stillhouse.recipe.cluster import Placement
from stillhouse.recipe.trainjob import SecretEnv

UID = 10001
"""User and group of every image."""


@dataclass(frozen=True)
class PodSpec:
    """What a task's pod is to be."""

    image: str
    pull_policy: str
    pull_secrets: tuple[str, ...]
    placement: Placement
    env: Mapping[str, str]
    fields: Mapping[str, str]
    """Variables from fields of the pod: name -> field path."""
    secrets: tuple[SecretEnv, ...]
    labels: Mapping[str, str]
    claim: str
    folder: str
    mount_path: str


@dataclass
class _Task:
    """As much of a ``PipelineTask`` as kfp's functions look at."""

    name: str
    container_spec: Any
    component_spec: None = None
    platform_config: dict[str, Any] = field(default_factory=dict)


def container_of(pod: PodSpec) -> dict[str, Any]:
    """``image``, ``env`` and ``resources`` of the executor's container."""
    with _silence():
        from google.protobuf import json_format  # type: ignore[import-untyped]
        from kfp.compiler.pipeline_spec_builder import build_container_spec_for_task
        from kfp.dsl import structures

        placement, accelerator = pod.placement, pod.placement.accelerator
        resources = structures.ResourceSpec(
            cpu_request=placement.cpu_request or None,
            cpu_limit=placement.cpu or None,
            memory_request=placement.memory_request or None,
            memory_limit=placement.memory or None,
            accelerator_type=accelerator.type if accelerator else None,
            accelerator_count=str(accelerator.count) if accelerator else None,
        )
        asked = resources if any(vars(resources).values()) else None
        env = dict(sorted(pod.env.items()))
        spec = structures.ContainerSpecImplementation(image=pod.image, env=env, resources=asked)
        return dict(json_format.MessageToDict(build_container_spec_for_task(_Task("task", spec))))


def platform_of(pod: PodSpec) -> dict[str, Any]:
    """The executor's part of the platform spec."""
    with _silence():
        from kfp import kubernetes

        task = _Task("task", None)
        kubernetes.set_image_pull_policy(task, pod.pull_policy)
        if pod.pull_secrets:
            kubernetes.set_image_pull_secrets(task, list(pod.pull_secrets))
        kubernetes.set_security_context(task, run_as_user=UID, run_as_group=UID, run_as_non_root=True)
        kubernetes.mount_pvc(task, pod.claim, pod.mount_path, sub_path=pod.folder)
        kubernetes.empty_dir_mount(task, "tmp", "/tmp")
        for key, value in pod.labels.items():
            kubernetes.add_pod_label(task, key, value)
        for name, path in pod.fields.items():
            kubernetes.use_field_path_as_env(task, name, path)
        for item in pod.secrets:
            kubernetes.use_secret_as_env(task, item.secret, {item.key: item.env}, optional=item.optional)
        _schedule(kubernetes, task, pod.placement)
    return dict(task.platform_config["kubernetes"])


def _schedule(kubernetes: Any, task: _Task, placement: Placement) -> None:
    if placement.shared_memory:
        kubernetes.empty_dir_mount(task, "shared-memory", "/dev/shm", "Memory", placement.shared_memory)
    for key, value in placement.node_selector.items():
        kubernetes.add_node_selector(task, key, value)
    for item in placement.tolerations:
        kubernetes.add_toleration(
            task, item.key or None, item.operator, item.value or None, item.effect or None, item.seconds
        )
    if placement.timeout_s:
        kubernetes.set_timeout(task, placement.timeout_s)


@contextmanager
def _silence() -> Iterator[None]:
    """kfp warns while it is imported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
