"""The evidence file: the same bytes for the same judgement, and no other is accepted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stillhouse.digest import sha256_file
from stillhouse.errors import RecipeError
from stillhouse.recipe.evaluation import Gate
from stillhouse.registry.evidence import FILE_NAME, read_verdict, write_evidence
from stillhouse.registry.gate import Check, Verdict

GATE = Gate.model_validate({"require": [{"metric": "chain", "min_effect": 5.0}]})
CHECK = Check(
    kind="require", metric="chain", passed=True, text="good", threshold=0.05, difference=0.5, interval=[0.1, 1.0]
)
VERDICT = Verdict(True, (CHECK,), "models:/m/1")


def write(folder: Path) -> str:
    folder.mkdir(exist_ok=True)
    return write_evidence(folder, VERDICT, gate=GATE, seed=3, inputs={"model": {"key": "k"}}, name="m")


def test_the_same_judgement_is_the_same_file_wherever_it_is_written(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a"), write(tmp_path / "b")
    assert first == second == sha256_file(tmp_path / "a" / FILE_NAME)


def test_it_holds_inputs_conditions_numbers_and_the_library(tmp_path: Path) -> None:
    write(tmp_path)
    plain = json.loads((tmp_path / FILE_NAME).read_text())
    assert sorted(plain) == ["against", "checks", "gate", "inputs", "library", "name", "schema", "seed", "verdict"]
    assert plain["checks"][0]["interval"] == [0.1, 1]
    assert plain["gate"]["require"] == [{"metric": "chain", "min_effect": 5, "confidence": 0.95}]


def test_a_verdict_is_read_back_as_it_was(tmp_path: Path) -> None:
    assert read_verdict(tmp_path / FILE_NAME, write(tmp_path)) == VERDICT


def test_evidence_that_was_changed_is_refused(tmp_path: Path) -> None:
    sha256 = write(tmp_path)
    path = tmp_path / FILE_NAME
    path.write_text(path.read_text().replace("passed", "failed"))
    with pytest.raises(RecipeError, match="is not the evidence that was judged"):
        read_verdict(path, sha256)
