"""The placed pipeline is what kfp and kfp-kubernetes would have written, and runs the same commands.

No ``from __future__ import annotations``: kfp reads the annotations of a pipeline as they stand.
"""

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from kfp import compiler, components, dsl, kubernetes

    from components.generate_traces.component import generate_traces
    from components.train_student.component import train_student

from stillhouse.errors import RecipeError
from stillhouse.launch.placement import Installation, place, teacher_services
from stillhouse.recipe import Recipe
from stillhouse.recipe.load import load_recipe
from stillhouse.recipe.trainjob import read_spec
from tests.kfp_server.state import parse_package

ROOT = Path(__file__).parents[2]
COMPILED = (ROOT / "pipelines" / "distillation.yaml").read_text(encoding="utf-8")
DIGEST = "sha256:" + "a" * 64
SHA256 = "b" * 64
PLACE = (
    "cluster.workspace=pvc://shared/team-a/distil",
    "cluster.images={registry: registry.example:5000/mirror, tag: '1.2', pull_secrets: [registry]}",
    "cluster.images.pull_policy=Always",
    "cluster.mlflow={tracking_uri: 'http://mlflow:5000'}",
    "cluster.env={HTTPS_PROXY: 'http://proxy:3128'}",
    "cluster.parallelism=4",
    "cluster.defaults={cpu: 500m, memory: 2Gi}",
    "cluster.stages.generate_traces={cpu: 4, memory: 16Gi, cpu_request: 2, memory_request: 8Gi,"
    " accelerator: {type: amd.com/gpu, count: 2}, node_selector: {pool: gpu, zone: a}, shared_memory: 8Gi,"
    " timeout_s: 7200, tolerations: [{key: gpu, operator: Exists, effect: NoSchedule},"
    " {key: spot, value: 'yes', effect: NoExecute, seconds: 60}]}",
)
TEACHERS = (
    "teacher.candidates=[{type: openai, name: q, model: m, endpoints: ['http://qwen.teachers.svc.cluster.local:8000/v1',"
    " 'https://api.example.com/v1'], api_key_env: QWEN_KEY}]"
)


def recipe(*changes: str) -> Recipe:
    return load_recipe(ROOT / "recipes" / "quickstart.yaml", changes, {})


def documents(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The placed executors' containers, and their platform specs."""
    spec, platform = yaml.safe_load_all(text)
    containers = {name: item["container"] for name, item in spec["deploymentSpec"]["executors"].items()}
    return containers, platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


def in_python(task: Any, stage: str, image: str, labels: dict[str, str], secrets: list[tuple[str, str, str]]) -> None:
    """The same pod, said with the functions that authors of pipelines use on a task."""
    task.set_container_image(image)
    for name, value in sorted(
        {
            "HTTPS_PROXY": "http://proxy:3128",
            "MLFLOW_EXPERIMENT_NAME": "quickstart",
            "MLFLOW_TRACKING_URI": "http://mlflow:5000",
            "STILLHOUSE_RECIPE_NAME": "quickstart",
            "STILLHOUSE_RECIPE_SHA256": SHA256,
            "STILLHOUSE_TEACHER_WAIT_S": "1800",
        }.items()
    ):
        task.set_env_variable(name, value)
    kubernetes.set_image_pull_policy(task, "Always")
    kubernetes.set_image_pull_secrets(task, ["registry"])
    kubernetes.set_security_context(task, run_as_user=10001, run_as_group=10001, run_as_non_root=True)
    kubernetes.mount_pvc(task, "shared", "/workspace", sub_path="team-a/distil")
    kubernetes.empty_dir_mount(task, "tmp", "/tmp")
    kubernetes.add_pod_label(task, "stillhouse.dev/stage", stage)
    kubernetes.add_pod_label(task, "stillhouse.dev/recipe", "quickstart")
    for key, value in labels.items():
        kubernetes.add_pod_label(task, key, value)
    kubernetes.use_field_path_as_env(task, "STILLHOUSE_KFP_RUN_ID", "metadata.labels['pipeline/runid']")
    kubernetes.use_field_path_as_env(
        task, "STILLHOUSE_KFP_RUN_NAME", "metadata.labels['workflows.argoproj.io/workflow']"
    )
    kubernetes.use_field_path_as_env(task, "STILLHOUSE_KFP_NAMESPACE", "metadata.namespace")
    for secret, key, env in secrets:
        kubernetes.use_secret_as_env(task, secret, {key: env}, optional=True)


@pytest.fixture(scope="module")
def written_in_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    registry = "registry.example:5000/mirror/stillhouse-"

    @dsl.pipeline(name="by-hand")
    def by_hand(config: dict, numbers: list, teacher: dsl.Input[dsl.Artifact], records: dsl.Input[dsl.Dataset]):
        common = {"seed": 1, "workspace": "/workspace", "input_teacher": teacher}
        with dsl.ParallelFor(numbers, parallelism=4) as shard:
            traces = generate_traces(data_problems=config, trace_shard=shard, trace_config=config, **common)
        secrets = [("teacher-secret", "api_token", "QWEN_KEY"), ("hf-token", "HF_TOKEN", "HF_TOKEN")]
        secrets += [("s3-secret", name, name) for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")]
        label = {"teacher.stillhouse.dev/qwen": "true"}
        in_python(traces, "generate-traces", f"{registry}generate:1.2", label, secrets)
        traces.set_cpu_limit("4").set_cpu_request("2").set_memory_limit("16Gi").set_memory_request("8Gi")
        traces.set_accelerator_type("amd.com/gpu").set_accelerator_limit(2)
        kubernetes.empty_dir_mount(traces, "shared-memory", "/dev/shm", medium="Memory", size_limit="8Gi")
        kubernetes.add_node_selector(traces, "pool", "gpu")
        kubernetes.add_node_selector(traces, "zone", "a")
        kubernetes.add_toleration(traces, key="gpu", operator="Exists", effect="NoSchedule")
        kubernetes.add_toleration(
            traces, key="spot", operator="Equal", value="yes", effect="NoExecute", toleration_seconds=60
        )
        kubernetes.set_timeout(traces, 7200)
        model = train_student(student_model=config, train_config=config, train_dataset=records, **common)
        in_python(model, "train-student", f"{registry}train:1.2", {}, [("hf-token", "HF_TOKEN", "HF_TOKEN")])
        model.set_cpu_limit("500m").set_memory_limit("2Gi")

    path = tmp_path_factory.mktemp("by-hand") / "pipeline.yaml"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compiler.Compiler().compile(by_hand, str(path))
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("executor", ["exec-generate-traces", "exec-train-student"])
def test_it_equals_what_a_pipeline_in_python_compiles_to(written_in_python: str, executor: str) -> None:
    expected, ours = documents(written_in_python), documents(place(COMPILED, recipe(*PLACE, TEACHERS), SHA256))
    assert ours[0][executor] == expected[0][executor]
    assert ours[1][executor] == expected[1][executor]


def test_parallelism_stands_where_kfp_writes_it(written_in_python: str) -> None:
    def policies(text: str) -> list[Any]:
        spec = next(yaml.safe_load_all(text))
        dags = [spec["root"]["dag"], *(item["dag"] for item in spec["components"].values() if "dag" in item)]
        return [
            task.get("iteratorPolicy") for dag in dags for task in dag["tasks"].values() if "parameterIterator" in task
        ]

    assert policies(place(COMPILED, recipe(*PLACE), SHA256)) == policies(written_in_python)
    assert policies(place(COMPILED, recipe(), SHA256)) == [None]


def test_every_command_is_byte_for_byte_the_compiled_one() -> None:
    compiled = yaml.safe_load(COMPILED)
    placed = next(yaml.safe_load_all(place(COMPILED, recipe(*PLACE, "cluster.parallelism=0"), SHA256)))
    executors = compiled["deploymentSpec"]["executors"]
    assert len(executors) == 8
    for name, item in executors.items():
        ours = placed["deploymentSpec"]["executors"][name]["container"]
        assert (ours["command"], ours["args"]) == (item["container"]["command"], item["container"]["args"]), name
    assert {**placed, "deploymentSpec": None} == {**compiled, "deploymentSpec": None}


@pytest.mark.parametrize("changes", [(), PLACE, (*PLACE, "cluster.stages.train_student={nodes: 2, queue: a}")])
def test_it_loads_through_kfp_and_its_protos(changes: tuple[str, ...]) -> None:
    text = place(COMPILED, recipe(*changes), SHA256)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = components.load_component_from_text(text)
    assert loaded.name == "distillation"
    assert loaded.platform_spec.platforms["kubernetes"]
    assert set(parse_package(text)) == {"pipeline_spec", "platform_spec"}


def test_placing_is_pure() -> None:
    assert place(COMPILED, recipe(*PLACE), SHA256) == place(COMPILED, recipe(*PLACE), SHA256)


def test_a_digest_goes_before_a_tag_and_is_told_to_the_pod() -> None:
    containers, _ = documents(place(COMPILED, recipe(f"cluster.images.digests={{train: '{DIGEST}'}}"), SHA256))
    train = containers["exec-train-student"]
    assert train["image"] == f"ghcr.io/stillhouse-dev/stillhouse-train@{DIGEST}"
    assert {"name": "STILLHOUSE_IMAGE_DIGEST", "value": DIGEST} in train["env"]
    assert "@" not in containers["exec-filter-traces"]["image"]


def test_the_installations_images_stand_in_for_what_a_recipe_leaves_out() -> None:
    installation = Installation("mirror.example/x", "9.9", custom_imports="*")
    containers, _ = documents(place(COMPILED, recipe(), SHA256, installation))
    assert containers["exec-generate-traces"]["image"] == "mirror.example/x/stillhouse-generate:9.9"
    assert {"name": "STILLHOUSE_CUSTOM_IMPORTS", "value": "*"} in containers["exec-generate-traces"]["env"]
    own = documents(place(COMPILED, recipe("cluster.images.registry=own.example"), SHA256, installation))[0]
    assert own["exec-generate-traces"]["image"] == "own.example/stillhouse-generate:9.9"


@pytest.mark.parametrize("allowed", ["", "ours"])
def test_an_installation_that_keeps_other_plugins_out_keeps_other_images_out(allowed: str) -> None:
    installation = Installation("mirror.example/x", "9.9", custom_imports=allowed)
    with pytest.raises(RecipeError, match=r"cluster\.images\.registry = 'own\.example'.*only its own images"):
        place(COMPILED, recipe("cluster.images.registry=own.example"), SHA256, installation)
    assert place(COMPILED, recipe("cluster.images.registry=mirror.example/x"), SHA256, installation)


def test_the_installations_digests_hold_unless_the_recipe_chooses_a_tag() -> None:
    installation = Installation.from_env(
        {"STILLHOUSE_IMAGE_REGISTRY": "mirror.example/x", "STILLHOUSE_IMAGE_DIGESTS": json.dumps({"train": DIGEST})}
    )
    image = "exec-train-student"
    pinned, _ = documents(place(COMPILED, recipe(), SHA256, installation))
    assert pinned[image]["image"] == f"mirror.example/x/stillhouse-train@{DIGEST}"
    tagged, _ = documents(place(COMPILED, recipe("cluster.images.tag=nightly"), SHA256, installation))
    assert tagged[image]["image"] == "mirror.example/x/stillhouse-train:nightly"


@pytest.mark.parametrize("text", ["x", "[]", '{"train": "latest"}', '{"train": "sha256:12"}'])
def test_digests_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(RecipeError, match="STILLHOUSE_IMAGE_DIGESTS"):
        Installation.from_env({"STILLHOUSE_IMAGE_DIGESTS": text})


def test_each_stage_gets_only_the_secrets_it_needs() -> None:
    _, platform = documents(place(COMPILED, recipe(TEACHERS, "cluster.secrets.mlflow=mlflow"), SHA256))
    names = {
        stage.removeprefix("exec-"): sorted({item["secretName"] for item in told.get("secretAsEnv", [])} - {"mlflow"})
        for stage, told in platform.items()
    }
    everything = ["hf-token", "s3-secret", "teacher-secret"]
    assert names == {
        "select-teacher": everything,
        "generate-traces": everything,
        "filter-traces": ["judge-secret", "s3-secret"],
        "train-student": ["hf-token"],
        "evaluate-student": ["hf-token", "judge-secret", "s3-secret", "teacher-secret"],
        "register-student": ["hf-token", "s3-secret"],
        "promote-student": [],
        "report-run": [],
    }
    assert all(item["optional"] for told in platform.values() for item in told["secretAsEnv"])


def test_every_pod_runs_as_the_images_user_with_a_place_for_temporary_files() -> None:
    _, platform = documents(place(COMPILED, recipe(), SHA256))
    assert len(platform) == 8
    for told in platform.values():
        assert told["securityContext"] == {"runAsUser": "10001", "runAsGroup": "10001", "runAsNonRoot": True}
        assert {"volumeName": "tmp", "mountPath": "/tmp"} in told["emptyDirMounts"]
        assert told["pvcMount"][0]["constant"] == "stillhouse-workspace"


@pytest.mark.parametrize(
    ("endpoint", "services"),
    [
        ("http://qwen:8000/v1", ("qwen",)),
        ("http://qwen.teachers.svc:8000/v1", ("qwen",)),
        ("http://qwen.teachers.svc.cluster.local/v1", ("qwen",)),
        ("https://api.example.com/v1", ()),
        ("http://localhost:8000/v1", ()),
        ("http://10.0.0.7:8000/v1", ()),
    ],
)
def test_a_teacher_in_the_cluster_is_known_by_its_services_name(endpoint: str, services: tuple[str, ...]) -> None:
    candidate = f"teacher.candidates=[{{type: openai, name: q, model: m, endpoints: ['{endpoint}']}}]"
    assert teacher_services(recipe(candidate)) == services


def test_stages_that_ask_a_teacher_say_so_in_a_label() -> None:
    def asking(*changes: str) -> set[str]:
        _, platform = documents(place(COMPILED, recipe(TEACHERS, *changes), SHA256))
        label = "teacher.stillhouse.dev/qwen"
        return {name for name, told in platform.items() if label in told["podMetadata"]["labels"]}

    assert asking() == {"exec-select-teacher", "exec-generate-traces", "exec-evaluate-student"}
    assert asking("evaluate.teacher=false") == {"exec-select-teacher", "exec-generate-traces"}


def test_training_on_more_than_one_node_is_handed_to_a_launcher() -> None:
    stage = (
        "cluster.stages.train_student={nodes: 2, processes_per_node: 8, queue: team-a, cpu: 32, memory: 512Gi,"
        " accelerator: {count: 8}, shared_memory: 64Gi, node_selector: {pool: h100}, timeout_s: 90000,"
        " tolerations: [{key: gpu, operator: Exists}]}"
    )
    text = place(COMPILED, recipe(*PLACE, stage, "cluster.service_account=runner"), SHA256)
    containers, platform = documents(text)
    launcher = containers["exec-train-student"]
    assert "accelerator" not in launcher["resources"]
    assert "nodeSelector" not in platform["exec-train-student"]
    assert "activeDeadlineSeconds" not in platform["exec-train-student"]
    env = {item["name"]: item["value"] for item in launcher["env"]}
    spec = read_spec(env["STILLHOUSE_TRAINJOB"])
    assert (spec.nodes, spec.processes_per_node, spec.queue, spec.timeout_s) == (2, 8, "team-a", 90000)
    assert (spec.workspace_claim, spec.workspace_sub_path, spec.mount_path) == ("shared", "team-a/distil", "/workspace")
    assert (spec.image, spec.service_account) == (launcher["image"], "runner")
    assert spec.resources.accelerator is not None
    assert (spec.resources.accelerator.count, spec.resources.memory, spec.shared_memory) == (8, "512Gi", "64Gi")
    assert spec.tolerations == ({"key": "gpu", "operator": "Exists"},)
    assert spec.env["STILLHOUSE_RECIPE_SHA256"] == SHA256
    assert "STILLHOUSE_TRAINJOB" not in {item["name"] for item in containers["exec-filter-traces"]["env"]}


def test_one_node_needs_no_launcher() -> None:
    assert "STILLHOUSE_TRAINJOB" not in place(COMPILED, recipe(), SHA256)


def test_a_trainjob_that_the_launcher_would_refuse_is_never_placed() -> None:
    with pytest.raises(RecipeError, match="must be at least 1"):
        recipe("cluster.stages.train_student.nodes=0")


def test_no_secret_stands_in_the_placed_text(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "QWEN_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "hush-hush")
    assert "hush-hush" not in json.dumps(list(yaml.safe_load_all(place(COMPILED, recipe(*PLACE, TEACHERS), SHA256))))
