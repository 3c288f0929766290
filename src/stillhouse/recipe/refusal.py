"""Pydantic's complaints in our words: the dotted path, the value that was given, what would be right.

The path is the one that ``--set`` takes. Knows the schema's shape, none of its meaning.
"""

from __future__ import annotations

import json
import types
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from stillhouse.errors import RecipeError, nearest

_LONGEST_VALUE = 60
_KINDS = {
    "string_type": "must be text; put it in quotes",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
}
_BOUNDS = {
    "greater_than": ("gt", "must be greater than {}"),
    "greater_than_equal": ("ge", "must be at least {}"),
    "less_than": ("lt", "must be less than {}"),
    "less_than_equal": ("le", "must be at most {}"),
    "too_short": ("min_length", "needs at least {} entry"),
    "string_pattern_mismatch": ("pattern", "must match {}"),
}


def refuse(where: str, lines: Sequence[str]) -> None:
    """Raise one RecipeError over all ``lines``; nothing where there are none."""
    if len(lines) == 1:
        raise RecipeError(f"{where}: {lines[0]}")
    if lines:
        raise RecipeError(f"{where}: {len(lines)} problems\n" + "\n".join(f"  {line}" for line in lines))


def validate(model: type[BaseModel], tree: Any, where: str) -> Any:
    """``tree`` as a ``model``.

    Raises:
        RecipeError: one for all wrong fields, a line for each.
    """
    lines = [f"{path} = {_shown(value)}: must be a number, not a switch" for path, value in _switches(model, tree)]
    try:
        found = model.model_validate(tree)
    except ValidationError as error:
        lines += (_line(model, tree, item) for item in error.errors(include_url=False) if not _echo(item))
    refuse(where, list(dict.fromkeys(lines)))
    return found


def _switches(shape: Any, tree: Any, path: str = "") -> Iterator[tuple[str, bool]]:
    """Places where ``true`` or ``false`` stands for a number; pydantic would read 1 or 0."""
    options = _options(shape)
    if isinstance(tree, bool) and {int, float} & set(options) and bool not in options:
        yield path, tree
    parts = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in parts:
        yield from _switches(_step(_variant(shape, tree), key), value, f"{path}.{key}" if path else str(key))


def shape_at(model: type[BaseModel], tree: Any, keys: Sequence[str | int]) -> Any:
    """The annotation of the field at ``keys`` in ``tree``; None where the schema has no such field."""
    annotation: Any = model
    for key in keys:
        annotation = _step(_variant(annotation, tree), key)
        tree = _child(tree, key)
    return annotation


def default_at(model: type[BaseModel], tree: Any, keys: Sequence[str | int]) -> Any:
    """Plain data of the default of the field at ``keys``; None where it has none."""
    owner = _variant(shape_at(model, tree, keys[:-1]), _child_at(tree, keys[:-1]))
    field = _fields(owner).get(str(keys[-1])) if owner else None
    if field is None or field.is_required():
        return None
    value = field.get_default(call_default_factory=True)
    if isinstance(value, tuple):
        return [item.model_dump(mode="json") if isinstance(item, BaseModel) else item for item in value]
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else value


def _echo(error: ErrorDetails) -> bool:
    """Pydantic counts only the good entries of a list: a bad one is then reported a second time, as too few."""
    return error["type"] == "too_short" and len(error["input"]) >= error["ctx"]["min_length"]


def _line(model: type[BaseModel], tree: Any, error: ErrorDetails) -> str:
    keys, shape, parent = _locate(model, tree, error["loc"])
    path = ".".join(str(key) for key in keys) or "the recipe"
    kind, context = error["type"], error.get("ctx", {})
    if kind == "missing":
        field = _fields(parent).get(str(keys[-1]))
        return f"{path}: is missing; it is {_sentence(field.description if field else '')}"
    if kind == "union_tag_not_found":
        return f"{path}.type: is missing; choose one of {', '.join(_tags(shape))}"
    given = f"{path} = {_shown(error['input'])}"
    if kind == "extra_forbidden":
        return f"{given}: {_unknown_key(model, parent, str(keys[-1]), _child_at(tree, keys[:-1]))}"
    if kind == "union_tag_invalid":
        tag, tags = str(context["tag"]), _tags(shape)
        return f"{path}.type = {tag!r}: no such type; {_choice(tag, tags)}"
    if kind in ("literal_error", "enum"):
        return f"{given}: {_choice(str(error['input']), _literals(shape))}"
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        return f"{given}: {words.format(context[name])}{_purpose(parent, keys)}"
    if kind in ("model_type", "model_attributes_type") and _tags(shape):
        return f"{given}: must be a mapping with a type, such as {{type: {_example(error['input'], _tags(shape))}}}"
    return f"{given}: {_KINDS.get(kind, error['msg'])}{_purpose(parent, keys)}"


def _unknown_key(model: type[BaseModel], owner: Any, key: str, siblings: Any) -> str:
    hint = nearest(key, _fields(owner))
    elsewhere = [f"{name}.{key}" for name, field in _fields(model).items() if key in _fields(field.annotation)]
    if hint.startswith("known") and elsewhere:
        hint = f"did you mean {elsewhere[0]}?"
    of_type = f" of type {siblings['type']}" if "type" in _fields(owner) and "type" in siblings else ""
    return f"no such key{of_type}; {hint}"


def _locate(model: type[BaseModel], tree: Any, loc: Sequence[str | int]) -> tuple[list[str | int], Any, Any]:
    """Path without the tags that pydantic puts into it, the annotation there, and the class that holds it."""
    keys: list[str | int] = []
    shape: Any = model
    parent: Any = None
    for key in loc:
        if key == "[key]":
            shape = get_args(parent)[0]
            continue
        variant = _variant(shape, tree)
        if len(_options(shape)) > 1 and _is_tag(key, shape, variant):
            continue
        parent, shape = variant, _step(variant, key)
        tree = _child(tree, key)
        keys.append(key)
    return keys, shape, parent


def _is_tag(key: str | int, shape: Any, variant: Any) -> bool:
    """Pydantic names the chosen alternative of a union in the path: a tag, or the type where there are no tags."""
    tags = _tags(shape)
    return isinstance(key, str) and key not in _fields(variant) and (key in tags or not tags)


def _variant(annotation: Any, tree: Any) -> Any:
    """The alternative of a union that ``tree``'s ``type`` chooses; other annotations as they are."""
    options = _options(annotation)
    if len(options) == 1:
        return options[0]
    tag = tree.get("type") if isinstance(tree, dict) else None
    chosen = [option for option in options if tag is not None and tag in _own_tags(option)]
    return chosen[0] if chosen else None


def _options(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Annotated:
        return _options(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [found for item in get_args(annotation) if item is not type(None) for found in _options(item)]
    return [annotation]


def _own_tags(option: Any) -> tuple[Any, ...]:
    field = _fields(option).get("type")
    return get_args(field.annotation) if field is not None else ()


def _tags(annotation: Any) -> list[str]:
    return sorted(str(tag) for option in _options(annotation) for tag in _own_tags(option))


def _literals(annotation: Any) -> list[str]:
    literals = [option for option in _options(annotation) if get_origin(option) is Literal]
    return [str(value) for literal in literals for value in get_args(literal)]


def _fields(cls: Any) -> dict[str, Any]:
    """Fields by the name that stands in a recipe."""
    if not (isinstance(cls, type) and issubclass(cls, BaseModel)):
        return {}
    return {field.alias or name: field for name, field in cls.model_fields.items()}


def _step(owner: Any, key: str | int) -> Any:
    fields = _fields(owner)
    if fields:
        field = fields.get(str(key))
        return field.annotation if field is not None else None
    if get_origin(owner) is tuple:
        return get_args(owner)[0]
    if get_origin(owner) is dict:
        return get_args(owner)[1]
    return None


def _child_at(tree: Any, keys: Sequence[str | int]) -> Any:
    for key in keys:
        tree = _child(tree, key)
    return tree


def _child(tree: Any, key: str | int) -> Any:
    if isinstance(tree, dict):
        return tree.get(key)
    if isinstance(tree, list) and str(key).isdigit() and int(key) < len(tree):
        return tree[int(key)]
    return None


def _choice(given: str, allowed: Sequence[str]) -> str:
    hint = nearest(given, allowed)
    listed = ", ".join(allowed)
    return f"choose one of {listed}" if hint.startswith("known") else f"{hint} (one of {listed})"


def _example(given: Any, tags: Sequence[str]) -> str:
    return given if given in tags else tags[0]


def _purpose(owner: Any, keys: Sequence[str | int]) -> str:
    field = _fields(owner).get(str(keys[-1])) if keys else None
    return f" ({_sentence(field.description)})" if field is not None and field.description else ""


def _sentence(text: str | None) -> str:
    words = " ".join((text or "required").split()).rstrip(".").replace("``", "")
    return words[:1].lower() + words[1:] if words[1:2].islower() or words[1:2] == " " else words


def _shown(value: Any) -> str:
    text = json.dumps(value) if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"
