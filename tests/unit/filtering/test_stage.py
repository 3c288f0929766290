"""The stage ``filter_traces``: shards in, records out, and one clear line when too little is left."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stillhouse.errors import RecipeError
from stillhouse.filtering import filter_traces
from stillhouse.records import Record, read_rows

Make = Callable[..., Record]
MakeShard = Callable[..., Path]
GOOD = "<think>3+4=7</think>\\boxed{7}"
SELECT = [
    {"type": name}
    for name in ("answered", "truncated", "format", "verified", "length", "repetition", "exact_duplicates")
]


def config(shards: int = 2, **section: Any) -> dict[str, Any]:
    return {"shards": float(shards), "filter": {"select": SELECT, **section}}


@pytest.fixture
def mixed(make_record: Make) -> list[Record]:
    """Per problem: a right trace, its duplicate, a wrong one, a truncated one, a failed one."""
    replies: list[tuple[str, dict[str, Any]]] = [
        (GOOD, {}),
        (GOOD, {}),
        ("<think>3+4=8</think>\\boxed{8}", {}),
        ("<think>3+", {"finish_reason": "length"}),
        ("", {"error": "timeout", "finish_reason": "error"}),
    ]
    return [
        make_record(reply, prompt=f"problem {n}", sample=sample, **fields)
        for n in range(6)
        for sample, (reply, fields) in enumerate(replies)
    ]


def test_every_trace_stays_with_its_role_and_reason(
    mixed: list[Record], make_shard: MakeShard, workspace: Path, tmp_path: Path
) -> None:
    shards = [make_shard(0, mixed[:15]), make_shard(1, mixed[15:])]
    summary = filter_traces(config(), shards=shards, output=tmp_path / "out", workspace=workspace)
    records = read_rows(tmp_path / "out/records.parquet", Record)
    assert len(records) == 30
    fates = {(record.role, record.reason) for record in records}
    assert fates == {
        ("positive", ""),
        ("dropped", "duplicate_trace"),
        ("negative", "wrong_answer"),
        ("dropped", "truncated"),
        ("dropped", "no_reply"),
    }
    assert summary.details["reasons"] == {"duplicate_trace": 6, "no_reply": 6, "truncated": 6, "wrong_answer": 6}
    assert summary.metrics["yield"] == pytest.approx(0.2)
    assert summary.headline == "kept 6 of 30 (20.0%) · duplicate_trace 6 · no_reply 6 · truncated 6"
    rows = [json.loads(line) for line in (tmp_path / "out/train.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["metadata"]["role"] for row in rows] == ["positive"] * 6
    assert {row["messages"][1]["content"] for row in rows} == {GOOD}
    assert "</svg>" in (tmp_path / "out/funnel.svg").read_text(encoding="utf-8")


def test_the_result_is_the_same_however_the_work_was_divided(
    mixed: list[Record], make_shard: MakeShard, workspace: Path, tmp_path: Path
) -> None:
    files = []
    for name, parts in (("a", [mixed[:10], mixed[10:]]), ("b", [mixed[10:][::-1], mixed[:10]])):
        shards = [make_shard(number, part) for number, part in enumerate(parts)]
        filter_traces(config(), shards=shards, output=tmp_path / name, workspace=workspace)
        files.append(
            [(tmp_path / name / file).read_bytes() for file in ("records.parquet", "train.jsonl", "funnel.svg")]
        )
    assert files[0] == files[1]


def test_a_missing_shard_is_named(mixed: list[Record], make_shard: MakeShard, workspace: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"shard 0, 2 of 0\.\.2 is missing"):
        filter_traces(config(3), shards=[make_shard(1, mixed)], output=tmp_path / "out", workspace=workspace)


def test_a_shard_too_many_is_refused(
    mixed: list[Record], make_shard: MakeShard, workspace: Path, tmp_path: Path
) -> None:
    shards = [make_shard(0, mixed), make_shard(1, mixed)]
    with pytest.raises(RecipeError, match="shard 1 is one too many for shards=1"):
        filter_traces(config(1), shards=shards, output=tmp_path / "out", workspace=workspace)


def test_too_low_a_yield_says_what_was_lost_and_what_to_change(
    mixed: list[Record], make_shard: MakeShard, workspace: Path, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError) as caught:
        filter_traces(
            config(1, minimum_yield=0.5), shards=[make_shard(0, mixed)], output=tmp_path / "out", workspace=workspace
        )
    text = str(caught.value)
    assert "6 of 30 traces survive (20.0%)" in text
    assert "filter.minimum_yield asks for 50.0%" in text
    assert "truncated 6" in text
    assert "raise traces.sampling.max_tokens" in text
    assert "\n" not in text
    assert not (tmp_path / "out").exists()


def test_no_positive_at_all_is_an_error_even_without_a_minimum(
    make_record: Make, make_shard: MakeShard, workspace: Path, tmp_path: Path
) -> None:
    shard = make_shard(0, [make_record("<think>x</think>\\boxed{8}")])
    with pytest.raises(RecipeError, match=r"0 of 1 traces survive.*wrong_answer 1"):
        filter_traces(config(1, minimum_yield=0.0), shards=[shard], output=tmp_path / "o", workspace=workspace)


def test_shards_without_any_trace_are_an_error(make_shard: MakeShard, workspace: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no traces at all"):
        filter_traces(config(1), shards=[make_shard(0, [])], output=tmp_path / "out", workspace=workspace)


def test_a_trace_without_its_problem_is_an_error(
    mixed: list[Record], make_shard: MakeShard, workspace: Path, tmp_path: Path
) -> None:
    shard = make_shard(0, mixed)
    other = make_shard(1, mixed[:5])
    (other / "problems.parquet").replace(shard / "problems.parquet")
    with pytest.raises(RecipeError, match="generate this shard again"):
        filter_traces(config(1), shards=[shard], output=tmp_path / "out", workspace=workspace)


def test_a_folder_that_is_no_shard_is_refused(workspace: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="not the output of a finished stage"):
        filter_traces(config(1), shards=[tmp_path], output=tmp_path / "out", workspace=workspace)


def test_a_wrong_config_names_the_field(workspace: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"filter\.minimum_yield.*got 2"):
        filter_traces(config(1, minimum_yield=2), shards=[], output=tmp_path / "out", workspace=workspace)


def test_plugins_of_the_users_own_take_part(
    mixed: list[Record], make_shard: MakeShard, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_filters.py").write_text(
        "from stillhouse.filtering.selectors import Decision\n"
        "class Vowels:\n"
        "    def __init__(self, column): self.column = column\n"
        "    def annotate(self, records): return [{self.column: len(r.trace.reply)} for r in records]\n"
        "class Few:\n"
        "    needs = ('size',)\n"
        "    def __init__(self, most): self.most = most\n"
        "    def select(self, group):\n"
        "        gone, sizes = Decision('dropped', 'too_big'), [r.annotations['size'] for r in group]\n"
        "        return [gone if size > self.most else Decision() for size in sizes]\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    section = {
        "annotate": [{"type": "custom", "import_path": "my_filters:Vowels", "options": {"column": "size"}}],
        "select": [{"type": "custom", "import_path": "my_filters:Few", "options": {"most": 10}}],
    }
    summary = filter_traces(
        {"shards": 1, "filter": section}, shards=[make_shard(0, mixed)], output=tmp_path / "out", workspace=workspace
    )
    assert summary.details["reasons"] == {"too_big": 24}


def test_four_thousand_traces_filter_in_seconds(
    make_record: Make, make_shard: MakeShard, workspace: Path, tmp_path: Path
) -> None:
    records = [
        make_record(
            f"<think>step {n}: 3+4=7 and {n}*2={2 * n}</think>\\boxed{{{n % 10}}}", gold=str(n % 10), prompt=f"p{n}"
        )
        for n in range(4000)
    ]
    shard = make_shard(0, records)
    started = time.monotonic()
    summary = filter_traces(config(1), shards=[shard], output=tmp_path / "out", workspace=workspace)
    assert summary.details["positive"] == 4000
    assert summary.seconds < 10
    assert time.monotonic() - started < 60


def test_importing_the_stage_loads_neither_torch_nor_sympy() -> None:
    heavy = "('torch', 'transformers', 'sympy', 'mlflow', 'matplotlib')"
    code = f"import stillhouse.filtering.stage, sys; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
