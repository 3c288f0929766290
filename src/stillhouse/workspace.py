"""The workspace: the folder that outlives pods, runs and kills. Knows paths only, no stage's logic.

<workspace>/stages/<stage>/<key>/payload/   finished output of a stage, complete or absent (renamed into place)
<workspace>/work/<stage>/<key>/             unfinished work: checkpoints, part files; removed by nobody but `clean`
<workspace>/traces/<group>/                 the trace store, shared by all runs and recipes
<workspace>/replies/<voice>/                replies to probes and benchmarks, shared by all runs
<workspace>/runs/<run name>/                recipe.json, report.html, events.jsonl, run.log
<workspace>/mlflow/                         embedded tracking store and artifacts
<workspace>/kfp/                            the local runner's artifacts and cache
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from stillhouse.errors import RecipeError

_LONGEST_NAME = 200


@dataclass(frozen=True)
class Workspace:
    """A workspace rooted at a local folder (a laptop's folder, or a mounted volume in a pod)."""

    root: Path

    @classmethod
    def open(cls, location: str | Path) -> Workspace:
        """Open ``location`` (a path or ``file://`` URI), creating it where needed.

        Raises:
            RecipeError: another kind of URI, or a folder that cannot be written.
        """
        text = str(location).removeprefix("file://")
        if "://" in text:
            raise RecipeError(f"workspace {location}: must be a folder or a mounted volume (a path or file://)")
        root = Path(text).expanduser().resolve()
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RecipeError(
                f"workspace {root}: cannot be created ({error.strerror}); choose another folder"
            ) from error
        if not os.access(root, os.W_OK):
            raise RecipeError(f"workspace {root}: is not writable; choose another folder")
        return cls(root)

    def payload(self, stage: str, key: str) -> Path:
        return self.root / "stages" / stage / key / "payload"

    def work(self, stage: str, key: str) -> Path:
        return self.root / "work" / stage / key

    def run(self, name: str) -> Path:
        """The folder of the run called ``name``.

        Raises:
            RecipeError: the name is not that of one folder (``../other``, an absolute path, control characters).
        """
        if name in ("", ".", "..") or "/" in name or not name.isprintable() or len(name.encode()) > _LONGEST_NAME:
            raise RecipeError(f"run name {name[:80]!r}: must be one folder's name, at most {_LONGEST_NAME} bytes long")
        return self.root / "runs" / name

    @property
    def traces(self) -> Path:
        return self.root / "traces"

    @property
    def mlflow(self) -> Path:
        return self.root / "mlflow"

    @property
    def kfp(self) -> Path:
        return self.root / "kfp"


def link_tree(source: Path, target: Path) -> None:
    """Make ``target`` a copy of ``source``: hard links where the file system allows, copies elsewhere."""
    if target.exists():
        shutil.rmtree(target)

    def link(src: str, dst: str) -> None:
        try:
            os.link(src, dst)
        except OSError:
            shutil.copy2(src, dst)

    shutil.copytree(source, target, copy_function=link)
