"""From a pydantic model to a CustomResourceDefinition with a structural schema. Knows no kind.

Kubernetes' structural schemas are OpenAPI v3.0 without ``$ref``: every reference is written out, ``null`` is left out,
exclusive bounds are flags. What a schema cannot say is said in CEL (``Spec.cel``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from operators.resources import Body, Resource
from stillhouse.errors import RecipeError


@dataclass(frozen=True)
class Rule:
    """A CEL rule; ``message`` says what would be right. ``oldSelf`` makes it a rule about changes."""

    rule: str
    message: str
    field_path: str = ""

    def plain(self) -> dict[str, str]:
        row = {"rule": self.rule, "message": self.message}
        return {**row, "fieldPath": self.field_path} if self.field_path else row


@dataclass(frozen=True)
class Column:
    """A printer column of ``kubectl get``."""

    name: str
    json_path: str
    type: str = "string"
    priority: int = 0
    description: str = ""

    def plain(self) -> dict[str, Any]:
        row = {"name": self.name, "jsonPath": self.json_path, "type": self.type, "description": self.description}
        return {key: value for key, value in row.items() if value} | ({"priority": 1} if self.priority else {})


class Spec(BaseModel):
    """A part of a spec: camelCase outside, unknown fields refused, one sentence under every field."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, alias_generator=to_camel, populate_by_name=True
    )
    cel: ClassVar[tuple[Rule, ...]] = ()


class Status(BaseModel):
    """A part of a status."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, alias_generator=to_camel, populate_by_name=True
    )
    cel: ClassVar[tuple[Rule, ...]] = ()


class Condition(Status):
    """As in Kubernetes' own API."""

    type: str
    """CamelCase name."""
    status: str
    """True, False or Unknown."""
    reason: str
    """CamelCase, for programs."""
    message: str = ""
    """For people."""
    observed_generation: int = 0
    """The generation of the object that this speaks of."""
    last_transition_time: str
    """When the status changed."""


@dataclass(frozen=True)
class Kind:
    """A custom resource: what its definition needs."""

    resource: Resource
    short_names: tuple[str, ...]
    spec: type[Spec]
    status: type[Status]
    columns: tuple[Column, ...]
    rules: tuple[Rule, ...] = ()
    description: str = ""
    categories: tuple[str, ...] = field(default=("stillhouse",))

    def definition(self) -> dict[str, Any]:
        """The CustomResourceDefinition as a plain object."""
        where = self.resource
        schema: dict[str, Any] = {
            "type": "object",
            "description": self.description or (self.spec.__doc__ or "").strip(),
            "required": ["spec"],
            "properties": {
                "apiVersion": {"type": "string"},
                "kind": {"type": "string"},
                "metadata": {"type": "object"},
                "spec": structural(self.spec),
                "status": _undefaulted(structural(self.status)),
            },
        }
        if self.rules:
            schema["x-kubernetes-validations"] = [rule.plain() for rule in self.rules]
        version = {
            "name": where.version,
            "served": True,
            "storage": True,
            "subresources": {"status": {}},
            "additionalPrinterColumns": [column.plain() for column in self.columns],
            "schema": {"openAPIV3Schema": schema},
        }
        return {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{where.plural}.{where.group}"},
            "spec": {
                "group": where.group,
                "scope": "Namespaced",
                "names": {
                    "kind": where.kind,
                    "listKind": f"{where.kind}List",
                    "plural": where.plural,
                    "singular": where.kind.lower(),
                    "shortNames": list(self.short_names),
                    "categories": list(self.categories),
                },
                "versions": [version],
            },
        }


def structural(model: type[BaseModel]) -> dict[str, Any]:
    """The structural schema of ``model``."""
    schema = model.model_json_schema(by_alias=True, mode="validation")
    rules = {part.__name__: part.cel for part in _parts()}
    return _written_out(schema, schema.get("$defs", {}), rules, model.__name__)


def _undefaulted(schema: Any) -> Any:
    """``schema`` without defaults: a status says only what was written, or it would differ from it at every look."""
    if isinstance(schema, Mapping):
        return {
            key: {name: _undefaulted(part) for name, part in value.items()}
            if key == "properties"
            else _undefaulted(value)
            for key, value in schema.items()
            if key != "default"
        }
    return [_undefaulted(item) for item in schema] if isinstance(schema, list) else schema


def _parts() -> list[type[Any]]:
    """Every Spec and Status class there is below the two bases."""
    found: list[type[Any]] = []
    queue: list[type[Any]] = [Spec, Status]
    while queue:
        cls = queue.pop()
        found.append(cls)
        queue.extend(cls.__subclasses__())
    names = [cls.__name__ for cls in found]
    doubled = {name for name in names if names.count(name) > 1}
    if doubled:
        raise ValueError(f"parts of CRDs must have different names: {sorted(doubled)}")
    return found


_KEPT = (
    "type", "description", "enum", "format", "pattern", "minimum", "maximum", "minLength", "maxLength", "minItems",
    "maxItems", "minProperties", "maxProperties", "required", "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-int-or-string", "x-kubernetes-list-type", "x-kubernetes-list-map-keys",
)  # fmt: skip


def _written_out(
    node: Mapping[str, Any], defs: Mapping[str, Any], rules: Mapping[str, tuple[Rule, ...]], name: str = ""
) -> dict[str, Any]:
    if "$ref" in node:
        name = node["$ref"].rpartition("/")[2]
        node = {**defs[name], **{key: value for key, value in node.items() if key != "$ref"}}
    choices = [item for item in node.get("anyOf", ()) if item.get("type") != "null"]
    if choices:
        if len(choices) != 1:
            raise ValueError(f"a structural schema has no unions: {node}")
        rest = {key: value for key, value in node.items() if key != "anyOf"}
        return _written_out({**choices[0], **rest}, defs, rules, name)
    out = {key: node[key] for key in _KEPT if key in node}
    if "const" in node:
        out["enum"] = [node["const"]]
        out.setdefault("type", "string")
    for bound, flag in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if flag in node:
            out[bound], out[flag] = node[flag], True
    if node.get("default") is not None and not isinstance(node["default"], (dict, list)):
        out["default"] = node["default"]
    if "properties" in node:
        out["properties"] = {key: _written_out(value, defs, rules) for key, value in node["properties"].items()}
    elif isinstance(node.get("additionalProperties"), Mapping):
        out["additionalProperties"] = _written_out(node["additionalProperties"], defs, rules)
    elif node.get("type") == "object" and not out.get("x-kubernetes-preserve-unknown-fields"):
        out["x-kubernetes-preserve-unknown-fields"] = True
    if "items" in node:
        out["items"] = _written_out(node["items"], defs, rules)
    if mine := rules.get(name):
        out["x-kubernetes-validations"] = [rule.plain() for rule in mine]
    return out


S = TypeVar("S", bound=Spec)


def parse(model: type[S], body: Body) -> S:
    """The spec of ``body``.

    Raises:
        RecipeError: every field that is wrong, by its path (the API server refuses most of it before).
    """
    try:
        return model.model_validate(body.get("spec") or {})
    except ValidationError as error:
        lines = [f"spec.{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in error.errors()]
        raise RecipeError("; ".join(lines)) from error
