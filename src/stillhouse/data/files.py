"""JSONL, Parquet and CSV files as rows, each with the place it came from. Knows no problems.

A row that cannot be read is a ``Fault``: whether one is too many is the caller's to decide. A file that cannot be
read at all is refused here.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stillhouse.errors import RecipeError, nearest


@dataclass(frozen=True)
class Row:
    """A row's columns; ``where`` is ``file:line``."""

    where: str
    columns: dict[str, Any]


@dataclass(frozen=True)
class Fault:
    """A row that is no problem, where it stands and what is wrong with it."""

    where: str
    what: str


def read_file(path: Path) -> list[Row | Fault]:
    """All rows of the file at ``path``, by its suffix.

    Raises:
        RecipeError: another suffix; unreadable; damaged; CSV that is not UTF-8 (line and byte) or has no header.
    """
    name = path.name.lower()
    suffix = "." + name.removesuffix(".gz").rpartition(".")[2]
    reader = READERS.get(suffix)
    if reader is None or (suffix == ".parquet" and name.endswith(".gz")):
        known = ", ".join([*READERS, ".jsonl.gz", ".csv.gz"])
        raise RecipeError(f"{path}: cannot tell its kind by its name; supported: {known}; {nearest(suffix, READERS)}")
    try:
        data = path.read_bytes()
        return list(reader(path, gzip.decompress(data) if name.endswith(".gz") else data))
    except PermissionError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror})") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise RecipeError(f"{path}: is not a whole gzip file ({error}); copy it again") from error


def _jsonl(path: Path, data: bytes) -> Iterator[Row | Fault]:
    offset = 0
    for number, line in enumerate(data.split(b"\n"), 1):
        where = f"{path}:{number}"
        begin, offset = offset, offset + len(line) + 1
        if not line.strip():
            continue
        try:
            columns = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
        except UnicodeDecodeError as error:
            # the decoder counts from behind the byte order mark
            skipped = 3 if number == 1 and line.startswith(b"\xef\xbb\xbf") else 0
            place = begin + skipped + error.start
            yield Fault(where, f"not valid UTF-8 (byte 0x{error.object[error.start]:02x} at offset {place})")
        except ValueError as error:
            yield Fault(where, f"broken JSON ({error})")
        except RecursionError:
            yield Fault(where, "broken JSON (nested too deeply)")
        else:
            yield Row(where, columns) if isinstance(columns, dict) else Fault(where, "not a JSON object")


def _csv(path: Path, data: bytes) -> Iterator[Row | Fault]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = f"byte 0x{data[error.start]:02x} at offset {error.start}"
        raise RecipeError(f"{path}:{line}: not valid UTF-8 ({byte}); save it as UTF-8") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(reader, None)
        if header is None:
            return
        twice = sorted({name for name in header if header.count(name) > 1})
        if twice:
            raise RecipeError(f"{path}:1: the column {twice[0]!r} stands twice in the header; rename one")
        line = reader.line_num
        for cells in reader:
            where, line = f"{path}:{line + 1}", reader.line_num
            if not cells:
                continue
            if len(cells) != len(header):
                yield Fault(where, f"{len(cells)} cells under {len(header)} columns")
            else:
                yield Row(where, dict(zip(header, cells, strict=True)))
    except csv.Error as error:
        raise RecipeError(f"{path}:{reader.line_num}: not valid CSV ({error})") from error


def _parquet(path: Path, data: bytes) -> Iterator[Row | Fault]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.read_table(pa.BufferReader(data)).to_pylist()
    except (pa.ArrowInvalid, OSError) as error:
        raise RecipeError(f"{path}: not a readable Parquet file ({str(error).splitlines()[0]})") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: holds text that is not valid UTF-8 ({error})") from error
    for number, columns in enumerate(rows, 1):
        yield Row(f"{path}:{number}", columns)


READERS: dict[str, Callable[[Path, bytes], Iterator[Row | Fault]]] = {
    ".jsonl": _jsonl,
    ".csv": _csv,
    ".parquet": _parquet,
}
