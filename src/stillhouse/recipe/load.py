"""A recipe from a YAML file, the environment and ``--set``; every wrong field is named before anything runs.

Layering: defaults < file < environment < ``--set``. Relative paths of the file start at the file, those of the
environment and of ``--set`` at the current directory. Reads no data, no models; loads neither torch nor pyarrow.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from stillhouse.errors import RecipeError
from stillhouse.recipe.document import parse_yaml, read_mapping
from stillhouse.recipe.refusal import default_at, refuse, validate
from stillhouse.recipe.schema import Recipe
from stillhouse.storage import local_path

ENV_PREFIX = "STILLHOUSE_SET_"
Tree = dict[str, Any]
Change = tuple[str, tuple[str, ...], Any]
"""Where it was said (for messages), the keys of the field, the value."""


def load_recipe(path: str | Path, overrides: Sequence[str] = (), env: Mapping[str, str] | None = None) -> Recipe:
    """The recipe at ``path`` with the environment's and the command line's changes.

    Args:
        path: a YAML or JSON file.
        overrides: ``a.b=value`` each, the value in YAML; list entries by index (``teacher.candidates.0.name=x``).
        env: where ``STILLHOUSE_SET_TRAIN__LEARNING_RATE=1e-4`` is looked up; ``os.environ`` by default.

    Raises:
        RecipeError: one for everything that is wrong: path of each field, the value, what would be right.
    """
    file = Path(path)
    tree = read_mapping(file)
    _shorthands(tree)
    _anchor_paths(tree, file.absolute().parent)
    changes = [*_from_environment(os.environ if env is None else env), *map(_from_option, overrides)]
    refuse(str(file), [line for change in changes if (line := _apply(tree, change))])
    _shorthands(tree)
    _anchor_paths(tree, Path.cwd())
    recipe: Recipe = validate(Recipe, tree, str(file))
    return recipe


def _from_environment(env: Mapping[str, str]) -> list[Change]:
    """Changes that stand in the environment, in the order of their names."""
    names = sorted(name for name in env if name.upper().startswith(ENV_PREFIX))
    changes = []
    for name in names:
        keys = tuple(name[len(ENV_PREFIX) :].lower().split("__"))
        if not all(keys):
            raise RecipeError(f"{name}: names no field; write {ENV_PREFIX}TRAIN__LEARNING_RATE for train.learning_rate")
        changes.append((name, keys, parse_yaml(env[name], name)))
    return changes


def _from_option(text: str) -> Change:
    name, equals, value = text.partition("=")
    keys = tuple(part.strip() for part in name.split("."))
    if not equals or not all(keys):
        raise RecipeError(f"--set {text}: must be PATH=VALUE, such as train.learning_rate=1e-4")
    return f"--set {name.strip()}", keys, parse_yaml(value, f"--set {name.strip()}")


def _apply(tree: Tree, change: Change) -> str:
    """Make the change in ``tree``; returns a line where that is impossible.

    Sections that the file leaves out start from their defaults, so that one field of them can be changed.
    """
    where, names, value = change
    node: Any = tree
    keys: list[str | int] = []
    for position, name in enumerate(names):
        last = position == len(names) - 1
        if isinstance(node, list):
            if not name.isdigit() or int(name) >= len(node):
                allowed = f"an index from 0 to {len(node) - 1}" if node else "nothing, the list is empty"
                return f"{where}: {'.'.join(map(str, keys))} is a list; {name!r} should be {allowed}"
            key: str | int = int(name)
        elif isinstance(node, dict):
            key = next((known for known in node if str(known).lower() == name.lower()), name)
        else:
            return f"{where}: {'.'.join(map(str, keys))} = {node!r} has no parts; set it as a whole"
        keys.append(key)
        if last:
            node[key] = value
        elif isinstance(node, dict) and node.get(key) is None:
            default = default_at(Recipe, tree, keys)
            node[key] = {} if default is None else default
        node = node[key]
    return ""


def _shorthands(tree: Tree) -> None:
    """``problems: mine.jsonl`` and ``problems: {path: mine.jsonl}`` mean a file."""

    def expand(holder: Any, key: Any) -> None:
        value = holder[key]
        if isinstance(value, str):
            holder[key] = {"type": "file", "path": value}
        elif isinstance(value, dict) and "type" not in value and "path" in value:
            holder[key] = {"type": "file", **value}

    _each_source(tree, expand)


def _anchor_paths(tree: Tree, folder: Path) -> None:
    """Make relative paths of problem files and model folders absolute, starting at ``folder``."""

    def anchor_file(holder: Any, key: Any) -> None:
        source = holder[key]
        if isinstance(source, dict) and source.get("type") == "file" and isinstance(source.get("path"), str):
            source["path"] = _anchored(source["path"], folder)

    _each_source(tree, anchor_file)
    teacher = tree.get("teacher")
    candidates = teacher.get("candidates") if isinstance(teacher, dict) else None
    local = [item for item in _items(candidates) if isinstance(item, dict) and item.get("type") == "transformers"]
    for ref in [tree.get("student"), *local]:
        if isinstance(ref, dict) and isinstance(ref.get("model"), str) and _is_folder(ref["model"], folder):
            ref["model"] = _anchored(ref["model"], folder)


def _each_source(tree: Tree, visit: Callable[[Any, Any], None]) -> None:
    """Call ``visit(holder, key)`` for every place of the raw tree where a problem source stands."""

    def at(holder: Any, key: str) -> None:
        if isinstance(holder, dict) and key in holder:
            visit(holder, key)

    at(tree.get("data"), "problems")
    for section, lists in (("evaluate", "benchmarks"), ("filter", "select")):
        holder = tree.get(section)
        for item in _items(holder.get(lists) if isinstance(holder, dict) else None):
            at(item, "problems")
            against = item.get("against") if isinstance(item, dict) else None
            for index in range(len(_items(against))):
                visit(against, index)


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _is_folder(model: str, folder: Path) -> bool:
    return (
        model.startswith(("./", "../", "/", "~"))
        or model in (".", "..")
        or ("://" not in model and not model.startswith("zoo:") and local_path(str(folder / model)).is_dir())
    )


def _anchored(path: str, folder: Path) -> str:
    if "://" in path or not path:
        return path
    return os.path.normpath(folder / local_path(path))
