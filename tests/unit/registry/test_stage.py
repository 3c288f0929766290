"""Registration against a real embedded MLflow: once, whole, and found again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from stillhouse.digest import sha256_file, sha256_text
from stillhouse.errors import RecipeError
from stillhouse.lineage import lineage
from stillhouse.lineage.lookup import open_registry
from stillhouse.lineage.versions import Registry, Version
from stillhouse.registry import load_version
from stillhouse.workspace import Workspace

from .conftest import ITEMS, Make


def registry(space: Workspace) -> Registry:
    return open_registry(space.root)


def forget_payload(space: Workspace, stage: str = "register_student") -> None:
    """As if the stage had been killed before its payload was in its place."""
    shutil.rmtree(space.root / "stages" / stage)


def test_a_first_student_is_judged_against_its_untrained_self(space: Workspace, make: Make) -> None:
    summary = make("a").register()
    details = summary.details
    assert (details["version"], details["verdict"], details["against"]) == ("1", "passed", "the untrained student")
    assert details["checks"][0]["difference"] == pytest.approx(32 / 40)
    version = registry(space).resolve("models:/sums@challenger")
    assert version.aliases == ("candidate", "challenger")
    assert version.tags["validation_status"] == "pending"


def test_a_version_says_what_it_was_made_from(space: Workspace, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STILLHOUSE_RECIPE_SHA256", "c0ffee")
    monkeypatch.setenv("STILLHOUSE_KFP_RUN_ID", "kfp-1")
    student = make("a")
    summary = student.register()
    tags = registry(space).resolve("models:/sums/1").tags
    wanted = {
        "stillhouse.teacher": "terse",
        "stillhouse.teacher_revision": "r1",
        "stillhouse.dataset_digest": "d" * 64,
        "stillhouse.objective": "sft",
        "stillhouse.model_sha256": sha256_text("a"),
        "stillhouse.recipe_sha256": "c0ffee",
        "stillhouse.kfp_run_id": "kfp-1",
        "model_source_kind": "kfp",
        "model_source_id": "kfp-1",
        "stillhouse.stage_key": summary.key,
        "stillhouse.gate.evidence_sha256": sha256_file(student.output / "evidence.json"),
    }
    assert {key: tags[key] for key in wanted} == wanted
    run = registry(space).store.client.get_run(summary.details["run_id"])
    (entry,) = run.inputs.dataset_inputs
    assert (entry.dataset.name, entry.dataset.digest) == ("sums-records", "d" * 32)


def test_a_student_that_fails_stays_candidate_and_is_rejected(space: Workspace, make: Make) -> None:
    details = make("a", before=20, after=21).register().details
    version = registry(space).resolve("models:/sums/1")
    assert (details["verdict"], version.aliases) == ("failed", ("candidate",))
    assert version.tags["validation_status"] == "rejected"


def test_registering_twice_makes_one_version_and_the_same_evidence(space: Workspace, make: Make) -> None:
    first = make("a").register()
    student = make("a")
    student.promote()
    forget_payload(space)
    again = student.register()
    assert registry(space).versions("sums") == ["1"]
    assert again.details["evidence_sha256"] == first.details["evidence_sha256"]
    assert again.details["against"] == "the untrained student"
    assert sha256_file(student.output / "evidence.json") == first.details["evidence_sha256"]


def test_a_finished_registration_is_not_even_looked_up(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    student = make("a")
    first = student.register()
    monkeypatch.setattr("stillhouse.lineage.store.connect", lambda *_: pytest.fail("MLflow was opened"))
    assert student.register() == first


def test_a_kill_before_the_aliases_is_repaired(space: Workspace, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Registry, "set_alias", killed)
        with pytest.raises(KeyboardInterrupt):
            make("a").register()
    assert registry(space).resolve("models:/sums/1").aliases == ()
    make("a").register()
    assert registry(space).versions("sums") == ["1"]
    assert registry(space).resolve("models:/sums/1").aliases == ("candidate", "challenger")


@pytest.mark.parametrize("step", ["create_model_version", "finalize_logged_model", "log_model_artifacts"])
def test_a_kill_before_the_version_leaves_none_and_the_next_run_makes_it_whole(
    space: Workspace, make: Make, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.tracking.client import MlflowClient

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, step, killed)
        with pytest.raises(KeyboardInterrupt):
            make("a").register()
    assert registry(space).versions("sums") == []
    make("a").register()
    version = registry(space).resolve("models:/sums@candidate")
    assert (version.version, version.tags["stillhouse.objective"]) == ("1", "sft")
    assert (load_version("models:/sums/1", space.root) / "model.safetensors").read_bytes() == b"a"
    client = registry(space).store.client
    models = client.search_logged_models([client.get_run(version.run_id).info.experiment_id])
    assert [str(model.status) for model in models].count("READY") == 1


def test_an_mlflow_that_was_emptied_is_told_again(space: Workspace, make: Make, fresh_database: Path) -> None:
    student = make("a")
    first = student.register()
    student.promote()
    shutil.copyfile(fresh_database, space.mlflow / "mlflow.db")
    again = student.register()
    student.promote()
    assert again.details["run_id"] != first.details["run_id"]
    assert registry(space).resolve("models:/sums@champion").version == "1"


def test_evidence_that_vanished_is_not_judged_anew(space: Workspace, make: Make) -> None:
    first = make("a").register()
    forget_payload(space)
    kept = registry(space).run_file(version(space), "evidence.json")
    assert kept is not None
    kept.unlink()
    with pytest.raises(RecipeError, match=f"evidence.json is gone from its run {first.details['run_id']}"):
        make("a").register()


def version(space: Workspace) -> Version:
    return registry(space).resolve("models:/sums/1")


def test_a_second_student_is_judged_against_the_champion_on_the_same_items(space: Workspace, make: Make) -> None:
    first = make("a", after=24)
    first.register()
    first.promote()
    details = make("b", after=36).register().details
    assert (details["version"], details["against"], details["verdict"]) == ("2", "models:/sums/1", "passed")
    assert details["checks"][0]["difference"] == pytest.approx(12 / 40)
    weaker = make("c", after=20).register().details
    assert (weaker["version"], weaker["verdict"]) == ("3", "failed")
    found = registry(space)
    assert found.resolve("models:/sums@candidate").version == "3"
    assert found.resolve("models:/sums@challenger").version == "2"
    evidence = json.loads((make("c").output / "evidence.json").read_text())
    assert evidence["inputs"]["champion"] == {
        "uri": "models:/sums/1",
        "model_sha256": sha256_text("a"),
        "evidence_sha256": version(space).tags["stillhouse.gate.evidence_sha256"],
        "measured_again": False,
    }


def test_a_champion_measured_in_another_way_is_measured_again(space: Workspace, make: Make, tiny_model: Path) -> None:
    """A random model is right on none of the zoo's items, so that the new student gains what it is right on."""
    from stillhouse.data import load_problems
    from stillhouse.recipe.evaluation import EvaluateSection

    from .conftest import EVALUATE

    first = make("a", model=tiny_model)
    first.register()
    first.promote()
    (benchmark,) = EvaluateSection.model_validate(EVALUATE).benchmarks
    items = [problem.hash for problem in load_problems(benchmark.problems)]
    other = make("b", after=36, items=items, sampling={"sampling": {"temperature": 0.0, "max_tokens": 3}})
    (check,) = other.register().details["checks"]
    assert check["n"] == len(set(items))
    assert check["difference"] == pytest.approx(36 / 40, abs=0.06)
    assert json.loads((other.output / "evidence.json").read_text())["inputs"]["champion"]["measured_again"] is True


def test_a_champion_that_can_neither_be_compared_nor_measured_is_refused(space: Workspace, make: Make) -> None:
    first = make("a")
    first.register()
    first.promote()
    shutil.rmtree(load_version("models:/sums/1", space.root))
    other = make("b", items=[key[::-1] for key in ITEMS])
    with pytest.raises(
        RecipeError, match="the champion's scores are of other items or another sampling, and it cannot"
    ):
        other.register()


def test_a_registered_student_loads_both_ways_and_speaks_alike(
    space: Workspace, make: Make, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    make("a", model=tiny_model).register()
    folder = load_version("models:/sums@candidate", space.root)
    plain = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{space.mlflow / 'mlflow.db'}")
    monkeypatch.setattr(mlflow, "get_tracking_uri", lambda: f"sqlite:///{space.mlflow / 'mlflow.db'}")
    components = mlflow.transformers.load_model("models:/sums@candidate", return_type="components")
    ids = tokenizer("1+1=", return_tensors="pt").input_ids
    assert torch.equal(plain(ids).logits, components["model"](ids).logits)
    assert components["tokenizer"].chat_template == tokenizer.chat_template
    pipeline = mlflow.transformers.load_model("models:/sums@candidate")
    assert pipeline("1+1=", max_new_tokens=2, do_sample=False)[0]["generated_text"].startswith("1+1=")


def test_a_copied_database_alone_tells_the_whole_chain(
    space: Workspace, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    student = make("a")
    student.register()
    student.promote()
    copied = tmp_path / "elsewhere" / "copy.db"
    copied.parent.mkdir()
    shutil.copyfile(space.mlflow / "mlflow.db", copied)
    told = lineage("models:/sums@champion", space.root)
    from_file = lineage(student.output)
    shutil.rmtree(space.root)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{copied}")
    chain = lineage("models:/sums@champion")
    assert chain == told
    assert from_file.nodes == chain.nodes
    kinds = ["recipe", "teacher", "traces", "filters", "dataset", "training", "evaluation", "verdict"]
    assert [node.kind for node in chain.nodes] == kinds
    text = chain.text()
    for words in ("models:/sums/1", "terse (zoo:terse)", "80 traces of 40 problems", "kept 70 of 80",
                  "sft from zoo:base, 100 steps", "chain 10.0 % [10.0, 10.0] -> 90.0 %", "passed against"):  # fmt: skip
        assert words in text
