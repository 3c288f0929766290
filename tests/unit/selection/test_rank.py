"""Choosing among alternatives of any kind."""

from __future__ import annotations

import pytest

from stillhouse.errors import RecipeError, TransientError
from stillhouse.selection.rank import Bar, Metric, Placed, Values, rank

QUALITY = Metric("quality", "quality", True, "{:.2f}".format)
PRICE = Metric("price", "price", False, "{:.0f} EUR".format)


def place(
    table: dict[str, Values | Exception], key: tuple[Metric, ...], bars: tuple[Bar, ...] = ()
) -> list[Placed[str]]:
    def diagnostic(candidate: str, _budget: int) -> Values:
        found = table[candidate]
        if isinstance(found, Exception):
            raise found
        return found

    return rank({name: name for name in table}, diagnostic, key, 7, bars)


def order(placed: list[Placed[str]]) -> list[tuple[str, int | None]]:
    return [(one.name, one.rank) for one in placed]


@pytest.mark.parametrize(
    ("key", "expected"),
    [((QUALITY,), [("a", 1), ("b", 2), ("c", 3)]), ((PRICE,), [("c", 1), ("b", 2), ("a", 3)])],
)
def test_a_metric_says_which_end_is_better(key: tuple[Metric, ...], expected: list[tuple[str, int]]) -> None:
    table = {"b": {"quality": 0.5, "price": 5}, "c": {"quality": 0.1, "price": 1}, "a": {"quality": 0.9, "price": 9}}
    assert order(place(table, key)) == expected


def test_ties_go_to_the_next_metric_and_then_to_the_first_name() -> None:
    table = {name: {"quality": 0.5, "price": price} for name, price in (("z", 1), ("y", 2), ("x", 2))}
    placed = place(table, (QUALITY, PRICE))
    assert order(placed) == [("z", 1), ("x", 2), ("y", 3)]
    assert placed[0].reasons == ("quality 0.50, level with x; price decides (1 EUR, x: 2 EUR)",)
    assert place({"b": {"quality": 1}, "a": {"quality": 1}}, (QUALITY,))[0].reasons == (
        "level with b in everything; the name decides",
    )


def test_rounding_errors_are_ties() -> None:
    table = {"b": {"quality": 0.1 + 0.2, "price": 2}, "a": {"quality": 0.3, "price": 1}}
    assert order(place(table, (QUALITY, PRICE))) == [("a", 1), ("b", 2)]


def test_a_bar_keeps_the_near_ones_and_says_how_far_the_others_are() -> None:
    table = {
        "best": {"quality": 0.9, "price": 9},
        "near": {"quality": 0.85, "price": 5},
        "far": {"quality": 0.8, "price": 1},
    }
    placed = place(table, (PRICE,), (Bar(QUALITY, within=0.05),))
    assert order(placed) == [("near", 1), ("best", 2), ("far", None)]
    assert placed[2].reasons == (
        "out: quality 0.80 is 0.10 worse than that of best (0.90), more than the allowed 0.05",
    )


def test_a_bar_may_ask_for_a_least_value() -> None:
    table = {"a": {"quality": 0.5, "price": 1}, "b": {"quality": 0.3, "price": 1}}
    placed = place(table, (PRICE,), (Bar(QUALITY, least=0.5, least_words="is too little"),))
    assert order(placed) == [("a", 1), ("b", None)]
    assert placed[1].reasons == ("out: quality 0.30 is too little",)


def test_a_candidate_without_the_deciding_number_is_out() -> None:
    placed = place({"a": {"price": None}, "b": {"price": 3}}, (PRICE,))
    assert order(placed) == [("b", 1), ("a", None)]
    assert placed[1].reasons == ("out: it has no price",)
    assert placed[0].reasons == ("the only one left; price 3 EUR",)


def test_a_missing_tie_breaker_comes_last() -> None:
    table = {"a": {"quality": 1, "price": None}, "b": {"quality": 1, "price": 3}}
    assert order(place(table, (QUALITY, PRICE))) == [("b", 1), ("a", 2)]


def test_one_that_cannot_be_measured_is_out_with_its_reason() -> None:
    placed = place({"a": TransientError("server is away"), "b": {"quality": 1}}, (QUALITY,))
    assert order(placed) == [("b", 1), ("a", None)]
    assert placed[1].reasons == ("out: could not be measured: server is away",)


def test_when_none_can_be_measured_the_first_failure_is_raised() -> None:
    with pytest.raises(RecipeError, match="no weights"):
        place({"a": RecipeError("no weights"), "b": TransientError("away")}, (QUALITY,))


def test_a_bug_is_not_a_candidates_failure() -> None:
    with pytest.raises(ZeroDivisionError):
        place({"a": ZeroDivisionError(), "b": {"quality": 1}}, (QUALITY,))


def test_every_candidate_is_measured_with_the_same_budget() -> None:
    seen: list[tuple[str, int]] = []

    def diagnostic(candidate: str, budget: int) -> Values:
        seen.append((candidate, budget))
        return {"quality": 1}

    rank({"a": "A", "b": "B"}, diagnostic, (QUALITY,), 400)
    assert seen == [("A", 400), ("B", 400)]
