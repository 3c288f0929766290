from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from stillhouse.errors import RecipeError, TransientError
from stillhouse.training import checkpoint as module
from stillhouse.training.checkpoint import Checkpoint, Checkpoints


def make(step: int) -> Checkpoint:
    return Checkpoint(step, {"w": torch.full((3,), float(step))}, {"w/step": torch.tensor(float(step))}, {"x": 0.1})


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path / "work", "digest", keep=2)


def test_the_newest_checkpoint_comes_back_as_it_was(checkpoints: Checkpoints) -> None:
    for step in (5, 10):
        checkpoints.save(make(step))
    found = checkpoints.latest()
    assert found is not None
    assert (found.step, found.state) == (10, {"x": 0.1})
    assert torch.equal(found.model["w"], torch.full((3,), 10.0))
    assert found.optimizer["w/step"].shape == ()


def test_without_checkpoints_there_is_none(checkpoints: Checkpoints) -> None:
    assert checkpoints.latest() is None


def test_only_the_last_ones_are_kept(checkpoints: Checkpoints) -> None:
    for step in (5, 10, 15, 20):
        checkpoints.save(make(step))
    assert sorted(path.name for path in checkpoints.folder.iterdir()) == ["checkpoint-000015", "checkpoint-000020"]


def test_a_checkpoint_of_the_same_step_is_replaced(checkpoints: Checkpoints) -> None:
    checkpoints.save(make(5))
    checkpoints.save(make(5))
    assert checkpoints.steps() == [5]


@pytest.mark.parametrize("victim", ["model.safetensors", "optimizer.safetensors", "state.json"])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_checkpoint_is_passed_over(checkpoints: Checkpoints, victim: str, damage: str) -> None:
    for step in (5, 10):
        checkpoints.save(make(step))
    path = checkpoints.path(10) / victim
    path.write_bytes(path.read_bytes()[:-4]) if damage == "cut" else path.unlink()
    found = checkpoints.latest()
    assert found is not None
    assert found.step == 5


def test_a_checkpoint_of_another_training_is_refused(checkpoints: Checkpoints) -> None:
    checkpoints.save(make(5))
    with pytest.raises(RecipeError, match="checkpoint-000005: belongs to another training"):
        Checkpoints(checkpoints.folder, "another").latest()


def test_a_full_disk_keeps_the_checkpoint_before(checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints.save(make(5))

    def full(tensors: object, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(module, "save_file", full)
    with pytest.raises(TransientError, match=r"checkpoint-000010: cannot be written.*No space left"):
        checkpoints.save(make(10))
    assert [path.name for path in checkpoints.folder.iterdir()] == ["checkpoint-000005"]


def test_what_a_kill_left_half_written_is_swept_away(checkpoints: Checkpoints) -> None:
    half = checkpoints.folder / ".checkpoint-000010.1.partial"
    half.mkdir(parents=True)
    (half / "model.safetensors").write_bytes(b"half")
    assert checkpoints.latest() is None
    checkpoints.save(make(15))
    assert [path.name for path in checkpoints.folder.iterdir()] == ["checkpoint-000015"]
