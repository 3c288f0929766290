"""What a finished stage says about itself: plain data, read by the report, the lineage and the next stage."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from stillhouse.errors import RecipeError

FILE_NAME = "summary.json"


@dataclass(kw_only=True)
class StageSummary:
    """``key`` identifies the work (config and upstream keys), ``digest`` its result (payload files).

    ``details`` is the stage's own part; its fields are listed in docs/architecture.md. ``seconds``, the two
    times and ``cost`` describe the run that did the work and take no part in any digest.
    """

    stage: str
    key: str
    part: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, list[str]] = field(default_factory=dict)
    digest: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    cost: dict[str, float] = field(default_factory=dict)
    headline: str = ""
    version: str = ""
    started_at: str = ""
    finished_at: str = ""
    seconds: float = 0.0

    def write(self, folder: Path) -> None:
        text = json.dumps(asdict(self), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
        (folder / FILE_NAME).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> StageSummary:
        """Read the summary of the artifact in ``folder``.

        Raises:
            RecipeError: the folder is not the output of a finished stage.
        """
        path = folder / FILE_NAME
        if not path.is_file():
            raise RecipeError(f"{folder}: not the output of a finished stage ({FILE_NAME} is missing)")
        return cls(**json.loads(path.read_text(encoding="utf-8")))
