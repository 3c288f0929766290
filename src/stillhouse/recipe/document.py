"""YAML as recipes use it: text to plain data, with the line and column of whatever is wrong.

YAML 1.2's scalars, because YAML 1.1's surprise people: ``1e-4`` is a number, ``no`` is text, ``2026-01-01`` is
text. Duplicate keys are refused. Knows no schema.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from stillhouse.errors import RecipeError

_SCALARS = (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(?:0|[1-9][0-9_]*)|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:[0-9][0-9_]*)?\.[0-9]+(?:[eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*\.?[eE][-+]?[0-9]+"
        r"|[-+]?[0-9]+\.|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+0123456789.",
    ),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("merge", r"<<", "<"),
)


_MOST_VALUES = 100_000
"""A recipe has hundreds; an anchor that names itself ten times over, nine times deep, has a thousand million."""


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2's scalars and without duplicate keys."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (PyYAML's own name)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and not key.tag.endswith(":merge"):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value!r} stands here a second time; keep one", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


for _name, _pattern, _first in _SCALARS:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(f"^(?:{_pattern})$"), list(_first))


def parse_yaml(text: str, where: str) -> Any:
    """Plain data of one YAML document; no two parts of it share an object.

    Raises:
        RecipeError: invalid YAML, with ``where``, line and column; a key that stands twice; far too much or too deep.
    """
    try:
        tree = yaml.load(text, Loader=_Loader)
        size = _size(tree, where, {})
        if size > _MOST_VALUES:
            raise RecipeError(f"{where}: its anchors stand for {size:,} values; write out what is meant")
        return _unshared(tree)
    except RecursionError as error:
        raise RecipeError(f"{where}: is nested too deeply; no recipe needs that") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{where}: line {mark.line + 1}, column {mark.column + 1}" if mark else where
        what = " ".join(part for part in (error.context, error.problem) if part)
        raise RecipeError(f"{place}: not valid YAML: {' '.join(what.split())}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise RecipeError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from error


def read_mapping(path: Path) -> dict[str, Any]:
    """The mapping that the YAML (or JSON) file at ``path`` holds.

    Raises:
        RecipeError: no such file, a folder, unreadable, not UTF-8 (line and byte), not YAML, empty, no mapping.
    """
    tree = parse_yaml(read_text(path), str(path))
    if tree is None:
        raise RecipeError(
            f"{path}: is empty; a recipe needs at least name, data, teacher, student, evaluate, gate, register"
        )
    if not isinstance(tree, dict):
        raise RecipeError(f"{path}: holds a {type(tree).__name__}; a recipe is a mapping such as `name: my-student`")
    return tree


def read_text(path: Path) -> str:
    """UTF-8 text of ``path``; errors as in ``read_mapping``."""
    if path.is_dir():
        raise RecipeError(f"{path}: is a folder; name the recipe file in it")
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise RecipeError(f"{path}: no such file") from error
    except PermissionError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = f"byte 0x{data[error.start]:02x} at offset {error.start}"
        raise RecipeError(f"{path}: line {line}: not valid UTF-8 ({byte}); save it as UTF-8") from error


def _size(value: Any, where: str, known: dict[int, int], above: tuple[int, ...] = ()) -> int:
    """How many values ``value`` stands for once its anchors are written out; counts, and writes nothing out."""
    if not isinstance(value, (dict, list)):
        return 1
    if id(value) in above:
        raise RecipeError(f"{where}: an anchor contains itself; write it out")
    if id(value) not in known:
        items = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_size(item, where, known, (*above, id(value))) for item in items)
    return known[id(value)]


def _unshared(value: Any) -> Any:
    """A copy in which YAML anchors are written out, so that an override changes one place and not two."""
    if isinstance(value, dict):
        return {key: _unshared(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_unshared(item) for item in value]
    return value
