"""Conversion of a mapped value to the type of its XDM field.

Each field of the target schema has one conversion. It returns the value to write, or `None` to leave the key
out. It raises `EvaluationError` if a string cannot be parsed as the field's type,
and `TypeMismatchError` if no conversion covers the pair of types.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from .java_time import DateError, parse_default, rfc3339
from .paths import Path, Step, path_text
from .values import EvaluationError, ExpressionError, TypeMismatchError, number_text, type_name

Warn = Callable[[str, str], None]
"""A callback for a child of a copied object or array that becomes null, with destination and message."""

Convert = Callable[[Any, Warn], Any]

_TRUE = frozenset(("y", "yes", "Y", "YES", "on", "ON", "true", "TRUE"))
_FALSE = frozenset(("n", "N", "no", "NO", "off", "OFF", "false", "FALSE"))
_WHOLE = re.compile(r"[+-]?[0-9]{1,40}")
_UTC_TIME = re.compile(
    r"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{3})?Z"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def field_at(json_schema: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    """Return the schema node of a destination path; raise `ExpressionError` if there is none."""
    node = json_schema
    for position, step in enumerate(path):
        found = _child(node, step)
        if found is None:
            raise ExpressionError(
                f"destination {path_text(path)}: the schema has no {path_text(path[: position + 1])}",
                "UNKNOWN_DESTINATION",
            )
        node = found
    return node


def conversion(node: Mapping[str, Any], path: Path) -> Convert:
    """Return the conversion for a field of the target schema."""
    kind = _kind(node)
    if kind in _CONTAINERS:
        container, make_copy = _CONTAINERS[kind]
        copy = make_copy(node, path)

        def convert_container(value: Any, warn: Warn) -> Any:
            if value is None:
                return None
            if not isinstance(value, container):
                raise TypeMismatchError(path_text(path), kind.upper(), type_name(value))
            return copy(value, warn)

        return convert_container
    plain = _PLAIN.get(kind)
    if plain is None:
        return lambda value, _warn: rfc3339(value) if isinstance(value, datetime) else value
    expected = kind.upper()

    def convert(value: Any, _warn: Warn) -> Any:
        if value is None:
            return None
        converted = plain(value)
        if converted is None:
            raise TypeMismatchError(path_text(path), expected, type_name(value))
        return converted

    return convert


def kept_type(node: Mapping[str, Any]) -> type | None:
    """Return the type whose values a field accepts without a conversion; None if there is none."""
    return {"string": str, "integer": int, "boolean": bool}.get(_kind(node))


def _child(node: Mapping[str, Any], step: Step) -> Mapping[str, Any] | None:
    if isinstance(step, int):
        found = node.get("items") if node.get("type") == "array" else None
    elif "properties" in node:
        found = node["properties"].get(step)
    else:
        found = node.get("additionalProperties")
    return found if isinstance(found, Mapping) else None


def _kind(node: Mapping[str, Any]) -> str:
    declared = node.get("type")
    if declared == "string":
        return {"date-time": "date-time", "date": "date"}.get(node.get("format", ""), "string")
    if declared == "object":
        return "object" if "properties" in node else "map"
    return declared if isinstance(declared, str) else "any"


def _to_string(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return number_text(value)
    return None


def _to_date_time(value: Any) -> str | None:
    if isinstance(value, str) and _UTC_TIME.fullmatch(value) and value[:4] != "0000":
        return value
    moment = _moment(value)
    return None if moment is None else rfc3339(moment)


def _to_date(value: Any) -> str | None:
    moment = _moment(value)
    return None if moment is None else moment.date().isoformat()


def _moment(value: Any) -> datetime | None:
    if isinstance(value, datetime):
        return value
    try:
        if isinstance(value, str):
            return parse_default(value)
        if isinstance(value, int) and not isinstance(value, bool):
            return _EPOCH + timedelta(milliseconds=value)
    except (DateError, OverflowError) as error:
        raise EvaluationError(str(error)) from None
    return None


def _to_boolean(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    if not isinstance(value, str):
        return None
    if value in _TRUE or value in _FALSE:
        return value in _TRUE
    raise EvaluationError(f"text {value!r} is not a boolean")


def _to_integer(value: Any) -> int | None:
    if isinstance(value, str):
        if not _WHOLE.fullmatch(value):
            raise EvaluationError(f"text {value!r} is not an integer")
        return int(value)
    if isinstance(value, float):
        if not value.is_integer():
            raise EvaluationError(f"number {value!r} is not an integer")
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _to_number(value: Any) -> int | float | None:
    if isinstance(value, str):
        return _number_in(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise EvaluationError("the number is not finite")
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _number_in(text: str) -> int | float:
    try:
        number = json.loads(text)
    except ValueError:
        number = None
    if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
        raise EvaluationError(f"text {text!r} is not a number")
    return number


_PLAIN: dict[str, Callable[[Any], Any]] = {
    "string": _to_string,
    "date-time": _to_date_time,
    "date": _to_date,
    "boolean": _to_boolean,
    "integer": _to_integer,
    "number": _to_number,
}


def _object_copy(node: Mapping[str, Any], path: Path) -> Convert:
    children = [
        (name, kept_type(child), conversion(child, (*path, name)), (*path, name))
        for name, child in node["properties"].items()
    ]

    def copy(value: Any, warn: Warn) -> Any:
        copied = {}
        for name, kept, child, child_path in children:
            member = value.get(name)
            if member is not None and type(member) is not kept:
                member = _copied(child, member, child_path, warn)
            if member is not None:
                copied[name] = member
        return copied

    return copy


def _map_copy(node: Mapping[str, Any], path: Path) -> Convert:
    values = node.get("additionalProperties")
    child = conversion(values if isinstance(values, Mapping) else {}, path)

    def copy(value: Any, warn: Warn) -> Any:
        copied = {name: _copied(child, member, (*path, name), warn) for name, member in value.items()}
        return {name: member for name, member in copied.items() if member is not None}

    return copy


def _array_copy(node: Mapping[str, Any], path: Path) -> Convert:
    items = node.get("items")
    child = conversion(items if isinstance(items, Mapping) else {}, (*path, -1))
    return lambda value, warn: [child(element, warn) for element in value]


def _copied(child: Convert, value: Any, path: Path, warn: Warn) -> Any:
    try:
        return child(value, warn)
    except EvaluationError as error:
        warn(path_text(path), str(error))
        return None


_CONTAINERS: dict[str, tuple[type, Callable[[Mapping[str, Any], Path], Convert]]] = {
    "object": (dict, _object_copy),
    "map": (dict, _map_copy),
    "array": (list, _array_copy),
}
