"""Which plug-ins of its own a recipe names, and whether this installation allows them.

Said here to the author of a recipe, field by field, before anything runs; ``stillhouse.plugins`` holds the rule and
keeps to it again where a plug-in is really imported. Imports none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from stillhouse.plugins import allowed_imports, find_module, import_refusal
from stillhouse.recipe.base import Custom


def find_custom(value: Any, above: str = "") -> Iterator[tuple[str, Custom]]:
    """Every custom plug-in inside ``value`` (a config, or what a field of one holds) with its dotted path."""
    if isinstance(value, Custom):
        yield above, value
        return
    for name, item in _parts(value):
        yield from find_custom(item, f"{above}.{name}".lstrip("."))


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    fields = getattr(type(value), "model_fields", None)
    if fields is not None:
        yield from ((field.alias or name, getattr(value, name)) for name, field in fields.items())
    elif isinstance(value, Mapping):
        yield from ((str(key), item) for key, item in value.items())
    elif isinstance(value, (tuple, list)):
        yield from ((str(index), item) for index, item in enumerate(value))


def refused_imports(config: Any, allowed: tuple[str, ...] | None) -> Iterator[str]:
    """One line for each custom plug-in of ``config`` that is not allowed, or that is not there."""
    for path, plugin in find_custom(config):
        where = f"{path}.import_path = {plugin.import_path!r}"
        module = plugin.import_path.partition(":")[0]
        if why := import_refusal(plugin.import_path, allowed):
            yield f"{where}: {why}"
        elif find_module(module) is None:
            yield f"{where}: no module {module}; is it installed or on PYTHONPATH?"


def custom_imports(config: Any) -> Iterator[str]:
    """``refused_imports`` by what the environment of this process allows."""
    if any(find_custom(config)):
        yield from refused_imports(config, allowed_imports())
