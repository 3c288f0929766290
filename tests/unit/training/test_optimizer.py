from __future__ import annotations

import pytest
import torch

from stillhouse.recipe.training import TrainSection
from stillhouse.training.optimizer import learning_rate, make_optimizer


@pytest.mark.parametrize(
    ("schedule", "step", "expected"),
    [
        ("cosine", 0, 1 / 21),
        ("cosine", 19, 20 / 21),
        ("cosine", 20, 1.0),
        ("cosine", 60, 0.5),
        ("linear", 20, 1.0),
        ("linear", 40, 0.75),
        ("linear", 99, 1 / 80),
        ("constant", 99, 1.0),
    ],
)
def test_the_learning_rate_is_a_function_of_the_step(schedule: str, step: int, expected: float) -> None:
    train = TrainSection.model_validate({"schedule": schedule, "learning_rate": 1.0, "warmup_share": 0.2})
    assert learning_rate(step, 100, train) == pytest.approx(expected)


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
@pytest.mark.parametrize("total", [1, 2, 17])
def test_no_step_is_wasted_on_a_rate_of_zero(schedule: str, total: int) -> None:
    train = TrainSection.model_validate({"schedule": schedule, "learning_rate": 1.0, "warmup_share": 0.5})
    assert all(0.0 < learning_rate(step, total, train) <= 1.0 for step in range(total))


def test_only_matrices_decay_and_frozen_weights_are_left_out() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 2))
    module[1].requires_grad_(False)
    optimizer = make_optimizer(module, TrainSection(weight_decay=0.5, learning_rate=0.1))
    module(torch.ones(1, 3)).sum().backward()
    module[0].weight.grad, module[0].bias.grad = torch.zeros(2, 3), torch.zeros(2)
    before = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
    optimizer.step()
    after = dict(module.named_parameters())
    torch.testing.assert_close(after["0.weight"], before["0.weight"] * (1 - 0.1 * 0.5))
    assert all(torch.equal(after[name], before[name]) for name in ("0.bias", "1.weight", "1.bias"))
