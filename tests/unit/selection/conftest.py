"""Teachers and students whose answers are known in advance, and a stage harness without MLflow."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from stillhouse.errors import RecipeError, TransientError
from stillhouse.evaluation.arms import Arm
from stillhouse.models.requests import ChatRequest, Reply
from stillhouse.selection import measure
from stillhouse.selection.measure import Judge


class SilentTracker:
    """Stands where the MLflow run of a stage would."""

    def start(self, config: dict[str, Any]) -> None: ...
    def finish(self, summary: Any, payload: Path) -> None: ...


class Oracle:
    """Answers problem ``q<i>`` with ``i``: right on the given share of the problems, at a fixed price each."""

    asked: dict[str, list[str]]

    def __init__(self, name: str, right: float = 1.0, tokens: int = 10, fails: str = "", words: str = "so") -> None:
        self.name, self.revision = name, f"{name}-r1"
        self._right, self._tokens, self._fails, self._words = right, tokens, fails, words
        if fails == "open":
            raise RecipeError(f"model {name}: the folder has no weights; copy them there")

    def generate(self, requests: Sequence[ChatRequest], _sampling: Any) -> Iterator[list[Reply]]:
        for request in requests:
            if self._fails == "ask":
                raise TransientError(f"{self.name}: server unreachable; start it and run again")
            self.asked.setdefault(self.name, []).append(request.key)
            yield [answer(request, self._right, self._tokens, self._words)]


def answer(request: ChatRequest, right: float, tokens: int, words: str = "so") -> Reply:
    """Right on every problem whose number modulo 20 lies below ``right`` x 20."""
    number = int(request.messages[-1]["content"].removeprefix("q"))
    stated = number if number % 20 < round(20 * right) else 9999
    return Reply(key=request.key, text=f"<think>{words}</think>\\boxed{{{stated}}}", completion_tokens=tokens)


@pytest.fixture(autouse=True)
def _no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def no_run(*_args: object) -> Iterator[SilentTracker]:
        yield SilentTracker()

    monkeypatch.setattr("stillhouse.stage.open_run", no_run)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Makes ``fake_teachers:Oracle`` importable; what each was asked."""
    module = ModuleType("fake_teachers")
    oracle = type("Oracle", (Oracle,), {"asked": {}})
    module.Oracle = oracle  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fake_teachers", module)
    found: dict[str, list[str]] = oracle.asked
    return found


@pytest.fixture
def student_right(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Replaces the student's weights by a script that is right on this share; NLL is a tenth of a reply's length."""

    def install(right: float) -> None:
        def model_arm(name: str, _ref: Any, manner: Any, workspace: Any) -> Arm:
            def source(requests: Sequence[ChatRequest]) -> Iterator[list[Reply]]:
                yield [answer(request, right, 5) for request in requests]

            return Arm(name, "s1", source, manner.folder(workspace, f"student {right}"))

        monkeypatch.setattr(measure, "model_arm", model_arm)
        monkeypatch.setattr(measure, "student_nll", lambda _student, examples: len(examples[0][1]) / 10)
        monkeypatch.setattr(Judge, "_loaded_student", None)

    return install


@pytest.fixture
def problems(tmp_path: Path) -> Path:
    """Eighty problems; a probe of forty holds out half of them, by hash."""
    path = tmp_path / "problems.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"q{i}", "answer": str(i)}) + "\n" for i in range(80)))
    return path


@pytest.fixture
def oracle_arm(tmp_path: Path) -> Callable[..., Arm]:
    """An arm that is right on the given share of the problems."""

    def make(right: float, tokens: int = 10) -> Arm:
        def source(requests: Sequence[ChatRequest]) -> Iterator[list[Reply]]:
            yield [answer(request, right, tokens) for request in requests]

        return Arm(f"right-{right}", "r1", source, tmp_path / "replies" / str(right))

    return make
