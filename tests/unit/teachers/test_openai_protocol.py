"""What headers and texts of a server mean."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from stillhouse.teachers.openai_protocol import MAX_WAIT_S, error_text, judge, retry_after

NOON = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("7", 7.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("86400", MAX_WAIT_S),
        ("nan", None),
        ("soon", None),
        ("", None),
        ("Sun, 01 Mar 2026 12:00:09 GMT", 9.0),
        ("Sun, 01 Mar 2026 11:59:00 GMT", 0.0),
        ("Sun, 01 Mar 2026 12:00:09 -0000", 9.0),
    ],
)
def test_retry_after_is_a_number_or_a_date(value: str, expected: float | None) -> None:
    assert retry_after({"retry-after": value}, NOON) == expected


@pytest.mark.parametrize(
    ("status", "verdict"),
    [(200, "ok"), (400, "rejected"), (422, "rejected"), (401, "fatal"), (404, "fatal"), (302, "fatal"), (408, "retry"),
     (429, "retry"), (500, "retry"), (529, "retry")],
)  # fmt: skip
def test_a_status_says_what_to_do(status: int, verdict: str) -> None:
    assert judge(status) == verdict


def test_an_error_is_one_short_line_without_the_key() -> None:
    text = error_text(500, "bad\n  key sk-1 " + "x" * 1000, "sk-1")
    assert text.startswith("HTTP 500: bad key *** xxx")
    assert len(text) == 200
