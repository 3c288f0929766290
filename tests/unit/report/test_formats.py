"""Numbers to words."""

from __future__ import annotations

import pytest

from stillhouse.report import formats


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (formats.share(0.625), "62.5 %"),
        (formats.share(None), "–"),
        (formats.interval([0.551, 0.698]), "[55.1, 69.8]"),
        (formats.interval(None), "–"),
        (formats.points(0.5), "+50.0"),
        (formats.points(-0.022), "−2.2"),
        (formats.points(0.0004), "±0.0"),
        (formats.points(-0.0004), "±0.0"),
        (formats.signed_interval([-0.01, 0.02]), "[−1.0, +2.0]"),
        (formats.count(41232.0), "41,232"),
        (formats.count(42.66), "42.7"),
        (formats.count(0), "0"),
        (formats.number(0.01712), "0.0171"),
        (formats.duration(1.34), "1.3 s"),
        (formats.duration(58.4), "58 s"),
        (formats.duration(161), "2 min 41 s"),
        (formats.duration(59.8), "1 min 0 s"),
        (formats.duration(7322), "2 h 2 min"),
        (formats.when("2026-11-24T04:45:10+01:00"), "24 Nov 2026, 03:45 UTC"),
        (formats.when(""), "–"),
        (formats.arm("control"), "answers only"),
        (formats.reason("wrong_answer"), "the answer is not the gold one"),
        (formats.reason("near_duplicate"), "near duplicate"),
    ],
)
def test_numbers_read_as_people_write_them(given: str, expected: str) -> None:
    assert given == expected
