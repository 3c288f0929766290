"""Content digests: one canonical JSON, one hash. Knows nothing of what it hashes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_BLOCK = 1 << 20


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and whole floats written as integers.

    KFP carries parameters as protobuf structs, where 4 comes back as 4.0; both must hash alike.
    """
    return json.dumps(_whole_numbers(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _whole_numbers(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {str(key): _whole_numbers(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_whole_numbers(item) for item in value]
    return value


def sha256_text(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def sha256_json(value: Any) -> str:
    """sha256 of ``value`` in canonical JSON."""
    return sha256_text(canonical_json(value))


def sha256_file(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def sha256_files(paths: Iterable[Path], root: Path) -> str:
    """One digest over relative names and contents, independent of order and of where ``root`` lies."""
    rows = sorted((path.relative_to(root).as_posix(), sha256_file(path)) for path in paths)
    return sha256_json(rows)


def sha256_tree(root: Path) -> str:
    """Digest of every file below ``root``."""
    return sha256_files((path for path in root.rglob("*") if path.is_file()), root)
