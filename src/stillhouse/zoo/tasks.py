"""The zoo's problems: procedural questions with a gold answer and gold solutions that write out their steps.

Three families. `chain` is six one-digit operations modulo 10, evaluated from left to right. `swap` is five different
digits and some swaps to make in order: each pair of digits trades places. `facts` asks for one step of either.
Everything follows from the prompt's text, so a problem is five strings and any problem can be solved at any time.

Why not sorting: writing out sorted digits is itself one step a digit, so a student that never sees steps learns it as
well as one that does (96 % after 200 steps). A chain and a row of swaps hide their intermediate states.

This module knows neither models nor tokens, and it does not grade replies: verifiers do that.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable, Iterator
from typing import Literal, TypedDict

Family = Literal["chain", "swap", "facts"]
Split = Literal["train", "probe", "eval"]
Style = Literal["terse", "wordy", "careless"]

FAMILIES: tuple[Family, ...] = ("chain", "swap", "facts")
SPLITS: dict[Split, range] = {"train": range(0, 80), "probe": range(80, 90), "eval": range(90, 100)}
STYLES: tuple[Style, ...] = ("terse", "wordy", "careless")

NUM_OPERATIONS = 6
CARELESS_SLIP = 0.17
"""Share of a careless solution's steps that go wrong. A model that learns from them slips as often when it is
sampled; its likeliest reply is right, as it is for a careless pupil who is asked to look again."""

NUM_SWAPS = 4
ROW_LENGTH = 5

CHAIN_PROMPT = "mod 10: {}"
SWAP_PROMPT = "swap {}: {}"
CHAIN_FACT_PROMPTS = ("mod 10: {}", "what is {} mod 10", "{} = ? mod 10", "last digit of {}", "work out {} mod 10")
SWAP_FACT_PROMPTS = ("swap {}: {}", "in {} swap {}", "take {} and trade {}")

_EXPRESSION = re.compile(r"\d(?:[-+*]\d)+")
_OPERATION = re.compile(r"([-+*])(\d)")
_ROW_AND_PAIRS = re.compile(r"([1-9]{3,}).*?((?: [1-9]{2})+)$")
_MAX_MISSES = 20_000


class Problem(TypedDict):
    """One question. `source` is its family; `id` depends on the prompt alone."""

    id: str
    prompt: str
    answer: str
    source: str
    split: str


def split_of(prompt: str) -> Split:
    """The one split that a prompt belongs to. Hashing the text keeps the splits disjoint for every seed and count."""
    bucket = int.from_bytes(hashlib.sha256(prompt.encode()).digest()[:8], "big") % 100
    return next(name for name, buckets in SPLITS.items() if bucket in buckets)


def problems(family: Family, split: Split, count: int, seed: int = 0) -> list[Problem]:
    """`count` different problems of one family and split, the same for the same arguments.

    A longer list begins with the shorter one. Raises ValueError for an unknown family or split, and when the family
    does not have `count` problems in that split (`facts` is small).
    """
    if family not in _DRAW:
        raise ValueError(f"family {family!r} is unknown; choose from {', '.join(FAMILIES)}")
    if split not in SPLITS:
        raise ValueError(f"split {split!r} is unknown; choose from {', '.join(SPLITS)}")
    found: list[Problem] = []
    for problem in _stream(family, split, seed):
        if len(found) == count:
            break
        found.append(problem)
    if len(found) < count:
        raise ValueError(f"count is {count}, but {family}/{split} has only about {len(found)} different problems")
    return found


def make_problem(family: Family, prompt: str) -> Problem:
    """The problem that a prompt of this family states."""
    digest = hashlib.sha256(prompt.encode()).hexdigest()[:12]
    answer = _solve(prompt)
    return Problem(id=f"{family}-{digest}", prompt=prompt, answer=answer, source=family, split=split_of(prompt))


def gold_reply(problem: Problem, style: Style = "terse", seed: int = 0) -> str:
    r"""A solution in one style: `<think>` steps `</think>\boxed{answer}`.

    `terse` writes each step once, `wordy` adds a check to each, `careless` slips in some, so that its answer
    is sometimes wrong. `seed` matters to `careless` only. Raises ValueError for another style.
    """
    if style not in STYLES:
        raise ValueError(f"style {style!r} is unknown; choose from {', '.join(STYLES)}")
    rng = random.Random(f"{problem['id']}:{seed}")
    prompt = problem["prompt"]
    if expression := _EXPRESSION.search(prompt):
        steps, answer = _chain_steps(expression.group(), style, rng)
    else:
        steps, answer = _swap_steps(*_row_and_pairs(prompt), style, rng)
    return f"<think>{steps}</think>{answer_only(answer)}"


def answer_only(answer: str) -> str:
    r"""The reply that shows no steps: `\boxed{answer}`."""
    return f"\\boxed{{{answer}}}"


def _stream(family: Family, split: Split, seed: int) -> Iterator[Problem]:
    """Problems without repeats, until the family seems exhausted."""
    rng = random.Random(f"{family}:{split}:{seed}")
    seen: set[str] = set()
    misses = 0
    while misses < _MAX_MISSES:
        prompt = _DRAW[family](rng)
        if prompt in seen or split_of(prompt) != split:
            misses += 1
            continue
        misses = 0
        seen.add(prompt)
        yield make_problem(family, prompt)


def _draw_expression(rng: random.Random, num_operations: int) -> str:
    tail = "".join(rng.choice("+-*") + str(rng.randint(1, 9)) for _ in range(num_operations))
    return str(rng.randint(0, 9)) + tail


def _draw_row(rng: random.Random) -> str:
    return "".join(rng.sample("123456789", ROW_LENGTH))


def _draw_pairs(rng: random.Random, row: str, num_swaps: int) -> str:
    """Swaps of digits that are in the row; none undoes the one before it."""
    pairs: list[str] = []
    while len(pairs) < num_swaps:
        pair = "".join(rng.sample(row, 2))
        if not pairs or set(pair) != set(pairs[-1]):
            pairs.append(pair)
    return " ".join(pairs)


def _draw_chain(rng: random.Random) -> str:
    return CHAIN_PROMPT.format(_draw_expression(rng, NUM_OPERATIONS))


def _draw_swap(rng: random.Random) -> str:
    row = _draw_row(rng)
    return SWAP_PROMPT.format(row, _draw_pairs(rng, row, NUM_SWAPS))


def _draw_fact(rng: random.Random) -> str:
    if rng.random() < 0.5:
        return rng.choice(CHAIN_FACT_PROMPTS).format(_draw_expression(rng, 1))
    row = _draw_row(rng)
    return rng.choice(SWAP_FACT_PROMPTS).format(row, _draw_pairs(rng, row, 1))


_DRAW: dict[str, Callable[[random.Random], str]] = {"chain": _draw_chain, "swap": _draw_swap, "facts": _draw_fact}


def _solve(prompt: str) -> str:
    if expression := _EXPRESSION.search(prompt):
        return str(_evaluate(expression.group()))
    row, pairs = _row_and_pairs(prompt)
    for pair in pairs:
        row = _exchange(row, pair)
    return row


def _row_and_pairs(prompt: str) -> tuple[str, list[str]]:
    match = _ROW_AND_PAIRS.search(prompt)
    if match is None:
        raise ValueError(f"prompt {prompt!r} is not of the zoo's families: it has no expression and no swaps")
    return match.group(1), match.group(2).split()


def _exchange(row: str, pair: str) -> str:
    return row.translate(str.maketrans(pair, pair[::-1]))


def _apply(value: int, operator: str, operand: int) -> int:
    if operator == "+":
        return (value + operand) % 10
    return (value - operand) % 10 if operator == "-" else (value * operand) % 10


def _evaluate(expression: str) -> int:
    value = int(expression[0])
    for operator, operand in _OPERATION.findall(expression[1:]):
        value = _apply(value, operator, int(operand))
    return value


def _chain_steps(expression: str, style: Style, rng: random.Random) -> tuple[str, str]:
    value = int(expression[0])
    steps = []
    for operator, operand in _OPERATION.findall(expression[1:]):
        result = _apply(value, operator, int(operand))
        if style == "careless" and rng.random() < CARELESS_SLIP:
            result = (result + 1) % 10
        step = f"{value}{operator}{operand}={result}"
        steps.append(f"{step},check {_inverse(value, operator + operand, result)}" if style == "wordy" else step)
        value = result
    return ";".join(steps), str(value)


def _inverse(value: int, operation: str, result: int) -> str:
    """A second way to see one step: the difference added back, or the operands swapped."""
    operator, operand = operation[0], operation[1:]
    return f"{result}+{operand}={value}" if operator == "-" else f"{operand}{operator}{value}={result}"


def _swap_steps(row: str, pairs: list[str], style: Style, rng: random.Random) -> tuple[str, str]:
    text = row
    for position, pair in enumerate(pairs, start=1):
        before = row
        if not (style == "careless" and rng.random() < CARELESS_SLIP):
            row = _exchange(row, pair)
        text += f" {pair}>{row}"
        if style == "wordy":
            text += f",check back {pair}>{before}" + (f";{row}" if position < len(pairs) else "")
    return text, row
