"""Rows to files and back."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stillhouse import records
from stillhouse.errors import RecipeError
from stillhouse.records import Problem, Record, Trace, iter_messages, read_rows, trace_key, write_rows

FORMATS = ["rows.parquet", "rows.jsonl"]


def make_trace(**changes: object) -> Trace:
    values: dict[str, object] = {
        "key": "k", "problem_id": "p", "problem_hash": "h", "teacher": "t", "teacher_revision": "r", "prompter": "{}",
        "sampling": "{}", "sample_index": 0, "seed": 17, "reasoning": "1+1=2", "answer": r"\boxed{2}",
    }  # fmt: skip
    return Trace(**{**values, **changes})  # type: ignore[arg-type]


PROBLEM = Problem(id="p", prompt="1+1?", answer="2", source="own", solution="count")
ROWS = [
    (Problem, [PROBLEM, Problem(id="é\u2028\n", prompt="中文 \t", answer="π")]),
    (Problem, []),
    (Trace, [make_trace(), make_trace(key="k2", error="HTTP 500", finish_reason="error", closed=False, seed=2**62)]),
    (Trace, []),
    (
        Record,
        [
            Record(problem=PROBLEM, trace=make_trace(), annotations={"correct": True, "x": [1, {"y": None}], "s": 0.1}),
            Record(problem=PROBLEM, trace=make_trace(), role="dropped", reason="length", weight=0.25),
        ],
    ),
    (Record, []),
]
_TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
_INT = st.integers(min_value=0, max_value=2**63 - 1)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=5,
)
_TRACES = st.builds(
    make_trace,
    key=_TEXT,
    seed=_INT,
    sample_index=_INT,
    reasoning=_TEXT,
    answer=_TEXT,
    closed=st.booleans(),
    error=_TEXT,
)
_PROBLEMS = st.builds(Problem, id=_TEXT, prompt=_TEXT, answer=_TEXT, source=_TEXT, solution=_TEXT)
_RECORDS = st.builds(
    Record,
    problem=_PROBLEMS,
    trace=_TRACES,
    annotations=st.dictionaries(_TEXT, _JSON, max_size=3),
    role=st.sampled_from(["positive", "negative", "dropped"]),
    reason=_TEXT,
    weight=st.floats(allow_nan=False),
)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(("cls", "rows"), ROWS)
def test_what_is_written_is_read_back(tmp_path: Path, name: str, cls: type, rows: list) -> None:
    write_rows(tmp_path / "new" / name, rows, cls)
    assert read_rows(tmp_path / "new" / name, cls) == rows


@pytest.mark.parametrize("name", FORMATS)
@given(rows=st.lists(_RECORDS, max_size=4))
@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_record_survives_a_file(tmp_path: Path, name: str, rows: list[Record]) -> None:
    write_rows(tmp_path / name, rows, Record)
    assert read_rows(tmp_path / name, Record) == rows


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(("cls", "rows"), ROWS)
def test_equal_rows_give_equal_bytes(tmp_path: Path, name: str, cls: type, rows: list) -> None:
    for folder in ("a", "b"):
        write_rows(tmp_path / folder / name, rows, cls)
    assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize("name", FORMATS)
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    write_rows(path, [PROBLEM], Problem)
    with pytest.raises((pa.ArrowException, TypeError, UnicodeEncodeError)):
        write_rows(path, [Problem(id="b", prompt="half \ud83d", answer="1")], Problem)
    assert [item.name for item in tmp_path.iterdir()] == [name]
    assert read_rows(path, Problem) == [PROBLEM]


@pytest.mark.parametrize("name", FORMATS)
def test_a_full_disk_leaves_nothing(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(records.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_rows(tmp_path / name, [PROBLEM], Problem)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("missing.parquet", None, "no such file"),
        ("a.parquet", b"not parquet", "does not hold Problem rows"),
        ("a.jsonl", b"{broken\n", "does not hold Problem rows"),
        ("a.jsonl", b'{"id": "a"}\n', "does not hold Problem rows"),
        ("a.jsonl", b"\xff\n", "does not hold Problem rows"),
        ("a.jsonl", b"[1]\n", "does not hold Problem rows"),
    ],
)
def test_a_file_of_something_else_is_refused_by_name(
    tmp_path: Path, name: str, content: bytes | None, word: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(RecipeError, match=word) as caught:
        read_rows(tmp_path / name, Problem)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_parquet_file_of_other_columns_is_not_filled_with_nothing(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["a"], "question": ["1+1?"]}), tmp_path / "a.parquet")
    with pytest.raises(RecipeError, match="answer, prompt, question, solution, source"):
        read_rows(tmp_path / "a.parquet", Problem)


def test_the_schema_has_the_fields_of_the_rows() -> None:
    assert records.TRACE_SCHEMA.names == list(Trace.__dataclass_fields__)
    assert records.TRACE_SCHEMA.field("seed").type == pa.int64()
    assert records.TRACE_SCHEMA.field("closed").type == pa.bool_()
    assert records.RECORD_SCHEMA.names == list(Record.__dataclass_fields__)


def test_equal_prompts_are_the_same_problem() -> None:
    assert Problem(id="a", prompt="x", answer="1").hash == Problem(id="b", prompt="x", answer="2").hash
    assert Problem(id="a", prompt="x", answer="1").hash != Problem(id="a", prompt="y", answer="1").hash


KEY = {
    "problem_hash": "h", "teacher_revision": "r", "prompter": "{}", "sampling": "{}", "sample_index": 0, "seed": 17,
}  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"problem_hash": "i"}, {"teacher_revision": "s"}, {"prompter": "[]"}, {"sampling": "[]"}, {"sample_index": 1},
        {"seed": 18},
    ],
)  # fmt: skip
def test_a_trace_key_changes_with_everything_that_determines_the_trace(change: dict) -> None:
    assert trace_key(**KEY) == trace_key(**KEY)  # type: ignore[arg-type]
    assert trace_key(**{**KEY, **change}) != trace_key(**KEY)  # type: ignore[arg-type]


def test_records_are_exported_as_messages_with_their_provenance() -> None:
    (row,) = iter_messages([Record(problem=PROBLEM, trace=make_trace())])
    assert [message["role"] for message in row["messages"]] == ["user", "assistant"]
    assert row["messages"][1]["content"] == r"<think>1+1=2</think>\boxed{2}"
    assert row["metadata"]["trace_key"] == "k"
