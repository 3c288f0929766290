"""A recipe as a resource names it: inline or in a ConfigMap. Reads its text and its outer shape; the schema is the
command's to check."""

from __future__ import annotations

import json
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from operators.context import Context
from operators.crds.run import RunSpec
from operators.crds.schedule import ScheduleSpec
from operators.resources import CONFIG_MAP
from stillhouse.digest import sha256_json
from stillhouse.errors import RecipeError, nearest
from stillhouse.recipe.document import parse_yaml


class RecipeMissing(RecipeError):
    """The ConfigMap or its key is not there (yet); it may come without an edit of the resource."""


@dataclass(frozen=True)
class Source:
    """A recipe that was found."""

    tree: Mapping[str, Any]
    where: str
    """What errors call it."""

    @property
    def sha256(self) -> str:
        return sha256_json(dict(self.tree))

    @property
    def name(self) -> str:
        """The recipe's name, empty where it says none."""
        return str(self.tree.get("name") or "")

    @property
    def namespace(self) -> str:
        """KFP's namespace as the recipe wants it; empty where it says none."""
        cluster = self.tree.get("cluster")
        return str(cluster.get("namespace") or "") if isinstance(cluster, Mapping) else ""


async def find(context: Context, namespace: str, spec: RunSpec | ScheduleSpec) -> Source:
    """The recipe that ``spec`` names.

    Raises:
        RecipeMissing: no such ConfigMap, or no such key in it.
        RecipeError: its text is no mapping in YAML.
    """
    if spec.recipe is not None:
        return Source(spec.recipe, "spec.recipe")
    if spec.recipe_from is None:
        raise RecipeError("spec: write either recipe (inline) or recipeFrom (a ConfigMap)")
    ref = spec.recipe_from.config_map_key_ref
    where = f"ConfigMap {ref.name}, key {ref.key}"
    body = await context.kube.get(CONFIG_MAP, namespace, ref.name)
    if body is None:
        raise RecipeMissing(f"{where}: there is no such ConfigMap in {namespace}; create it, or mend spec.recipeFrom")
    data = body.get("data") or {}
    if ref.key not in data:
        raise RecipeMissing(f"{where}: the ConfigMap has no such key; {nearest(ref.key, data)}")
    tree = parse_yaml(data[ref.key], where)
    if not isinstance(tree, Mapping):
        raise RecipeError(f"{where}: is no recipe; a recipe is a mapping such as `name: my-student`")
    return Source(tree, where)


def kfp_namespace(source: Source, own: str, installed: str) -> str:
    """KFP's namespace for this recipe: nobody reaches, by a resource in their own namespace, into that of others.

    Args:
        source: the recipe.
        own: the resource's namespace.
        installed: KFP's namespace as the installation names it, or empty.

    Raises:
        RecipeError: the recipe names another namespace.
    """
    wanted = source.namespace
    if wanted not in ("", own, installed):
        raise RecipeError(
            f"{source.where}: cluster.namespace = {wanted!r}: a resource in {own} may start runs in "
            f"{' and '.join(sorted({own, installed} - {''}))} only; create it in {wanted}"
        )
    return wanted or installed


def check_overrides(overrides: Sequence[str]) -> None:
    """Refuse overrides that would lead around ``kfp_namespace``.

    Raises:
        RecipeError: one changes the section ``cluster`` as a whole, or its namespace.
    """
    for number, item in enumerate(overrides):
        path = item.partition("=")[0].strip()
        if path in ("cluster", "cluster.namespace"):
            raise RecipeError(f"spec.set[{number}]: {path} is set by the recipe itself; write it there")


def overridden_name(source: Source, overrides: Sequence[str]) -> str:
    """The recipe's name after the overrides."""
    names = [item.partition("=")[2].strip() for item in overrides if item.partition("=")[0].strip() == "name"]
    return names[-1] if names else source.name


@asynccontextmanager
async def as_file(source: Source) -> AsyncIterator[str]:
    """The recipe as a file while the block runs, for the command; readable by nobody else."""
    with tempfile.TemporaryDirectory(prefix="stillhouse-") as folder:
        path = Path(folder) / "recipe.json"
        path.write_text(json.dumps(dict(source.tree), ensure_ascii=False), encoding="utf-8")
        yield str(path)


async def ask(context: Context, verb: str, source: Source, *options: str, timeout_s: float = 300.0) -> dict[str, Any]:
    """Run ``stillhouse VERB RECIPE OPTIONS``; errors speak of ``source.where``, not of a temporary file.

    Raises:
        RecipeError, TransientError: as the command ends.
    """
    async with as_file(source) as path:
        try:
            return dict(await context.command(verb, path, *options, timeout_s=timeout_s))
        except RecipeError as error:
            raise RecipeError(str(error).replace(path, source.where)) from error
