"""Checks and type conversions of batch ingestion.

It checks type, enum, range and presence, but not pattern or format. Source: Batch ingestion guide,
"Types"; Data ingestion quality overview.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from ..store import Json

MOMENTS = ("date", "date-time")
_WHOLE = ("byte", "short", "int", "long")
_NUMBERS = frozenset({*_WHOLE, "number"})
CONVERSIONS: Mapping[str, frozenset[str]] = {
    "string": _NUMBERS | {"string", *MOMENTS},
    **dict.fromkeys((*_WHOLE, "number"), _NUMBERS | {"string"}),
    "long": _NUMBERS | {"string", *MOMENTS},
    "object": frozenset({"object", "map"}),
    "map": frozenset({"object", "map"}),
    **{name: frozenset({name}) for name in (*MOMENTS, "boolean", "array")},
}
"""The types of fields to which a value of a type can be converted."""

_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,19}")
_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?")
_INBOUND = {
    str: "string", bool: "boolean", int: "long", float: "number", dict: "object", list: "array"
}  # fmt: skip


class TypeCompatibilityException(Exception):
    """An error for a field whose values cannot be converted: the batch fails."""

    def __init__(self, path: str, inbound: str, target: str) -> None:
        super().__init__(f"The field {path or 'of the row'} cannot be converted from {inbound} to {target}")


def type_of(node: Json) -> str:
    """Return the XDM type of a schema's node."""
    declared = str(node.get("type"))
    if declared == "string":
        return str(node["format"]) if node.get("format") in MOMENTS else declared
    if declared == "object" and "properties" not in node:
        return "map"
    return str(node.get("meta:xdmType", "long")) if declared == "integer" else declared


def batch_schema(node: Json, *, nullable: bool = False) -> Json:
    """Return the schema of a batch's row: nulls count as absent, and times are strings or milliseconds."""
    checked = {key: value for key, value in node.items() if key not in ("pattern", "format")}
    types = [node["type"]] if "type" in node else []
    if type_of(node) in MOMENTS:
        checked["format"] = node["format"]
        types.append("integer")
    if nullable and types:
        types.append("null")
        if "enum" in node:
            checked["enum"] = [*node["enum"], None]
    if types:
        checked["type"] = types
    required = node.get("required", ())
    if "properties" in node:
        checked["properties"] = {
            name: batch_schema(child, nullable=name not in required)
            for name, child in node["properties"].items()
        }
    for key in ("items", "additionalProperties"):
        if isinstance(node.get(key), dict):
            checked[key] = batch_schema(node[key])
    return checked


def converted(value: Any, node: Json, path: str = "") -> Any:
    """Return a value converted to its field's type if possible, else unchanged.

    Raises:
        TypeCompatibilityException: Values of its type are never converted to the field's type.
    """
    target = type_of(node)
    if value is None or target not in CONVERSIONS:
        return value
    inbound = _INBOUND[type(value)]
    if target not in CONVERSIONS[inbound]:
        raise TypeCompatibilityException(path, inbound, target)
    if inbound == "object":
        fields, rest = node.get("properties", {}), node.get("additionalProperties")
        nodes = {name: fields.get(name, rest) for name in value}
        return {
            name: converted(member, nodes[name], f"{path}.{name}".lstrip("."))
            if isinstance(nodes[name], dict)
            else member
            for name, member in value.items()
        }
    if inbound == "array":
        return [converted(element, node.get("items", {}), f"{path}[*]") for element in value]
    return _CONVERTERS[target](value) if target in _CONVERTERS else value


def _to_text(value: Any) -> Any:
    return value if isinstance(value, str) else str(value)


def _to_whole(value: Any) -> Any:
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    return int(value) if isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value) else value


def _to_number(value: Any) -> Any:
    if isinstance(value, str) and _NUMBER.fullmatch(value) and math.isfinite(float(value)):
        return float(value)
    return value


_CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "string": _to_text,
    "number": _to_number,
    **dict.fromkeys(_WHOLE, _to_whole),
}
