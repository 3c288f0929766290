from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from stillhouse.errors import RecipeError
from stillhouse.training.data import Batches, Dataset, Example, TooLong, num_steps, pack


def examples(*lengths: int, prompt: int = 2) -> list[Example]:
    return [Example(ids=list(range(1, n + 1)), prompt_length=prompt, key=f"k{i}") for i, n in enumerate(lengths)]


def dataset(*lengths: int) -> Dataset:
    return pack(examples(*lengths), 100, "fail")


def test_a_step_is_a_function_of_its_number() -> None:
    data = dataset(*range(4, 24))
    fresh, used = Batches(data, seed=1, batch_size=3), Batches(data, seed=1, batch_size=3)
    for step in range(40):
        used.rows(step)
    assert fresh.rows(17).tolist() == used.rows(17).tolist()


@pytest.mark.parametrize(("batch_size", "steps"), [(4, 15), (7, 20), (32, 5)])
def test_every_example_is_seen_equally_often(batch_size: int, steps: int) -> None:
    data = dataset(*range(4, 24))
    batches = Batches(data, seed=1, batch_size=batch_size)
    seen = Counter(row for step in range(steps) for row in batches.rows(step).tolist())
    assert sum(seen.values()) == batch_size * steps
    assert max(seen.values()) - min(seen.values()) <= 1


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    data = dataset(*range(4, 24))
    orders = {tuple(Batches(data, seed=seed, batch_size=20).rows(epoch)) for seed in (1, 2) for epoch in (0, 1)}
    assert len(orders) == 4


@pytest.mark.parametrize(("batch_size", "accumulation"), [(12, 1), (4, 3), (1, 12)])
def test_the_micro_batch_size_changes_neither_a_steps_examples_nor_its_weight(
    batch_size: int, accumulation: int
) -> None:
    data = dataset(*range(4, 24))
    micro = Batches(data, seed=1, batch_size=batch_size, accumulation=accumulation).step(2)
    whole = Batches(data, seed=1, batch_size=12).step(2)[0]
    assert len(micro) == accumulation
    assert sorted(key for batch in micro for key in batch.keys) == sorted(whole.keys)
    assert {batch.total_weight for batch in micro} == {whole.total_weight}
    assert sum(len(batch.targets_N) for batch in micro) == len(whole.targets_N) == whole.total_weight


def test_like_lengths_share_a_micro_batch() -> None:
    data = dataset(*[5, 50] * 8)
    widths = [batch.ids_BT.shape[1] for batch in Batches(data, seed=1, batch_size=8, accumulation=2).step(0)]
    assert widths == [4, 49]


def test_targets_are_the_next_tokens_of_the_reply() -> None:
    data = pack([Example(ids=[7, 8, 9, 10, 11], prompt_length=3), Example(ids=[1, 2, 3], prompt_length=1)], 9, "fail")
    (batch,) = Batches(data, seed=0, batch_size=2).step(0)
    by_prompt = {row[0]: row for row in batch.ids_BT.tolist()}
    assert by_prompt == {7: [7, 8, 9, 10], 1: [1, 2, 3, 0]}
    inputs = batch.ids_BT[:, -batch.keep :].reshape(-1)[batch.index_N]
    assert sorted(zip(inputs.tolist(), batch.targets_N.tolist(), strict=True)) == [(1, 2), (2, 3), (9, 10), (10, 11)]


def test_token_weights_follow_their_example() -> None:
    rows = [Example(ids=[1, 2, 3, 4], prompt_length=2, weight=0.5), Example(ids=[5, 6, 7], prompt_length=2, weight=3.0)]
    (batch,) = Batches(pack(rows, 9, "fail"), seed=0, batch_size=2).step(0)
    assert batch.weights_N is not None
    assert dict(zip(batch.targets_N.tolist(), batch.weights_N.tolist(), strict=True)) == {3: 0.5, 4: 0.5, 7: 3.0}
    assert batch.total_weight == 4.0


@pytest.mark.parametrize(
    ("policy", "lengths", "too_long"), [("drop", [4, 6], 2), ("truncate", [4, 6, 6, 6], 2)], ids=["drop", "truncate"]
)
def test_long_examples_are_dropped_or_cut(policy: TooLong, lengths: list[int], too_long: int) -> None:
    data = pack(examples(4, 6, 7, 30), 6, policy)
    assert data.lengths.tolist() == lengths
    assert data.too_long == too_long


def test_a_long_example_fails_where_the_recipe_says_so() -> None:
    with pytest.raises(RecipeError, match=r"train\.max_length 6: 2 examples are longer: k2 \(7\), k3 \(30\)"):
        pack(examples(4, 6, 7, 30), 6, "fail")


def test_a_cut_that_leaves_only_prompt_is_left_out() -> None:
    assert len(pack([*examples(9, prompt=6), *examples(5)], 6, "truncate")) == 1


@pytest.mark.parametrize("rows", [[], examples(20), [Example(ids=[1, 2, 3], prompt_length=1, weight=0.0)]])
def test_nothing_to_train_on_is_refused(rows: list[Example]) -> None:
    with pytest.raises(RecipeError, match="nothing to train on"):
        pack(rows, 6, "drop")


@pytest.mark.parametrize(("number", "per_step", "epochs", "steps"), [(10, 4, 3.0, 8), (10, 5, 1.0, 2), (3, 8, 0.1, 1)])
def test_epochs_become_full_steps(number: int, per_step: int, epochs: float, steps: int) -> None:
    assert num_steps(number, per_step, epochs) == steps


def test_the_digest_covers_all_that_the_model_sees() -> None:
    base = examples(4, 6)
    variants = [
        base,
        examples(4, 7),
        examples(4, 6, prompt=3),
        [Example(ids=row.ids, prompt_length=2, weight=2.0, key=row.key) for row in base],
        base[::-1],
    ]
    assert len({pack(rows, 9, "fail").digest() for rows in variants}) == len(variants)
    assert pack(base, 9, "fail").digest() == pack(base, 9, "fail").digest()
    assert np.all(pack(base, 9, "fail").lengths == [4, 6])
