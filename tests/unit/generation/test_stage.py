"""One shard: what is asked, what is kept, what is written, and how it ends when things go wrong."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stillhouse.digest import sha256_file
from stillhouse.errors import RecipeError, TransientError
from stillhouse.generation import generate_traces
from stillhouse.generation.store import TraceStore
from stillhouse.records import Problem, Trace, read_rows
from tests.unit.generation.conftest import Shop
from tests.unit.generation.fakes import (
    ScriptedTeacher,
    SlowTinyTeacher,
    custom,
    shard_config,
    write_problems,
    write_teacher,
)

DETAILS = {
    "teacher", "shard", "shards", "problems", "traces", "generated", "reused", "errors", "tokens", "tokens_per_s",
    "stopped_by",
}  # fmt: skip


def test_a_shard_asks_each_of_its_problems_and_writes_them_in_order(shop: Shop) -> None:
    summary = shop.run(samples=3)
    problems = read_rows(shop.output / "problems.parquet", Problem)
    assert len(problems) == 16
    assert [(row.problem_id, row.sample_index) for row in shop.rows] == [(p.id, i) for p in problems for i in range(3)]
    assert shop.diary.counts == {row.key: 1 for row in shop.rows}
    row = shop.rows[0]
    assert (row.reasoning, row.answer) == (f"{problems[0].prompt}:{row.seed}", "\\boxed{1}")
    assert (row.teacher, row.teacher_revision, row.completion_tokens, row.error) == ("scripted", "r1", 10, "")
    assert summary.headline == "48 traces of 16 problems by scripted (48 new, 0 stored before)"


def test_the_summary_says_what_the_architecture_promises(shop: Shop) -> None:
    summary = shop.run()
    assert set(summary.details) == DETAILS
    assert summary.details["teacher"] == {
        "name": "scripted",
        "model": "tests.unit.generation.fakes:ScriptedTeacher",
        "revision": "r1",
        "licence": "",
    }
    counted = {"problems": 16, "traces": 16, "generated": 16, "reused": 0, "errors": 0, "tokens": 160}
    assert summary.details.items() >= counted.items()
    assert summary.metrics.items() >= counted.items()
    assert set(summary.cost) == {"teacher_tokens", "teacher_requests", "seconds", "currency"}
    assert (summary.cost["teacher_tokens"], summary.cost["teacher_requests"]) == (160, 16)


def test_shards_divide_the_problems_and_leave_the_probe_out(shop: Shop) -> None:
    seen = []
    for shard in range(3):
        shop.run(shard=shard, shards=3)
        seen.append({row.problem_id for row in shop.rows})
    assert [len(ids) for ids in seen] == [6, 5, 5]
    assert len(set.union(*seen)) == 16


def test_more_shards_than_problems_leave_an_empty_and_valid_one(shop: Shop) -> None:
    shop.run(shard=19, shards=20)
    assert shop.rows == []


def test_the_same_recipe_in_another_place_gives_the_same_bytes(make_shop: Callable[[str], Shop]) -> None:
    first, second = make_shop("first"), make_shop("second")
    first.run(samples=2)
    second.run(samples=2)
    for name in ("traces.parquet", "problems.parquet"):
        assert sha256_file(first.output / name) == sha256_file(second.output / name)


def test_samples_of_a_problem_have_seeds_of_their_own_that_others_do_not_move(shop: Shop) -> None:
    shop.run(samples=4)
    before = {(row.problem_id, row.sample_index): row.seed for row in shop.rows}
    assert len(set(before.values())) == 64
    assert all(0 <= seed < 2**31 for seed in before.values())
    shop.prompts.append("one more")
    shop.run(samples=5)
    after = {(row.problem_id, row.sample_index): row.seed for row in shop.rows}
    assert {key: after[key] for key in before.keys() & after.keys()} == {
        key: before[key] for key in before.keys() & after.keys()
    }


def test_a_second_recipe_over_the_same_prompts_asks_nothing_and_keeps_its_own_ids(shop: Shop) -> None:
    shop.run(samples=2)
    asked = shop.diary.counts.total()
    summary = shop.run(file="renamed", samples=2, max_error_share=0.5)
    assert shop.diary.counts.total() == asked
    assert (summary.details["generated"], summary.details["reused"]) == (0, 32)
    assert summary.cost["teacher_tokens"] == 0
    assert all(row.problem_id.startswith("renamed-") for row in shop.rows)


def test_more_samples_ask_for_the_new_ones_only(shop: Shop) -> None:
    shop.run(samples=1)
    summary = shop.run(samples=3)
    assert (summary.details["generated"], summary.details["reused"]) == (32, 16)
    assert set(shop.diary.counts.values()) == {1}


def test_another_way_of_asking_is_another_trace(shop: Shop) -> None:
    shop.run()
    for change in ({"sampling": {"temperature": 0.5}}, {"prompter": {"type": "cot", "system": "think"}}):
        assert shop.run(**change).details["reused"] == 0
    assert len(list((shop.workspace / "traces").iterdir())) == 3


def test_another_precision_of_a_local_teacher_is_not_answered_from_the_store(shop: Shop, tiny_model: Path) -> None:
    for dtype in ("float32", "bfloat16"):
        config = {"type": "transformers", "name": "tiny", "model": str(tiny_model), "dtype": dtype}
        summary = shop.run(teacher=write_teacher(shop.root / dtype, config))
        assert summary.details["generated"] == 16


def test_a_few_failed_requests_are_rows_with_an_error_and_are_asked_again(shop: Shop) -> None:
    shop.prompts = ["please fail", *shop.prompts, *(f"long problem {index}" for index in range(40))]
    shop.run()
    failures = [row for row in shop.rows if row.error]
    assert [(row.error, row.finish_reason, row.reasoning, row.answer) for row in failures] == [
        ("HTTP 500: oops", "error", "", "")
    ]
    (shop.root / "mended").touch()
    summary = shop.run(max_error_share=0.06)
    assert (summary.details["generated"], summary.details["errors"]) == (1, 0)


def test_too_many_failed_requests_fail_the_stage_and_cost_no_finished_trace(shop: Shop) -> None:
    shop.prompts = [f"{'fail' if index % 2 else 'go'} {index}" for index in range(24)]
    with pytest.raises(
        TransientError, match=r"of 20 requests got no reply .first: HTTP 500.*max_error_share allows 0.05"
    ):
        shop.run()
    good = {key for key, count in shop.diary.counts.items() if count == 1}
    (shop.root / "mended").touch()
    summary = shop.run()
    failures = sum("fail" in problem.prompt for problem in read_rows(shop.output / "problems.parquet", Problem))
    assert 8 <= failures == summary.details["generated"]
    assert summary.details["reused"] + summary.details["generated"] == len(good) == 20
    again = [key for key, count in shop.diary.counts.items() if count > 1]
    assert len(again) == summary.details["generated"]


def test_a_teacher_whose_replies_are_all_empty_is_refused_and_its_silence_is_not_stored(shop: Shop) -> None:
    shop.teacher_options = {"silent": True}
    with pytest.raises(RecipeError, match="all of its 16 replies are empty; check its chat template"):
        shop.run()
    assert shop.parts == []


def test_a_silent_teacher_is_not_asked_for_everything(shop: Shop) -> None:
    shop.teacher_options = {"silent": True}
    with pytest.raises(RecipeError, match="all of its 256 replies are empty"):
        shop.run(samples=100)
    assert shop.diary.counts.total() == 256


def test_an_empty_reply_among_others_is_data(shop: Shop) -> None:
    shop.prompts[0] = "empty"
    shop.run(samples=2)
    shop.run(samples=3)
    assert set(shop.diary.counts.values()) == {1}


def test_a_teacher_that_gives_no_replies_at_all_is_a_clear_error(shop: Shop) -> None:
    shop.teacher_options = {"mute": True}
    with pytest.raises(TransientError, match=r"16 of 16 requests got no reply .first: the teacher gave no reply"):
        shop.run()


def test_a_spent_budget_ends_the_stage_cleanly_with_what_there_is(shop: Shop) -> None:
    summary = shop.run(budget={"tokens": 75})
    assert summary.details["stopped_by"] == "budget.tokens"
    assert (len(shop.rows), summary.details["tokens"]) == (8, 80)
    assert summary.headline.endswith("stopped by budget.tokens)")
    assert len(read_rows(shop.output / "problems.parquet", Problem)) == 16


def test_a_budget_is_divided_among_the_shards(shop: Shop) -> None:
    summary = shop.run(shards=2, shard=1, budget={"tokens": 80})
    assert summary.details["tokens"] == 40


def test_a_budget_that_suffices_does_not_stop_anything(shop: Shop) -> None:
    assert shop.run(budget={"tokens": 160}).details["stopped_by"] is None


def test_a_larger_budget_goes_on_where_the_smaller_one_stopped(shop: Shop) -> None:
    shop.run(budget={"tokens": 75})
    assert shop.run(budget={"tokens": 75}, samples=2).details["generated"] == 0
    summary = shop.run(budget={"tokens": 120})
    assert (summary.details["reused"], summary.details["generated"]) == (8, 4)


def test_an_interrupted_shard_ends_with_the_traces_of_an_uninterrupted_one(
    make_shop: Callable[[str], Shop], tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real model, whose batches are as large as they would have been."""

    def teacher(shop: Shop) -> Path:
        options = {"model": str(tiny_model), "diary": str(shop.diary.path), "delay_s": 0.0}
        return write_teacher(shop.root / "slow", custom(SlowTinyTeacher, **options))

    straight, broken = make_shop("straight"), make_shop("broken")
    prompts = [f"{'x' * (index % 7)} question {index}" for index in range(17)]
    straight.prompts = broken.prompts = prompts
    straight.run(teacher=teacher(straight))
    with monkeypatch.context() as patch:
        _break_after(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            broken.run(teacher=teacher(broken))
    summary = broken.run(teacher=teacher(broken))
    assert (summary.details["reused"], summary.details["generated"]) == (8, 5)
    assert sha256_file(broken.output / "traces.parquet") == sha256_file(straight.output / "traces.parquet")
    assert max(straight.diary.counts.values()) == 1


def _break_after(patch: pytest.MonkeyPatch, batches: int) -> None:
    original, calls = TraceStore.write, iter(range(100))

    def write(self: TraceStore, traces: list[Trace]) -> None:
        if next(calls) == batches:
            raise KeyboardInterrupt
        original(self, traces)

    patch.setattr(TraceStore, "write", write)


@pytest.mark.parametrize("shard", [-1, 2, 7])
def test_a_shard_that_does_not_exist_is_refused(shop: Shop, shard: int) -> None:
    with pytest.raises(RecipeError, match=rf"shard {shard} does not exist; traces.shards = 2"):
        shop.run(shard=shard, shards=2)


def test_a_config_as_plain_data_and_a_whole_float_as_shard_are_understood(shop: Shop) -> None:
    config = shard_config(write_problems(shop.root / "p.jsonl", shop.prompts), shards=2).model_dump(mode="json")
    teacher = write_teacher(shop.root / "teacher", custom(ScriptedTeacher, diary=str(shop.diary.path)))
    arguments = {"teacher": teacher, "output": shop.root / "o", "workspace": shop.workspace}
    assert generate_traces(config, shard=1.0, **arguments).part == "1"  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match=r"traces\.samples = 0"):
        generate_traces({**config, "traces": {**config["traces"], "samples": 0}}, shard=1, **arguments)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "not what select_teacher writes"),
        ("{", "not what select_teacher writes"),
        ("[]", "not what select_teacher writes"),
        ('{"decision": "do_not_distil", "teacher": null}', "decision is do_not_distil"),
        ('{"decision": "distil", "teacher": {"type": "oracle"}}', "teacher is not valid"),
    ],
)
def test_a_teacher_artifact_that_names_no_teacher_is_refused(shop: Shop, content: str | None, message: str) -> None:
    folder = write_teacher(shop.root / "teacher", {})
    path = folder / "teacher.json"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(RecipeError, match=message) as caught:
        shop.run(teacher=folder)
    assert str(path) in str(caught.value)


def test_a_teacher_folder_without_weights_is_refused_by_name(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    config = {"type": "transformers", "name": "hollow", "model": str(tmp_path)}
    with pytest.raises(RecipeError, match="has no weights"):
        shop.run(teacher=write_teacher(shop.root / "hollow", config))


def test_importing_the_package_loads_no_torch() -> None:
    code = "import stillhouse.generation, sys; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_rows_hold_no_clock_times() -> None:
    assert not {field.name for field in dataclasses.fields(Trace)} & {"time", "created_at", "latency_s", "seconds"}
