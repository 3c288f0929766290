"""Problems from every kind of file and layout, and everything that is refused on the way."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stillhouse.data import load_problems
from stillhouse.digest import sha256_file
from stillhouse.errors import RecipeError
from stillhouse.progress import Progress
from stillhouse.recipe.data import Columns, FileProblems, ZooProblems
from stillhouse.recipe.sources import source_digest
from stillhouse.zoo import tasks

DATA = Path(__file__).parents[2] / "data"
SHARED = Path(__file__).parents[4] / "shared" / "data"
ROWS = [{"prompt": "1+1?", "answer": "2"}, {"prompt": "2+2?", "answer": "4"}, {"prompt": "3+3 in €?", "answer": "6 €"}]


class Heard(Progress):
    """Progress that keeps what was said."""

    def __init__(self) -> None:
        super().__init__("test")
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def write(path: Path, rows: list[dict[str, Any]]) -> FileProblems:
    name = path.name
    if name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif ".csv" in name:
        with gzip.open(path, "wt", newline="") if name.endswith(".gz") else path.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        path.write_bytes(gzip.compress(text.encode(), mtime=0) if name.endswith(".gz") else text.encode())
    return FileProblems(path=str(path))


def refusal(source: FileProblems, share: float = 0.0) -> str:
    with pytest.raises(RecipeError) as caught:
        load_problems(source, share, Heard())
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.csv", "a.csv.gz", "a.parquet", "A.JSONL"])
def test_every_kind_of_file_gives_the_same_problems(tmp_path: Path, name: str) -> None:
    problems = load_problems(write(tmp_path / name, ROWS))
    assert [(item.prompt, item.answer) for item in problems] == [(row["prompt"], row["answer"]) for row in ROWS]
    assert {item.source for item in problems} == {name.partition(".")[0]}
    assert len({item.id for item in problems}) == 3


def test_a_file_uri_is_a_path(tmp_path: Path) -> None:
    write(tmp_path / "a b.jsonl", ROWS)
    assert len(load_problems(FileProblems(path=f"file://{tmp_path}/a%20b.jsonl"))) == 3


def test_gsm8k_is_recognised(tmp_path: Path) -> None:
    problems = load_problems(FileProblems(path=str(DATA / "gsm8k" / "train.jsonl")))
    assert (len(problems), problems[0].id, problems[0].answer) == (8, "gsm8k-train-0", "72")
    assert problems[0].solution.startswith("Natalia sold 48/2 = 24 clips in May.")
    assert problems[7].answer == "1080"
    assert len(load_problems(FileProblems(path=str(DATA / "gsm8k" / "test.jsonl")))) == 8


@pytest.mark.parametrize(("name", "first"), [("pool", "p-"), ("five_hundred", "own/prealgebra/0.json")])
def test_both_layouts_of_math_are_recognised(name: str, first: str) -> None:
    problems = load_problems(FileProblems(path=str(DATA / "math_layout" / f"{name}.jsonl")))
    answers = ["59", r"\frac{3}{4}", "7", "10", r"\left(0, 1\right)", "1", "29", r"-\frac{1}{2}"]
    assert [item.answer for item in problems] == answers
    assert problems[0].id.startswith(first)
    assert r"\boxed{59}" in problems[0].solution


@pytest.mark.parametrize(
    ("layout", "row", "answer"),
    [
        ("table", {"prompt": "q", "answer": r"so \boxed{\frac{1}{2}}."}, r"\frac{1}{2}"),
        ("table", {"prompt": "q", "answer": "work\n#### 1,234"}, "1234"),
        ("table", {"prompt": "q", "answer": "x, y"}, "x, y"),
        ("table", {"prompt": "q", "answer": 18}, "18"),
        ("table", {"prompt": "q", "answer": 18.0}, "18"),
        ("table", {"prompt": "q", "answer": 0}, "0"),
        ("table", {"prompt": "q", "answer": 0.5}, "0.5"),
        ("table", {"prompt": "q", "answer": False}, "false"),
        ("gsm8k", {"question": "q", "answer": "#### -3"}, "-3"),
        ("math", {"problem": "q", "solution": r"\boxed{4}"}, "4"),
        ("math", {"problem": "q", "answer": "4"}, "4"),
    ],
)
def test_gold_answers_are_read(tmp_path: Path, layout: Any, row: dict[str, Any], answer: str) -> None:
    source = write(tmp_path / "a.jsonl", [row]).model_copy(update={"layout": layout})
    assert load_problems(source)[0].answer == answer


def test_columns_are_mapped(tmp_path: Path) -> None:
    source = write(tmp_path / "a.csv", [{"no": 7, "question": "q", "gold": "4", "steps": "2+2"}])
    columns = Columns(prompt="question", answer="gold", id="no", solution="steps")
    (problem,) = load_problems(source.model_copy(update={"columns": columns}))
    assert (problem.id, problem.prompt, problem.answer, problem.solution) == ("7", "q", "4", "2+2")


def test_an_explicit_mapping_wins_over_a_layout_that_looks_right(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", [{"question": "q", "answer": "#### 4", "rewritten": "r"}])
    columns = Columns(prompt="rewritten")
    assert load_problems(source.model_copy(update={"columns": columns}))[0].prompt == "r"


@pytest.mark.parametrize(
    ("rows", "changes", "words"),
    [
        ([{"promt": "q", "answer": "1"}], {}, "it has answer, promt; did you mean promt?; set columns.prompt"),
        ([{"question": "q", "answer": "1"}], {}, "has no column 'prompt'; it has answer, question; set columns.prompt"),
        ([{"prompt": "q"}], {}, "has no column 'answer'; it has prompt; set columns.answer"),
        ([{"prompt": "q", "answer": "1"}], {"columns": Columns(id="uid")}, "has no column 'uid'"),
        ([{"prompt": "q", "answer": "1"}], {"layout": "gsm8k"}, "has no column 'question'"),
        ([{"problem": "q"}], {"layout": "math"}, "has no column 'solution'"),
    ],
)  # fmt: skip
def test_a_missing_column_is_named_with_those_that_exist(
    tmp_path: Path, rows: list[dict[str, Any]], changes: dict[str, Any], words: str
) -> None:
    source = write(tmp_path / "a.jsonl", rows).model_copy(update=changes)
    text = refusal(source)
    assert text.startswith(f"{source.path}: ")
    assert words in text


GOOD = b'{"prompt": "1+1?", "answer": "2"}\n'
BAD_LINES = [
    (b'{"prompt": "q"}\n', "problem without an answer"),
    (b'{"prompt": "q", "answer": ""}\n', "problem without an answer"),
    (b'{"prompt": "q", "answer": null}\n', "problem without an answer"),
    (b'{"prompt": "q", "answer": NaN}\n', "problem without an answer"),
    (b'{"prompt": " ", "answer": "1"}\n', "empty prompt"),
    (b'{"prompt": "q", "answer": [1]}\n', "holds a list, not text or a number"),
    (b'{"prompt": "q", "answer": \n', "broken JSON (Expecting value"),
    (b"[1, 2]\n", "not a JSON object"),
    (b'{"prompt": "q\xff", "answer": "1"}\n', "not valid UTF-8 (byte 0xff at offset 47)"),
    (b'{"prompt": "\\ud83d", "answer": "1"}\n', "half of a surrogate pair"),
    (b"[" * 100_000 + b"\n", "broken JSON (nested too deeply)"),
]


@pytest.mark.parametrize(("line", "words"), BAD_LINES, ids=[words for _, words in BAD_LINES])
def test_a_bad_row_is_refused_with_its_place_and_dropped_where_that_is_allowed(
    tmp_path: Path, line: bytes, words: str
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(GOOD + line + b'{"prompt": "2+2?", "answer": "4"}\n')
    source = FileProblems(path=str(path))
    text = refusal(source)
    assert text.startswith(f"{path}:2: ")
    assert words in text
    assert "1 of 3 rows are bad, data.max_bad_share allows 0" in text
    heard = Heard()
    assert [item.answer for item in load_problems(source, 0.34, heard)] == ["2", "4"]
    (told,) = heard.lines
    assert told.startswith(f"{path}: 3 rows, 1 bad dropped (")
    assert words.partition(" (")[0] in told
    assert "1 of 3 rows are bad" in refusal(source, 0.33)


def test_the_offset_of_a_bad_byte_counts_from_the_start_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"prompt": "\xff"}\n')
    assert "a.jsonl:1: not valid UTF-8 (byte 0xff at offset 15)" in refusal(
        FileProblems(path=str(tmp_path / "a.jsonl"))
    )


def test_many_bad_rows_are_told_by_the_first_few(tmp_path: Path) -> None:
    text = refusal(write(tmp_path / "a.jsonl", [{"prompt": f"q{n}", "answer": ""} for n in range(9)]))
    assert text.count("problem without an answer") == 5
    assert "and 4 more (9 of 9 rows are bad" in text


def test_a_byte_order_mark_is_no_part_of_the_first_row(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + GOOD)
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbfprompt,answer\r\n1+1?,2\r\n")
    for name in ("a.jsonl", "a.csv"):
        assert load_problems(FileProblems(path=str(tmp_path / name)))[0].answer == "2"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", b"", "no problems (0 rows)"),
        ("a.jsonl", b"\n \n", "no problems (0 rows)"),
        ("a.csv", b"", "no problems (0 rows)"),
        ("a.csv", b"prompt,answer\n", "no problems (0 rows)"),
        ("a.csv", b"prompt,answer\nq,1\nr\n", "a.csv:3: 1 cells under 2 columns"),
        ("a.csv", b'prompt,answer\n"q\nq",1\nr,2,3\n', "a.csv:4: 3 cells under 2 columns"),
        ("a.csv", b"prompt,answer\nq,\xff\n", "a.csv:2: not valid UTF-8 (byte 0xff at offset 16)"),
        ("a.csv", b"prompt,prompt\nq,1\n", "the column 'prompt' stands twice"),
        ("a.csv", b'prompt,answer\n"q,1\n', "not valid CSV"),
        ("a.jsonl.gz", b"plain text", "is not a whole gzip file"),
        ("a.jsonl.gz", gzip.compress(GOOD * 100, mtime=0)[:-9], "is not a whole gzip file"),
        ("a.parquet", b"PAR1 but not", "not a readable Parquet file"),
        ("a.json", b"[]", "supported: .jsonl, .csv, .parquet, .jsonl.gz, .csv.gz; did you mean .jsonl?"),
        ("noext", GOOD, "cannot tell its kind by its name"),
    ],
)
def test_a_file_that_holds_no_problems_is_refused(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    text = refusal(FileProblems(path=str(tmp_path / name)), 0.0)
    assert words in text
    assert str(tmp_path / name) in text


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    assert refusal(FileProblems(path=str(tmp_path / "no.jsonl"))) == f"{tmp_path / 'no.jsonl'}: no such file"
    assert "is a folder" in refusal(FileProblems(path=str(tmp_path)))


def test_line_separators_inside_text_end_no_line(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", [{"prompt": "a\u2028b\x85c", "answer": "1"}])
    assert load_problems(source)[0].prompt == "a\u2028b\x85c"


def test_equal_prompts_are_kept_once_and_other_answers_are_told(tmp_path: Path) -> None:
    rows = [{"prompt": "q", "answer": "1"}, {"prompt": " q ", "answer": "1"}, {"prompt": "q", "answer": "2"}]
    source, heard = write(tmp_path / "a.jsonl", rows), Heard()
    assert [item.answer for item in load_problems(source, 0.0, heard)] == ["1"]
    assert heard.lines == [
        f"{source.path}: 3 rows, 2 repeated prompts dropped, 1 of them with another answer than the first"
    ]


def test_an_id_that_stands_for_two_problems_is_refused(tmp_path: Path) -> None:
    rows = [{"id": "x", "prompt": "a", "answer": "1"}, {"id": "x", "prompt": "b", "answer": "1"}]
    source = write(tmp_path / "a.jsonl", rows).model_copy(update={"columns": Columns(id="id")})
    assert "the id 'x' stands for 2 different problems" in refusal(source)


def test_a_limit_takes_the_first_and_looks_no_further(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", [*ROWS, {"prompt": "bad", "answer": ""}])
    assert [item.answer for item in load_problems(source.model_copy(update={"limit": 2}))] == ["2", "4"]


def test_ids_depend_on_the_text_alone(tmp_path: Path) -> None:
    one = load_problems(write(tmp_path / "a.jsonl", ROWS))
    other = load_problems(write(tmp_path / "b.jsonl", ROWS[::-1]))
    assert [item.id for item in one] == [item.id for item in other][::-1]


def test_content_that_changed_since_the_recipe_was_resolved_is_refused(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", ROWS)
    source = source.model_copy(update={"digest": sha256_file(tmp_path / "a.jsonl")})
    assert len(load_problems(source)) == 3
    write(tmp_path / "a.jsonl", ROWS[:2])
    assert "the problems changed since the recipe was resolved" in refusal(source)


def test_zoo_problems_are_made() -> None:
    source = ZooProblems(families={"chain": 5, "swap": 3}, split="eval", seed=2)
    problems = load_problems(source)
    assert [item.source for item in problems] == ["chain"] * 5 + ["swap"] * 3
    assert load_problems(source) == problems
    sealed = source.model_copy(update={"digest": source_digest(source)})
    assert load_problems(sealed) == problems
    with pytest.raises(RecipeError, match=r"zoo problems \(eval\): the problems changed"):
        load_problems(sealed.model_copy(update={"seed": 3}))


def test_more_zoo_problems_than_there_are_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "_MAX_MISSES", 0)
    with pytest.raises(RecipeError, match=r"zoo problems \(eval\): families\.facts = 1000: count is 1000"):
        load_problems(ZooProblems(families={"facts": 1000}, split="eval"))


def test_the_schema_knows_the_zoos_families() -> None:
    from typing import get_args

    from stillhouse.recipe.data import Family

    assert get_args(Family) == tasks.FAMILIES


needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason="the shared development data is not beside this checkout (../shared/data)"
)


@needs_shared
@pytest.mark.parametrize(
    ("file", "count", "first", "answer"),
    [
        ("gsm8k/train.jsonl", 7473, "gsm8k-train-0", "72"),
        ("gsm8k/test_dev.jsonl", 684, "gsm8k-test-1", "3"),
        ("math/math_test_minus500.jsonl", 4500, "math-test-0", "2"),
        ("math/math500_dev.jsonl", 252, "test/number_theory/515.json", "27"),
    ],
)
def test_whole_public_benchmarks_load_without_a_bad_row(file: str, count: int, first: str, answer: str) -> None:
    heard = Heard()
    problems = load_problems(FileProblems(path=str(SHARED / file)), 0.0, heard)
    assert (len(problems), problems[0].id, problems[0].answer) == (count, first, answer)
    assert heard.lines == []
    assert all(item.solution for item in problems)


@needs_shared
@pytest.mark.parametrize(
    ("file", "columns", "count"),
    [
        ("dmath/dmath_test_dev.jsonl", Columns(prompt="question_ko", answer="answer_ko", id="id"), 998),
        ("humaneval/HumanEval.jsonl.gz", Columns(answer="canonical_solution", id="task_id"), 164),
        ("aqua/dev.jsonl", Columns(prompt="question", answer="correct", solution="rationale"), 254),
    ],
)
def test_other_real_files_load_through_a_column_mapping(file: str, columns: Columns, count: int) -> None:
    problems = load_problems(FileProblems(path=str(SHARED / file), columns=columns), 0.0, Heard())
    assert 0.9 * count <= len(problems) <= count
