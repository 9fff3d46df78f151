"""XDM's field types: which there are, how a node shows its own, and what whole numbers may hold.

Source: "Custom fields" tutorial; "Field constraints".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TYPES = ("string", "number", "integer", "boolean", "array", "object")
INTEGER_RANGES: dict[str, tuple[int, int]] = {
    "byte": (-128, 127),
    "short": (-32768, 32767),
    "int": (-2147483648, 2147483647),
    "long": (-9007199254740992, 9007199254740992),
}
"""The least and greatest value of each type of whole number."""

_SUBSCHEMAS = ("items", "additionalProperties")
_NAMED_SUBSCHEMAS = ("properties", "definitions")


def xdm_type(node: Mapping[str, Any]) -> str | None:
    """Give a node's XDM type; None for a node without a type, such as a reference."""
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
    """Copy a resource with `meta:xdmType` on every node that has a type."""
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
    """Give the narrowest XDM type of a whole number with the node's bounds; without bounds it is `int`."""
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
