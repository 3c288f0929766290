"""What every config of a recipe has in common. Torch-free, like the whole package."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Access = Literal["none", "black", "grey", "white"]


class Config(BaseModel):
    """A part of a recipe: unknown keys are errors, values do not change after loading."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, validate_default=True, allow_inf_nan=False
    )


@dataclass(frozen=True)
class Card:
    """What `stillhouse methods` says about a plug-in.

    ``access`` is what it needs of the teacher: black (text), grey (top-k log-probs), white (weights).
    ``proof`` names the test that fails once the method is broken.
    """

    summary: str
    tags: tuple[str, ...] = ()
    access: Access = "none"
    needs: tuple[str, ...] = ()
    paper: str = ""
    recipe: str = "recipes/quickstart.yaml"
    proof: str = ""


class Custom(Config):
    """A plug-in of the user's own: any class with the contract of its kind."""

    type: Literal["custom"] = "custom"
    import_path: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    """Where it lives, as ``package.module:ClassName``."""
    options: dict[str, Any] = {}
    """Keyword arguments for its constructor."""
