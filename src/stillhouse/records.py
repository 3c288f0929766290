"""Problem, Trace, Record: the wire format between stages, and its one Arrow schema.

A bad sample is data: a trace whose request failed carries ``error`` and an empty reply. Rows hold no clock
times, so that a resumed run writes the same bytes as an uninterrupted one. This module reads and writes
Parquet and JSONL; it knows neither models nor recipes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from stillhouse.digest import sha256_json, sha256_text
from stillhouse.errors import RecipeError
from stillhouse.reasoning import join_reply

FinishReason = Literal["stop", "length", "error"]
Role = Literal["positive", "negative", "dropped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A question with its gold answer."""

    id: str
    prompt: str
    answer: str
    source: str = ""
    solution: str = ""

    @property
    def hash(self) -> str:
        """Identity of the question itself: equal prompts are the same problem, whatever their ids."""
        return sha256_text(self.prompt)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """One reply of one teacher to one problem. ``seed`` and ``sample_index`` make it reproducible."""

    key: str
    problem_id: str
    problem_hash: str
    teacher: str
    teacher_revision: str
    prompter: str
    sampling: str
    sample_index: int
    seed: int
    reasoning: str
    answer: str
    closed: bool = True
    finish_reason: FinishReason = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0
    error: str = ""

    @property
    def reply(self) -> str:
        """The reply in the one spelling used for training."""
        return join_reply(self.reasoning, self.answer)


def trace_key(
    *, problem_hash: str, teacher_revision: str, prompter: str, sampling: str, sample_index: int, seed: int
) -> str:
    """sha256 over all that determines a trace. Same key, same trace: generation never pays twice.

    ``prompter`` and ``sampling`` are the canonical JSON of their configs.
    """
    return sha256_json([problem_hash, teacher_revision, prompter, sampling, sample_index, seed])


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A problem, a trace of it, and what was said about the trace: annotations are appended, never changed."""

    problem: Problem
    trace: Trace
    annotations: dict[str, Any] = field(default_factory=dict)
    role: Role = "positive"
    reason: str = ""
    weight: float = 1.0


def _columns(cls: type) -> list[pa.Field]:
    kinds = {"str": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}
    return [pa.field(item.name, kinds.get(str(item.type), pa.string()), nullable=False) for item in fields(cls)]


PROBLEM_SCHEMA = pa.schema(_columns(Problem))
TRACE_SCHEMA = pa.schema(_columns(Trace))
RECORD_SCHEMA = pa.schema(
    [
        pa.field("problem", pa.struct(list(PROBLEM_SCHEMA)), nullable=False),
        pa.field("trace", pa.struct(list(TRACE_SCHEMA)), nullable=False),
        pa.field("annotations", pa.string(), nullable=False),
        pa.field("role", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("weight", pa.float64(), nullable=False),
    ]
)
Row = TypeVar("Row", Problem, Trace, Record)
_SCHEMAS: dict[type, pa.Schema] = {Problem: PROBLEM_SCHEMA, Trace: TRACE_SCHEMA, Record: RECORD_SCHEMA}


def to_row(item: Problem | Trace | Record) -> dict[str, Any]:
    """Plain JSON-able dict of ``item``, as it stands in Parquet and JSONL."""
    row = asdict(item)
    if isinstance(item, Record):
        row["annotations"] = json.dumps(item.annotations, sort_keys=True, ensure_ascii=False)
    return row


def from_row(cls: type[Row], row: dict[str, Any]) -> Row:
    if cls is Record:
        return Record(  # type: ignore[return-value]
            problem=Problem(**row["problem"]),
            trace=Trace(**row["trace"]),
            annotations=json.loads(row["annotations"]),
            role=row["role"],
            reason=row["reason"],
            weight=row["weight"],
        )
    return cls(**row)


def write_rows(path: Path, rows: Sequence[Row], cls: type[Row]) -> None:
    """Write ``rows`` to ``path`` (``.parquet`` or ``.jsonl``) whole or not at all: temporary name, sync, rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    plain = [to_row(row) for row in rows]
    try:
        with partial.open("wb") as stream:
            if path.suffix == ".jsonl":
                stream.writelines(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in plain)
            else:
                pq.write_table(pa.Table.from_pylist(plain, schema=_SCHEMAS[cls]), stream, compression="zstd")
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read_rows(path: Path, cls: type[Row]) -> list[Row]:
    """Read what ``write_rows`` wrote.

    Raises:
        RecipeError: the file is missing or is not of this schema.
    """
    if not path.is_file():
        raise RecipeError(f"{path}: no such file; expected {cls.__name__} rows as .parquet or .jsonl")
    try:
        return _read_jsonl(path, cls) if path.suffix == ".jsonl" else _read_parquet(path, cls)
    except (pa.ArrowInvalid, ValueError, TypeError, KeyError) as error:
        cause = " ".join(str(error).split())
        raise RecipeError(f"{path}: does not hold {cls.__name__} rows ({cause}); make it again") from error


def _read_jsonl(path: Path, cls: type[Row]) -> list[Row]:
    with path.open(encoding="utf-8") as stream:
        return [from_row(cls, json.loads(line)) for line in stream if line.strip()]


def _read_parquet(path: Path, cls: type[Row]) -> list[Row]:
    with pq.ParquetFile(path) as file:
        wrong = sorted(set(file.schema_arrow.names) ^ set(_SCHEMAS[cls].names))
        if wrong:
            raise ValueError(f"columns missing or unknown: {', '.join(wrong)}")
        return [from_row(cls, row) for row in file.read().cast(_SCHEMAS[cls]).to_pylist()]


def iter_messages(records: Iterable[Record]) -> Iterator[dict[str, Any]]:
    """Records as ``{"messages": […], "metadata": {…}}``, the JSONL layout other trainers read."""
    for record in records:
        yield {
            "messages": [
                {"role": "user", "content": record.problem.prompt},
                {"role": "assistant", "content": record.trace.reply},
            ],
            "metadata": {
                "problem_id": record.problem.id,
                "answer": record.problem.answer,
                "trace_key": record.trace.key,
                "teacher": record.trace.teacher,
                "role": record.role,
                "reason": record.reason,
            },
        }
