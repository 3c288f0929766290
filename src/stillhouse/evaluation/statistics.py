"""How sure a measured number is: intervals for shares and means, and the paired comparison of two arms.

numpy and the standard library only. Items are the units of uncertainty: replies to one item share its difficulty,
so they are averaged first and never counted as independent. Knows arrays of scores, no models and no benchmarks.

Shapes: N items, K replies of each item, B bootstrap resamples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float64] | Sequence[float] | Sequence[Sequence[float]]
_CHUNK_VALUES = 1 << 20


class Estimate(NamedTuple):
    """A mean over items with its standard error (clustered by item) and interval."""

    mean: float
    stderr: float
    low: float
    high: float
    n: int


class PairedResult(NamedTuple):
    """Mean difference of two arms over the same items, its percentile interval and two-sided p-value."""

    difference: float
    low: float
    high: float
    p_value: float


def wilson(successes: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """Score interval of a share (Wilson 1927; Brown, Cai and DasGupta 2001, equation 4).

    Unlike mean ± z·se it stays within 0..1 and does not collapse where all or none succeed. ``n`` may be an
    effective size and need not be whole.

    Raises:
        ValueError: ``n`` is not positive, or ``successes`` is not in 0..n.
    """
    if n <= 0 or not 0 <= successes <= n:
        raise ValueError(f"an interval needs 0 <= successes <= n and n > 0; got {successes} of {n}")
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = successes / n
    shrink = 1 + z * z / n
    centre = (share + z * z / (2 * n)) / shrink
    half = z / shrink * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return low, high


def mean_interval(scores_NK: Scores, confidence: float = 0.95) -> Estimate:
    """avg@k: the mean over items of the mean over replies, scores in 0..1.

    The standard error is that of the item means, s/√N, which is the one clustered by item where each has as many
    replies (Miller 2024, arXiv:2411.00640, section 2.2). The interval is Wilson's with the effective sample size
    p(1-p)/se², bounded by the items below and the replies above (Franco, Little, Louis and Slud 2019, JSSAM 7:334):
    for K = 1 it is Wilson's own, and at 0 % and 100 %, where a bootstrap's has no width, it has that of N replies.

    Raises:
        ValueError: no items.
    """
    items_N, replies = _item_means(scores_NK)
    n = items_N.size
    mean = float(items_N.mean())
    stderr = float(items_N.std(ddof=1) / math.sqrt(n)) if n > 1 else 0.0
    spread = mean * (1 - mean)
    effective = min(max(spread / stderr**2, float(n)), float(replies)) if stderr > 0 and spread > 0 else float(n)
    low, high = wilson(min(max(mean, 0.0), 1.0) * effective, effective, confidence)
    return Estimate(mean, stderr, low, high, n)


def paired_bootstrap(
    a_NK: Scores, b_NK: Scores, confidence: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> PairedResult:
    """Mean of ``a`` minus mean of ``b``, row i of both being the same item (K may differ).

    Items are resampled with replacement, their replies stay together. Percentile interval; the p-value is twice
    the smaller share of resampled differences on either side of 0, counting the observed sample as one more
    (Davison and Hinkley 1997, Bootstrap Methods, sections 4.2 and 5.3). It needs some thirty items to be trusted;
    where all items differ alike the interval has no width.

    Raises:
        ValueError: no items, or not as many in both.
    """
    a_N, b_N = _item_means(a_NK)[0], _item_means(b_NK)[0]
    if a_N.shape != b_N.shape:
        raise ValueError(f"a paired comparison needs the same items in both arms; got {a_N.size} and {b_N.size}")
    means_B = _resampled_means(a_N - b_N, resamples, seed)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means_B, [tail, 1 - tail])
    # Sums of binary scores come out as 1e-17 instead of 0; without a tolerance those ties would be split by rounding.
    below, above = (int(np.count_nonzero(side <= 1e-12)) for side in (means_B, -means_B))
    p_value = min(1.0, 2 * (1 + min(below, above)) / (1 + resamples))
    return PairedResult(float((a_N - b_N).mean()), float(low), float(high), p_value)


def _item_means(scores_NK: Scores) -> tuple[npt.NDArray[np.float64], int]:
    """Mean of each item, and how many replies there are in all; a flat list is one reply of each item."""
    if len(scores_NK) == 0:
        raise ValueError("no items: a mean over nothing has no value")
    rows = [np.atleast_1d(np.asarray(row, dtype=np.float64)) for row in scores_NK]
    return np.array([row.mean() for row in rows]), sum(row.size for row in rows)


def _resampled_means(values_N: npt.NDArray[np.float64], resamples: int, seed: int) -> npt.NDArray[np.float64]:
    """Means of ``resamples`` draws of N values with replacement, in chunks so that memory stays small."""
    rng = np.random.default_rng(seed)
    n = values_N.size
    chunk = max(1, _CHUNK_VALUES // n)
    sizes = [min(chunk, resamples - start) for start in range(0, resamples, chunk)]
    return np.concatenate([values_N[rng.integers(0, n, size=(size, n))].mean(axis=1) for size in sizes])
