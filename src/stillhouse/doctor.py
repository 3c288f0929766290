"""What is installed, what is reachable, and what a recipe still needs. Looks only; changes and downloads nothing."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stillhouse.errors import StillhouseError

if TYPE_CHECKING:
    from stillhouse.recipe import Recipe

PACKAGES = {
    "torch": "training, local teachers (extra: models)",
    "transformers": "training, local teachers (extra: models)",
    "peft": "LoRA (extra: train)",
    "mlflow": "lineage and registry (extra: track)",
    "kfp": "the pipeline (extra: pipelines)",
    "math-verify": "answer checks",
    "minio": "s3:// addresses",
}
_TIMEOUT_S = 3.0
_FREE_GIB = 1.0


@dataclass(frozen=True)
class Finding:
    """One line of the doctor. ``ok`` is None where there is nothing to judge."""

    what: str
    ok: bool | None
    text: str

    def row(self) -> dict[str, Any]:
        return asdict(self)


def examine(recipe: Recipe | None, workspace: Path, env: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """All findings, the machine's first, then those of ``recipe``."""
    yield Finding("python", sys.version_info >= (3, 11), f"{platform.python_version()} on {platform.machine()}")
    yield from _packages()
    yield _disk(workspace)
    yield _mlflow(env)
    if recipe is not None:
        yield from _teachers(recipe, env)
        yield from _models(recipe)


def _packages() -> Iterator[Finding]:
    for name, use in PACKAGES.items():
        try:
            yield Finding(name, True, metadata.version(name))
        except metadata.PackageNotFoundError:
            yield Finding(name, False, f"not installed; needed for {use}")


def _disk(workspace: Path) -> Finding:
    folder = workspace.resolve()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 2**30
    return Finding(
        "workspace",
        free >= _FREE_GIB,
        f"{workspace}: {free:.1f} GiB free" + ("" if free >= _FREE_GIB else "; make room"),
    )


def _mlflow(env: Mapping[str, str]) -> Finding:
    uri = env.get("MLFLOW_TRACKING_URI", "")
    if not uri.startswith("http"):
        return Finding("mlflow", True, uri or "embedded in the workspace (MLFLOW_TRACKING_URI is not set)")
    return reach(
        "mlflow", f"{uri.rstrip('/')}/health", "start it, or unset MLFLOW_TRACKING_URI to use the embedded store"
    )


def reach(what: str, url: str, advice: str, headers: Mapping[str, str] | None = None) -> Finding:
    """Whether a GET of ``url`` is answered well within seconds."""
    import httpx

    shown = httpx.URL(url).copy_with(username=None, password=None)
    try:
        answer = httpx.get(url, timeout=_TIMEOUT_S, headers=dict(headers or {}))
    except httpx.HTTPError as error:
        return Finding(what, False, f"{shown} does not answer ({type(error).__name__}); {advice}")
    good = answer.status_code < 400
    return Finding(what, good, f"{shown} answers {answer.status_code}" + ("" if good else f"; {advice}"))


def _teachers(recipe: Recipe, env: Mapping[str, str]) -> Iterator[Finding]:
    for teacher in recipe.teacher.candidates:
        if teacher.type != "openai":
            continue
        key = env.get(teacher.api_key_env, "")
        word = "is set" if key else "is not set; servers that ask for a key will refuse"
        yield Finding(f"{teacher.name}: key", bool(key) or None, f"{teacher.api_key_env} {word}")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        for endpoint in teacher.endpoints:
            url = f"{endpoint.rstrip('/')}/models"
            yield reach(f"{teacher.name}: server", url, "start the server or correct teacher.candidates", headers)


def _models(recipe: Recipe) -> Iterator[Finding]:
    from stillhouse.data import check_data
    from stillhouse.recipe.resolve import resolve

    try:
        check_data(recipe)
        resolved = resolve(recipe)
    except StillhouseError as error:
        for line in str(error).splitlines():
            yield Finding("recipe", False, line)
        return
    yield Finding("recipe", True, f"{resolved.name}: complete")
    for name, ref in [
        ("student", resolved.student),
        *((c.name, c) for c in resolved.teacher.candidates if c.type == "transformers"),
    ]:
        known = ref.revision[:40] or "its revision is known once it is downloaded"
        yield Finding(
            f"model {name}",
            bool(ref.revision) or None,
            f"{ref.model} ({known}), licence {ref.licence or 'unknown'}",
        )
