"""Intervals and comparisons: numbers worked out by hand, limits, and coverage over seeded simulations."""

from __future__ import annotations

import time

import numpy as np
import pytest

from stillhouse.evaluation.statistics import mean_interval, paired_bootstrap, wilson

Z95_SQUARED = 3.841459


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        # (k + z²/2 ± z·sqrt(k(n-k)/n + z²/4)) / (n + z²) with z² = 3.841459
        (5, 10, 0.236593, 0.763407),
        (81, 263, 0.255289, 0.366208),
        (0, 20, 0.0, Z95_SQUARED / (20 + Z95_SQUARED)),
        (20, 20, 20 / (20 + Z95_SQUARED), 1.0),
        (1, 1, 1 / (1 + Z95_SQUARED), 1.0),
    ],
)
def test_wilson_equals_the_numbers_worked_out_by_hand(successes: int, n: int, low: float, high: float) -> None:
    assert wilson(successes, n) == pytest.approx((low, high), abs=1e-5)


def test_wilson_narrows_with_n_and_widens_with_confidence() -> None:
    def width(*args: float) -> float:
        low, high = wilson(*args)
        return high - low

    assert width(50, 100) > width(500, 1000)
    assert width(50, 100, 0.99) > width(50, 100, 0.9)


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_what_is_no_share(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match="0 <= successes <= n"):
        wilson(successes, n)


@pytest.mark.parametrize(("share", "n"), [(0.5, 30), (0.1, 60), (0.95, 100)])
def test_wilson_covers_the_true_share_about_as_often_as_it_says(share: float, n: int) -> None:
    hits = np.random.default_rng(1).binomial(n, share, size=2000)
    covered = np.mean([low <= share <= high for low, high in (wilson(int(k), n) for k in hits)])
    assert 0.93 <= covered <= 0.985


def test_avg_at_k_is_the_mean_of_item_means_with_the_error_of_item_means() -> None:
    # Item means 1, 0.5, 0, 0.5: mean 0.5, variance (0.25+0+0.25+0)/3 = 1/6, standard error sqrt(1/6/4) = 0.204124.
    # Effective size 0.25 / (1/24) = 6 of 8 replies: Wilson of 3 in 6 is 0.5 ± 1.959964/(2·sqrt(6 + 3.841459)).
    estimate = mean_interval([[1, 1], [1, 0], [0, 0], [0, 1]])
    assert estimate.mean == 0.5
    assert estimate.stderr == pytest.approx(0.2041241, abs=1e-6)
    assert (estimate.low, estimate.high) == pytest.approx((0.187616, 0.812384), abs=1e-5)
    assert estimate.n == 4


def test_one_reply_of_each_item_gives_wilsons_interval() -> None:
    estimate = mean_interval([1.0] * 7 + [0.0] * 3)
    assert (estimate.low, estimate.high) == pytest.approx(wilson(7, 10))


def test_copies_of_a_reply_add_no_certainty() -> None:
    once = mean_interval([[1], [0], [1], [1], [0]])
    eight_times = mean_interval([[1] * 8, [0] * 8, [1] * 8, [1] * 8, [0] * 8])
    assert eight_times == pytest.approx(once)


@pytest.mark.parametrize("score", [0.0, 1.0])
def test_all_alike_still_has_an_interval_of_some_width(score: float) -> None:
    estimate = mean_interval([[score, score]] * 20)
    assert estimate.stderr == 0.0
    assert (estimate.low, estimate.high) == pytest.approx(wilson(20 * score, 20))


def test_a_single_item_has_an_interval_and_no_items_is_refused() -> None:
    assert mean_interval([[1, 0]]).n == 1
    with pytest.raises(ValueError, match="no items"):
        mean_interval([])


def test_the_interval_of_avg_at_k_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(400):
        difficulty_N = rng.beta(1.2, 0.8, size=60)
        estimate = mean_interval(rng.binomial(1, difficulty_N[:, None], size=(60, 4)).tolist())
        covered += estimate.low <= 0.6 <= estimate.high
    assert 0.92 <= covered / 400 <= 0.985


def test_the_paired_difference_and_its_interval_by_hand() -> None:
    # Two items differ by 1 and 0: the resampled mean is 0, 0.5, 1 with chances 1/4, 1/2, 1/4; 0 lies in every interval,
    # and a share of 1/4 is at or below 0, so p is about 1/2.
    result = paired_bootstrap([1, 1], [0, 1], resamples=20_000)
    assert (result.difference, result.low, result.high) == (0.5, 0.0, 1.0)
    assert result.p_value == pytest.approx(0.5, abs=0.02)


def test_pairing_makes_the_same_gap_more_certain() -> None:
    easy_and_hard = [1.0] * 50 + [0.0] * 50
    better = [1.0] * 60 + [0.0] * 40
    shuffled = list(np.random.default_rng(0).permutation(better))
    paired, unpaired = paired_bootstrap(better, easy_and_hard), paired_bootstrap(shuffled, easy_and_hard)
    assert paired.difference == unpaired.difference == pytest.approx(0.1)
    assert paired.high - paired.low < 0.6 * (unpaired.high - unpaired.low)
    assert paired.p_value < 0.01 < unpaired.p_value


def test_arms_may_have_different_numbers_of_replies() -> None:
    result = paired_bootstrap([[1, 1, 0, 0], [1, 1, 1, 1]], [[0], [1]])
    assert result.difference == 0.25


def test_equal_arms_differ_by_nothing_with_p_one() -> None:
    scores = [[1, 0, 1]] * 7 + [[0, 0, 1]] * 6
    assert paired_bootstrap(scores, scores) == (0.0, 0.0, 0.0, 1.0)


def test_swapping_the_arms_mirrors_the_result() -> None:
    rng = np.random.default_rng(5)
    a, b = rng.integers(0, 2, 80).tolist(), rng.integers(0, 2, 80).tolist()
    forth, back = paired_bootstrap(a, b), paired_bootstrap(b, a)
    assert (forth.difference, forth.low, forth.high) == pytest.approx((-back.difference, -back.high, -back.low))
    assert forth.p_value == back.p_value


def test_the_same_seed_gives_the_same_interval_and_another_nearly_the_same() -> None:
    rng = np.random.default_rng(6)
    a, b = rng.integers(0, 2, 300).tolist(), rng.integers(0, 2, 300).tolist()
    assert paired_bootstrap(a, b, seed=1) == paired_bootstrap(a, b, seed=1)
    assert paired_bootstrap(a, b, seed=1).low == pytest.approx(paired_bootstrap(a, b, seed=2).low, abs=0.01)


@pytest.mark.parametrize(("a", "b"), [([], []), ([1.0], [1.0, 0.0])])
def test_no_items_or_unequal_items_are_refused(a: list[float], b: list[float]) -> None:
    with pytest.raises(ValueError, match=r"no items|same items"):
        paired_bootstrap(a, b)


def test_the_bootstrap_interval_covers_the_true_difference_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(7)
    covered, false_alarms, cases = 0, 0, 300
    for case in range(cases):
        a_N, b_N = rng.random(80) < 0.7, rng.random(80) < 0.5
        result = paired_bootstrap(a_N.tolist(), b_N.tolist(), resamples=1000, seed=case)
        covered += result.low <= 0.2 <= result.high
        same = paired_bootstrap(b_N.tolist(), (rng.random(80) < 0.5).tolist(), resamples=1000, seed=case)
        false_alarms += same.p_value < 0.05
    assert 0.91 <= covered / cases <= 0.98
    assert 0.02 <= false_alarms / cases <= 0.09


def test_ten_thousand_resamples_of_a_thousand_items_take_less_than_a_second() -> None:
    a = np.random.default_rng(8).integers(0, 2, (1000, 4)).astype(float)
    started = time.process_time()
    paired_bootstrap(a, 1 - a)
    assert time.process_time() - started < 1.0
