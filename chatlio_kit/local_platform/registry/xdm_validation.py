"""Validation of rows as in streaming ingestion: type, format, pattern, enum, range, presence.

Source: "Streaming ingestion validation". The answers have the service's form and wording.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

import jsonschema_rs
from jsonschema_rs import ValidationError, ValidationErrorKind

from ..data_prep.values import number_text

MOST_VIOLATIONS = 5

_DATE_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.[0-9]{1,9})?"
    r"(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)
_DATE_TIME_FORMS = (
    "yyyy-MM-dd'T'HH:mm:ssZ, yyyy-MM-dd'T'HH:mm:ss.[0-9]{1-9}Z, "
    "yyyy-MM-dd'T'HH:mm:ss[+-]HH:mm, yyyy-MM-dd'T'HH:mm:ss.[0-9]{1,9}[+-]HH:mm"
)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_EMAIL = re.compile(r"[^@\s\x00-\x1f]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?")
_HOST_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"(?=.{{1,253}}\Z){_HOST_LABEL}(?:\.{_HOST_LABEL})*")
_BORROWED = ("uri", "uri-reference")
_BORROWED_VALIDATORS = {
    name: jsonschema_rs.Draft7Validator({"format": name}, validate_formats=True) for name in _BORROWED
}
# fmt: off
_JAVA_TYPES = {
    "string": "String", "number": "Number", "integer": "Integer", "boolean": "Boolean",
    "object": "JSONObject", "array": "JSONArray", "null": "Null",
}
_JAVA_NAMES = {
    str: "String", float: "Double", int: "Long", bool: "Boolean",
    dict: "JSONObject", list: "JSONArray", type(None): "Null",
}
# fmt: on
_DESCRIPTIONS = {
    "date-time": f"date-time. Expected [{_DATE_TIME_FORMS}]",
    "date": "date. Expected [yyyy-MM-dd]",
    "email": "email address",
    "uri": "URI",
    "uri-reference": "URI reference",
    "ipv4": "ipv4 address",
    "ipv6": "ipv6 address",
    "hostname": "hostname",
}


class Validator:
    """A composed schema that validates rows."""

    def __init__(self, json_schema: Mapping[str, Any]) -> None:
        # Draft 4 does not accept 1.0 as an integer.
        self._validator = jsonschema_rs.Draft4Validator(
            dict(json_schema), formats=_FORMATS, validate_formats=True
        )

    def violations(self, row: Any) -> list[dict[str, Any]]:
        """List the violations in a row, at most five; empty for a valid row."""
        if self._validator.is_valid(row):
            return []
        found: list[dict[str, Any]] = []
        for error in self._validator.iter_errors(row):
            found.extend(_entries(error))
            if len(found) >= MOST_VIOLATIONS:
                break
        return found[:MOST_VIOLATIONS]


def is_date_time(text: str) -> bool:
    """Return whether a string is RFC 3339 with seconds, an offset, and at most nine fractional digits."""
    match = _DATE_TIME.fullmatch(text)
    return match is not None and _exists(datetime.fromisoformat, match[1])


def _is_date(text: str) -> bool:
    return _DATE.fullmatch(text) is not None and _exists(date.fromisoformat, text)


def _exists(read: Callable[[str], Any], text: str) -> bool:
    try:
        read(text)
    except ValueError:
        return False
    return True


_FORMATS: dict[str, Callable[..., bool]] = {
    "date-time": is_date_time,
    "date": _is_date,
    "email": lambda text: _EMAIL.fullmatch(text) is not None and ".." not in text,
    "hostname": lambda text: _HOST.fullmatch(text) is not None,
    "ipv4": lambda text: _exists(ipaddress.IPv4Address, text),
    "ipv6": lambda text: _exists(ipaddress.IPv6Address, text),
    "uri": _BORROWED_VALIDATORS["uri"].is_valid,
    "uri-reference": _BORROWED_VALIDATORS["uri-reference"].is_valid,
}


def _entries(error: ValidationError) -> list[dict[str, Any]]:
    messages = _messages(error.kind, error.instance) or [error.message]
    return [
        {
            "schemaLocation": _pointer(error.schema_path[:-1]),
            "pointerToViolation": _pointer(error.instance_path),
            "causingExceptions": [],
            "keyword": error.kind.name,
            "message": message,
        }
        for message in messages
    ]


def _messages(kind: ValidationErrorKind, instance: Any) -> list[str]:
    match kind:
        case ValidationErrorKind.AdditionalProperties(unexpected=names):
            return [f"extraneous key [{name}] is not permitted" for name in names]
        case ValidationErrorKind.Required(property=name):
            return [f"required key [{name}] not found"]
        case ValidationErrorKind.Type(types=types):
            expected = " or ".join(_JAVA_TYPES[name] for name in types)
            return [f"expected type: {expected}, found: {_JAVA_NAMES[type(instance)]}"]
        case ValidationErrorKind.Format(format=name):
            return [f"[{instance}] is not a valid {_DESCRIPTIONS.get(name, name)}"]
        case ValidationErrorKind.Enum():
            return [f"{_shown(instance)} is not a valid enum value"]
        case ValidationErrorKind.Pattern(pattern=pattern):
            return [f"string [{instance}] does not match pattern {pattern}"]
        case ValidationErrorKind.MinLength(limit=limit):
            return [f"expected minLength: {limit}, actual: {len(instance)}"]
        case ValidationErrorKind.MaxLength(limit=limit):
            return [f"expected maxLength: {limit}, actual: {len(instance)}"]
        case ValidationErrorKind.MinItems(limit=limit):
            return [f"expected minimum item count: {limit}, found: {len(instance)}"]
        case ValidationErrorKind.MaxItems(limit=limit):
            return [f"expected maximum item count: {limit}, found: {len(instance)}"]
        case ValidationErrorKind.Minimum(limit=limit):
            return [f"{_shown(instance)} is not greater or equal to {_shown(limit)}"]
        case ValidationErrorKind.Maximum(limit=limit):
            return [f"{_shown(instance)} is not less or equal to {_shown(limit)}"]
    return []


def _pointer(path: Sequence[str | int]) -> str:
    steps = (str(step).replace("~", "~0").replace("/", "~1") for step in path)
    return "#" + "".join(f"/{step}" for step in steps)


def _shown(value: Any) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return number_text(value)
    return str(value)
