"""What resolving fills in, what it refuses, and what a stage's ``library`` stands for."""

from __future__ import annotations

import ast
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import stillhouse
from stillhouse.digest import sha256_file
from stillhouse.errors import RecipeError
from stillhouse.recipe import Recipe
from stillhouse.recipe.data import FileProblems, ZooProblems
from stillhouse.recipe.load import load_recipe
from stillhouse.recipe.resolve import STAGE_CODE, find_plugins, recipe_digest, resolve, stamp, write_recipe
from stillhouse.recipe.sources import problem_sources, row_count, source_digest
from stillhouse.recipe.stages import STAGES, stage_configs

Make = Callable[..., Recipe]
Folder = Callable[..., Path]
ROOT = Path(stillhouse.__file__).parent


@pytest.fixture
def ready(make: Make, model_folder: Folder) -> Make:
    """``make`` whose teacher and student are there."""
    model_folder("teacher", licence="apache-2.0")
    model_folder("student", licence="mit")
    return make


def test_resolving_fills_in_digests_revisions_tokenizers_and_licences(ready: Make, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"prompt": "1+1?", "answer": 2}\n' * 100)
    recipe = resolve(
        ready(f"data.problems={tmp_path / 'a.jsonl'}", f"filter.select.7.against=[{tmp_path / 'a.jsonl'}]")
    )
    teacher = recipe.teacher.candidates[0]
    assert recipe.data.problems.digest == sha256_file(tmp_path / "a.jsonl")
    assert recipe.filter.select[7].against[0].digest == recipe.data.problems.digest  # type: ignore[union-attr]
    assert len(recipe.evaluate.benchmarks[0].problems.digest) == 64
    assert (recipe.student.licence, teacher.licence) == ("mit", "apache-2.0")  # type: ignore[union-attr]
    assert recipe.student.tokenizer_digest == teacher.tokenizer_digest != ""  # type: ignore[union-attr]
    assert len(recipe.student.revision) == 64


def test_resolving_twice_changes_nothing(ready: Make) -> None:
    once = resolve(ready())
    assert resolve(once) == once


def test_all_that_is_missing_is_told_at_once(make: Make, tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        resolve(make("data.problems=/nope/a.jsonl", "student.model=zoo:nope"))
    lines = [line.strip() for line in str(caught.value).split("\n")[1:]]
    assert lines[0] == "data.problems: /nope/a.jsonl: no such file"
    assert lines[1] == f"teacher.candidates.0.model = '{tmp_path / 'teacher'}': no such folder"
    assert lines[2].startswith("student.model = 'zoo:nope': ")


def test_a_tokenizer_mismatch_is_refused_once_both_are_known(make: Make, model_folder: Folder) -> None:
    model_folder("student", vocabulary="ba")
    teacher = model_folder("teacher", vocabulary="ab")
    one_local = f"teacher.candidates=[{{type: transformers, name: good, model: {teacher}}}]"
    assert resolve(make(one_local)).student.tokenizer_digest
    with pytest.raises(RecipeError, match="has another tokenizer than the student"):
        resolve(make(one_local, "train.objective={type: kl}"))


def test_a_licence_that_the_card_tells_is_held_against_the_gate(ready: Make) -> None:
    with pytest.raises(
        RecipeError, match=r"teacher\.candidates\.0\.licence = 'apache-2\.0': gate\.licences allows only mit"
    ):
        resolve(ready("gate.licences=[mit]"))


def test_problems_that_changed_since_an_earlier_resolve_are_refused(ready: Make, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"prompt": "1+1?", "answer": 2}\n' * 100)
    recipe = resolve(ready(f"data.problems={tmp_path / 'a.jsonl'}"))
    (tmp_path / "a.jsonl").write_text('{"prompt": "1+2?", "answer": 3}\n' * 100)
    with pytest.raises(RecipeError, match=r"data\.problems\.digest = .* the content is .* now"):
        resolve(recipe)


def test_a_copy_of_the_training_problems_is_no_benchmark(ready: Make, tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_text('{"prompt": "1+1?", "answer": 2}\n' * 100)
    with pytest.raises(RecipeError, match=r"has the same content as data\.problems"):
        resolve(
            ready(f"data.problems={tmp_path / 'a.jsonl'}", f"evaluate.benchmarks.0.problems={tmp_path / 'b.jsonl'}")
        )


def test_a_resolved_recipe_is_written_and_read_back(ready: Make, tmp_path: Path) -> None:
    recipe = resolve(ready())
    write_recipe(recipe, tmp_path / "new" / "recipe.json")
    again = load_recipe(tmp_path / "new" / "recipe.json", (), {})
    assert again == recipe
    assert recipe_digest(again) == recipe_digest(recipe)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["recipe.json"]


def test_the_digest_of_a_recipe_changes_with_any_field(make: Make) -> None:
    assert recipe_digest(make()) == recipe_digest(make())
    assert recipe_digest(make("train.learning_rate=2e-5")) != recipe_digest(make())


@pytest.mark.parametrize(
    "change", [{"families": {"chain": 9}}, {"split": "eval"}, {"seed": 1}, {"families": {"swap": 8}}], ids=str
)
def test_the_digest_of_zoo_problems_changes_with_all_that_determines_them(change: dict) -> None:
    base = {"families": {"chain": 8}}
    assert source_digest(ZooProblems(**base)) == source_digest(ZooProblems(**base))
    assert source_digest(ZooProblems(**{**base, **change})) != source_digest(ZooProblems(**base))


def test_every_problem_source_of_a_recipe_is_found(make: Make) -> None:
    recipe = make("filter.select.7.against=[/x/a.jsonl, /x/b.jsonl]")
    assert list(problem_sources(recipe)) == [
        "data.problems", "evaluate.benchmarks.0.problems", "filter.select.7.against.0", "filter.select.7.against.1",
    ]  # fmt: skip


def test_rows_are_counted_by_kind_of_file(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("{}\n{}\n\n{}")
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b"{}\n{}\n"))
    pq.write_table(pa.table({"a": [1, 2, 3, 4]}), tmp_path / "a.parquet")
    for broken in ("b.jsonl.gz", "b.parquet", "b.csv"):
        (tmp_path / broken).write_bytes(b"nonsense")
    counts = {path.name: row_count(FileProblems(path=str(path))) for path in sorted(tmp_path.iterdir())}
    assert counts == {
        "a.jsonl": 3, "a.jsonl.gz": 2, "a.parquet": 4, "b.csv": None, "b.jsonl.gz": None, "b.parquet": None,
    }  # fmt: skip
    assert row_count(FileProblems(path=str(tmp_path / "a.jsonl"), limit=2)) == 2
    assert row_count(FileProblems(path="s3://b/k.jsonl")) is None
    assert row_count(ZooProblems(families={"chain": 5, "swap": 7})) == 12


def test_every_stage_is_stamped_with_the_version_and_its_code(make: Make) -> None:
    stamped = stamp(stage_configs(make()))
    assert list(stamped) == list(STAGES)
    for config in stamped.values():
        version, _, digits = config.library.partition("+")
        assert version == stillhouse.__version__
        assert len(digits) == 12
    assert len({config.library for config in stamped.values()}) == 6
    assert stamp(stage_configs(make())) == stamped


@pytest.mark.parametrize(
    ("file", "changed"),
    [
        ("training/loop.py", ["select_teacher", "train_student"]),
        ("filtering/funnel.py", ["select_teacher", "filter_traces"]),
        ("registry/gate.py", ["register_student"]),
        ("records.py", list(STAGES)),
        ("recipe/data.py", list(STAGES)),
        ("cli/run.py", []),
        ("report/plots.py", []),
        ("lineage/store.py", []),
    ],
)
def test_new_code_changes_the_stamp_of_the_stages_that_run_it_and_of_no_other(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, changed: list[str]
) -> None:
    names = {
        "stage.py",
        "records.py",
        "recipe/data.py",
        *(f"{part}/__init__.py" for stage in STAGE_CODE.values() for part in stage),
    }
    for name in {*names, file}:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    configs = stage_configs(make())
    monkeypatch.setattr(stillhouse, "__file__", str(tmp_path / "__init__.py"))
    before = stamp(configs)
    (tmp_path / file).write_text("new = 1")
    after = stamp(configs)
    assert [stage for stage in STAGES if before[stage] != after[stage]] == changed


def test_a_custom_plugins_code_is_part_of_the_stamp(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_objective_under_test.py").write_text("class Mine: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    configs = stage_configs(make("train.objective={type: custom, import_path: 'my_objective_under_test:Mine'}"))
    before = stamp(configs)
    (tmp_path / "my_objective_under_test.py").write_text("class Mine:\n    x = 1\n")
    after = stamp(configs)
    assert [stage for stage in STAGES if before[stage] != after[stage]] == ["train_student"]


def test_plugins_are_found_with_their_kinds(make: Make) -> None:
    configs = stage_configs(make("train.control={}"))
    kinds = {
        stage: sorted({f"{kind}:{item.type}" for kind, item in find_plugins(config)})
        for stage, config in configs.items()
    }
    assert kinds["select_teacher"] == ["prompter:cot", "teacher:openai", "teacher:transformers"]
    assert kinds["train_student"] == ["builder:answer_only", "builder:reasoning", "objective:sft"]
    assert kinds["evaluate_student"] == ["prompter:cot"]
    assert "annotator:math_verify" in kinds["filter_traces"]
    assert "selector:held_out" in kinds["filter_traces"]
    assert kinds["register_student"] == []


_STAGE_PACKAGE = {
    "select_teacher": "selection", "generate_traces": "generation", "filter_traces": "filtering",
    "train_student": "training", "evaluate_student": "evaluation", "register_student": "registry",
}  # fmt: skip
_DECIDES_NOTHING = {
    "lineage", "summary", "progress", "workspace", "errors", "storage", "plugins", "zoo", "__init__", "report", "entry",
}  # fmt: skip
"""What stages import without their result depending on it; zoo's problems and weights have digests of their own."""


@pytest.mark.parametrize("stage", list(STAGES))
def test_the_stamp_covers_everything_that_a_stage_imports(stage: str) -> None:
    covered = {*STAGE_CODE[stage], "stage", "records", "reasoning", "digest", "verify", "recipe"}
    assert _imported(_STAGE_PACKAGE[stage]) - covered - _DECIDES_NOTHING == set()


def _imported(package: str) -> set[str]:
    """Parts of stillhouse that ``package`` imports, at any depth, inside functions too."""
    seen: set[str] = set()
    todo = [package]
    while todo:
        part = todo.pop()
        if part in seen:
            continue
        seen.add(part)
        if part in _DECIDES_NOTHING:
            continue
        place = ROOT / part
        for file in place.rglob("*.py") if place.is_dir() else [place.with_suffix(".py")]:
            todo += _imports(file) if file.is_file() else []
    return seen


def _imports(file: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("stillhouse"):
            _, _, below = node.module.partition(".")
            found += [below.partition(".")[0]] if below else [alias.name for alias in node.names]
    return [name for name in found if name != "__version__"]


def test_the_written_recipe_is_plain_json_with_the_users_names(make: Make, tmp_path: Path) -> None:
    write_recipe(make(), tmp_path / "recipe.json")
    assert json.loads((tmp_path / "recipe.json").read_text())["register"]["name"] == "small-student"
