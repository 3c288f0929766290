"""The section ``cluster``: what it refuses, and that it is no part of what a run makes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from stillhouse.errors import RecipeError
from stillhouse.recipe import Recipe
from stillhouse.recipe.check import check_recipe
from stillhouse.recipe.load import load_recipe
from stillhouse.recipe.parameters import to_parameters
from stillhouse.recipe.resolve import recipe_digest, resolve, stamp, write_recipe
from stillhouse.recipe.stages import stage_configs
from stillhouse.runs import stage_keys

Make = Callable[..., Recipe]
QUICKSTART = Path(__file__).parents[3] / "recipes" / "quickstart.yaml"
ELSEWHERE = (
    "cluster.namespace=distil",
    "cluster.workspace=pvc://other/here",
    "cluster.defaults={cpu: 4, memory: 8Gi}",
    "cluster.stages.train_student={nodes: 4, queue: q}",
    "cluster.env={HTTPS_PROXY: 'http://p:1'}",
    "cluster.parallelism=3",
)


def test_where_a_run_runs_changes_no_digest_and_no_stage_key() -> None:
    def identity(*changes: str) -> tuple[str, list[tuple[str, str, str]]]:
        recipe = resolve(load_recipe(QUICKSTART, changes, {}))
        return recipe_digest(recipe), list(stage_keys(to_parameters(stamp(stage_configs(recipe)))))

    here = identity()
    assert len(here[1]) == 8
    assert identity(*ELSEWHERE) == here
    assert identity("seed=18")[0] != here[0]


def test_it_survives_being_written_and_read_again(make: Make, tmp_path: Path) -> None:
    recipe = make(*ELSEWHERE)
    write_recipe(recipe, tmp_path / "again.json")
    assert load_recipe(tmp_path / "again.json", (), {}).cluster == recipe.cluster


def test_gaps_of_a_stage_are_filled_from_the_defaults(make: Make) -> None:
    cluster = make(
        "cluster.defaults={cpu: 1, memory: 2Gi, node_selector: {pool: cpu}, timeout_s: 60}",
        "cluster.stages.generate_traces={memory: 16Gi, node_selector: {pool: gpu}}",
    ).cluster
    placed = cluster.placement("generate_traces")
    assert (placed.cpu, placed.memory, placed.node_selector, placed.timeout_s) == ("1", "16Gi", {"pool": "gpu"}, 60)
    assert cluster.placement("filter_traces") == cluster.defaults
    assert cluster.placement("train_student").memory == "2Gi"


@pytest.mark.parametrize(
    ("workspace", "claim"),
    [
        ("pvc://space", ("space", "")),
        ("pvc://space/", ("space", "")),
        ("pvc://space.a/team/x_1/", ("space.a", "team/x_1")),
    ],
)
def test_a_workspace_is_a_claim_and_a_folder(make: Make, workspace: str, claim: tuple[str, str]) -> None:
    assert make(f"cluster.workspace={workspace}").cluster.claim() == claim


@pytest.mark.parametrize("quantity", ["500m", "2", "0.5", ".5", "1.5m"])
def test_quantities_of_cpu(make: Make, quantity: str) -> None:
    assert make(f"cluster.defaults.cpu={quantity}").cluster.defaults.cpu


@pytest.mark.parametrize("quantity", ["8Gi", "512Mi", "1073741824", "2G"])
def test_quantities_of_memory(make: Make, quantity: str) -> None:
    assert make(f"cluster.defaults.memory={quantity}").cluster.defaults.memory == quantity


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("cluster.defaults.cpu=two", "cluster.defaults.cpu = 'two': must match"),
        ("cluster.defaults.cpu=2cores", "must match"),
        ("cluster.defaults.memory=8GB", "must match"),
        ("cluster.defaults.memory=1.5Gi", "in whole units such as 8Gi"),
        ("cluster.stages.train_student.shared_memory=lots", "must match"),
        ("cluster.workspace=/mnt/x", r"must match \^pvc://"),
        ("cluster.workspace=pvc://claim/../x", r"must match \^pvc://"),
        ("cluster.workspace=pvc://Claim", r"must match \^pvc://"),
        ("cluster.namespace=Team_A", "cluster.namespace = 'Team_A': must match"),
        ("cluster.secrets.teacher=My_Secret", "cluster.secrets.teacher = 'My_Secret': must match"),
        ("cluster.secrets.teachr=x", "no such key; did you mean teacher"),
        (
            "cluster.images.registry=https://ghcr.io/x",
            "registry and folder without a scheme",
        ),
        ("cluster.images.digests={trane: 'sha256:1'}", "did you mean train"),
        ("cluster.images.digests={train: latest}", r"must match \^sha256"),
        ("cluster.stages.train_student.nodes=0", "must be at least 1"),
        ("cluster.stages.generate_traces.nodes=2", "no such key"),
        ("cluster.stages.trian_student={cpu: 1}", "did you mean train_student"),
        ("cluster.mlflow.tracking_uri=http://me:word@mlflow", "must match"),
        ("cluster.defaults.node_selector={'a b': c}", "must match"),
        ("cluster.parallelism=-1", "must be at least 0"),
    ],
)
def test_a_value_that_is_none_is_refused_by_its_path(make: Make, change: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        make(change)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("cluster.env={OPENAI_API_KEY: sk-1}", "OPENAI_API_KEY: looks like a secret; put it into a Secret"),
        ("cluster.env={MY_TOKEN: x}", "looks like a secret"),
        ("cluster.env={STILLHOUSE_CUSTOM_IMPORTS: '*'}", "STILLHOUSE_CUSTOM_IMPORTS is set by stillhouse or decides"),
        ("cluster.env={PYTHONPATH: /workspace}", "decides what Python loads"),
        ("cluster.env={LD_PRELOAD: /workspace/x.so}", "decides what Python loads"),
        ("cluster.secrets.more=[{env: PYTHONSTARTUP, secret: s, key: k}]", "cluster.secrets.more.0.env: PYTHONSTARTUP"),
        ("cluster.defaults.tolerations=[{value: x}]", "tolerations.0: operator Equal needs a key"),
        ("cluster.stages.train_student.tolerations=[{operator: Exists, value: x}]", "Exists takes no value"),
        ("cluster.stages.train_student.queue=team-a", "training on one node is none; set nodes to 2 or more"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(make: Make, change: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        check_recipe(make(change))


@pytest.mark.parametrize("name", ["TOKENIZERS_PARALLELISM", "HTTPS_PROXY", "AWS_REGION", "MLFLOW_S3_ENDPOINT_URL"])
def test_plain_settings_are_welcome(make: Make, name: str) -> None:
    check_recipe(make(f"cluster.env={{{name}: x}}"))
