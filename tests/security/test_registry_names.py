"""Names stand between quotes in MLflow's filters, and its filters know no escaping: no name with a quote gets there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stillhouse.errors import RecipeError
from stillhouse.lineage.lookup import lineage
from stillhouse.lineage.store import connect
from stillhouse.lineage.versions import Registry
from stillhouse.registry import compare, promote
from stillhouse.workspace import Workspace

HOSTILE = [
    "mine' or name LIKE '%", "mine' and 1=1 --", 'mine"', "mine`", "mine\\", "mine'", "mine\x00",
    "mine\nname = 'other'", "../mine", "mine@other@champion",
]  # fmt: skip


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory, database: Path) -> Workspace:
    """A real MLflow with two models: one of ours, and one that somebody gave a quote."""
    space = Workspace.open(tmp_path_factory.mktemp("work"))
    space.mlflow.mkdir()
    (space.mlflow / "mlflow.db").write_bytes(database.read_bytes())
    client = connect(space).client
    run = client.create_run(client.create_experiment("e"))
    for name in ("mine", "other", "mine'"):
        client.create_registered_model(name)
        client.create_model_version(name, source=run.info.artifact_uri, run_id=run.info.run_id)
    return space


@pytest.mark.parametrize("name", HOSTILE, ids=repr)
def test_a_name_with_a_quote_never_reaches_a_filter(space: Workspace, name: str) -> None:
    registry = Registry(connect(space), space)
    for uri in (f"models:/{name}/1", f"models:/{name}@champion", f"models:/{name}/99"):
        with pytest.raises(RecipeError):
            registry.resolve(uri)
        with pytest.raises(RecipeError):
            lineage(uri, workspace=space.root)
        with pytest.raises(RecipeError):
            compare(uri, "base", workspace=space.root)
    with pytest.raises(RecipeError):
        promote(name, "1", "champion", workspace=space.root)
    assert connect(space).client.get_registered_model("mine").aliases == {}


@pytest.mark.parametrize("version", ["1\n", "1 or 1=1", "٣", "", "-1", "1/../2"])
def test_a_version_is_a_number(space: Workspace, version: str) -> None:
    with pytest.raises(RecipeError):
        promote("mine", version, "champion", workspace=space.root)


def test_an_honest_name_is_found_with_its_own_versions_only(space: Workspace) -> None:
    registry = Registry(connect(space), space)
    assert registry.resolve("models:/mine/1").uri == "models:/mine/1"
    assert registry.versions("mine") == ["1"]
    with pytest.raises(RecipeError, match="mine has no version 7; its versions: 1"):
        registry.resolve("models:/mine/7")


@pytest.mark.parametrize("value", ['a"b.jsonl', "a\\b.jsonl", 'x", "uri": "elsewhere', "line\nbreak"])
def test_a_datasets_address_is_told_as_it_is(space: Workspace, value: str, tmp_path: Path) -> None:
    store = connect(space)
    run = store.client.create_run(store.client.create_experiment(f"e-{tmp_path.name}"))
    store.log_dataset(run.info.run_id, name="d", digest="0", source=value, rows=3, context="training")
    (entry,) = store.client.get_run(run.info.run_id).inputs.dataset_inputs
    assert json.loads(entry.dataset.source) == {"uri": value}
