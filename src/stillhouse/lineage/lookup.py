"""From an address to a chain: a registered version, a ``lineage.json``, or the artifact of any stage.

A version carries its chain as a tag, so that the database alone is enough, on any machine; ``lineage.json`` is the same
chain as a file. Knows where chains are kept, not what is in them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from stillhouse.errors import RecipeError
from stillhouse.lineage.address import redacted, tracking_uri
from stillhouse.lineage.chain import Chain, build_chain
from stillhouse.summary import FILE_NAME, StageSummary
from stillhouse.workspace import Workspace

if TYPE_CHECKING:
    from stillhouse.lineage.versions import Registry

CHAIN_NAME = "lineage.json"
CHAIN_TAG = "stillhouse.lineage"


def lineage(target: str | Path, workspace: str | Path | None = None) -> Chain:
    """What the student at ``target`` was made from.

    ``target`` is ``models:/<name>@<alias>``, ``models:/<name>/<version>``, a ``lineage.json`` or the artifact folder of
    a stage. MLflow is the one that ``MLFLOW_TRACKING_URI`` names, else that of ``workspace``.

    Raises:
        RecipeError: nothing is there; says what is.
        TransientError: MLflow does not answer.
    """
    if str(target).startswith("models:"):
        return _of_version(str(target), workspace)
    path = Path(target)
    if path.is_dir() and (path / CHAIN_NAME).is_file():
        path = path / CHAIN_NAME
    if path.is_file():
        return _read(path)
    if not path.is_dir():
        raise RecipeError(
            f"{target}: no such file or folder; use models:/<name>@<alias>, a {CHAIN_NAME} or a stage's artifact folder"
        )
    summary = StageSummary.read(path)
    space = _existing(workspace)
    return build_chain([*(ancestors(space, summary) if space else ()), summary], "")


def ancestors(space: Workspace, summary: StageSummary) -> list[StageSummary]:
    """Summaries of everything that ``summary`` was made from and ``space`` still holds, nearest last."""
    found: dict[str, StageSummary] = {}
    queue = [key for keys in summary.inputs.values() for key in keys]
    while queue:
        key = queue.pop(0)
        for path in sorted((space.root / "stages").glob(f"*/{key}/payload/{FILE_NAME}")):
            if key not in found:
                found[key] = StageSummary.read(path.parent)
                queue += [above for keys in found[key].inputs.values() for above in keys]
    return list(reversed(found.values()))


def open_registry(workspace: str | Path | None = None) -> Registry:
    """The registry for looking things up: an embedded database is opened, never made.

    Raises:
        RecipeError: there is no MLflow database where one was expected.
        TransientError: MLflow does not answer.
    """
    from stillhouse.lineage.store import connect
    from stillhouse.lineage.versions import Registry

    space = _existing(workspace)
    if space is None and workspace is not None:
        space = Workspace(Path(str(workspace).removeprefix("file://")).expanduser().resolve())
    uri = tracking_uri(space)
    database = Path(uri.removeprefix("sqlite:///"))
    if uri.startswith("sqlite:///") and not database.is_file():
        raise RecipeError(
            f"MLflow database {redacted(str(database))}: no such file; run a recipe first, "
            "name its folder with --workspace, or set MLFLOW_TRACKING_URI"
        )
    return Registry(connect(space), space)


def _of_version(uri: str, workspace: str | Path | None) -> Chain:
    registry = open_registry(workspace)
    version = registry.resolve(uri)
    if told := version.tags.get(CHAIN_TAG):
        return Chain.from_json(json.loads(told)).named(version.uri)
    kept = registry.run_file(version, CHAIN_NAME)
    if kept is None:
        raise RecipeError(f"{version.uri}: carries no lineage (tag {CHAIN_TAG}); it was not made by stillhouse")
    return _read(kept).named(version.uri)


def _read(path: Path) -> Chain:
    try:
        return Chain.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError) as error:
        raise RecipeError(f"{path}: not a {CHAIN_NAME} of stillhouse ({type(error).__name__}: {error})") from error


def _existing(workspace: str | Path | None) -> Workspace | None:
    if workspace is None:
        return None
    root = Path(str(workspace).removeprefix("file://")).expanduser().resolve()
    return Workspace(root) if root.is_dir() else None
