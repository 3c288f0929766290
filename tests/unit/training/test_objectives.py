"""Losses against numbers worked out by hand, and against their limits."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from stillhouse.models.loading import LoadedModel
from stillhouse.recipe.training import Kl as KlConfig
from stillhouse.recipe.training import Sft as SftConfig
from stillhouse.recipe.training import TrainSection
from stillhouse.records import Record
from stillhouse.training.arm import make_dataset, train_arm
from stillhouse.training.data import Batch, Batches, Dataset, Example, pack
from stillhouse.training.forward import Forward
from stillhouse.training.objectives.base import Objective, Outputs
from stillhouse.training.objectives.kl import Kl, divergence_N
from stillhouse.training.objectives.sft import Sft

# The teacher has 1, 2, 3, 4 and 4 bits of surprise, the student knows nothing. In nats:
# KL(P, Q) = ln 5 - 1.875 ln 2 and KL(Q, P) = 2.8 ln 2 - ln 5.
P = torch.tensor([[0.5, 0.25, 0.125, 0.0625, 0.0625]])
Q = torch.full((1, 5), 0.2)
FORWARD, REVERSE = math.log(5) - 1.875 * math.log(2), 2.8 * math.log(2) - math.log(5)


def batch(targets: list[int], weights: list[float] | None = None, total: float | None = None) -> Batch:
    total = total or float(sum(weights or [1.0] * len(targets)))
    weights_N = torch.tensor(weights) if weights else None
    targets_N = torch.tensor(targets)
    return Batch(
        ids_BT=targets_N[None], keep=len(targets), index_N=torch.arange(len(targets)), targets_N=targets_N,
        weights_N=weights_N, total_weight=total, keys=("k",),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("beta", "expected"),
    [(0.0, FORWARD), (1.0, REVERSE), (0.5, 0.0768367), (0.25, 0.0573027)],
)
def test_a_divergence_equals_the_one_worked_out_by_hand(beta: float, expected: float) -> None:
    assert divergence_N(P.log(), Q.log(), beta).item() == pytest.approx(expected, abs=1e-6)


def test_logits_need_no_normalisation() -> None:
    assert divergence_N(P.log() + 7.0, Q.log() - 3.0, 0.0).item() == pytest.approx(FORWARD, abs=1e-6)


def test_temperature_softens_both_and_its_square_scales_the_loss() -> None:
    # Square roots of P, normalised: 0.343146 0.242641 0.171573 0.121320 0.121320; KL to uniform 0.084542; times 4.
    assert divergence_N(P.log(), Q.log(), 0.0, temperature=2.0).item() == pytest.approx(0.338167, abs=1e-5)


@pytest.mark.parametrize("beta", [0.0, 0.3, 0.5, 1.0])
def test_a_teacher_that_is_the_student_costs_nothing(beta: float) -> None:
    logits = torch.randn(7, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    values_N = divergence_N(logits.detach(), logits, beta)
    values_N.sum().backward()  # type: ignore[no-untyped-call]
    assert values_N.abs().max().item() < 1e-6
    assert logits.grad is not None
    assert logits.grad.abs().max().item() < 1e-6


@pytest.mark.parametrize(("edge", "scale"), [(0.0, 1e-4), (1.0, 1e-4)])
def test_the_generalized_jsd_points_the_same_way_as_its_ends(edge: float, scale: float) -> None:
    """JSD(beta) / beta -> KL(P, Q) as beta -> 0, JSD(beta) / (1 - beta) -> KL(Q, P) as beta -> 1; gradients too."""

    def value_and_gradient(beta: float) -> tuple[float, Tensor]:
        student = torch.tensor([[0.3, -1.0, 0.8, 0.1, -0.4]], dtype=torch.float32, requires_grad=True)
        value = divergence_N(P.log(), student, beta).sum()
        value.backward()  # type: ignore[no-untyped-call]
        assert student.grad is not None
        return value.item(), student.grad

    limit, limit_gradient = value_and_gradient(edge)
    near, near_gradient = value_and_gradient(abs(edge - scale))
    assert near / scale == pytest.approx(limit, rel=5e-3)
    torch.testing.assert_close(near_gradient / scale, limit_gradient, rtol=2e-2, atol=2e-3)


def test_the_gradient_of_forward_kl_is_student_minus_teacher() -> None:
    student = Q.log().clone().requires_grad_()
    divergence_N(P.log(), student, 0.0).sum().backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(student.grad, Q - P)


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_padded_vocabularies_are_compared_on_their_common_prefix(beta: float) -> None:
    generator = torch.Generator().manual_seed(0)
    teacher, student = torch.randn(2, 151_936, generator=generator), torch.randn(2, 151_936, generator=generator)
    padded = torch.cat([teacher, torch.full((2, 128), 9.0)], dim=-1)
    torch.testing.assert_close(divergence_N(padded, student, beta), divergence_N(teacher, student, beta))


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_a_token_that_the_teacher_rules_out_gives_no_nan(beta: float) -> None:
    teacher = torch.tensor([[0.0, 0.0, -math.inf]])
    student = torch.tensor([[0.0, 0.0, 0.0]], requires_grad=True)
    value = divergence_N(teacher, student, beta).sum()
    value.backward()  # type: ignore[no-untyped-call]
    assert math.isfinite(value.item())
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()


def test_half_precision_logits_are_compared_in_float32() -> None:
    teacher, student = P.log().bfloat16(), Q.log().bfloat16()
    assert torch.equal(divergence_N(teacher, student, 0.0), divergence_N(teacher.float(), student.float(), 0.0))


def test_sft_is_the_mean_surprise_of_the_targets() -> None:
    report = Sft(SftConfig()).loss(batch([0, 2]), Outputs(torch.cat([P, P]).log()))
    assert report.total.item() == pytest.approx((1 + 3) / 2 * math.log(2), abs=1e-6)


def test_a_weight_of_two_counts_like_a_second_copy() -> None:
    sft = Sft(SftConfig())
    weighted = sft.loss(batch([0, 2], weights=[2.0, 1.0]), Outputs(torch.cat([P, P]).log())).total
    copied = sft.loss(batch([0, 0, 2]), Outputs(torch.cat([P, P, P]).log())).total
    torch.testing.assert_close(weighted, copied)


def test_a_micro_batch_reports_its_share_of_the_step() -> None:
    report = Sft(SftConfig()).loss(batch([0], total=4.0), Outputs(P.log()))
    assert report.total.item() == pytest.approx(math.log(2) / 4, abs=1e-6)


def test_kd_alpha_mixes_divergence_and_cross_entropy() -> None:
    report = Kl(KlConfig(kd_alpha=0.75)).loss(batch([0]), Outputs(Q.log(), P.log()))
    assert report.total.item() == pytest.approx(0.75 * FORWARD + 0.25 * math.log(5), abs=1e-6)
    assert {name: part.item() for name, part in report.parts.items()} == pytest.approx(
        {"divergence": FORWARD, "cross_entropy": math.log(5)}, abs=1e-6
    )


@pytest.mark.parametrize(("objective", "config"), [(Sft, SftConfig()), (Kl, KlConfig())])
def test_an_objective_needs_what_its_card_says(objective: type, config: SftConfig | KlConfig) -> None:
    assert objective(config).needs == config.card.needs


def gradients(
    student: LoadedModel, teacher: LoadedModel, objective: Objective, data: Dataset, batch_size: int
) -> dict[str, Tensor]:
    student.model.zero_grad()
    forward = Forward(student.model, objective.needs, teacher.model)
    for micro in Batches(data, seed=3, batch_size=batch_size, accumulation=12 // batch_size).step(1):
        objective.loss(micro, forward(micro)).total.backward()  # type: ignore[no-untyped-call]
    found = {name: p.grad.clone() for name, p in student.model.named_parameters() if p.grad is not None}
    student.model.zero_grad()
    return found


@pytest.mark.parametrize("batch_size", [1, 3, 4])
@pytest.mark.parametrize("objective", [Sft(SftConfig()), Kl(KlConfig(beta=0.5, kd_alpha=0.5))], ids=["sft", "kl"])
def test_accumulation_over_unequal_lengths_equals_one_big_batch(
    student: LoadedModel, teacher: LoadedModel, records: list[Record], objective: Objective, batch_size: int
) -> None:
    data = make_dataset(student, records, TrainSection())
    assert len(set(data.lengths.tolist())) > 5
    whole = gradients(student, teacher, objective, data, 12)
    cut = gradients(student, teacher, objective, data, batch_size)
    assert whole
    assert max(gradient.abs().max().item() for gradient in whole.values()) > 1e-3
    for name, gradient in whole.items():
        torch.testing.assert_close(cut[name], gradient, rtol=0, atol=1e-6)


def test_padding_changes_no_loss(student: LoadedModel) -> None:
    short, long = list(range(10, 20)), list(range(10, 50))
    sft, forward = Sft(SftConfig()), Forward(student.model)

    def loss(*rows: list[int]) -> float:
        data = pack([Example(ids=row, prompt_length=4) for row in rows], 100, "drop")
        (together,) = Batches(data, seed=0, batch_size=len(rows)).step(0)
        return sft.loss(together, forward(together)).total.item() * together.total_weight

    assert loss(short, long) == pytest.approx(loss(short) + loss(long), abs=1e-4)


def divergence_from(teacher: LoadedModel, model: object, data: Dataset) -> float:
    (everything,) = Batches(data, seed=0, batch_size=len(data)).step(0)
    outputs = Forward(model, ("teacher_logits",), teacher.model)(everything)  # type: ignore[arg-type]
    assert outputs.teacher_logits_NV is not None
    return divergence_N(outputs.teacher_logits_NV, outputs.logits_NV.detach(), 0.0).mean().item()


LEARNING = TrainSection(steps=50, batch_size=8, learning_rate=1e-2, warmup_share=0.0, max_grad_norm=10.0)


@pytest.fixture(scope="module")
def after_sft(student: LoadedModel, teacher: LoadedModel, records: list[Record]) -> float:
    """Divergence from the teacher of a student that read the same records."""
    data = make_dataset(student, records, LEARNING)
    return divergence_from(teacher, train_arm(student, records, LEARNING, 1).model, data)


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_kl_brings_the_student_to_the_teacher_and_sft_does_not(
    student: LoadedModel, teacher: LoadedModel, records: list[Record], beta: float, after_sft: float
) -> None:
    data = make_dataset(student, records, LEARNING)
    section = LEARNING.model_copy(update={"objective": KlConfig(beta=beta)})
    before = divergence_from(teacher, student.model, data)
    taught = divergence_from(teacher, train_arm(student, records, section, 1, teacher=teacher).model, data)
    assert taught < 0.4 * before
    assert after_sft > 2 * taught
