"""The gate's decisions, with numbers that can be worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from stillhouse.errors import RecipeError
from stillhouse.recipe.evaluation import Gate
from stillhouse.registry.gate import UNTRAINED, Facts, Verdict, judge

RESAMPLES = 1000


def table(before: list[int], after: list[int], name: str = "chain") -> dict[str, Any]:
    rows = zip(before, after, strict=True)
    return {name: {"k": 1, "items": {f"{i:03}": {"before": [b], "after": [a]} for i, (b, a) in enumerate(rows)}}}


def gate(require: dict[str, Any] | None = None, **fields: Any) -> Gate:
    wanted = require or {"metric": "chain", "min_effect": -100.0}
    return Gate.model_validate({"require": [wanted], "resamples": RESAMPLES, **fields})


def decide(wanted: Gate, scores: dict[str, Any], champion: dict[str, Any] | None = None, **facts: Any) -> Verdict:
    return judge(wanted, scores, Facts(**facts), champion, against="models:/m/1" if champion else UNTRAINED, seed=1)


NEVER, ALWAYS = [0] * 20, [1] * 20


@pytest.mark.parametrize(
    ("min_effect", "passed"),
    [(100.0, True), (100.1, False), (99.9, True), (0.0, True)],
)
def test_a_requirement_holds_when_the_lower_end_reaches_it_exactly(min_effect: float, passed: bool) -> None:
    """Wrong on all 20 before, right on all after: every resample gains 100 points, the interval is [100, 100]."""
    verdict = decide(gate({"metric": "chain", "min_effect": min_effect}), table(NEVER, ALWAYS))
    (check,) = verdict.checks
    assert (verdict.passed, check.interval, check.threshold) == (passed, [1.0, 1.0], min_effect / 100)
    assert check.text == (
        f"chain: +100.0 points, 95 % [+100.0, +100.0] on 20 items, over the untrained student; "
        f"its lower end must reach {min_effect:+.1f}"
    )


def test_a_gain_whose_lower_end_is_below_zero_does_not_pass() -> None:
    """12 of 20 right before, 13 after, one item gained: +5 points, but a resample without it (36 %) gains nothing."""
    before = [1] * 12 + [0] * 8
    after = [1] * 13 + [0] * 7
    verdict = decide(gate({"metric": "chain", "min_effect": 0.1}), table(before, after))
    (check,) = verdict.checks
    assert not verdict.passed
    assert check.difference == pytest.approx(0.05)
    assert check.interval is not None
    assert check.interval[0] == 0.0


@pytest.mark.parametrize(("margin", "passed"), [(100.0, True), (99.9, False)])
def test_non_inferiority_allows_a_loss_up_to_its_margin(margin: float, passed: bool) -> None:
    verdict = decide(gate(non_inferior=[{"metric": "chain", "margin": margin}]), table(ALWAYS, NEVER))
    assert verdict.checks[1].kind == "non_inferior"
    assert (verdict.passed, verdict.checks[1].threshold) == (passed, -margin / 100)


def test_the_champion_is_met_by_what_it_scored_after_its_own_training() -> None:
    champion = table(NEVER, [1] * 10 + [0] * 10)
    for arms in champion["chain"]["items"].values():
        del arms["before"]  # as when it was measured again
    verdict = decide(gate(), table(NEVER, ALWAYS), champion)
    (check,) = verdict.checks
    assert check.difference == pytest.approx(0.5)
    assert verdict.against == "models:/m/1"
    assert "over models:/m/1" in check.text


def test_replies_of_one_item_are_averaged_before_items_are_compared() -> None:
    """Each of 20 items: 1 of 2 right before, 2 of 2 after. The gain is 50 points on every item."""
    rows = {f"{i:03}": {"before": [1, 0], "after": [1, 1]} for i in range(20)}
    scores = {"chain": {"k": 2, "items": rows}}
    (check,) = decide(gate({"metric": "chain.avg_at_2", "min_effect": 50.0}), scores).checks
    assert (check.passed, check.interval) == (True, [0.5, 0.5])


@pytest.mark.parametrize(
    ("ours", "theirs", "words"),
    [
        (table(NEVER[:19], ALWAYS[:19]), None, "only 19 items, at least 20 are needed"),
        (table(NEVER, ALWAYS), table(NEVER[:18], ALWAYS[:18]), "2 of 20 items have no score on the other side"),
        (table(NEVER, ALWAYS), table(NEVER, ALWAYS, "sort"), "20 of 20 items have no score on the other side"),
        (table(NEVER, ALWAYS), {}, "20 of 20 items have no score on the other side"),
    ],
)
def test_too_few_or_unequal_items_fail_the_check_and_say_so(
    ours: dict[str, Any], theirs: dict[str, Any] | None, words: str
) -> None:
    (check,) = decide(gate(), ours, theirs).checks
    assert (check.passed, check.difference) == (False, None)
    assert check.text == f"chain: cannot be judged, {words}"


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        ("chian", "gate.require.0.metric: 'chian' was not measured; did you mean chain?"),
        ("chain.avg_at_4", "gate.require.0.metric: 'chain.avg_at_4' was not measured; write chain.avg_at_1"),
    ],
)
def test_a_metric_that_was_not_measured_is_refused(metric: str, words: str) -> None:
    with pytest.raises(RecipeError) as caught:
        decide(gate({"metric": metric}), table(NEVER, ALWAYS))
    assert str(caught.value) == words


def result(benchmark: str, role: str, truncated: float, tokens: float, arm: str = "after") -> dict[str, Any]:
    return {
        "benchmark": benchmark, "role": role, "arm": arm, "n": 20, "truncation_rate": truncated,
        "tokens_per_answer": tokens,
    }  # fmt: skip


RESULTS = [
    result("chain", "in_domain", 0.02, 40.0),
    result("facts", "retention", 0.05, 90.0),
    result("chain", "in_domain", 0.9, 900.0, arm="before"),
]


@pytest.mark.parametrize(
    ("limits", "failed"),
    [
        ({"truncation_rate": 0.05}, []),
        ({"truncation_rate": 0.049}, ["facts.truncation_rate: 0.05, the limit is 0.049"]),
        ({"tokens_per_answer": 40.0}, []),
        ({"tokens_per_answer": 39.0}, ["chain.tokens_per_answer: 40, the limit is 39"]),
    ],
)
def test_limits_bind_the_new_student_on_the_benchmarks_they_are_for(
    limits: dict[str, float], failed: list[str]
) -> None:
    verdict = decide(gate(limits=limits), table(NEVER, ALWAYS), results=RESULTS)
    assert [check.text for check in verdict.checks if not check.passed] == failed
    assert verdict.passed is not bool(failed)


def test_a_limit_on_what_was_not_measured_fails() -> None:
    verdict = decide(gate(limits={"truncation_rate": 0.5}), table(NEVER, ALWAYS))
    assert not verdict.passed
    assert "was not measured" in verdict.checks[1].text


@pytest.mark.parametrize(
    ("licence", "passed"), [("Apache-2.0", True), ("apache-2.0", True), ("", False), ("CC-BY-NC-4.0", False)]
)
def test_only_allowed_licences_pass_when_the_recipe_lists_some(licence: str, passed: bool) -> None:
    licences = {"teacher": licence, "student": "MIT"}
    verdict = decide(gate(licences=["apache-2.0", "mit"]), table(NEVER, ALWAYS), licences=licences)
    assert [check.passed for check in verdict.checks[1:]] == [True, passed]
    assert decide(gate(), table(NEVER, ALWAYS), licences=licences).passed


def test_the_same_scores_give_the_same_verdict() -> None:
    scores = table([0, 1] * 15, [1, 1, 0] * 10)
    assert decide(gate(), scores) == decide(gate(), scores)
