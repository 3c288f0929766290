"""The four CustomResourceDefinitions: valid for every supported Kubernetes, structural, documented, in force."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from operators.crds import kinds
from operators.crds.base import Kind
from operators.crds.run import KIND as RUN
from operators.crds.schedule import KIND as SCHEDULE
from tests.operators.crd_check import accepts, compiled, with_defaults

ROOT = Path(__file__).parents[2]
KINDS = kinds()
RECIPE = {
    "name": "math",
    "data": {"problems": {"type": "file", "path": "s3://b/p.jsonl"}},
    "odd": [1, None, {"a": 2.5}],
}
FROM = {"configMapKeyRef": {"name": "recipes", "key": "math.yaml"}}
each = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.resource.kind)


def _schema(kind: Kind) -> Mapping[str, Any]:
    schema: Mapping[str, Any] = kind.definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def _nodes(node: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield path, node
    for key, part in node.get("properties", {}).items():
        yield from _nodes(part, f"{path}.{key}")
    for key in ("items", "additionalProperties"):
        if isinstance(node.get(key), Mapping):
            yield from _nodes(node[key], f"{path}[]")


def test_there_are_four_kinds_with_names_of_their_own() -> None:
    assert len(KINDS) == 4
    names = [name for kind in KINDS for name in (*kind.short_names, kind.resource.plural, kind.resource.kind.lower())]
    assert len(set(names)) == len(names)


@each
@pytest.mark.parametrize("version", ["1.33", "1.34", "1.35", "1.36"])
def test_a_definition_is_valid_for_kubernetes(kind: Kind, version: str) -> None:
    kubernetes_validate.validate(kind.definition(), version, strict=True)


@each
def test_a_schema_is_structural_and_says_what_every_field_is(kind: Kind) -> None:
    seen = 0
    for path, node in _nodes(_schema(kind)):
        seen += 1
        assert not {"$ref", "$defs", "anyOf", "oneOf", "allOf", "not", "const", "title"} & set(node), path
        assert node.get("type") in ("object", "array", "string", "integer", "number", "boolean") or node.get(
            "x-kubernetes-int-or-string"
        ), path
        assert "null" not in str(node.get("enum")), path
        assert all(node.get(flag, True) is True for flag in ("exclusiveMinimum", "exclusiveMaximum")), path
        # Go's regular expressions look neither ahead nor back.
        assert not any(text in node.get("pattern", "") for text in ("(?=", "(?!", "(?<", "\\Z")), path
        named = path.rpartition(".")[2] not in ("apiVersion", "kind", "metadata", "") and not path.endswith("[]")
        assert node.get("description") or not named, f"{path} has no description"
    assert seen > 20


@each
def test_a_status_has_no_defaults_for_they_would_be_written_for_ever(kind: Kind) -> None:
    found = [path for path, node in _nodes(_schema(kind)["properties"]["status"]) if "default" in node]
    assert found == []


@each
def test_every_printer_column_reads_a_field_that_exists(kind: Kind) -> None:
    assert kind.columns
    for column in kind.columns:
        node: Mapping[str, Any] = _schema(kind)
        for part in column.json_path.strip(".").split("."):
            if part == "metadata":
                break
            assert part in node["properties"], column.json_path
            node = node["properties"][part]
        else:
            assert node["type"] == column.type or (column.type, node["type"]) == ("date", "string"), column.name


@each
def test_every_rule_is_cel_and_speaks(kind: Kind) -> None:
    rules = [rule for _, node in _nodes(_schema(kind)) for rule in node.get("x-kubernetes-validations", ())]
    assert rules
    for rule in rules:
        compiled(rule["rule"])
        assert rule["message"]
        assert "\n" not in rule["message"]


def test_the_charts_definitions_are_the_generated_ones() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "operators.crds", "--check"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


RUN_SPECS: list[tuple[dict[str, Any], str]] = [
    ({"recipe": RECIPE}, ""),
    ({"recipeFrom": FROM}, ""),
    ({"recipeFrom": {"configMapKeyRef": {"name": "recipes"}}}, ""),
    ({"recipe": RECIPE, "set": ["seed=7", "train.plan.0.epochs=2"], "deadlineSeconds": 3600}, ""),
    ({"recipe": RECIPE, "ttlSecondsAfterFinished": 0}, ""),
    ({}, "write either recipe"),
    ({"recipe": RECIPE, "recipeFrom": FROM}, "write either recipe"),
    ({"recipe": {}}, "recipe"),
    ({"recipe": "name: math"}, "recipe"),
    ({"recipeFrom": {}}, "configMapKeyRef"),
    ({"recipeFrom": {"configMapKeyRef": {"name": "Recipes"}}}, "configMapKeyRef.name"),
    ({"recipeFrom": {"configMapKeyRef": {"name": "recipes", "key": "a/b"}}}, "configMapKeyRef.key"),
    ({"recipe": RECIPE, "set": ["seed"]}, "set.0"),
    ({"recipe": RECIPE, "set": ["a=b"] * 65}, "set"),
    ({"recipe": RECIPE, "deadlineSeconds": 5}, "deadlineSeconds"),
    ({"recipe": RECIPE, "deadlineSeconds": "1h"}, "deadlineSeconds"),
    ({"recipe": RECIPE, "ttlSecondsAfterFinished": -1}, "ttlSecondsAfterFinished"),
    ({"recipe": RECIPE, "suspend": True}, "suspend"),
]


@pytest.mark.parametrize(("spec", "refusal"), RUN_SPECS)
def test_runs_that_are_accepted_and_refused(spec: dict[str, Any], refusal: str) -> None:
    said = accepts(RUN, spec)
    assert bool(said) == bool(refusal), said
    assert not refusal or refusal in "; ".join(said)


@pytest.mark.parametrize(
    ("old", "new", "refusal"),
    [
        ({"recipe": RECIPE}, {"recipe": RECIPE, "deadlineSeconds": 60, "ttlSecondsAfterFinished": 5}, ""),
        ({"recipe": RECIPE, "deadlineSeconds": 90}, {"recipe": RECIPE}, ""),
        ({"recipe": RECIPE}, {"recipe": {**RECIPE, "seed": 1}}, "recipe cannot be changed"),
        ({"recipe": RECIPE}, {"recipeFrom": FROM}, "cannot be changed"),
        ({"recipeFrom": FROM}, {"recipeFrom": {"configMapKeyRef": {"name": "other"}}}, "recipeFrom cannot be changed"),
        ({"recipe": RECIPE}, {"recipe": RECIPE, "set": ["a=1"]}, "overrides cannot be changed"),
        ({"recipe": RECIPE, "set": ["a=1"]}, {"recipe": RECIPE, "set": ["a=2"]}, "overrides cannot be changed"),
        ({"recipe": RECIPE, "set": ["a=1"]}, {"recipe": RECIPE, "set": ["a=1"]}, ""),
    ],
)
def test_a_run_is_fixed_once_it_is_written(old: dict[str, Any], new: dict[str, Any], refusal: str) -> None:
    said = accepts(RUN, new, old)
    assert bool(said) == bool(refusal), said
    assert refusal in "; ".join(said)


SCHEDULE_SPECS: list[tuple[dict[str, Any], str]] = [
    ({"schedule": "0 2 * * *"}, ""),
    ({"schedule": "@daily", "timeZone": "Europe/Berlin", "suspend": True, "concurrencyPolicy": "Replace"}, ""),
    ({"triggers": {"dataEvery": "1h"}}, ""),
    ({"schedule": "", "triggers": {"teacherEvery": "1d", "registry": {"name": "m", "alias": "champion"}}}, ""),
    ({"triggers": {"registry": {"name": "m", "event": "VersionCreated", "every": "10m"}}}, ""),
    ({"schedule": "0 2 * * *", "runTemplate": {"labels": {"team": "a"}, "annotations": {"x/y": "z"}}}, ""),
    ({"schedule": "0 2 * * *", "jitterSeconds": 600, "catchUp": True, "maxCatchUp": 3, "deadlineSeconds": 7200}, ""),
    ({}, "name a time"),
    ({"schedule": ""}, "name a time"),
    ({"schedule": "TZ=Europe/Berlin 0 2 * * *"}, "timeZone"),
    ({"schedule": "CRON_TZ=UTC 0 2 * * *"}, "timeZone"),
    ({"schedule": "0 2 * * *", "recipeFrom": FROM}, "write either recipe"),
    ({"schedule": "0 2 * * *", "concurrencyPolicy": "Queue"}, "concurrencyPolicy"),
    ({"schedule": "0 2 * * *", "suspend": "no"}, "suspend"),
    ({"schedule": "0 2 * * *", "startingDeadlineSeconds": 1}, "startingDeadlineSeconds"),
    ({"schedule": "0 2 * * *", "maxCatchUp": 1000}, "maxCatchUp"),
    ({"schedule": "0 2 * * *", "jitterSeconds": -1}, "jitterSeconds"),
    ({"schedule": "0 2 * * *", "failedRunsHistoryLimit": -1}, "failedRunsHistoryLimit"),
    ({"schedule": "0 2 * * *", "timezone": "Europe/Berlin"}, "timezone"),
    ({"schedule": "x" * 257}, "schedule"),
    ({"triggers": {}}, "at least one of"),
    ({"triggers": {"dataEvery": "soon"}}, "dataEvery"),
    ({"triggers": {"dataEvery": "30s"}}, "dataEvery"),
    ({"triggers": {"registry": {"name": "m"}}}, "write either alias or event"),
    ({"triggers": {"registry": {"name": "m", "alias": "a", "event": "VersionCreated"}}}, "write either alias or event"),
    ({"triggers": {"registry": {"name": "m", "event": "Deleted"}}}, "event"),
]


@pytest.mark.parametrize(("spec", "refusal"), SCHEDULE_SPECS)
def test_schedules_that_are_accepted_and_refused(spec: dict[str, Any], refusal: str) -> None:
    said = accepts(SCHEDULE, {"recipe": RECIPE, **spec})
    assert bool(said) == bool(refusal), said
    assert refusal in "; ".join(said)


@pytest.mark.parametrize(("spec", "refusal"), [case for case in SCHEDULE_SPECS if not case[1]])
def test_every_schedule_may_become_any_other(spec: dict[str, Any], refusal: str) -> None:
    for other, _ in [case for case in SCHEDULE_SPECS if not case[1]]:
        assert accepts(SCHEDULE, {"recipe": RECIPE, **spec}, {"recipeFrom": FROM, **other}) == []


@pytest.mark.parametrize(
    ("kind", "name", "fits"),
    [
        (SCHEDULE, "nightly", True), (SCHEDULE, "a" * 47, True), (SCHEDULE, "a" * 48, False),
        (SCHEDULE, "a.b", False), (SCHEDULE, "7", True), (RUN, "a" * 57, True), (RUN, "a" * 58, False),
        (RUN, "a.b", False), (RUN, "-a", False),
    ],
)  # fmt: skip
def test_names_leave_room_for_what_is_made_of_them(kind: Kind, name: str, fits: bool) -> None:
    spec = {"recipe": RECIPE} | ({"schedule": "0 2 * * *"} if kind is SCHEDULE else {})
    assert (accepts(kind, spec, metadata={"name": name}) == []) is fits


def test_defaults_are_what_the_docs_say() -> None:
    stored = with_defaults(SCHEDULE, {"recipe": RECIPE, "schedule": "0 2 * * *"})
    assert stored == {
        "recipe": RECIPE, "schedule": "0 2 * * *", "timeZone": "Etc/UTC", "suspend": False, "catchUp": False,
        "concurrencyPolicy": "Forbid", "startingDeadlineSeconds": 3600, "maxCatchUp": 10, "jitterSeconds": 0,
        "successfulRunsHistoryLimit": 3, "failedRunsHistoryLimit": 1, "skipIfUnchanged": True,
    }  # fmt: skip
