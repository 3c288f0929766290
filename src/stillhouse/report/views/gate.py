"""The gate: its checks, its evidence, and what happened to the version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stillhouse.report.plots import difference_cell

KINDS = {
    "require": "must be better",
    "non_inferior": "must not be worse",
    "limit": "limit",
    "licence": "licence",
}


def gate(details: Mapping[str, Any], promotion: Mapping[str, Any]) -> dict[str, Any] | None:
    """``promotion`` are the details of ``promote_student``, empty where it did not run."""
    if not details:
        return None
    return {
        "name": details.get("name", ""),
        "version": details.get("version", ""),
        "uri": details.get("model_uri", ""),
        "passed": details.get("verdict") == "passed",
        "against": details.get("against", ""),
        "checks": [_check(check) for check in details.get("checks", [])],
        "evidence": details.get("evidence_sha256", ""),
        "model_sha256": details.get("model_sha256", ""),
        "aliases": aliases(details, promotion),
        "promotion": promotion.get("text", ""),
        "champion": promotion.get("alias") == "champion",
    }


def aliases(details: Mapping[str, Any], promotion: Mapping[str, Any]) -> list[str]:
    """Aliases of the version, with the one that promotion gave it."""
    found = list(details.get("aliases") or [])
    return [*found, *(alias for alias in [promotion.get("alias")] if alias and alias not in found)]


def _check(check: Mapping[str, Any]) -> dict[str, Any]:
    difference, pair = check.get("difference"), check.get("interval")
    passed = bool(check.get("passed"))
    plot = None
    if check.get("kind") in ("require", "non_inferior") and difference is not None and pair:
        plot = difference_cell(difference, pair, check.get("threshold"), passed=passed)
    return {
        "kind": KINDS.get(check.get("kind", ""), check.get("kind", "")),
        "metric": check.get("metric", ""),
        "text": check.get("text", "").removeprefix(f"{check.get('metric')}: "),
        "passed": passed,
        "plot": plot,
    }
