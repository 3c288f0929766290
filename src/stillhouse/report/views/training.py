"""Training: loss curves of the student and its control, and what was trained how."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stillhouse.report import formats
from stillhouse.report.plots import both, loss_plot


def training(details: Mapping[str, Any]) -> dict[str, Any] | None:
    if not details:
        return None
    arms = arms_of(details)
    history = {name: arm.get("history", []) for name, arm in arms.items()}
    return {
        "plot": both(lambda width: loss_plot(history, width)),
        "objective": _word(details.get("objective")),
        "tuning": _word(details.get("tuning")),
        "examples": formats.count(details.get("examples")),
        "too_long": formats.count(details.get("too_long")),
        "weights": details.get("weights_sha256", ""),
        "arms": [_arm(name, arm) for name, arm in arms.items()],
    }


def arms_of(details: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The trained models, the student first."""
    return dict(sorted(details.get("arms", {}).items(), key=lambda item: item[0] != "student"))


def _word(value: Any) -> str:
    """Objective and tuning are slugs, or configs with a ``type``."""
    return str(value.get("type", "")) if isinstance(value, Mapping) else str(value or formats.DASH)


def _arm(name: str, arm: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": "student" if name == "student" else formats.arm(name),
        "kind": name,
        "steps": formats.count(arm.get("steps")),
        "tokens": formats.count(arm.get("tokens")),
        "seconds": formats.duration(arm.get("seconds")),
        "loss": formats.number(arm.get("final_loss")),
        "weights": formats.short(arm.get("weights_sha256")),
    }
