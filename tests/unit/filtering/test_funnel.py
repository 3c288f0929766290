"""The funnel: order of decisions, counts, digests, and plug-ins of the user's own that break the contract."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from stillhouse.errors import RecipeError
from stillhouse.filtering import funnel
from stillhouse.filtering.selectors import Decision
from stillhouse.records import Record

Make = Callable[..., Record]


class Odd:
    """Drops traces with an odd sample index; halves the weight of the others."""

    needs = ()
    grouping = "all"

    def select(self, group: Sequence[Record]) -> list[Decision]:
        return [Decision("dropped", "odd") if r.trace.sample_index % 2 else Decision(weight=0.5) for r in group]


class Returns:
    def __init__(self, value: Any, needs: tuple[str, ...] = ()) -> None:
        self.value, self.needs = value, needs

    def select(self, _group: Sequence[Record]) -> Any:
        return self.value

    annotate = select


def records(make_record: Make, count: int = 4) -> list[Record]:
    return [make_record(f"<think>{n}</think>\\boxed{{7}}", sample=n) for n in range(count)]


def test_only_positives_reach_a_selector_and_weights_multiply(make_record: Make) -> None:
    once, first = funnel.select(records(make_record), "odd", Odd())
    twice, second = funnel.select(once, "odd", Odd())
    assert [record.role for record in twice] == ["positive", "dropped", "positive", "dropped"]
    assert [record.weight for record in twice] == [0.25, 1.0, 0.25, 1.0]
    assert (first.kept, first.reasons["odd"], second.kept, sum(second.reasons.values())) == (2, 2, 2, 0)


def test_groups_of_a_problem_hold_exactly_its_traces(make_record: Make) -> None:
    seen: list[set[str]] = []

    class Look(Odd):
        grouping = "problem"

        def select(self, group: Sequence[Record]) -> list[Decision]:
            seen.append({record.problem.prompt for record in group})
            return [Decision()] * len(group)

    funnel.select([make_record(prompt=prompt, sample=n) for n in range(2) for prompt in "ab"], "look", Look())
    assert seen == [{"a"}, {"b"}]


def test_annotations_are_appended_and_never_changed(make_record: Make) -> None:
    (record,) = funnel.annotate([make_record(annotations={"a": 1})], "mine", Returns([{"b": 2}]))
    assert record.annotations == {"a": 1, "b": 2}
    with pytest.raises(RecipeError, match="column b is already there"):
        funnel.annotate([record], "mine", Returns([{"b": 3}]))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "returned 0 decisions for 1 records"),
        ([Decision("dropped", "")], "without a reason"),
        ([Decision("bad", "x")], "role 'bad' is unknown"),  # type: ignore[arg-type]
    ],
)
def test_a_selector_that_breaks_the_contract_is_named(make_record: Make, value: Any, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        funnel.select([make_record()], "custom", Returns(value))


def test_a_selector_without_its_annotation_says_which_annotator_is_missing(make_record: Make) -> None:
    with pytest.raises(RecipeError, match=r"needs the annotation 'correct'.*math_verify"):
        funnel.select([make_record()], "verified", Returns([Decision()], needs=("correct",)))


def test_an_annotator_with_too_few_rows_is_refused(make_record: Make) -> None:
    with pytest.raises(RecipeError, match="returned 1 rows for 2 records"):
        funnel.annotate(records(make_record, 2), "mine", Returns([{}]))


def test_the_dataset_digest_depends_on_the_positives_and_not_on_their_order(make_record: Make) -> None:
    rows = records(make_record)
    digest = funnel.dataset_digest(rows)
    assert funnel.dataset_digest(rows[::-1]) == digest
    assert funnel.dataset_digest(rows[:3]) != digest
    without, _ = funnel.select(rows, "odd", Odd())
    assert funnel.dataset_digest(without) == funnel.dataset_digest([rows[0], rows[2]])
    changed = make_record("<think>0</think>\\boxed{8}", sample=0)
    assert funnel.dataset_digest([changed, *rows[1:]]) != digest


def test_details_add_up_and_show_examples_of_every_fate(make_record: Make) -> None:
    rows, step = funnel.select(records(make_record, 20), "odd", Odd())
    details = funnel.describe(rows, [step])
    assert (details["total"], details["positive"], details["negative"], details["dropped"]) == (20, 10, 0, 10)
    assert details["funnel"] == [
        {"step": "traces", "kept": 20, "removed": 0, "reason": ""},
        {"step": "odd", "kept": 10, "removed": 10, "reason": "odd"},
    ]
    assert details["reasons"] == {"odd": 10}
    assert [example["reason"] for example in details["examples"]] == [""] * 4 + ["odd"] * 2
    assert funnel.describe(rows[::-1], [step]) == details


def test_long_replies_are_shortened_in_examples(make_record: Make) -> None:
    details = funnel.describe([make_record("x" * 5000)], [])
    assert details["examples"][0]["reply"].endswith("… [1000 more characters]")
