"""Chains out of files, and clear words where there are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stillhouse.errors import RecipeError
from stillhouse.lineage import Chain, build_chain, lineage
from stillhouse.lineage.store import connect
from stillhouse.summary import StageSummary
from stillhouse.workspace import Workspace


def store(space: Workspace, stage: str, key: str, details: dict[str, Any], **inputs: list[str]) -> StageSummary:
    folder = space.payload(stage, key)
    folder.mkdir(parents=True)
    summary = StageSummary(stage=stage, key=key, digest=key * 8, details=details, inputs=inputs, version="1.2.3")
    summary.write(folder)
    return summary


@pytest.fixture
def stages(tmp_path: Path) -> Workspace:
    space = Workspace.open(tmp_path / "work")
    store(space, "generate_traces", "t0", {"traces": 3, "problems": 2, "tokens": 10})
    store(space, "generate_traces", "t1", {"traces": 4, "problems": 2, "tokens": 20})
    store(space, "filter_traces", "f", {"total": 7, "positive": 5, "dataset_digest": "abc"}, shards=["t0", "t1"])
    store(space, "train_student", "m", {"objective": "kl", "arms": {"student": {"steps": 9}}}, records=["f"])
    return space


def test_a_stages_artifact_tells_everything_before_it(stages: Workspace) -> None:
    chain = lineage(stages.payload("train_student", "m"), stages.root)
    assert [node.kind for node in chain.nodes] == ["recipe", "traces", "filters", "dataset", "training"]
    traces = chain.node("traces")
    assert traces is not None
    assert (traces.facts["traces"], traces.facts["tokens"], traces.facts["shards"]) == (7, 30, 2)


def test_without_the_workspace_an_artifact_tells_of_itself(stages: Workspace) -> None:
    chain = lineage(stages.payload("train_student", "m"))
    assert [node.kind for node in chain.nodes] == ["recipe", "training"]


def test_a_chain_is_the_same_after_a_journey_as_json(stages: Workspace, tmp_path: Path) -> None:
    chain = lineage(stages.payload("train_student", "m"), stages.root)
    path = tmp_path / "lineage.json"
    path.write_text(json.dumps(chain.to_json()))
    assert lineage(path) == chain
    assert Chain.from_json(chain.to_json()) == chain


def test_a_chain_does_not_depend_on_the_order_of_its_summaries(stages: Workspace) -> None:
    paths = sorted(path.parent for path in (stages.root / "stages").rglob("summary.json"))
    read = [StageSummary.read(path) for path in paths]
    assert build_chain(read, "r") == build_chain(reversed(read), "r")


@pytest.mark.parametrize("text", ["{}", "not json", '{"nodes": [{"kind": "recipe"}]}'])
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "lineage.json"
    path.write_text(text)
    with pytest.raises(RecipeError, match=r"not a lineage\.json of stillhouse"):
        lineage(path)


def test_a_path_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no such file or folder; use models:/<name>@<alias>"):
        lineage(tmp_path / "nothing")


def test_looking_up_never_makes_a_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RecipeError, match=r"mlflow\.db: no such file; run a recipe first"):
        lineage("models:/sums@champion", tmp_path / "runs")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'typo.db'}")
    with pytest.raises(RecipeError, match=r"typo\.db: no such file"):
        lineage("models:/sums@champion")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("models:/sum@champion", "no registered model 'sum'; did you mean sums?"),
        ("models:/sums@champoin", "sums has no alias 'champoin'; its aliases: candidate (version 1)"),
        ("models:/sums/2", "sums has no version 2; its versions: 1"),
        ("models:/sums", "not a model's address; use models:/<name>@<alias> or models:/<name>/<version>"),
        ("models:/sums/1", "carries no lineage (tag stillhouse.lineage); it was not made by stillhouse"),
    ],
)
def test_unknown_versions_are_named_with_what_there_is(space: Workspace, uri: str, words: str) -> None:
    client = connect(space).client
    client.create_registered_model("sums")
    client.create_model_version("sums", source=str(space.root))
    client.set_registered_model_alias("sums", "candidate", "1")
    with pytest.raises(RecipeError) as caught:
        lineage(uri, space.root)
    assert words in str(caught.value)
