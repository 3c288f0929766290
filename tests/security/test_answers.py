"""Stated answers are graded by a library that evaluates what it is given: hostile ones end in time, as wrong."""

from __future__ import annotations

import resource
import time
from pathlib import Path

import pytest

from stillhouse.filtering.annotators import repeated_share
from stillhouse.reasoning import split_reply
from stillhouse.verify import answers_equal, stated_answer

LIMIT_S = 0.2
BOMBS = [
    "9**9**9**9", "9^{9^{9^{9}}}", r"2^{2^{2^{2^{2^2}}}}", "((9^{999})^{999})^{999}", r"\left(9^{9999}\right)^{9999}",
    "{9^{999}}^{999}", "2^{20!}", r"2^{9999 \cdot 9999}", r"2^{\binom{30}{15}}", "1e99999999", "10^{1e9}", "e^{99999}",
    "9999999999!", "9999!", "(10^{9})!", "((99!)^{999})^{999}", r"\binom{99999}{50000}", r"\sum_{n=1}^{99999999} n^{n}",
    r"\prod_{n=1}^{9999999} n", r"\int_0^{\infty} e^{-x^{2}} \sin(x^3) dx", "(x+1)^{9999}", "(a+b+c+d+e)^{999}",
    r"\frac{d}{dx} x^{x^{x^{x}}}", r"\sqrt[9999]{9^{9999}}", "9" * 299, "9" * 5000, "1/" + "9" * 250,
]  # fmt: skip
NESTS = [
    r"\frac{1}{" * 20 + "3" + "}" * 20, r"\frac{" * 5000, "(" * 39 + "1" + ")" * 39, "(" * 100_000,
    "[0," * 30 + "1" + "]" * 30, r"\sqrt{" * 35 + "2" + "}" * 35, "sin(cos(tan(" * 10 + "1" + ")))" * 10,
    "{" * 1000 + "}" * 1000, r"\boxed{" * 3000, r"\boxed{" * 500 + "3" + "}" * 500, "1+" * 140 + "1", "x=" * 100,
    r"\begin{pmatrix}" + r"1&2\\" * 40 + r"\end{pmatrix}",
    "0" * 100_000 + "1", " " * 1_000_000, "1," * 500_000, "$" * 10_000, "####" * 10_000, "\\" * 10_000,
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _library() -> None:
    """The library takes its second to load; that is no answer's fault."""
    answers_equal("x+1", "1+y", timeout_s=60.0)


@pytest.mark.parametrize("answer", [*BOMBS, *NESTS], ids=lambda text: f"{len(text)}-{text[:18]}")
def test_an_answer_that_explodes_is_wrong_within_its_time(answer: str) -> None:
    started = time.monotonic()
    assert not answers_equal("x+3", answer, timeout_s=LIMIT_S)
    assert time.monotonic() - started < LIMIT_S + 2.5


@pytest.mark.parametrize("gold", ["9**9**9**9", "((9^{999})^{999})^{999}", "(" * 100_000])
def test_a_hostile_gold_answer_is_no_better(gold: str) -> None:
    started = time.monotonic()
    assert not answers_equal(gold, "x+3", timeout_s=LIMIT_S)
    assert time.monotonic() - started < LIMIT_S + 2.5


@pytest.mark.parametrize(
    "code",
    [
        "__import__('pathlib').Path('{}').touch()",
        "exec(\"open('{}', 'w')\")",
        "open('{}', 'w')",
        r"\text{{__import__('os').system('touch {}')}}",
        r"\write18{{touch {}}}",
        r"\input{{{}}}",
        "().__class__.__base__.__subclasses__() {}",
        "$(touch {})",
        "`touch {}`",
        "{{{{ cycler.__init__.__globals__.os.system('touch {}') }}}}",
    ],
)
@pytest.mark.parametrize("wrap", ["{}", r"\boxed{{{}}}", "x = {}", "#### {}"])
def test_an_answer_that_is_code_is_not_run(tmp_path: Path, code: str, wrap: str) -> None:
    told = tmp_path / "told"
    answer = wrap.format(code.format(told))
    assert not answers_equal("x+3", answer, timeout_s=LIMIT_S)
    assert not answers_equal(answer, "x+3", timeout_s=LIMIT_S)
    assert not told.exists()


def test_the_worst_answers_take_no_memory_worth_naming() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for answer in BOMBS:
        answers_equal("x+4", answer, timeout_s=LIMIT_S)
    grown_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown_mib < 1024


@pytest.mark.parametrize("unit", ["<think>", "</think>", r"\boxed{", "1,", "answer is ", "####", "<", "{", " ", "a\n"])
def test_a_reply_is_taken_apart_in_time_that_grows_with_its_length_only(unit: str) -> None:
    reply = unit * (400_000 // len(unit))
    started = time.monotonic()
    parts = split_reply(reply)
    stated_answer(parts.answer)
    repeated_share(reply[:50_000], 8)
    assert time.monotonic() - started < 5
