"""The trace store: every trace that was ever paid for, shared by all runs and recipes of a workspace.

``<workspace>/traces/<group>/`` holds the traces of one teacher asked and sampled in one way, as part files that are
written once and never changed. A part's name is the sha256 of its bytes, so a half-written or damaged part is told
from a good one without trusting anything in it. Two processes may write to a group at once. Knows traces and files;
no teachers, no shards.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from stillhouse.digest import canonical_json, sha256_json
from stillhouse.records import TRACE_SCHEMA, Trace, from_row, to_row

_SUFFIX = ".parquet"
_NAME_LENGTH = 32
_ABOUT = "group.json"


def group_name(identity: dict[str, object]) -> str:
    """Folder name of a group: a digest over the teacher, the prompter and the sampling."""
    return sha256_json(identity)[:_NAME_LENGTH]


class TraceStore:
    """The traces of one group, below ``root``. ``identity`` says what they have in common, and is kept beside them."""

    def __init__(self, root: Path, identity: dict[str, object]) -> None:
        self.folder = root / group_name(identity)
        self._identity = identity

    def read(self, keys: Collection[str], report: Callable[[str], None]) -> dict[str, Trace]:
        """The stored ones of ``keys``. Damaged parts are left out, and ``report`` hears of each."""
        found: dict[str, Trace] = {}
        for path in sorted(self.folder.glob(f"*{_SUFFIX}")):
            table = _read_part(path)
            if table is None:
                report(f"{path} is damaged and is ignored; its traces are asked for again where they are needed")
                continue
            rows = (row for row in table.to_pylist() if row["key"] in keys)
            found.update((row["key"], from_row(Trace, row)) for row in rows)
        return found

    def write(self, traces: Sequence[Trace]) -> None:
        """Store ``traces`` as one part: on disk once this returns, or not there at all.

        Raises:
            OSError: the disk is full or broken; earlier parts are as they were.
        """
        if not traces:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.folder / _ABOUT).exists():
            self._put(_ABOUT, canonical_json(self._identity).encode() + b"\n")
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist([to_row(trace) for trace in traces], schema=TRACE_SCHEMA), sink)
        content = sink.getvalue().to_pybytes()
        self._put(_part_name(content), content)

    def _put(self, name: str, content: bytes) -> None:
        partial = self.folder / f".{name}.{os.getpid()}.partial"
        try:
            with partial.open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            partial.replace(self.folder / name)
        finally:
            partial.unlink(missing_ok=True)
        _sync_folder(self.folder)


def _part_name(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_NAME_LENGTH] + _SUFFIX


def _read_part(path: Path) -> pa.Table | None:
    content = path.read_bytes()
    if _part_name(content) != path.name:
        return None
    try:
        table = pq.read_table(pa.BufferReader(content))
    except pa.ArrowInvalid:
        return None
    return table if table.schema.equals(TRACE_SCHEMA) else None


def _sync_folder(folder: Path) -> None:
    """Without this the rename itself may be lost when the machine goes down."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
