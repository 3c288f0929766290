"""What a real API server would say to an object of one of our kinds: its generated schema and its CEL rules, executed.

As with ``kubectl --validate=strict``: defaults are filled in, then the structural schema is checked, unknown fields are
errors, then the CEL rules run (rules with ``oldSelf`` only on an update, where there was an old value). CEL itself is
Google's own implementation (PyPI ``cel-expr-python``) with the string and optional libraries that Kubernetes has too.
Not modelled: Kubernetes' own libraries (``quantity``, ``isURL``, ``url``, ``format``) and its cost limits.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import jsonschema
from cel_expr_python import cel
from cel_expr_python.ext import ext_optional, ext_strings

from operators.crds.base import Kind

_ENV = cel.NewEnv(
    variables={"self": cel.Type.DYN, "oldSelf": cel.Type.DYN},
    extensions=[ext_strings.ExtStrings(), ext_optional.ExtOptional()],
)
_KEYWORDS = frozenset(
    [
        "as",
        "break",
        "const",
        "continue",
        "else",
        "false",
        "for",
        "function",
        "if",
        "import",
        "in",
        "let",
        "loop",
        "namespace",
        "null",
        "package",
        "return",
        "true",
        "var",
        "void",
        "while",
    ]
)


def accepts(
    kind: Kind,
    spec: Mapping[str, Any],
    old_spec: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
    status: Mapping[str, Any] | None = None,
) -> list[str]:
    """Error messages of an API server for an object with this ``spec``; empty: it is accepted.

    ``old_spec`` makes it an update of an object that had that spec. ``status`` is checked with it where given.
    """
    schema = _schema(kind)
    new = _defaulted(_object(kind, spec, metadata, status), schema)
    old = None if old_spec is None else _defaulted(_object(kind, old_spec, metadata, status), schema)
    errors = [_told(error) for error in jsonschema.Draft4Validator(_closed(schema)).iter_errors(new)]
    errors += list(_list_types(new, schema, ""))
    # A real API server runs no CEL on what its schema refuses.
    return errors or list(_rules(new, old, schema, ""))


def with_defaults(kind: Kind, spec: Mapping[str, Any]) -> dict[str, Any]:
    """``spec`` as the API server stores it."""
    stored: dict[str, Any] = _defaulted(_object(kind, spec, None, None), _schema(kind))["spec"]
    return stored


@cache
def _schema(kind: Kind) -> Mapping[str, Any]:
    found: Mapping[str, Any] = kind.definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return found


def _object(
    kind: Kind, spec: Mapping[str, Any], metadata: Mapping[str, Any] | None, status: Mapping[str, Any] | None
) -> dict[str, Any]:
    body = {
        "apiVersion": kind.resource.api_version,
        "kind": kind.resource.kind,
        "metadata": {"name": "thing", **(metadata or {})},
        "spec": copy.deepcopy(dict(spec)),
    }
    return body if status is None else {**body, "status": copy.deepcopy(dict(status))}


def _defaulted(value: Any, schema: Mapping[str, Any]) -> Any:
    """``value`` with the schema's defaults where a key is missing (or null, and null is not allowed)."""
    if isinstance(value, list):
        return [_defaulted(item, schema.get("items", {})) for item in value]
    if not isinstance(value, Mapping):
        return value
    out = dict(value)
    for key, part in schema.get("properties", {}).items():
        if "default" in part and out.get(key) is None:
            out[key] = copy.deepcopy(part["default"])
        if key in out:
            out[key] = _defaulted(out[key], part)
    if isinstance(rest := schema.get("additionalProperties"), Mapping):
        out = {key: _defaulted(item, rest) for key, item in out.items()}
    return out


def _closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The structural schema as JSON Schema draft 4 that refuses unknown fields."""
    if schema.get("x-kubernetes-int-or-string"):
        return {"anyOf": [{"type": "integer"}, {"type": "string"}]}
    out = {key: value for key, value in schema.items() if not key.startswith("x-") and key != "default"}
    if "properties" in out:
        out["properties"] = {key: _closed(part) for key, part in out["properties"].items()}
    if isinstance(out.get("additionalProperties"), Mapping):
        out["additionalProperties"] = _closed(out["additionalProperties"])
    elif "properties" in out and not schema.get("x-kubernetes-preserve-unknown-fields"):
        out["additionalProperties"] = False
    if "items" in out:
        out["items"] = _closed(out["items"])
    return out


def _told(error: jsonschema.ValidationError) -> str:
    return f"{'.'.join(str(part) for part in error.absolute_path)}: {error.message}"


def _list_types(value: Any, schema: Mapping[str, Any], path: str) -> Iterator[str]:
    """Doubles in lists that are sets or maps."""
    if isinstance(value, list):
        kind, keys = schema.get("x-kubernetes-list-type"), schema.get("x-kubernetes-list-map-keys", ())
        ids = [tuple(item.get(key) for key in keys) if kind == "map" else repr(item) for item in value]
        if kind in ("set", "map") and len(set(ids)) != len(ids):
            yield f"{path}: duplicate value"
    for key, item, part in _children(value, schema):
        yield from _list_types(item, part, f"{path}.{key}".lstrip("."))


def _children(value: Any, schema: Mapping[str, Any]) -> Iterator[tuple[Any, Any, Mapping[str, Any]]]:
    if isinstance(value, list):
        yield from ((number, item, schema.get("items", {})) for number, item in enumerate(value))
    elif isinstance(value, Mapping):
        properties, rest = schema.get("properties", {}), schema.get("additionalProperties")
        for key, item in value.items():
            if key in properties:
                yield key, item, properties[key]
            elif isinstance(rest, Mapping):
                yield key, item, rest


def _rules(value: Any, old: Any, schema: Mapping[str, Any], path: str) -> Iterator[str]:
    """Messages of the CEL rules that do not hold, the outer ones first."""
    for rule in schema.get("x-kubernetes-validations", ()):
        changes = re.search(r"\boldSelf\b", rule["rule"]) is not None
        if changes and old is None:
            continue
        data = {"self": _visible(value, schema, not path)}
        if changes:
            data["oldSelf"] = _visible(old, schema, not path)
        if (said := _evaluate(rule["rule"], data)) is not True:
            yield f"{path or 'object'}: {rule['message']}" + ("" if said is False else f" ({said})")
    keyed = schema.get("x-kubernetes-list-map-keys")
    for key, item, part in _children(value, schema):
        before = None
        if isinstance(old, Mapping):
            before = old.get(key)
        elif isinstance(old, list) and keyed:
            # Only items of lists that are maps have an identity, hence an old value.
            before = next((one for one in old if all(one.get(name) == item.get(name) for name in keyed)), None)
        yield from _rules(item, before, part, f"{path}.{key}".lstrip("."))


def _evaluate(rule: str, data: Mapping[str, Any]) -> bool | str:
    """True, False, or what went wrong (to an API server the same as False)."""
    result = compiled(rule).eval(data=dict(data))
    value = result.value()
    return value if isinstance(value, bool) else f"the rule gives {value}"


@cache
def compiled(rule: str) -> cel.Expression:
    """The rule, compiled; RuntimeError where it is no CEL."""
    return _ENV.compile(rule)


def _visible(value: Any, schema: Mapping[str, Any], root: bool = False) -> Any:
    """``value`` as CEL sees it in Kubernetes: declared names escaped; of the root's metadata only the name.

    Unknown fields under preserve-unknown-fields stay: a rule may compare their whole, never name them.
    """
    if isinstance(value, list):
        return [_visible(item, schema.get("items", {})) for item in value]
    if not isinstance(value, Mapping):
        return value
    properties, rest = schema.get("properties", {}), schema.get("additionalProperties")
    out = {}
    for key, item in value.items():
        if root and key == "metadata":
            out[key] = {name: item[name] for name in ("name", "generateName") if name in item}
        elif key in properties:
            out[_escaped(key)] = _visible(item, properties[key])
        else:
            out[key] = _visible(item, rest) if isinstance(rest, Mapping) else item
    return out


def _escaped(name: str) -> str:
    if name in _KEYWORDS:
        return f"__{name}__"
    for text, word in (("__", "__underscores__"), (".", "__dot__"), ("-", "__dash__"), ("/", "__slash__")):
        name = name.replace(text, word)
    return name
