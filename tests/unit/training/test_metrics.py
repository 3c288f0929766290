from __future__ import annotations

import json
from dataclasses import dataclass, field

import pytest
import torch

from stillhouse.training.metrics import Meter, NotFinite, StepValues


def values(*losses: float, norm: float = 1.0, **parts: float) -> StepValues:
    named = [{name: torch.tensor(value / len(losses)) for name, value in parts.items()} for _ in losses]
    return StepValues([torch.tensor(loss) for loss in losses], torch.tensor(norm), 0.1, 7, named)


@dataclass
class Tape:
    metrics: list[tuple[str, float, int]] = field(default_factory=list)

    def metric(self, name: str, value: float, step: int = 0) -> None:
        self.metrics.append((name, value, step))


def test_a_point_is_the_mean_over_its_steps() -> None:
    meter = Meter(total=400)
    for step in range(8):
        meter.add(step, values(0.25 * step, 0.75 * step, norm=2.0 * step))
    assert meter.every == 4
    assert meter.history == [
        {"step": 4, "loss": 1.5, "learning_rate": 0.1, "grad_norm": 3.0, "tokens": 28},
        {"step": 8, "loss": 5.5, "learning_rate": 0.1, "grad_norm": 11.0, "tokens": 56},
    ]


def test_the_last_step_is_always_a_point() -> None:
    meter = Meter(total=401)
    for step in range(401):
        meter.add(step, values(1.0))
    assert meter.history[-1]["step"] == 401


@pytest.mark.parametrize(("losses", "micro"), [((1.0, float("nan"), 1.0), 1), ((float("inf"),), 0)])
def test_a_loss_that_is_no_number_is_found_with_its_micro_batch(losses: tuple[float, ...], micro: int) -> None:
    with pytest.raises(NotFinite) as caught:
        Meter(total=10).add(3, values(*losses))
    assert (caught.value.step, caught.value.micro) == (3, micro)


def test_a_gradient_that_is_no_number_is_found() -> None:
    with pytest.raises(NotFinite, match="gradient"):
        Meter(total=10).add(3, values(1.0, norm=float("inf")))


def test_on_an_accelerator_the_alarm_comes_before_the_checkpoint() -> None:
    meter = Meter(total=1000, on_cpu=False)
    meter.add(0, values(float("nan")))
    meter.add(1, values(1.0))
    with pytest.raises(NotFinite) as caught:
        meter.state()
    assert caught.value.step == 0


def test_a_restored_meter_goes_on_as_if_nothing_had_happened() -> None:
    straight, killed = Meter(total=400), Meter(total=400)
    for step in range(8):
        straight.add(step, values(0.1 * step))
    for step in range(6):
        killed.add(step, values(0.1 * step))
    restored = Meter(total=400)
    restored.restore(json.loads(json.dumps(killed.state())))
    for step in (6, 7):
        restored.add(step, values(0.1 * step))
    assert restored.history == straight.history


def test_live_metrics_carry_the_arms_name_and_the_losss_parts() -> None:
    tape = Tape()
    Meter(total=1, tracker=tape, name="control").add(0, values(2.0, divergence=0.5))
    assert {name for name, *_ in tape.metrics} == {
        "control.loss", "control.learning_rate", "control.grad_norm", "control.tokens", "control.divergence",
    }  # fmt: skip
    assert ("control.divergence", 0.5, 1) in tape.metrics
