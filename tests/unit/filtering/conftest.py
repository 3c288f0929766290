"""Builders of problems, traces and records for the filter's tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stillhouse.digest import sha256_json
from stillhouse.reasoning import split_reply
from stillhouse.records import Problem, Record, Trace, trace_key, write_rows
from stillhouse.summary import StageSummary

MakeRecord = Callable[..., Record]
MakeShard = Callable[..., Path]


def _problem(prompt: str, answer: str) -> Problem:
    return Problem(id=f"id-{prompt}", prompt=prompt, answer=answer, source="test")


def _trace(problem: Problem, reply: str, sample: int = 0, **fields: Any) -> Trace:
    reasoning, answer, closed = split_reply(reply)
    key = trace_key(
        problem_hash=problem.hash, teacher_revision="r1", prompter="{}", sampling="{}", sample_index=sample, seed=17
    )
    values: dict[str, Any] = {
        "key": key,
        "problem_id": problem.id,
        "problem_hash": problem.hash,
        "teacher": "t",
        "teacher_revision": "r1",
        "prompter": "{}",
        "sampling": "{}",
        "sample_index": sample,
        "seed": 17,
        "reasoning": reasoning,
        "answer": answer,
        "closed": closed,
        "completion_tokens": len(reply.split()),
    }
    return Trace(**{**values, **fields})


@pytest.fixture(scope="session")
def make_record() -> MakeRecord:
    """``make_record(reply, gold="7", prompt="q", sample=0, annotations={}, **trace fields)``."""

    def make(
        reply: str = "<think>3+4</think>\\boxed{7}",
        gold: str = "7",
        prompt: str = "3+4?",
        sample: int = 0,
        annotations: dict[str, Any] | None = None,
        **fields: Any,
    ) -> Record:
        problem = _problem(prompt, gold)
        return Record(problem=problem, trace=_trace(problem, reply, sample, **fields), annotations=annotations or {})

    return make


@pytest.fixture
def make_shard(tmp_path: Path) -> MakeShard:
    """``make_shard(number, records, of=2)`` writes a shard as ``generate_traces`` does."""

    def make(number: int, records: list[Record], of: int = 2) -> Path:
        folder = tmp_path / f"shard-{number}"
        folder.mkdir(exist_ok=True)
        problems = {record.problem.hash: record.problem for record in records}
        write_rows(folder / "problems.parquet", list(problems.values()), Problem)
        write_rows(folder / "traces.parquet", [record.trace for record in records], Trace)
        details = {"shard": number, "shards": of}
        key = sha256_json([number, of, [[record.trace.key, record.trace.reply] for record in records]])
        StageSummary(stage="generate_traces", key=key[:32], part=str(number), details=details).write(folder)
        return folder

    return make


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One workspace for all tests: making its MLflow database takes seconds, and keys keep the work apart."""
    return tmp_path_factory.mktemp("workspace")
