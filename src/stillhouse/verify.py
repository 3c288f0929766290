"""Is a stated answer the gold one? Compared as mathematics, not as text.

Equal spellings and plain numbers are settled here, exactly and without parsing; everything else goes to
math-verify, which is imported on first use only. Garbage is wrong, never an error. Filters, evaluation and teacher
choice all grade with ``stated_answer`` and ``answers_equal``, so that a reply is never right in one stage and wrong
in the next. Knows strings only; what follows from a verdict is its caller's business.
"""

from __future__ import annotations

import logging
import re
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import cache, lru_cache
from types import FrameType

from stillhouse.reasoning import final_answer, last_boxed

_LONGEST = 300
_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?")
_DIGIT_STRING = re.compile(r"0\d+")
_WORDS = re.compile(r"[^\W\d_]{3,}(?:[ '-][^\W\d_]+)*|no", re.IGNORECASE)
_DELIMITERS = re.compile(r"^(?:\$+|\\\(|\\\[)|(?:\$+|\\\)|\\\])$")
_TEXT = re.compile(r"\\(?:text|textbf|textit|mathrm|mbox)\{([^{}]*)\}")
_CHOICE = re.compile(r"\(?([A-Za-z])\)?")
_LOOSE_SPACE = re.compile(r"(?<!\w)\s+|\s+(?!\w)")
_UNIT = re.compile(
    r"(?<=\d)\s+(?!.*\b(?:hundred|thousand|million|billion|trillion|dozens?|percent)\b)[A-Za-z]{3,}(?: [A-Za-z]+)*$"
)
_EXPLOSIVE = re.compile(
    r"\d\s*[)}]*\s*(?:\^|\*\*)\s*[({]*\s*\d+\s*(?:\^|\*\*)"  # a power in the exponent
    r"|(?:\^|\*\*)\s*[({]*\s*[-+]?[\d,]{5,}"  # an exponent of five digits
    r"|\d{4,}\s*\)*\s*!|!\s*\)*\s*!"  # the factorial of thousands, or of a factorial
)
_OPENING = re.compile(r"[({\[]")
_MOST_OPENINGS = 40
_SHORT_REPLY = 40
_TAIL = 400
_LAST_NUMBER = re.compile(r"-?\d+(?:,\d{3})*(?:\.\d+)?(?:/\d+)?")


def stated_answer(reply: str) -> str | None:
    """The final answer of a reply without its thoughts: as marked, else all of a short reply, else its last number."""
    marked = final_answer(reply)
    if marked is not None:
        return marked
    text = reply.strip()
    if len(text) <= _SHORT_REPLY:
        return text or None
    numbers = _LAST_NUMBER.findall(text[-_TAIL:])
    return str(numbers[-1]) if numbers else None


def answers_equal(gold: str, stated: str | None, timeout_s: float = 5.0) -> bool:
    r"""True if ``stated`` says ``gold``: ``\frac{1}{2}`` and ``0.5``, ``1,234`` and ``1234``, ``(B)``, ``b``.

    Args:
        gold: the right answer, alone or marked (``\boxed{}``, ``#### 7``). With a leading zero (``0359``) it is a
            string of digits, not a number.
        stated: what the reply gave, None when it gave nothing.
        timeout_s: longest time for one comparison, in seconds; a slower one counts as wrong. Timers need the main
            thread: in others there is no limit, and what is known to explode is refused in all of them.
    """
    if stated is None:
        return False
    return _compare(gold, stated, timeout_s)


@lru_cache(maxsize=1 << 16)
def _compare(gold: str, stated: str, timeout_s: float) -> bool:
    left, right = normalised(final_answer(gold) or gold), normalised(stated)
    if not left or not right:
        return False
    if left.casefold() == right.casefold():
        return True
    if max(len(left), len(right)) > _LONGEST or _DIGIT_STRING.fullmatch(left) or _WORDS.fullmatch(left):
        return False
    numbers = _number(left), _number(right)
    if numbers[0] is not None and numbers[1] is not None:
        if numbers[0] == numbers[1]:
            return True
        if numbers[0].denominator == numbers[1].denominator == 1:
            return False
    if _explodes(left) or _explodes(right):
        return False
    return _as_mathematics(left, right, timeout_s)


def normalised(answer: str) -> str:
    r"""``answer`` without what never matters: ``\boxed{}``, ``$``, ``\text{}``, loose spaces, a unit in words."""
    text = last_boxed(answer) or answer
    text = _DELIMITERS.sub("", text.strip()).strip()
    text = _TEXT.sub(r"\1", text).removesuffix(".")
    text = _UNIT.sub("", " ".join(_LOOSE_SPACE.sub("", text).split()))
    choice = _CHOICE.fullmatch(text)
    return choice.group(1) if choice else text


def _number(text: str) -> Fraction | None:
    if not text or not _NUMBER.fullmatch(text) or not text[-1].isdecimal() or not text.isascii():
        return None
    return Fraction(text.replace(",", ""))


def _explodes(text: str) -> bool:
    """Towers, huge exponents and factorials fill the memory, deep nesting the stack; C code hears no alarm."""
    return bool(_EXPLOSIVE.search(text)) or len(_OPENING.findall(text)) > _MOST_OPENINGS


def _as_mathematics(gold: str, stated: str, timeout_s: float) -> bool:
    math_verify = _library()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with _time_limit(timeout_s):
                # The dollars say "all of this is the answer"; the library's own timeouts are off (see _time_limit).
                left, right = (math_verify.parse(f"${text}$", parsing_timeout=None) for text in (gold, stated))
                return bool(left and right and math_verify.verify(left, right, timeout_seconds=None))
        except _TimeUp:
            return False


@cache
def _library():  # type: ignore[no-untyped-def]
    """math-verify (it takes half a second to load sympy), without its advice on the timeouts that we set ourselves."""
    import math_verify

    logging.getLogger("math_verify").setLevel(logging.ERROR)
    return math_verify


class _TimeUp(BaseException):
    """Not an Exception: sympy and math-verify catch those everywhere."""


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raise `_TimeUp` after ``seconds`` in the main thread; no limit elsewhere, where signals cannot be had.

    math-verify's own timeouts round to whole seconds, fail outside the main thread and cancel a timer that somebody
    else has set; this one sets it again, less the time spent.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(_signum: int, _frame: FrameType | None) -> None:
        raise _TimeUp

    handler = signal.signal(signal.SIGALRM, ring)
    others_s, interval_s = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        left_s, _ = signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if others_s:
            signal.setitimer(signal.ITIMER_REAL, max(others_s - (seconds - left_s), 1e-3), interval_s)
