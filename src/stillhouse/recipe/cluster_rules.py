"""What cannot stand in a recipe's section ``cluster``, beyond the shape of single fields. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from stillhouse.recipe.cluster import ClusterSection, Placement

_SECRET = re.compile(r"(?i)(^|_)(TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|ACCESS_?KEY|CREDENTIALS?)(_|$)")
_RESERVED = re.compile(r"^(STILLHOUSE_|PYTHON|LD_|PATH$|KFP_|MLFLOW_RUN_ID$|MLFLOW_TRACKING_URI$)")


def wrong_cluster(cluster: ClusterSection) -> Iterator[str]:
    """One line for each thing that cannot be: the field, its value, what would be right."""
    for name in cluster.env:
        if _SECRET.search(name):
            yield f"cluster.env.{name}: looks like a secret; put it into a Secret and name it in cluster.secrets.more"
        yield from _reserved(f"cluster.env.{name}", name)
    for index, item in enumerate(cluster.secrets.more):
        yield from _reserved(f"cluster.secrets.more.{index}.env", item.env)
    yield from _tolerations("cluster.defaults", cluster.defaults)
    for stage in type(cluster.stages).model_fields:
        yield from _tolerations(f"cluster.stages.{stage}", getattr(cluster.stages, stage))
    train = cluster.stages.train_student
    if train.queue and train.nodes == 1:
        yield (
            f"cluster.stages.train_student.queue = {train.queue!r}: a queue takes TrainJobs, and training on one node "
            "is none; set nodes to 2 or more, or leave the queue out"
        )


def _reserved(path: str, name: str) -> Iterator[str]:
    """Variables that decide what a pod trusts or imports are the installation's, not a recipe's."""
    if _RESERVED.match(name):
        yield f"{path}: {name} is set by stillhouse or decides what Python loads; choose another name"


def _tolerations(path: str, placement: Placement) -> Iterator[str]:
    for index, item in enumerate(placement.tolerations):
        where = f"{path}.tolerations.{index}"
        if item.operator == "Equal" and not item.key:
            yield f"{where}: operator Equal needs a key; use operator: Exists for every taint"
        if item.operator == "Exists" and item.value:
            yield f"{where}.value = {item.value!r}: operator Exists takes no value; leave it out or use Equal"
