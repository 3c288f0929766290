"""Several processes take the steps of one. The processes are real, the network is loopback."""

from __future__ import annotations

import os
import runpy
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stillhouse.errors import RecipeError
from stillhouse.models.loading import LoadedModel
from stillhouse.recipe.base import Custom
from stillhouse.recipe.training import Kl, Lora, TrainSection
from stillhouse.records import Record
from stillhouse.training.arm import ArmOptions, make_dataset, train_arm
from stillhouse.training.data import Batch, Batches
from stillhouse.training.distributed import Group
from stillhouse.training.objectives.base import LossReport, Outputs, cross_entropy_N, share_of_step

together: Callable[..., list[Any]] = runpy.run_path(str(Path(__file__).with_name("processes.py")))["together"]

SECTION = TrainSection(
    steps=6, batch_size=4, gradient_accumulation=2, learning_rate=1e-3, checkpoint_every=2, weight_decay=0.1
)


@dataclass(frozen=True)
class Trained:
    """What a process knows at the end, as plain values."""

    weights: dict[str, Any]
    history: list[dict[str, float]]
    resumed_from: int
    sha256: str


def train(student: LoadedModel, records: list[Record], section: TrainSection, group: Group, **options: Any) -> Trained:
    chosen = ArmOptions(group=group)
    chosen.update(ArmOptions(**options))
    result = train_arm(student, records, section, 1, **chosen)
    weights = {name: tensor.numpy().copy() for name, tensor in result.model.state_dict().items()}
    return Trained(weights, result.history, result.resumed_from, result.weights_sha256)


def distance(one: Trained, other: Trained) -> float:
    assert one.weights.keys() == other.weights.keys()
    return max(float(abs(one.weights[name] - other.weights[name]).max()) for name in one.weights)


class Projected(nn.Module):
    """An objective that owns a module: a bias on the logits, and cross-entropy."""

    needs = ()

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        # Started from this process's own randomness, as an objective of a user's might be.
        start = torch.Generator().manual_seed(os.getpid())
        self.bias = nn.Parameter(torch.randn(vocabulary, generator=start) * 0.1)

    def loss(self, batch: Batch, outputs: Outputs) -> LossReport:
        total = share_of_step(cross_entropy_N(outputs.logits_NV + self.bias, batch.targets_N), batch)
        return LossReport(total, {"ce": total.detach()}, {"bias": self.bias.detach().norm() * 0.5})


@pytest.mark.parametrize(
    ("section", "size"),
    [
        (SECTION, 2),
        (SECTION, 3),  # 8 examples do not divide evenly
        (SECTION.model_copy(update={"batch_size": 2, "gradient_accumulation": 1}), 2),
        (SECTION.model_copy(update={"objective": Kl(kd_alpha=0.5)}), 2),
        (SECTION.model_copy(update={"tuning": Lora(rank=4)}), 2),
    ],
    ids=["full", "uneven", "one example each", "kl", "lora"],
)
def test_several_processes_end_with_the_weights_of_one(
    student: LoadedModel, teacher: LoadedModel, records: list[Record], section: TrainSection, size: int
) -> None:
    """Records of unequal lengths and weights: whoever averages over processes, and not over tokens, ends elsewhere."""
    weighted = [replace(row, weight=1.0 + (place % 3)) for place, row in enumerate(records)]
    (alone,) = [train(student, weighted, section, Group(), teacher=teacher)]
    several = together(size, lambda group: train(student, weighted, section, group, teacher=teacher))
    assert distance(alone, several[0]) < 1e-5
    assert {process.sha256 for process in several} == {several[0].sha256}
    for mine, theirs in zip(alone.history, several[0].history, strict=True):
        assert theirs == pytest.approx(mine, rel=1e-3, abs=1e-5)
        assert (theirs["tokens"], theirs["step"]) == (mine["tokens"], mine["step"])
    moved = max(float(abs(tensor.numpy() - alone.weights[name]).max()) for name, tensor in
                student.model.state_dict().items())  # fmt: skip
    assert moved > 1e-3


@pytest.mark.parametrize(("before", "after"), [(2, 2), (2, 1), (1, 2)])
def test_a_stopped_training_goes_on_with_the_same_or_another_number_of_processes(
    student: LoadedModel, records: list[Record], before: int, after: int, tmp_path: Path
) -> None:
    straight = train(student, records, SECTION, Group())
    half = SECTION.model_copy(update={"steps": 6})

    def first(group: Group) -> str:
        class Stop:
            def step(self, done: int, _total: int, _note: str = "") -> None:
                if done == 5:
                    raise KeyboardInterrupt

            def say(self, text: str) -> None: ...

        return train(student, records, half, group, work=tmp_path, progress=Stop()).sha256

    ends = together(before, first) if before > 1 else [_interrupted(first)]
    assert ends[0].startswith("KeyboardInterrupt")
    assert all(end.startswith("PeerLost") for end in ends[1:])
    resumed = (
        together(after, lambda group: train(student, records, SECTION, group, work=tmp_path))
        if after > 1
        else [train(student, records, SECTION, Group(), work=tmp_path)]
    )
    assert [process.resumed_from for process in resumed] == [4] * after
    assert distance(straight, resumed[0]) < 1e-5
    assert len(resumed[0].history) == len(straight.history)
    assert {process.sha256 for process in resumed} == {resumed[0].sha256}


def _interrupted(task: Callable[[Group], str]) -> str:
    with pytest.raises(KeyboardInterrupt):
        task(Group())
    return "KeyboardInterrupt: "


def test_dropout_differs_between_processes_and_survives_a_resume_bit_for_bit(
    student: LoadedModel, records: list[Record], tmp_path: Path
) -> None:
    section = SECTION.model_copy(update={"tuning": Lora(rank=4, dropout=0.5)})

    def noise(group: Group) -> tuple[str, list[float]]:
        with torch.random.fork_rng():
            group.seed(1, 3)
            drawn = torch.rand(3).tolist()
        return train(student, records, section, group).sha256, drawn

    straight = together(2, noise)
    assert straight[0][1] != straight[1][1]
    short = section.model_copy(update={"steps": 6, "checkpoint_every": 4})

    class StopAtFive:
        def step(self, done: int, _total: int, _note: str = "") -> None:
            if done == 5:
                raise KeyboardInterrupt

        def say(self, text: str) -> None: ...

    together(2, lambda group: train(student, records, short, group, work=tmp_path, progress=StopAtFive()))
    resumed = together(2, lambda group: train(student, records, section, group, work=tmp_path))
    assert (resumed[0].resumed_from, resumed[0].sha256) == (4, straight[0][0])


def test_an_objectives_own_modules_are_trained_and_the_same_in_all_processes(
    student: LoadedModel, records: list[Record], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from stillhouse import plugins

    vocabulary = student.model.get_input_embeddings().weight.shape[0]
    section = SECTION.model_copy(update={"objective": Custom(import_path="anywhere:Projected")})
    made: list[Projected] = []

    def build(kind: str, config: Any, **services: Any) -> Any:
        if kind != "objective":
            return original(kind, config, **services)
        made.append(Projected(vocabulary))
        return made[-1]

    original = plugins.build
    monkeypatch.setattr(plugins, "build", build)

    def task(group: Group) -> tuple[Trained, list[float], list[float]]:
        work = {"work": tmp_path} if group.is_main else {}
        trained = train(student, records, section, group, **work)
        start = torch.randn(vocabulary, generator=torch.Generator().manual_seed(os.getpid())) * 0.1
        return trained, made[-1].bias.tolist(), start.tolist()

    first, second = together(2, task)
    assert first[1] == second[1]
    assert first[2] != second[2]
    assert first[1] != first[2]
    assert first[0].sha256 == second[0].sha256
    # The module is in the checkpoint, not in the student.
    again = together(2, task)
    assert (again[0][0].resumed_from, again[0][1]) == (6, first[1])
    assert not any("bias" in name for name in first[0].weights)


def test_a_parameter_that_only_some_processes_use_moves_as_if_one_process_used_it() -> None:
    def task(group: Group) -> list[list[float] | None]:
        from stillhouse.training.loop import _sum

        parameters = [nn.Parameter(torch.ones(2)) for _ in range(3)]
        (parameters[0] * (group.rank + 1)).sum().backward()
        if group.rank == 1:
            (parameters[1] * 5).sum().backward()
        losses, parts = _sum(group, parameters, [torch.tensor(1.0 + group.rank)], [{"ce": torch.tensor(2.0)}])
        assert [float(loss) for loss in losses] == [1.0, 2.0]
        assert {name: float(value) for name, value in parts[0].items()} == {"ce": 4.0}
        return [None if item.grad is None else item.grad.tolist() for item in parameters]

    assert together(2, task) == [[[3.0, 3.0], [5.0, 5.0], None]] * 2


def test_a_loss_that_is_no_number_names_the_traces_of_the_process_that_saw_it(
    student: LoadedModel, records: list[Record], tmp_path: Path
) -> None:
    rows = list(records)
    rows[5] = replace(rows[5], weight=1e38)
    section = SECTION.model_copy(update={"checkpoint_every": 1})
    ends = together(2, lambda group: train(student, rows, section, group, work=tmp_path).sha256)
    assert all(end.startswith("RecipeError: train: the loss of step") for end in ends)
    assert rows[5].trace.key in ends[0]
    assert 0 < ends[0].count("trace-") <= 4
    batches = Batches(make_dataset(student, rows, section), seed=1, batch_size=4, accumulation=2)
    first = min(step for step in range(6) if 5 in batches.rows(step))
    assert f"step {first + 1} is" in ends[0]


def test_the_shares_of_all_processes_are_the_step(student: LoadedModel, records: list[Record]) -> None:
    data = make_dataset(student, records, SECTION)
    whole = Batches(data, seed=3, batch_size=4, accumulation=2)
    for size in (2, 3, 8):
        shares = [Batches(data, seed=3, batch_size=4, accumulation=2, rank=rank, size=size) for rank in range(size)]
        for step in range(5):
            keys = [key for share in shares for batch in share.step(step) for key in batch.keys]
            assert sorted(keys) == sorted(key for batch in whole.step(step) for key in batch.keys)
            weights = {batch.total_weight for share in shares for batch in share.step(step)}
            assert weights == {whole.step(step)[0].total_weight}
            assert all(len(batch.keys) <= 4 for share in shares for batch in share.step(step))


def test_more_processes_than_examples_of_a_step_are_refused(student: LoadedModel, records: list[Record]) -> None:
    data = make_dataset(student, records, SECTION)
    with pytest.raises(RecipeError, match="gradient_accumulation is 8, but 9 processes share each step"):
        Batches(data, seed=1, batch_size=4, accumulation=2, rank=8, size=9)


def test_a_process_that_trains_alone_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("torch.distributed was asked")

    for name in ("all_reduce", "broadcast", "broadcast_object_list", "init_process_group"):
        monkeypatch.setattr(torch.distributed, name, refuse)
    group = Group()
    tensor: Tensor = torch.ones(2)
    group.sum([tensor])
    group.share([tensor])
    state = torch.get_rng_state()
    group.seed(1, 2)
    assert torch.equal(torch.get_rng_state(), state)
    assert (group.agree("value"), group.anywhere([True, False])) == ("value", [True, False])
