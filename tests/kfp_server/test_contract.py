"""The local KFP server speaks what the published client speaks: every path, every answer, field by field."""

from __future__ import annotations

import inspect
import json
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import kfp
    import kfp_server_api

from tests.kfp_server import KfpServer
from tests.kfp_server.routes import ROUTES, UNPUBLISHED

PIPELINE = Path(__file__).parents[2] / "pipelines" / "distillation.yaml"
PLAIN = {"str": str, "int": (int, str), "bool": bool, "object": object, "datetime": str}


def published() -> set[tuple[str, str]]:
    """(method, path) of everything in the generated client."""
    services = [getattr(kfp_server_api, name) for name in dir(kfp_server_api) if name.endswith("ServiceApi")]
    calls = [re.findall(r"'(/apis/[^']+)', '([A-Z]+)'", inspect.getsource(service)) for service in services]
    return {(method, path) for found in calls for path, method in found}


@pytest.mark.parametrize("operation", sorted(set(ROUTES) - set(UNPUBLISHED)))
def test_every_path_is_in_the_published_client(operation: str) -> None:
    assert ROUTES[operation] in published()


def wrong(value: Any, kind: str, path: str = "answer") -> list[str]:
    """What in ``value`` the model ``kind`` does not know, by path."""
    if kind.startswith("list["):
        return [line for index, item in enumerate(value) for line in wrong(item, kind[5:-1], f"{path}.{index}")]
    if kind.startswith("dict("):
        inner = kind[5:-1].partition(", ")[2]
        return [line for key, item in value.items() for line in wrong(item, inner, f"{path}.{key}")]
    if kind in PLAIN:
        return [] if isinstance(value, PLAIN[kind]) else [f"{path}: {value!r} is no {kind}"]
    model = getattr(kfp_server_api, kind)
    if not model.openapi_types:
        allowed = [item for name, item in vars(model).items() if name.isupper()]
        return [] if value in allowed else [f"{path}: {value!r} is not in {allowed}"]
    known = {alias: model.openapi_types[name] for name, alias in model.attribute_map.items()}
    lines = [f"{path}.{key}: unknown" for key in value if key not in known]
    return lines + [
        line for key, item in value.items() if key in known for line in wrong(item, known[key], f"{path}.{key}")
    ]


class Watched:
    """A published client whose every answer is held against its model."""

    def __init__(self, server: KfpServer) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.kfp = kfp.Client(
                host=server.url, namespace="distil", existing_token="token", ssl_ca_cert=server.ca_file
            )
        self.api = self.kfp._run_api.api_client
        self.seen: dict[str, int] = {}
        original = self.api.call_api

        def call(path: str, method: str, *args: Any, **options: Any) -> Any:
            answer = original(path, method, *args, **options)
            raw = json.loads(self.api.last_response.data)
            if options["response_type"] != "object":
                assert wrong(raw, options["response_type"]) == []
            self.seen[f"{method} {path}"] = self.seen.get(f"{method} {path}", 0) + 1
            return answer

        self.api.call_api = call


@pytest.fixture
def server() -> Iterator[KfpServer]:
    with KfpServer(namespaces={"distil": {"token"}, "other": {"secret"}}, tls=True) as running:
        yield running


@pytest.fixture
def client(server: KfpServer) -> Watched:
    return Watched(server)


def parameters() -> dict[str, Any]:
    structs = ("student_model", "data_problems", "teacher_config", "trace_config", "filter_config", "train_config")
    return {
        **{name: {} for name in (*structs, "eval_config", "gate_config")},
        "teacher_candidates": [], "registry_name": "r", "workspace": "/w", "seed": 1, "trace_shards": [0],
    }  # fmt: skip


def start(client: Watched, name: str = "run") -> Any:
    experiment = client.kfp.create_experiment("recipe")
    pipeline = next(iter(client.kfp.list_pipelines(namespace="distil").pipelines or ()), None)
    pipeline = pipeline or client.kfp.upload_pipeline(str(PIPELINE), "distil", namespace="distil")
    version = client.kfp.list_pipeline_versions(pipeline.pipeline_id).pipeline_versions[0]
    return client.kfp.run_pipeline(
        experiment.experiment_id, name, pipeline_id=pipeline.pipeline_id, params=parameters(),
        version_id=version.pipeline_version_id,
    )  # fmt: skip


def test_the_published_client_understands_every_answer(client: Watched, server: KfpServer) -> None:
    run = start(client)
    assert (run.state, run.finished_at.year) == ("PENDING", 1970)
    server.set_task(run.run_id, "train-student", "RUNNING", pod="wf-1")
    server.finish(run.run_id, "FAILED", error="train-student: out of memory")
    found = client.kfp.get_run(run.run_id)
    assert (found.state, found.error.message) == ("FAILED", "train-student: out of memory")
    assert found.run_details.task_details[0].child_tasks[0].pod_name == "wf-1"
    assert [state.state for state in found.state_history] == ["PENDING", "FAILED"]
    api = client.kfp
    api.runs.run_service_retry_run(run.run_id)
    api.terminate_run(run.run_id)
    assert api.get_run(run.run_id).state == "CANCELING"
    api.archive_run(run.run_id)
    api.unarchive_run(run.run_id)
    pipeline = api.pipelines.pipeline_service_get_pipeline_by_name("distil", namespace="distil")
    made = api.pipelines.pipeline_service_create_pipeline(
        kfp_server_api.V2beta1Pipeline(display_name="second", namespace="distil")
    )
    version = api.upload_pipeline_version(str(PIPELINE), "1.0.0-abc", pipeline_id=made.pipeline_id)
    assert api.get_pipeline_version(made.pipeline_id, version.pipeline_version_id).display_name == "1.0.0-abc"
    api.delete_pipeline_version(made.pipeline_id, version.pipeline_version_id)
    assert api.get_pipeline(pipeline.pipeline_id).namespace == "distil"
    api.delete_pipeline(made.pipeline_id)
    api.delete_run(run.run_id)
    experiment = api.get_experiment(experiment_name="recipe")
    api.archive_experiment(experiment.experiment_id)
    api.unarchive_experiment(experiment.experiment_id)
    assert api.get_experiment(experiment_id=experiment.experiment_id).storage_state == "AVAILABLE"
    api.delete_experiment(experiment.experiment_id)
    api.list_runs(namespace="distil")
    api.get_kfp_healthz()
    assert len(client.seen) == len(ROUTES) - len(UNPUBLISHED)


def test_lists_come_in_pages_and_filtered_by_name(client: Watched) -> None:
    names = [f"run-{index}" for index in range(5)]
    for name in names:
        start(client, name)
    pages, token = [], ""
    while True:
        page = client.kfp.list_runs(page_token=token, page_size=2, sort_by="created_at desc", namespace="distil")
        pages.append([run.display_name for run in page.runs])
        token = page.next_page_token
        if not token:
            break
    assert pages == [["run-4", "run-3"], ["run-2", "run-1"], ["run-0"]]
    predicate = {"operation": 1, "key": "display_name", "stringValue": "run-3"}
    only = client.kfp.list_runs(namespace="distil", filter=json.dumps({"predicates": [predicate]}))
    assert [run.display_name for run in only.runs] == ["run-3"]


def refusal(call: Any) -> int:
    with pytest.raises(kfp_server_api.ApiException) as caught:
        call()
    return int(caught.value.status)


def test_it_refuses_what_kfp_refuses(client: Watched, server: KfpServer, tmp_path: Path) -> None:
    run = start(client)
    api = client.kfp
    assert refusal(lambda: api.list_runs(namespace="other")) == 403
    assert refusal(lambda: api.runs.run_service_list_runs()) == 400
    assert refusal(lambda: api.get_run("none")) == 404
    assert refusal(lambda: api.upload_pipeline(str(PIPELINE), "distil", namespace="distil")) == 409
    assert refusal(lambda: api.upload_pipeline(str(PIPELINE), "distil", namespace="other")) == 400
    assert refusal(lambda: api.runs.run_service_retry_run(run.run_id)) == 500
    broken = tmp_path / "broken.yaml"
    broken.write_text(PIPELINE.read_text().replace("deploymentSpec:", "deploymentSpecs:"))
    assert refusal(lambda: api.upload_pipeline(str(broken), "broken", namespace="distil")) == 400
    given = parameters() | {"typo": 1}
    version = api.list_pipeline_versions(api.list_pipelines(namespace="distil").pipelines[0].pipeline_id)
    options = {"pipeline_id": version.pipeline_versions[0].pipeline_id, "params": given}
    options["version_id"] = version.pipeline_versions[0].pipeline_version_id
    assert refusal(lambda: api.run_pipeline(run.experiment_id, "x", **options)) == 400
    server.namespaces["distil"] = {"renewed"}
    assert refusal(lambda: api.list_runs(namespace="distil")) == 401


def test_a_single_user_installation_asks_for_neither_token_nor_namespace() -> None:
    with KfpServer() as server, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        api = kfp.Client(host=server.url)
        assert not api.get_kfp_healthz().multi_user
        assert api.create_experiment("recipe").experiment_id
        assert api.list_runs().total_size is None
