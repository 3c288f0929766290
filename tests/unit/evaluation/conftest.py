"""Models and teachers whose answers are known in advance, and a stage harness without MLflow."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stillhouse.evaluation import arms as arms_module
from stillhouse.models.requests import ChatRequest, Reply
from stillhouse.summary import StageSummary

Answers = Callable[[int, int], str]
"""From the number of a problem and of a sample to the answer that is stated."""


class SilentTracker:
    """Stands where the MLflow run of a stage would."""

    def __init__(self) -> None:
        self.datasets: list[tuple[str, str]] = []

    def start(self, config: dict[str, Any]) -> None: ...
    def finish(self, summary: StageSummary, payload: Path) -> None: ...
    def dataset(self, name: str, *_where: object, context: str) -> None:
        self.datasets.append((name, context))


@pytest.fixture(autouse=True)
def tracker(monkeypatch: pytest.MonkeyPatch) -> SilentTracker:
    found = SilentTracker()

    @contextmanager
    def no_run(*_args: object) -> Iterator[SilentTracker]:
        yield found

    monkeypatch.setattr("stillhouse.stage.open_run", no_run)
    return found


class Scripted:
    """A model by script: problem ``q<i>``, sample ``j`` gets ``answers(i, j)``. Counts every request it answers."""

    def __init__(self, answers: Answers, tokens: int = 10, batch: int = 3) -> None:
        self.answers, self.tokens, self.batch = answers, tokens, batch
        self.asked: list[str] = []
        self.opened = 0
        self.fail_after: int | None = None

    def __call__(self, requests: Sequence[ChatRequest]) -> Iterator[list[Reply]]:
        self.opened += 1
        for start in range(0, len(requests), self.batch):
            if self.fail_after is not None and len(self.asked) >= self.fail_after:
                raise KeyboardInterrupt
            yield [self._reply(request) for request in requests[start : start + self.batch]]

    def _reply(self, request: ChatRequest) -> Reply:
        self.asked.append(request.key)
        number = int(request.messages[-1]["content"].removeprefix("q"))
        answer = self.answers(number, int(request.key.split("-")[1]))
        if answer == "error":
            return Reply(key=request.key, finish_reason="error", error="HTTP 500")
        if answer == "cut":
            return Reply(key=request.key, text="<think>so", finish_reason="length", completion_tokens=self.tokens)
        text = f"<think>thinking</think>\\boxed{{{answer}}}"
        return Reply(key=request.key, text=text, completion_tokens=self.tokens)


@pytest.fixture
def scripted_models(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes ``evaluate_student`` find these scripts where it would load models; by arm."""

    def install(**scripts: Scripted) -> None:
        def model_arm(name: str, ref: Any, manner: Any, workspace: Any) -> arms_module.Arm:
            folder = manner.folder(workspace, f"{name} {ref.model}")
            return arms_module.Arm(name, name, scripts[name], folder)

        def teacher_arm(name: str, config: Any, manner: Any, workspace: Any) -> arms_module.Arm:
            folder = manner.folder(workspace, f"teacher {config.name}")
            return arms_module.Arm(name, "r1", scripts[name], folder, arms_module.TransientError)

        monkeypatch.setattr("stillhouse.evaluation.stage.model_arm", model_arm)
        monkeypatch.setattr("stillhouse.evaluation.stage.teacher_arm", teacher_arm)

    return install


def write_problems(path: Path, count: int) -> Path:
    """Problem ``q<i>`` with the answer ``i``."""
    path.write_text("".join(json.dumps({"prompt": f"q{i}", "answer": str(i)}) + "\n" for i in range(count)))
    return path


@pytest.fixture
def problems(tmp_path: Path) -> Path:
    return write_problems(tmp_path / "items.jsonl", 8)


@pytest.fixture
def artifacts(tmp_path: Path) -> dict[str, Path]:
    """Upstream folders as ``train_student`` and ``select_teacher`` would leave them, the models being scripts."""
    trained, chosen = tmp_path / "trained", tmp_path / "chosen"
    for folder in (trained / "model", trained / "control", chosen):
        folder.mkdir(parents=True)
    StageSummary(stage="train_student", key="t").write(trained)
    StageSummary(stage="select_teacher", key="s").write(chosen)
    teacher = {"type": "openai", "name": "oracle", "model": "o", "endpoints": ["http://127.0.0.1:9/v1"]}
    (chosen / "teacher.json").write_text(json.dumps({"decision": "distil", "teacher": teacher}))
    return {"model": trained, "teacher": chosen}


def config_for(problems: Path, samples: int = 1, **evaluate: Any) -> dict[str, Any]:
    benchmark = {"name": "sums", "problems": {"type": "file", "path": str(problems)}, "samples": samples}
    return {"student": {"model": "student"}, "evaluate": {"benchmarks": [benchmark], **evaluate}}


@pytest.fixture
def make_config(problems: Path) -> Callable[..., dict[str, Any]]:
    return lambda **options: config_for(problems, **options)


@pytest.fixture
def script() -> type[Scripted]:
    return Scripted
