"""XDM schemas: the registry's checks, the types that it adds, and resolution into one JSON Schema.

Sources: Schema Registry API guide; "Custom fields" tutorial; "Field constraints" for types and ranges.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from .xdm_standard import EXPERIENCE_EVENT, PROFILE, RESOURCES
from .xdm_validation import Validator

__all__ = [
    "GLOBAL_RESOURCES",
    "RegistryProblem",
    "UnresolvedReference",
    "Validator",
    "check_field_group",
    "check_schema",
    "compose",
    "with_xdm_types",
]

Json = dict[str, Any]
Lookup = Callable[[str], Mapping[str, Any] | None]

NAMESPACE = ("XDM-1020-400", "Namespace validation error")
INVALID = ("XDM-1530-400", "Invalid resource")
CONFLICT = ("XDM-1413-400", "Merge Schema Error")
NOT_FOUND = ("XDM-1011-404", "Resource not found")

TYPES = ("string", "number", "integer", "boolean", "array", "object")
INTEGER_RANGES: dict[str, tuple[int, int]] = {
    "byte": (-128, 127),
    "short": (-32768, 32767),
    "int": (-2147483648, 2147483647),
    "long": (-9007199254740992, 9007199254740992),
}
"""The smallest and greatest value of each integer type."""

_SUBSCHEMAS = ("items", "additionalProperties")
_NAMED_SUBSCHEMAS = ("properties", "definitions")
_COMPARED = ("type", "format", "meta:xdmType")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_]*")
_DEEPEST_REFERENCE = 20
_LOCAL = "#/definitions/"


@dataclass(frozen=True)
class RegistryProblem:
    """An error of the registry: an XDM error code with status, title and detail."""

    code: str
    title: str
    detail: str


class UnresolvedReference(ValueError):
    """An error for a schema that cannot be composed; `problem` is the reason."""

    def __init__(self, problem: RegistryProblem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


def xdm_type(node: Mapping[str, Any]) -> str | None:
    """Return a node's XDM type; None for a node without a type, such as a reference."""
    declared = node.get("type")
    if declared == "string":
        text_format = node.get("format")
        return text_format if text_format in ("date", "date-time") else "string"
    if declared == "integer":
        return integer_type(node)
    if declared == "object" and node.get("meta:xdmType") == "map":
        return "map"
    return declared if declared in TYPES else None


def with_xdm_types(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a resource with `meta:xdmType` on every node that has a type."""
    typed: dict[str, Any] = dict(node)
    for key in _NAMED_SUBSCHEMAS:
        if isinstance(node.get(key), Mapping):
            typed[key] = {name: _typed(child) for name, child in node[key].items()}
    for key in _SUBSCHEMAS:
        if isinstance(node.get(key), Mapping):
            typed[key] = with_xdm_types(node[key])
    if isinstance(node.get("allOf"), list):
        typed["allOf"] = [_typed(part) for part in node["allOf"]]
    found = xdm_type(node)
    if found is not None:
        typed["meta:xdmType"] = found
    return typed


def _typed(node: Any) -> Any:
    return with_xdm_types(node) if isinstance(node, Mapping) else node


def integer_type(node: Mapping[str, Any]) -> str:
    """Return the narrowest XDM integer type for the node's bounds; `int` without bounds."""
    bounds = [abs(node[key]) for key in ("minimum", "maximum") if _is_number(node.get(key))]
    if len(bounds) < 2:
        return "int" if not bounds or bounds[0] <= INTEGER_RANGES["int"][1] + 1 else "long"
    widest = max(bounds)
    for name, (least, _) in INTEGER_RANGES.items():
        if widest <= -least:
            return name
    return "long"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


GLOBAL_RESOURCES: dict[str, Json] = {key: with_xdm_types(resource) for key, resource in RESOURCES.items()}
"""Adobe's standard resources by `$id`, in the form that lookups return."""


def compose(schema: Mapping[str, Any], lookup: Lookup) -> Json:
    """Resolve a schema, or any other resource, into one JSON Schema.

    Every object with properties is closed; a map stays open. Integers get the range of their XDM type.
    Raises `UnresolvedReference` if a `$ref` is dangling or circular, or if two parts give a path different
    types.
    """
    composed = _closed(_resolved(schema, schema, lookup, 0), "")
    named = {key: deepcopy(schema[key]) for key in ("$id", "title", "description") if key in schema}
    return {**named, **composed}


def check_field_group(body: Mapping[str, Any], tenant_namespace: str) -> list[RegistryProblem]:
    """List the reasons to refuse a new field group; `tenant_namespace` is `_{tenantId}`."""
    found = _check_head(body)
    intended = body.get("meta:intendedToExtend")
    if (
        not isinstance(intended, list)
        or not intended
        or not all(isinstance(class_id, str) for class_id in intended)
    ):
        found.append(_invalid("meta:intendedToExtend must list the classes that the field group extends"))
    definitions = body.get("definitions")
    if not isinstance(definitions, Mapping) or not definitions:
        return [*found, _invalid("definitions must hold the fields of the field group")]
    for reference in _references(body):
        if reference.startswith("#") and reference.removeprefix(_LOCAL) not in definitions:
            found.append(_invalid(f"allOf refers to {reference}, which definitions does not hold"))
    parts = [(f"definitions.{name}", part) for name, part in definitions.items()]
    for where, part in [*parts, ("properties", {"type": "object", "properties": body.get("properties", {})})]:
        found.extend(_check_definition(where, part, tenant_namespace))
    return found


def check_schema(body: Mapping[str, Any]) -> list[RegistryProblem]:
    """List the reasons to refuse a new schema; `compose` checks its references."""
    found = _check_head(body)
    references = _references(body)
    if any("/xdm/data/" in reference for reference in references):
        found.append(_invalid("a behaviour belongs into a class, not into a schema"))
    classes = [reference for reference in references if _is_class(reference)]
    if len(classes) != 1:
        found.append(_invalid(f"a schema has exactly one class, this one has {len(classes)}"))
    if any(body.get(key) for key in ("properties", "definitions")):
        found.append(_invalid("a schema takes its fields from its class and its field groups"))
    return found


def _is_class(reference: str) -> bool:
    return reference in (EXPERIENCE_EVENT, PROFILE) or "/classes/" in reference


def _check_head(body: Mapping[str, Any]) -> list[RegistryProblem]:
    found: list[RegistryProblem] = []
    title = body.get("title")
    if not isinstance(title, str) or not title.strip():
        found.append(_invalid("title is required"))
    if body.get("type") != "object":
        found.append(_invalid('type is required, and is "object"'))
    parts = body.get("allOf")
    if not isinstance(parts, list) or not parts or len(_references(body)) != len(parts):
        found.append(_invalid("allOf must be a list of $ref"))
    return found


def _references(body: Mapping[str, Any]) -> list[str]:
    parts = body.get("allOf")
    listed = parts if isinstance(parts, list) else []
    references = [part.get("$ref") for part in listed if isinstance(part, Mapping)]
    return [reference for reference in references if isinstance(reference, str)]


def _check_definition(where: str, part: Any, tenant_namespace: str) -> list[RegistryProblem]:
    properties = part.get("properties") if isinstance(part, Mapping) else None
    if not isinstance(properties, Mapping):
        return [_invalid(f"{where} must be an object with properties")]
    found: list[RegistryProblem] = []
    for name, node in properties.items():
        if name != tenant_namespace:
            code, title = NAMESPACE
            detail = f"The custom field {name} must be defined inside the object {tenant_namespace}"
            found.append(RegistryProblem(code, title, detail))
        elif not isinstance(node, Mapping) or node.get("type") != "object":
            found.append(_invalid(f"{name} must be an object"))
        else:
            found.extend(_check_node(name, node))
    return found


def _check_node(path: str, node: Any) -> list[RegistryProblem]:
    if not isinstance(node, Mapping):
        return [_invalid(f"{path} must be an object that describes a field")]
    if "$ref" in node:
        return [] if isinstance(node["$ref"], str) else [_invalid(f"{path} has a $ref that is not a string")]
    declared = node.get("type")
    if not isinstance(declared, str) or declared not in TYPES:
        return [_invalid(f"{path} has the unknown type {declared!r}")]
    if declared == "array":
        return _check_node(f"{path}[*]", node.get("items"))
    return _check_object(path, node) if declared == "object" else []


def _check_object(path: str, node: Mapping[str, Any]) -> list[RegistryProblem]:
    if node.get("meta:xdmType") == "map":
        values = node.get("additionalProperties")
        value_type = values.get("type") if isinstance(values, Mapping) else None
        if value_type in ("string", "integer") and "properties" not in node:
            return []
        return [_invalid(f"the map {path} needs additionalProperties of type string or integer")]
    properties = node.get("properties")
    if not isinstance(properties, Mapping) or not properties:
        return [_invalid(f"the object {path} needs properties")]
    found: list[RegistryProblem] = []
    for name, child in properties.items():
        if not _NAME.fullmatch(name):
            found.append(_invalid(f"{path}.{name} has a name with more than letters, digits, inner _"))
        found.extend(_check_node(f"{path}.{name}", child))
    return found


def _invalid(detail: str) -> RegistryProblem:
    return RegistryProblem(*INVALID, detail)


def _resolved(node: Mapping[str, Any], root: Mapping[str, Any], lookup: Lookup, depth: int) -> Json:
    """Return a node without references: the targets of `$ref` and `allOf` are merged into it."""
    if depth > _DEEPEST_REFERENCE:
        raise UnresolvedReference(_invalid("the references of the schema run in a circle"))
    own = {key: value for key, value in node.items() if key not in ("$ref", "allOf", "definitions")}
    if node is root:
        own = {key: own[key] for key in ("type", "properties", "required") if key in own}
    resolved = _with_children(own, root, lookup, depth)
    for part in [*([node] if "$ref" in node else []), *node.get("allOf", [])]:
        target, target_root = _target(part, root, lookup)
        _merge(resolved, _resolved(target, target_root, lookup, depth + 1), "")
    return resolved


def _with_children(own: Mapping[str, Any], root: Mapping[str, Any], lookup: Lookup, depth: int) -> Json:
    resolved = deepcopy(dict(own))
    if isinstance(own.get("properties"), Mapping):
        resolved["properties"] = {
            name: _resolved(child, root, lookup, depth + 1) for name, child in own["properties"].items()
        }
    for key in ("items", "additionalProperties"):
        if isinstance(own.get(key), Mapping):
            resolved[key] = _resolved(own[key], root, lookup, depth + 1)
    return resolved


def _target(
    part: Mapping[str, Any], root: Mapping[str, Any], lookup: Lookup
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    reference = part.get("$ref")
    if reference is None:
        return part, root
    if isinstance(reference, str) and reference.startswith(_LOCAL):
        found, found_root = root.get("definitions", {}).get(reference.removeprefix(_LOCAL)), root
    else:
        found = lookup(str(reference))
        found_root = found or root
    if found is None:
        detail = f"The referenced resource {reference} with version 1 is not found."
        raise UnresolvedReference(RegistryProblem(*NOT_FOUND, detail))
    return found, found_root


def _merge(into: Json, other: Json, path: str) -> None:
    if into.get("type", other.get("type")) != other.get("type", into.get("type")):
        detail = f"{path or 'the schema'} is {into['type']} in one part and {other['type']} in another"
        raise UnresolvedReference(RegistryProblem(*CONFLICT, detail))
    for key, value in other.items():
        if key == "properties":
            properties = into.setdefault("properties", {})
            for name, child in value.items():
                if name in properties:
                    _merge(properties[name], child, f"{path}.{name}".lstrip("."))
                else:
                    properties[name] = child
        elif key == "required":
            into["required"] = list(dict.fromkeys([*into.get("required", []), *value]))
        else:
            into.setdefault(key, value)


def _closed(node: Json, path: str) -> Json:
    """Close every object with properties, and add the range of integers, in place."""
    if "properties" in node:
        node["additionalProperties"] = False
        for name, child in node["properties"].items():
            _closed(child, f"{path}.{name}")
    elif isinstance(node.get("additionalProperties"), dict):
        _closed(node["additionalProperties"], path)
    if isinstance(node.get("items"), dict):
        _closed(node["items"], path)
    if node.get("type") == "integer":
        least, most = INTEGER_RANGES[integer_type(node)]
        node.setdefault("minimum", least)
        node.setdefault("maximum", most)
    return node


def breaking_changes(before: Json, after: Json, path: str = "") -> Iterator[str]:
    """Yield each field of a composed schema that is missing, newly required, or has another type.

    Source: Schema Registry API guide, "Rules of schema evolution": only additive changes are allowed once a
    dataset of the schema holds data.
    """
    for name in sorted(set(after.get("required", [])) - set(before.get("required", []))):
        yield f"{path}/{name} becomes required"
    fields = after.get("properties", {})
    for name, node in before.get("properties", {}).items():
        here = f"{path}/{name}"
        if name not in fields:
            yield f"{here} is removed"
        else:
            yield from _node_changes(node, fields[name], here)


def _node_changes(before: Any, after: Any, path: str) -> Iterator[str]:
    if any(before.get(key) != after.get(key) for key in _COMPARED):
        yield f"{path} changes its type"
        return
    yield from breaking_changes(before, after, path)
    if isinstance(before.get("items"), dict):
        yield from _node_changes(before["items"], after.get("items", {}), f"{path}/items")
