"""Numbers to words, the same on every page and in the terminal. What is unknown is a dash."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

DASH = "–"


def share(value: float | None, digits: int = 1) -> str:
    """0.625 -> "62.5 %"."""
    return DASH if value is None else f"{100 * value:.{digits}f} %"


def interval(pair: Sequence[float] | None, digits: int = 1) -> str:
    """[0.55, 0.69] -> "[55.0, 69.0]", in percent."""
    return DASH if not pair else f"[{100 * pair[0]:.{digits}f}, {100 * pair[1]:.{digits}f}]"


def points(value: float | None, digits: int = 1) -> str:
    """A difference of shares in percentage points, with its sign."""
    if value is None:
        return DASH
    text = f"{100 * value:+.{digits}f}"
    return text.replace("-", "−") if float(text) else f"±{0:.{digits}f}"


def signed_interval(pair: Sequence[float] | None, digits: int = 1) -> str:
    return DASH if not pair else f"[{points(pair[0], digits)}, {points(pair[1], digits)}]"


def count(value: float | None) -> str:
    """12345.0 -> "12,345"; fractions keep one digit."""
    if value is None:
        return DASH
    return f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 1000 else f"{value:,.1f}"


def number(value: float | None, digits: int = 3) -> str:
    return DASH if value is None else f"{value:.{digits}g}"


def duration(seconds: float | None) -> str:
    """161 -> "2 min 41 s"."""
    if seconds is None:
        return DASH
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def short(digest: str | None, length: int = 12) -> str:
    """The head of a digest or revision."""
    return (digest or DASH)[:length]


def moment(iso: str) -> datetime | None:
    """A time in UTC, or None where ``iso`` is empty or no time."""
    try:
        found = datetime.fromisoformat(iso)
    except ValueError:
        return None
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def when(iso: str) -> str:
    found = moment(iso)
    return f"{found.day} {found:%b %Y, %H:%M} UTC" if found else DASH


def words(identifier: str) -> str:
    """``filter_traces`` -> "filter traces"."""
    return identifier.replace("_", " ")


ARMS = {"before": "before", "after": "after", "control": "answers only", "teacher": "teacher"}


def arm(name: str) -> str:
    """What people call an arm of the evaluation."""
    return ARMS.get(name, words(name))


REASONS = {
    "no_reply": "the request failed",
    "empty_reply": "the teacher said nothing",
    "truncated": "hit the token limit",
    "unclosed_thoughts": "ended inside its thoughts",
    "no_reasoning": "an answer without thoughts",
    "no_answer": "no final answer stated",
    "wrong_answer": "the answer is not the gold one",
    "too_short": "shorter than the limit",
    "too_long": "longer than the limit",
    "repetitive": "repeats itself",
    "duplicate_trace": "equal to another trace",
    "held_out": "the problem is in an evaluation set",
}


def reason(identifier: str) -> str:
    return REASONS.get(identifier, words(identifier))
