"""Teachers that count what they generate, an MLflow that is not there, and the files that a shard needs."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stillhouse.models.requests import ChatRequest, Reply, failed
from stillhouse.recipe.stages import GenerateConfig
from stillhouse.recipe.teacher import Sampling
from stillhouse.recipe.teacher import TransformersTeacher as TransformersConfig
from stillhouse.summary import StageSummary
from stillhouse.teachers.transformers_teacher import TransformersTeacher


class Diary:
    """A file in which a teacher writes the key of every reply that it finished, also when it is killed later."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def write(self, replies: Sequence[Reply]) -> None:
        with self.path.open("a", encoding="utf-8") as stream:
            stream.writelines(f"{reply.key}\n" for reply in replies)

    @property
    def counts(self) -> Counter[str]:
        return Counter(self.path.read_text(encoding="utf-8").split()) if self.path.exists() else Counter()


class ScriptedTeacher:
    """Answers at once. Prompts with "fail" in them get errors, prompts with "empty" (or all, if ``silent``) nothing."""

    def __init__(
        self, *, diary: str, name: str = "scripted", batch: int = 4, silent: bool = False, mute: bool = False
    ) -> None:
        self.name, self.revision = name, "r1"
        self.mended = Path(diary).with_name("mended")
        self._diary, self._batch, self._silent, self._mute = Diary(diary), batch, silent, mute

    def generate(self, requests: Sequence[ChatRequest], _sampling: Sampling) -> Iterator[list[Reply]]:
        for start in range(0, 0 if self._mute else len(requests), self._batch):
            replies = [self._reply(request) for request in requests[start : start + self._batch]]
            self._diary.write(replies)
            yield replies

    def _reply(self, request: ChatRequest) -> Reply:
        prompt = request.messages[-1]["content"]
        if "fail" in prompt and not self.mended.exists():
            return failed(request.key, "HTTP 500: oops")
        text = "" if self._silent or "empty" in prompt else f"<think>{prompt}:{request.seed}</think>\\boxed{{1}}"
        return Reply(key=request.key, text=text, prompt_tokens=3, completion_tokens=10)


class SlowTinyTeacher:
    """A real tiny model that takes its time before every batch and counts what it said."""

    def __init__(self, *, model: str, diary: str, delay_s: float, batch: int = 4) -> None:
        self._inner = TransformersTeacher(TransformersConfig(name="slow", model=model, batch_size=batch))
        self.name, self.revision = self._inner.name, self._inner.revision
        self._diary, self._delay_s = Diary(diary), delay_s

    def generate(self, requests: Sequence[ChatRequest], sampling: Sampling) -> Iterator[list[Reply]]:
        batches = self._inner.generate(requests, sampling)
        while True:
            time.sleep(self._delay_s)
            replies = next(batches, None)
            if replies is None:
                return
            self._diary.write(replies)
            yield replies


class NoTracker:
    """Stands in for an MLflow run."""

    def start(self, config: Any) -> None: ...
    def finish(self, summary: Any, payload: Any) -> None: ...


@contextmanager
def no_run(*_: Any) -> Iterator[NoTracker]:
    yield NoTracker()


def write_problems(path: Path, prompts: Sequence[str]) -> Path:
    rows = [
        json.dumps({"id": f"{path.stem}-{index}", "prompt": text, "answer": "1"}) for index, text in enumerate(prompts)
    ]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def write_teacher(folder: Path, config: dict[str, Any], decision: str = "distil") -> Path:
    """What ``select_teacher`` leaves behind."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "teacher.json").write_text(json.dumps({"decision": decision, "teacher": config}), encoding="utf-8")
    StageSummary(stage="select_teacher", key=f"key-{folder.name}").write(folder)
    return folder


def custom(cls: type, **options: Any) -> dict[str, Any]:
    return {"type": "custom", "import_path": f"{cls.__module__}:{cls.__name__}", "options": options}


def shard_config(problems: Path, **traces: Any) -> GenerateConfig:
    settings = {"shards": 1, "sampling": {"temperature": 1.0, "max_tokens": 12}, **traces}
    source = {"type": "file", "path": str(problems), "columns": {"id": "id"}}
    return GenerateConfig.model_validate({"problems": source, "probe": 4, "traces": settings})
