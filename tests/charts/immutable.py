"""What Kubernetes lets nobody change once an object exists. An upgrade that changes any of it fails, or loses data.

``python -m tests.charts.immutable`` writes the snapshot of the chart's current version, to be committed with a release.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.charts.matrix import MATRIX

CHART = Path(__file__).parents[2] / "charts" / "stillhouse"
SNAPSHOTS = Path(__file__).parent
RECORDED = ("minimal", "cluster-wide", "bundled for teams", "minio", "MLflow on an external database", "everything")

FIELDS: dict[str, tuple[tuple[str, ...], ...]] = {
    "Deployment": (("spec", "selector"),),
    "StatefulSet": (
        ("spec", "selector"),
        ("spec", "serviceName"),
        ("spec", "podManagementPolicy"),
        ("spec", "volumeClaimTemplates"),
    ),
    "PersistentVolumeClaim": (("spec", "accessModes"), ("spec", "storageClassName"), ("spec", "selector")),
    "Service": (("spec", "clusterIP"),),
    "RoleBinding": (("roleRef",),),
    "ClusterRoleBinding": (("roleRef",),),
    "CustomResourceDefinition": (("spec", "group"), ("spec", "scope"), ("spec", "names", "kind")),
    "Job": (("spec", "template"), ("spec", "selector")),
}


def immutable(objects: list[dict[str, Any]]) -> dict[str, Any]:
    """Kind, namespace and name of each object, with the fields that cannot change."""
    found = {}
    for item in objects:
        meta = item["metadata"]
        key = f"{item['kind']} {meta.get('namespace', '-')}/{meta['name']}"
        found[key] = {".".join(path): _at(item, path) for path in FIELDS.get(item["kind"], ())}
    return found


def lasting(objects: list[dict[str, Any]]) -> dict[str, Any]:
    """The same without Jobs and test pods, which come and go with a release."""
    return {key: value for key, value in immutable(objects).items() if not key.startswith(("Job ", "Pod "))}


def _at(item: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = item
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def chart_version() -> str:
    return str(yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))["version"])


def write() -> Path:
    """Render the recorded installations and write what they fix."""
    root = CHART.parents[1]
    helm = subprocess.run([root / "scripts" / "helm"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    snapshot = {}
    for name in RECORDED:
        command = [helm, "template", "stillhouse", str(CHART), "--namespace", "stillhouse-system", "-f", "-"]
        values = yaml.safe_dump(MATRIX[name])
        text = subprocess.run(command, input=values, stdout=subprocess.PIPE, text=True, check=True).stdout
        snapshot[name] = lasting([item for item in yaml.safe_load_all(text) if item])
    path = SNAPSHOTS / f"immutable-{chart_version()}.json"
    path.write_text(json.dumps(snapshot, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return path


if __name__ == "__main__":
    print(write(), file=sys.stderr)
