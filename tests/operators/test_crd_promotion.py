"""What an API server accepts and refuses as a StudentPromotion, by the generated schema and its CEL rules."""

from __future__ import annotations

from typing import Any

import pytest

from operators.crds.base import parse
from operators.crds.promotion import KIND, PromotionSpec
from stillhouse.errors import RecipeError
from tests.operators.crd_check import accepts, with_defaults

HTTP = {"http": {"url": "http://math:8000/health"}}
COMPLETION = {
    "completion": {"url": "http://math:8000/v1", "model": "math", "prompt": "2+2=", "expectRegex": r"\b4\b"},
    "timeoutSeconds": 20,
}


def _spec(**fields: Any) -> dict[str, Any]:
    return {"student": "math-student", **fields}


def _trial(probe: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return _spec(stabilization={"windowSeconds": 60, "periodSeconds": 10, "probe": probe, **fields})


@pytest.mark.parametrize(
    "spec",
    [
        _spec(),
        _spec(mode="Automatic", drift="Report", suspend=True, historyLimit=1, rollback={"automatic": False}),
        _spec(policy={"requireVerdict": "Passed", "requireChecks": ["require", "licence"], "maxAgeSeconds": 86400}),
        _spec(policy={"evidenceFile": "Required"}),
        _spec(stabilization={"windowSeconds": 1800}),
        _trial(HTTP, failureThreshold=1, initialDelaySeconds=30),
        _trial(COMPLETION),
        _trial({"http": {"url": "https://x/y?v=$(VERSION)", "expectJson": {"version": "$(VERSION)"}}}),
        _trial({"http": {"url": "http://x", "method": "POST", "body": {"a": [1]}, "expectStatus": 204}}),
    ],
)
def test_a_right_resource_is_accepted_by_the_api_server_and_by_the_operator(spec: dict[str, Any]) -> None:
    assert accepts(KIND, spec) == []
    parse(PromotionSpec, {"spec": with_defaults(KIND, spec)})


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({}, "student"),
        (_spec(student="no/slashes"), "student"),
        (_spec(student=""), "student"),
        (_spec(mode="Sometimes"), "mode"),
        (_spec(modus="Manual"), "modus"),
        (_spec(drift="Fight"), "drift"),
        (_spec(policy={"requireVerdict": "Failed"}), "requireVerdict"),
        (_spec(policy={"requireChecks": ["luck"]}), "requireChecks"),
        (_spec(policy={"maxAgeSeconds": 0}), "maxAgeSeconds"),
        (_spec(historyLimit=0), "historyLimit"),
        (_spec(stabilization={"windowSeconds": 10, "periodSeconds": 11}), "periodSeconds may not exceed windowSeconds"),
        (_spec(stabilization={"windowSeconds": 0}), "windowSeconds"),
        (_trial({}), "exactly one of http and completion"),
        (_trial({**HTTP, **COMPLETION}), "exactly one of http and completion"),
        (_trial({"http": {"url": "file:///etc/passwd"}}), "url"),
        (_trial({"http": {"url": "http://"}}), "url"),
        (_trial({"http": {"url": "http://x", "expectStatus": 42}}), "expectStatus"),
        (_trial({"http": {"url": "http://x", "body": {"a": 1}}}), "body needs method POST"),
        (_trial({"completion": {"url": "http://x/v1", "model": "m", "prompt": "p"}}), "expectRegex"),
    ],
)
def test_a_wrong_resource_is_refused_by_the_api_server_and_by_the_operator(spec: dict[str, Any], words: str) -> None:
    told = accepts(KIND, spec)
    assert told
    assert words in " ".join(told)
    with pytest.raises(RecipeError, match="spec"):
        parse(PromotionSpec, {"spec": spec})


def test_a_pattern_that_is_none_is_refused_by_the_operator_with_its_path() -> None:
    wrong = _trial({"completion": {**COMPLETION["completion"], "expectRegex": "("}})  # type: ignore[dict-item]
    with pytest.raises(RecipeError, match=r"spec\.stabilization\.probe\.completion\.expectRegex.*regular expression"):
        parse(PromotionSpec, {"spec": wrong})


def test_the_student_cannot_change_and_all_else_can() -> None:
    assert accepts(KIND, _spec(mode="Automatic"), old_spec=_spec()) == []
    told = accepts(KIND, {"student": "other"}, old_spec=_spec())
    assert "student cannot change" in " ".join(told)


def test_the_columns_are_those_that_people_look_for() -> None:
    columns = [column.name for column in KIND.columns if not column.priority]
    assert [name.upper() for name in columns] == ["CHAMPION", "CHALLENGER", "VERDICT", "APPROVAL", "AGE"]
