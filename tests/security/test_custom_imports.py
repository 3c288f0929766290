"""Plug-ins of one's own come from where the installation allows it; nothing is imported before that is known."""

from __future__ import annotations

import os
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from stillhouse import plugins
from stillhouse.errors import RecipeError
from stillhouse.plugins import IMPORTS_ENV, allowed_imports, find_module, import_refusal
from stillhouse.recipe import Recipe
from stillhouse.recipe.base import Custom
from stillhouse.recipe.check import check_recipe
from stillhouse.recipe.imports import find_custom, refused_imports
from stillhouse.recipe.load import load_recipe
from stillhouse.recipe.resolve import find_plugins, stamp
from stillhouse.recipe.stages import STAGES, stage_configs

RECIPE = """\
name: small
data: {problems: {type: zoo, families: {chain: 300}}, probe: 64}
teacher: {candidates: [{type: openai, name: far, model: big, endpoints: ["http://localhost:1/v1"]}]}
student: {model: "zoo:base"}
evaluate: {benchmarks: [{name: chain, problems: {type: zoo, split: eval, families: {chain: 64}}}]}
gate: {require: [{metric: chain}]}
register: {name: small-student}
"""
PLACES = {
    "teacher.candidates.0": "teacher.candidates=[{}]",
    "traces.prompter": "traces.prompter={}",
    "filter.annotate.0": "filter.annotate=[{}]",
    "filter.select.0": "filter.select=[{}]",
    "train.objective": "train.objective={}",
    "train.builder": "train.builder={}",
    "train.control.builder": "train.control={{builder: {}}}",
    "evaluate.prompter": "evaluate.prompter={}",
}


@pytest.fixture
def make(tmp_path: Path) -> Any:
    """``make("a.b=c")``: a small recipe with these changes."""
    path = tmp_path / "small.yaml"
    path.write_text(RECIPE, encoding="utf-8")
    return lambda *changes: load_recipe(path, changes, {})


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package ``tattling`` on the path, every module of which leaves a file behind when it is imported."""
    folder = tmp_path / "site" / "tattling"
    (folder / "inner").mkdir(parents=True)
    tell = f"from pathlib import Path\nPath({str(tmp_path / 'told')!r}).touch()\n"
    for name in ("__init__", "inner/__init__", "inner/deep"):
        (folder / f"{name}.py").write_text(tell + "from subprocess import Popen\nclass Mine:\n    pass\n")
    monkeypatch.syspath_prepend(str(folder.parent))
    yield tmp_path / "told"
    for name in [name for name in sys.modules if name.partition(".")[0] == "tattling"]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, None),
        ("*", None),
        ("mine, *", None),
        ("", ()),
        ("  ", ()),
        (" , ,", ()),
        ("mine", ("mine",)),
        (" mine , ours.plugins ,", ("mine", "ours.plugins")),
    ],
)
def test_the_environment_says_which_packages(text: str | None, expected: tuple[str, ...] | None) -> None:
    assert allowed_imports({} if text is None else {IMPORTS_ENV: text}) == expected


@pytest.mark.parametrize("text", ["mine.*", "mine.", ".mine", "a b", "../mine", "mine:Class", "-", "mine;os", "9a"])
def test_an_entry_that_is_no_package_is_refused_and_not_ignored(text: str) -> None:
    with pytest.raises(RecipeError, match=IMPORTS_ENV):
        allowed_imports({IMPORTS_ENV: text})


@pytest.mark.parametrize("path", ["mine:Class", "mine.deep.er:Class", "ours.plugins:Class", "ours.plugins.more:_Class"])
def test_what_lies_in_an_allowed_package_is_allowed(path: str) -> None:
    assert import_refusal(path, ("mine", "ours.plugins")) == ""
    assert import_refusal(path, None) == ""


@pytest.mark.parametrize(
    "path",
    [
        "stillhouse_evil:Class",
        "stillhouse_evil.stillhouse:Class",
        "evil.stillhouse:Class",
        "Stillhouse:Class",
        "os:system",
        "subprocess:Popen",
        "builtins:eval",
        "builtins:type",
        "importlib:import_module",
        "ours:Class",
        "ours.plugin:Class",
        "ours.plugins_too:Class",
        "ours..plugins:Class",
        ".stillhouse:Class",
        "stillhouse.__main__:Class",
        "stillhouse.__init__:Class",
        "stillhouse:__class__",
        "stillhouse.__globals__.os:Popen",
        "__main__:Class",
        "stіllhouse:Class",  # a Cyrillic i
        "",
        ":",
        "stillhouse",
    ],
)
def test_what_only_looks_like_an_allowed_package_is_refused(path: str) -> None:
    if path != "stillhouse":
        assert "stillhouse" in import_refusal(path, ("stillhouse", "ours.plugins"))
    assert "allows no plug-ins" in import_refusal(path, ())


@pytest.mark.parametrize("place", PLACES)
def test_a_recipe_is_refused_with_the_field_the_path_and_what_is_allowed(
    make: Any, monkeypatch: pytest.MonkeyPatch, package: Path, place: str
) -> None:
    recipe = make(PLACES[place].format("{type: custom, import_path: 'tattling.inner.deep:Mine'}"))
    assert [path for path, _ in find_custom(recipe)] == [place]
    check_recipe(recipe)
    for allowed, words in (("", "is empty"), ("ours.plugins,tattling_too", "only from ours.plugins, tattling_too")):
        monkeypatch.setenv(IMPORTS_ENV, allowed)
        with pytest.raises(RecipeError) as caught:
            check_recipe(recipe)
        assert f"{place}.import_path = 'tattling.inner.deep:Mine': " in str(caught.value)
        assert words in str(caught.value)
        with pytest.raises(RecipeError, match="tattling"):
            stamp(stage_configs(recipe))
    monkeypatch.setenv(IMPORTS_ENV, "tattling")
    check_recipe(recipe)
    stamp(stage_configs(recipe))
    assert not package.exists(), "checking and fingerprinting imported the plug-in"


def test_a_pilots_training_carries_its_plug_ins_into_the_choice_of_the_teacher(make: Any) -> None:
    own = "{type: custom, import_path: 'mine:Mine'}"
    configs = stage_configs(make("teacher.select={pilot: {}, key: pilot_gain}", f"train.builder={own}"))
    assert [path for path, _ in find_custom(configs["select_teacher"])] == ["train.builder"]
    assert len(list(refused_imports(configs["select_teacher"], ()))) == 1


@pytest.mark.parametrize("kind", sorted(plugins.KINDS))
def test_a_config_that_reached_a_pod_another_way_is_refused_where_it_would_be_imported(
    kind: str, monkeypatch: pytest.MonkeyPatch, package: Path
) -> None:
    config = Custom(import_path="tattling.inner.deep:Mine")
    for allowed in ("", "tattling.other", "inner"):
        monkeypatch.setenv(IMPORTS_ENV, allowed)
        for use in (plugins.plugin_class, plugins.build, plugins.fingerprint):
            with pytest.raises(RecipeError, match=f"{kind}: tattling.inner.deep:Mine is not imported"):
                use(kind, config)
    assert not package.exists()
    monkeypatch.setenv(IMPORTS_ENV, "tattling.inner")
    assert plugins.plugin_class(kind, config).__name__ == "Mine"
    assert package.exists()


def test_a_class_that_an_allowed_module_has_imported_itself_is_not_its_own(
    monkeypatch: pytest.MonkeyPatch, package: Path
) -> None:
    config = Custom(import_path="tattling:Popen", options={"args": ["touch", str(package)]})
    monkeypatch.setenv(IMPORTS_ENV, "tattling")
    with pytest.raises(RecipeError, match=r"tattling:Popen \(which is subprocess:Popen\) is not imported"):
        plugins.build("teacher", config)


@pytest.mark.parametrize("name", ["json.tool", "os", "os.path", "xml.etree.ElementTree", "tattling.inner.deep"])
def test_modules_are_found_without_running_their_packages(name: str, package: Path) -> None:
    spec = find_module(name)
    assert (spec is not None) == (name != "os.path")  # `os` is no package: its `path` is an attribute
    assert not package.exists()


@pytest.mark.parametrize("name", ["nowhere", "os.nowhere", "tattling.nowhere.deep", "a..b", "", ".", "__main__.x"])
def test_what_is_nowhere_is_not_found_and_no_crash(name: str, package: Path) -> None:
    assert find_module(name) is None
    assert not package.exists()


def _configs(model: type[BaseModel], seen: set[type[BaseModel]]) -> Iterator[tuple[type[BaseModel], str, Any]]:
    """(class, field, annotation) of everything that a recipe can hold."""
    if model in seen:
        return
    seen.add(model)
    for name, hint in typing.get_type_hints(model, include_extras=True).items():
        if name in model.model_fields:
            yield model, name, hint
            for inner in _classes(hint):
                yield from _configs(inner, seen)


def _classes(hint: Any) -> Iterator[type[BaseModel]]:
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        yield hint
    for part in typing.get_args(hint):
        yield from _classes(part)


def _fields_of(roots: tuple[type[BaseModel], ...]) -> list[tuple[type[BaseModel], str, Any]]:
    seen: set[type[BaseModel]] = set()
    return [entry for root in roots for entry in _configs(root, seen)]


CUSTOM_FIELDS = [
    (model, name) for model, name, hint in _fields_of((Recipe, *STAGES.values())) if Custom in set(_classes(hint))
]


def test_the_schema_was_walked() -> None:
    assert len(CUSTOM_FIELDS) >= 10
    named = {f"{model.__name__}.{name}" for model, name in CUSTOM_FIELDS}
    assert {"Control.builder", "TeacherSection.candidates", "FilterSection.annotate", "TrainSection.objective"} <= named


@pytest.mark.parametrize(("model", "name"), CUSTOM_FIELDS, ids=lambda item: getattr(item, "__name__", item))
def test_a_custom_plug_in_is_found_wherever_the_schema_allows_one(model: type[BaseModel], name: str) -> None:
    """Also in a union of tomorrow: both walks must find it, the check's and the fingerprint's."""
    own = Custom(import_path="mine:Mine")
    many = "tuple" in str(typing.get_type_hints(model)[name])
    config = model.model_construct(**{**dict.fromkeys(model.model_fields), name: (own,) if many else own})
    label = model.model_fields[name].alias or name
    assert [path for path, _ in find_custom(config)] == [f"{label}.0" if many else label]
    assert [plugin for _, plugin in find_plugins(config)] == [own], "resolve's fingerprints would forget it"


def test_a_custom_plug_in_is_found_at_any_depth_of_lists_and_mappings() -> None:
    own = Custom(import_path="mine:Mine")
    assert [path for path, _ in find_custom({"a": [{"b": (own,)}], "c": own})] == ["a.0.b.0", "c"]


def test_the_command_refuses_before_anything_runs(tmp_path: Path, package: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(RECIPE + "train: {objective: {type: custom, import_path: 'tattling:Mine'}}\n")
    done = subprocess.run(
        [sys.executable, "-m", "stillhouse", "run", str(path), "--dry-run", "--workspace", str(tmp_path / "w")],
        env={**os.environ, IMPORTS_ENV: "", "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "train.objective.import_path = 'tattling:Mine': this installation allows no plug-ins" in done.stderr
    assert not package.exists()
    assert done.stdout == ""
