"""The evidence: one canonical JSON file that says why a student may, or may not, replace the champion.

Its sha256 is a tag of the version; approval and promotion name that hash. It holds no clock times and no paths: judging
the same things again writes the same bytes. Knows nothing of where it is kept.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stillhouse import __version__
from stillhouse.digest import canonical_json, sha256_file
from stillhouse.errors import RecipeError
from stillhouse.recipe.evaluation import Gate
from stillhouse.registry.gate import Check, Verdict

FILE_NAME = "evidence.json"
SCHEMA = 1


def write_evidence(
    folder: Path, verdict: Verdict, *, gate: Gate, seed: int, inputs: Mapping[str, Any], name: str
) -> str:
    """Write ``evidence.json`` into ``folder``; returns its sha256. ``inputs`` are the digests of what was judged."""
    evidence = {
        "schema": SCHEMA,
        "library": __version__,
        "name": name,
        "inputs": inputs,
        "gate": gate.model_dump(mode="json"),
        "seed": seed,
        "against": verdict.against,
        "checks": verdict.rows(),
        "verdict": verdict.word,
    }
    path = folder / FILE_NAME
    path.write_text(canonical_json(evidence) + "\n", encoding="utf-8")
    return sha256_file(path)


def read_verdict(path: Path, sha256: str) -> Verdict:
    """The verdict in an evidence file whose hash must be ``sha256``.

    Raises:
        RecipeError: the file was changed, or is of another kind.
    """
    if sha256_file(path) != sha256:
        raise RecipeError(f"{path}: is not the evidence that was judged (its sha256 is not {sha256[:12]}...)")
    plain = json.loads(path.read_text(encoding="utf-8"))
    checks = tuple(Check(**row) for row in plain["checks"])
    return Verdict(plain["verdict"] == "passed", checks, plain["against"])
