"""The chart, rendered by the real helm: each set of values once per Kubernetes version, shared by all tests."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.charts.matrix import KUBERNETES, MATRIX

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "stillhouse"
NAMESPACE = "stillhouse-system"

Manifest = dict[str, Any]
Render = Callable[..., list[Manifest]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("charts"))


class UniqueKeys(yaml.CSafeLoader):
    """YAML as Kubernetes reads it: a key that comes twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"a key comes twice: {sorted(keys)}"
        return dict(super().construct_mapping(node, deep))


class Helm:
    """``template``, ``lint`` and ``refusal`` of this chart; answers are kept."""

    def __init__(self, program: str, folder: Path) -> None:
        self.program = program
        self._folder = folder
        self.template = cache(self._template)

    def run(self, verb: str, values: str = "", *options: str) -> subprocess.CompletedProcess[str]:
        """``helm VERB`` on the chart with ``values`` (YAML)."""
        path = self._folder / f"{abs(hash(values))}.yaml"
        path.write_text(values, encoding="utf-8")
        command = [self.program, verb, *(["stillhouse"] if verb != "lint" else []), str(CHART), "-f", str(path)]
        command += ["--namespace", NAMESPACE, *options]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=self._env())

    def _template(self, values: str, version: str) -> str:
        done = self.run("template", values, "--kube-version", version)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _env(self) -> dict[str, str]:
        own = {f"HELM_{name}_HOME": str(self._folder) for name in ("CACHE", "CONFIG", "DATA")}
        return {"PATH": os.environ["PATH"], "HOME": str(self._folder), **own}


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """The real helm, version 4."""
    found = subprocess.run([ROOT / "scripts" / "helm", "--find"], capture_output=True, text=True, check=False)
    if found.returncode:
        reason = "no helm 4 on PATH or in .cache/helm; run scripts/helm"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return Helm(found.stdout.strip(), tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="session")
def render(helm: Helm) -> Render:
    """``render(values, version=…)``: every object of a release with these values, hooks included."""

    with ThreadPoolExecutor(2) as pool:
        for wanted in MATRIX.values():
            for kubernetes in KUBERNETES:
                pool.submit(helm.template, yaml.safe_dump(wanted), kubernetes)

    def objects(values: dict[str, Any], version: str = KUBERNETES[-1]) -> list[Manifest]:
        text = helm.template(yaml.safe_dump(values), version)
        return [item for item in yaml.load_all(text, Loader=UniqueKeys) if item]

    return objects
