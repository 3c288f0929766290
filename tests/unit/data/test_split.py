"""The probe: decided by the problems' text and the seed, never by their order."""

from __future__ import annotations

import random

import pytest

from stillhouse.data import benchmark_digest, split_probe
from stillhouse.digest import sha256_text
from stillhouse.errors import RecipeError
from stillhouse.records import Problem

PROBLEMS = [Problem(id=str(n), prompt=f"{n}+1?", answer=str(n + 1)) for n in range(100)]


def test_probe_and_rest_share_nothing_and_lose_nothing() -> None:
    probe, rest = split_probe(PROBLEMS, 30, seed=1)
    assert len(probe) == 30
    assert sorted(item.prompt for item in probe + rest) == sorted(item.prompt for item in PROBLEMS)


def test_the_probe_is_the_smallest_hashes() -> None:
    ranked = sorted(PROBLEMS, key=lambda item: sha256_text(f"7:{sha256_text(item.prompt)}"))
    assert split_probe(PROBLEMS, 10, seed=7)[0] == ranked[:10]


def test_the_order_of_the_file_does_not_matter_to_the_probe_and_is_kept_in_the_rest() -> None:
    shuffled = random.Random(0).sample(PROBLEMS, len(PROBLEMS))
    probe, rest = split_probe(PROBLEMS, 30, seed=1)
    again, other = split_probe(shuffled, 30, seed=1)
    assert again == probe
    assert rest == [item for item in PROBLEMS if item not in probe]
    assert other == [item for item in shuffled if item not in probe]


def test_another_seed_holds_out_others() -> None:
    assert split_probe(PROBLEMS, 30, seed=1)[0] != split_probe(PROBLEMS, 30, seed=2)[0]


def test_a_growing_set_keeps_most_of_its_probe() -> None:
    small = {item.id for item in split_probe(PROBLEMS[:90], 30, seed=1)[0]}
    large = {item.id for item in split_probe(PROBLEMS, 30, seed=1)[0]}
    assert len(small & large) >= 20


@pytest.mark.parametrize("probe", [100, 101])
def test_a_probe_that_leaves_nothing_is_refused(probe: int) -> None:
    with pytest.raises(RecipeError, match=rf"data\.probe = {probe}: must be smaller than the number of problems, 100"):
        split_probe(PROBLEMS, probe, seed=1)


def test_a_benchmark_is_its_questions_and_answers() -> None:
    digest = benchmark_digest(PROBLEMS)
    assert benchmark_digest(PROBLEMS[::-1]) == digest
    assert benchmark_digest([Problem(id="x", prompt=item.prompt, answer=item.answer) for item in PROBLEMS]) == digest
    assert benchmark_digest(PROBLEMS[1:]) != digest
    assert benchmark_digest([Problem(id="0", prompt="0+1?", answer="2"), *PROBLEMS[1:]]) != digest
