"""The zoo's problems and their gold solutions."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys

import pytest

from stillhouse.zoo.tasks import FAMILIES, SPLITS, STYLES, answer_only, gold_reply, make_problem, problems, split_of

COUNT = 100


def boxed(reply: str) -> str:
    return re.fullmatch(r"<think>[^<]+</think>\\boxed\{(\d+)\}", reply).group(1)


@pytest.mark.parametrize(
    ("family", "prompt", "style", "reply"),
    [
        ("chain", "mod 10: 3+4*2-7+1*5-6", "terse", r"<think>3+4=7;7*2=4;4-7=7;7+1=8;8*5=0;0-6=4</think>\boxed{4}"),
        (
            "swap",
            "swap 41532: 15 24 13 45",
            "terse",
            r"<think>41532 15>45132 24>25134 13>25314 45>24315</think>\boxed{24315}",
        ),
        ("facts", "last digit of 3-8", "wordy", r"<think>3-8=5,check 5+8=3</think>\boxed{5}"),
        ("facts", "in 41532 swap 24", "wordy", r"<think>41532 24>21534,check back 24>41532</think>\boxed{21534}"),
        ("facts", "what is 7*9 mod 10", "terse", r"<think>7*9=3</think>\boxed{3}"),
    ],
)
def test_solutions_agree_with_a_calculation_by_hand(family, prompt, style, reply):
    problem = make_problem(family, prompt)
    assert gold_reply(problem, style) == reply
    assert problem["answer"] == boxed(reply)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_arguments_give_the_same_problems(family):
    assert problems(family, "train", COUNT, 3) == problems(family, "train", COUNT, 3)
    assert problems(family, "train", COUNT, 3) != problems(family, "train", COUNT, 4)
    assert problems(family, "train", COUNT, 3)[:10] == problems(family, "train", 10, 3)


@pytest.mark.parametrize("family", FAMILIES)
def test_no_problem_comes_twice(family):
    found = problems(family, "train", 2000)
    assert len({p["prompt"] for p in found}) == len({p["id"] for p in found}) == 2000


@pytest.mark.parametrize("family", FAMILIES)
def test_splits_share_no_problem_whatever_the_seed(family):
    by_split = {split: {p["id"] for seed in range(3) for p in problems(family, split, COUNT, seed)} for split in SPLITS}
    for one, other in itertools.combinations(by_split.values(), 2):
        assert not one & other


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("split", SPLITS)
def test_a_problem_says_where_it_is_from(family, split):
    for problem in problems(family, split, 20):
        assert set(problem) == {"id", "prompt", "answer", "source", "split"}
        assert (problem["source"], problem["split"]) == (family, split) == (family, split_of(problem["prompt"]))
        assert problem == make_problem(family, problem["prompt"])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("style", ["terse", "wordy"])
def test_careful_solutions_end_in_the_gold_answer(family, style):
    for problem in problems(family, "train", COUNT):
        assert boxed(gold_reply(problem, style)) == problem["answer"]


@pytest.mark.parametrize("family", ["chain", "swap"])
def test_careless_solutions_are_sometimes_wrong_and_the_same_each_time(family):
    asked = problems(family, "train", 300)
    replies = [gold_reply(p, "careless") for p in asked]
    wrong = sum(boxed(reply) != p["answer"] for reply, p in zip(replies, asked, strict=True))
    assert 0.3 < wrong / 300 < 0.8
    assert replies == [gold_reply(p, "careless") for p in asked]


@pytest.mark.parametrize("problem", problems("chain", "train", 20), ids=lambda p: p["prompt"])
def test_every_written_step_of_a_chain_is_true(problem):
    for style in ("terse", "wordy"):
        equations = re.findall(r"(\d)([-+*])(\d)=(\d)", gold_reply(problem, style))
        assert len(equations) == (6 if style == "terse" else 12)
        for left, operator, right, result in equations:
            assert eval(f"({left}{operator}{right}) % 10") == int(result)


@pytest.mark.parametrize("kind", ["family", "split", "style"])
def test_an_unknown_name_is_refused_with_the_known_ones(kind):
    known = {"family": FAMILIES, "split": SPLITS, "style": STYLES}[kind]
    with pytest.raises(ValueError, match=f"{kind} 'x' is unknown; choose from {', '.join(known)}"):
        if kind == "style":
            gold_reply(problems("chain", "train", 1)[0], "x")
        else:
            problems(*(("x", "train") if kind == "family" else ("chain", "x")), 1)


def test_asking_for_more_than_there_is_says_how_many_there_are(monkeypatch):
    monkeypatch.setitem(problems.__globals__["_DRAW"], "facts", lambda rng: f"mod 10: {rng.randrange(10)}+1")
    with pytest.raises(ValueError, match=r"count is 50, but facts/train has only about \d different problems"):
        problems("facts", "train", 50)


def test_a_prompt_of_another_kind_is_refused():
    with pytest.raises(ValueError, match="is not of the zoo's families"):
        make_problem("chain", "who wrote this?")


def test_the_answer_only_reply_is_the_box_alone():
    assert answer_only("42") == r"\boxed{42}"


def test_problems_load_no_torch():
    code = "import sys, stillhouse.zoo, stillhouse.zoo.tasks; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
