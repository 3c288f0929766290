"""What a cluster lacks, a line each; what may not be looked at is no failure."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from stillhouse.launch.doctor import examine_cluster
from stillhouse.launch.kube_look import Cluster, find_cluster
from stillhouse.recipe import Recipe
from stillhouse.recipe.load import load_recipe
from tests.kfp_server import KfpServer
from tests.unit.launch.conftest import QUICKSTART

CORE = "/api/v1/namespaces/distil"
CLAIM = f"{CORE}/persistentvolumeclaims/stillhouse-workspace"
SHARED = {"spec": {"accessModes": ["ReadWriteMany"]}, "status": {"phase": "Bound"}}
NODES = "cluster.stages.train_student={nodes: 2, queue: team-a, accelerator: {count: 4}}"
RUNTIME = "/apis/trainer.kubeflow.org/v1alpha1/clustertrainingruntimes/torch-distributed"
QUEUE = "/apis/kueue.x-k8s.io/v1beta1/namespaces/distil/localqueues/team-a"


class FakeKubernetes:
    """A Kubernetes API on loopback that answers GETs out of ``objects``; a number there is a refusal."""

    def __init__(self) -> None:
        self.objects: dict[str, Any] = {}
        self.asked: dict[str, str] = {}
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                owner.asked[self.path] = self.headers["Accept"]
                found = owner.objects.get(self.path, 404)
                body = json.dumps({} if isinstance(found, int) else found).encode()
                self.send_response(found if isinstance(found, int) else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Silent."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,))

    def __enter__(self) -> FakeKubernetes:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@pytest.fixture
def kubernetes() -> Iterator[FakeKubernetes]:
    with FakeKubernetes() as running:
        yield running


@pytest.fixture
def find(kubernetes: FakeKubernetes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Cluster | None]:
    """The real way to a cluster: a kubeconfig file."""
    place = {"name": "here", "context": {"cluster": "here", "user": "me"}}
    tree = {
        "apiVersion": "v1", "kind": "Config", "current-context": "here", "contexts": [place],
        "clusters": [{"name": "here", "cluster": {"server": kubernetes.url}}],
        "users": [{"name": "me", "user": {"token": "t"}}],
    }  # fmt: skip
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path))
    return find_cluster


def recipe(*changes: str) -> Recipe:
    return load_recipe(QUICKSTART, changes, {})


def findings(
    told: Recipe | None, env: dict[str, str], find: Any, namespace: str = "distil"
) -> dict[str, tuple[Any, str]]:
    return {item.what: (item.ok, item.text) for item in examine_cluster(told, env, find=find, namespace=namespace)}


def none() -> None:
    """No cluster."""


def test_without_anything_it_says_so() -> None:
    found = findings(None, {}, none)
    assert found["kfp"][0] is False
    assert "set --endpoint or KF_PIPELINES_ENDPOINT" in found["kfp"][1]
    assert found["kubernetes"] == (
        None, "no kubeconfig and no pod: claim, secrets, kinds and devices were not looked at",
    )  # fmt: skip


def test_kfp_is_asked_whether_it_lets_us_in(server: KfpServer, token_file: Path) -> None:
    env = {"KF_PIPELINES_ENDPOINT": server.url, "STILLHOUSE_KFP_CA_FILE": server.ca_file}
    refused = [item for item in examine_cluster(None, env, find=none, namespace="distil") if item.ok is False]
    assert [item.what for item in refused] == ["kfp"]
    assert "no token was sent" in refused[0].text
    env["KF_PIPELINES_SA_TOKEN_PATH"] = str(token_file)
    assert findings(None, env, none)["kfp: access"] == (True, "runs of namespace distil can be listed")


def test_a_cluster_that_has_everything(kubernetes: FakeKubernetes, find: Any) -> None:
    kubernetes.objects = {
        CLAIM: SHARED, f"{CORE}/secrets/hf-token": {}, RUNTIME: {}, QUEUE: {},
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/distillationruns.stillhouse.dev": {},
        "/api/v1/nodes": {"items": [{"status": {"allocatable": {"nvidia.com/gpu": "8"}}}]},
    }  # fmt: skip
    found = findings(recipe(NODES), {}, find)
    assert found["workspace"] == (True, "claim stillhouse-workspace: ReadWriteMany, Bound")
    assert found["secret huggingface"] == (True, "hf-token is there")
    assert found["secret s3"][0] is None
    assert found["nvidia.com/gpu"] == (True, "8 on 1 nodes, 8 needed by train_student")
    assert [found[what][0] for what in ("training runtime", "queue", "operator")] == [True, True, True]


def test_secrets_are_asked_for_by_their_metadata_only(kubernetes: FakeKubernetes, find: Any) -> None:
    findings(None, {}, find)
    secrets = {path: accept for path, accept in kubernetes.asked.items() if "/secrets/" in path}
    assert len(secrets) == 4
    assert all("as=PartialObjectMetadata" in accept for accept in secrets.values())


@pytest.mark.parametrize(
    ("objects", "what", "ok", "words"),
    [
        ({}, "workspace", False, "claim stillhouse-workspace is not in namespace distil; create it"),
        ({CLAIM: {**SHARED, "status": {"phase": "Lost"}}}, "workspace", False, "has lost its volume"),
        ({CLAIM: {"spec": {"accessModes": ["ReadWriteOnce"]}}}, "workspace", False, "use ReadWriteMany"),
        ({CLAIM: 403}, "workspace", None, "may not be looked at"),
        ({CLAIM: 500}, "workspace", False, "the Kubernetes API does not answer"),
        ({}, "training runtime", False, "is not there; install Kubeflow Trainer 2"),
        ({}, "queue", False, "create the LocalQueue"),
        ({}, "operator", None, "helm install"),
        ({"/api/v1/nodes": 403}, "devices", None, "may not be looked at"),
        ({"/api/v1/nodes": {"items": []}}, "nvidia.com/gpu", False, "0 on 0 nodes, 8 needed by train_student"),
    ],
)
def test_what_is_missing_is_told_with_what_to_do(
    kubernetes: FakeKubernetes, find: Any, objects: dict[str, Any], what: str, ok: bool | None, words: str
) -> None:
    kubernetes.objects = objects
    found = findings(recipe(NODES), {}, find)
    assert found[what][0] is ok
    assert words in found[what][1]


def test_problems_that_pods_cannot_read_are_told(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text('{"prompt": "1+1", "answer": "2"}\n', encoding="utf-8")
    found = findings(recipe(f"data.problems={path}"), {}, none)
    assert found["data"][0] is False
    assert "pods cannot read it" in found["data"][1]
