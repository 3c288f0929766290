"""Answers compared as mathematics: what is equal, what is not, and that garbage neither crashes nor hangs."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time

import pytest

from stillhouse import verify
from stillhouse.verify import answers_equal, normalised, stated_answer


@pytest.mark.parametrize(
    ("gold", "stated"),
    [
        ("12359", "12359"),
        ("7", " 7 "),
        ("7", "7."),
        ("7", "$7$"),
        ("7", r"\(7\)"),
        ("7", r"\boxed{7}"),
        ("73", "073"),
        ("1,234", "1234"),
        ("18", "18.00"),
        ("18", r"\$18"),
        ("18", "18 dollars"),
        ("0.5", ".5"),
        ("1/2", "0.5"),
        (r"\frac{1}{2}", "1/2"),
        (r"\dfrac{3}{4}", r"\frac34"),
        (r"1\frac12", "1.5"),
        (r"50\%", "0.5"),
        (r"\sqrt{8}", r"2\sqrt{2}"),
        ("x^2+y^2", "y^{2} + x^{2}"),
        ("x^2y^2z^2", "z^2y^2x^2"),
        (r"\{1, 2\}", r"\{2, 1\}"),
        ("3", "x = 3"),
        ("A", "(a)"),
        ("yes", "Yes"),
        (r"\text{Evelyn}", "evelyn"),
        ("2^{10}", "1024"),
        ("Half of 14 is 7.\n#### 7", "7"),
    ],
)
def test_the_same_answer_in_another_spelling_is_right(gold: str, stated: str) -> None:
    assert answers_equal(gold, stated)


@pytest.mark.parametrize(
    ("gold", "stated"),
    [
        ("12359", "12395"),
        ("12359", "1 2 3 5 9 1"),
        ("0359", "359"),
        ("11/2", "1 1/2"),
        ("-5", "5"),
        ("3", "3 or 4"),
        ("3", "3 million"),
        ("2", "2, 3"),
        ("yes", "eys"),
        ("A", "B"),
        ("x+y", "x-y"),
        ("(1,2)", "(2,1)"),
    ],
)
def test_another_answer_is_wrong(gold: str, stated: str) -> None:
    assert not answers_equal(gold, stated)


@pytest.mark.parametrize(
    "garbage",
    [
        "",
        " ",
        ".",
        "$",
        "\\boxed{}",
        "{" * 50,
        "(" * 3000,
        r"\frac{" * 30,
        "\x00",
        "\ud800",
        "#" * 10_000,
        "\\" * 99,
        "3" * 5000,
    ],
)
def test_garbage_is_wrong_and_never_a_crash(garbage: str) -> None:
    assert not answers_equal("3", garbage)


@pytest.mark.parametrize(
    "bomb",
    ["9^{9^{9^9}}", "9^9^9^9", "10**10**10", "(9^9)^(9^9)", "2^{100000}", "1000000!", "((((9!)!)!)!", "x+y" * 3000],
)
def test_what_would_explode_is_refused_at_once(bomb: str) -> None:
    started = time.monotonic()
    assert not answers_equal("3", bomb)
    assert time.monotonic() - started < 0.5


def test_no_answer_is_wrong_and_an_empty_gold_matches_nothing() -> None:
    assert not answers_equal("3", None)
    assert not answers_equal("", "")


def test_works_outside_the_main_thread() -> None:
    verify._compare.cache_clear()
    seen: list[bool] = []
    thread = threading.Thread(target=lambda: seen.append(answers_equal(r"\frac{1}{4}", "0.25")))
    thread.start()
    thread.join()
    assert seen == [True]


def test_a_slow_comparison_is_cut_off_and_counts_as_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow:
        @staticmethod
        def parse(text: str, **_options: object) -> list[str]:
            time.sleep(30)
            return [text]

    monkeypatch.setattr(verify, "_library", lambda: Slow)
    started = time.monotonic()
    assert not answers_equal("x+11", "y+12", timeout_s=0.1)
    assert time.monotonic() - started < 5


def test_a_timer_of_somebody_else_still_runs_afterwards() -> None:
    verify._compare.cache_clear()
    before = signal.getsignal(signal.SIGALRM)
    others_s, _ = signal.setitimer(signal.ITIMER_REAL, 100.0)
    try:
        assert answers_equal("a+b", "b+a")
        left_s, _ = signal.getitimer(signal.ITIMER_REAL)
        assert 50 < left_s < 100
        assert signal.getsignal(signal.SIGALRM) is before
    finally:
        signal.setitimer(signal.ITIMER_REAL, others_s)


def test_normalised_drops_what_never_matters() -> None:
    assert normalised(r" $\boxed{\text{18 dollars}}$. ") == "18"
    assert normalised("a  +  b") == "a+b"


def test_plain_answers_need_no_math_verify() -> None:
    code = (
        "import sys; from stillhouse.verify import answers_equal as e; "
        "assert e('12', '12') and e('1,200', '1200') and not e('7', '8') and e('Yes', 'yes'); "
        "assert not {'sympy', 'math_verify', 'torch'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("reply", "stated"),
    [
        (r"so 3 then \boxed{7}", "7"),
        ("work\n#### 12", "12"),
        ("The answer is 5.", "5"),
        ("42", "42"),
        ("First 3 apples, then 1,200 more, which makes 1,203 apples in the basket.", "1,203"),
        ("I have thought about this question for a long time and do not know.", None),
        ("  ", None),
    ],
)
def test_the_stated_answer_is_the_marked_one_else_a_short_reply_else_the_last_number(
    reply: str, stated: str | None
) -> None:
    assert stated_answer(reply) == stated
