"""The trace store: whole parts or none, whatever happens to the disk."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stillhouse.errors import EXIT_TRANSIENT, TransientError
from stillhouse.generation.store import TraceStore, group_name
from stillhouse.records import Trace
from tests.unit.generation.conftest import Shop

IDENTITY: dict[str, object] = {"teacher": {"name": "t", "revision": "r"}, "prompter": "{}", "sampling": "{}"}


def trace(key: str, text: str = "thought") -> Trace:
    return Trace(
        key=key, problem_id="p", problem_hash="h", teacher="t", teacher_revision="r", prompter="{}", sampling="{}",
        sample_index=0, seed=1, reasoning=text, answer="1",
    )  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> TraceStore:
    found = TraceStore(tmp_path, IDENTITY)
    found.write([trace("a"), trace("b")])
    found.write([trace("c")])
    return found


def read(store: TraceStore, *keys: str) -> tuple[dict[str, Trace], list[str]]:
    said: list[str] = []
    return store.read(set(keys or "abc"), said.append), said


def test_what_was_written_is_read_again_and_only_what_was_asked_for(store: TraceStore) -> None:
    assert read(store, "b", "c", "z") == ({"b": trace("b"), "c": trace("c")}, [])


def test_a_group_says_what_its_traces_have_in_common(store: TraceStore) -> None:
    assert (store.folder / "group.json").read_text().startswith('{"prompter":"{}"')
    assert store.folder.name == group_name(IDENTITY) != group_name({**IDENTITY, "sampling": "{1}"})


def test_the_same_traces_are_the_same_part(store: TraceStore) -> None:
    before = sorted(store.folder.iterdir())
    store.write([trace("c")])
    assert sorted(store.folder.iterdir()) == before


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[content.index(b"thought")] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [_cut, _empty, _flip])
def test_a_damaged_part_is_reported_and_never_loaded(store: TraceStore, damage: object) -> None:
    (victim,) = [path for path in store.folder.glob("*.parquet") if "c" not in pq.read_table(path)["key"].to_pylist()]
    damage(victim)  # type: ignore[operator]
    found, said = read(store)
    assert found == {"c": trace("c")}
    assert len(said) == 1
    assert str(victim) in said[0]


def test_a_file_that_is_no_part_is_not_loaded(store: TraceStore) -> None:
    pq.write_table(pa.table({"key": ["a"]}), store.folder / "stranger.parquet")
    (store.folder / ".half.parquet.7.partial").write_bytes(b"PAR1")
    found, said = read(store)
    assert set(found) == set("abc")
    assert len(said) == 1


def test_a_damaged_part_is_asked_for_again(shop: Shop) -> None:
    shop.run()
    _flip_any(shop.parts[1])
    summary = shop.run(max_error_share=0.5)
    assert (summary.details["reused"], summary.details["generated"]) == (12, 4)
    assert sorted(shop.diary.counts.values()) == [1] * 12 + [2] * 4


def _flip_any(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_full_disk_is_told_and_costs_nothing_that_was_finished(
    shop: Shop, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = os.fsync, iter(range(1000))

    def full(descriptor: int) -> None:
        # group.json, its folder, two parts with their folders: the third part does not fit.
        if next(calls) == 6:
            raise OSError(code, os.strerror(code))
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(TransientError, match="free some space and run again") as caught:
            shop.run()
    assert caught.value.exit_code == EXIT_TRANSIENT
    assert len(shop.parts) == 2
    assert not list(shop.parts[0].parent.glob(".*"))
    summary = shop.run()
    assert (summary.details["reused"], summary.details["generated"]) == (8, 8)


@pytest.fixture
def small_disk(shop: Shop) -> Iterator[Path]:
    """A real file system of 64 KiB in the place of the workspace."""
    shop.workspace.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(shop.workspace)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("mounting a small disk needs privileges; the simulated full disk above always runs")
    try:
        yield shop.workspace
    finally:
        subprocess.run(["umount", str(shop.workspace)], check=True)


def test_a_disk_that_is_really_full_is_told_and_can_be_continued_on(shop: Shop, small_disk: Path) -> None:
    with pytest.raises(TransientError, match="No space left on device"):
        shop.run(samples=4)
    kept = len(shop.parts)
    assert 1 <= kept < 16
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    summary = shop.run(samples=4)
    assert summary.details["reused"] == 4 * kept
    assert summary.details["traces"] == 64
