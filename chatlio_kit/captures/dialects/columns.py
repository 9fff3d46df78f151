"""Nest the columns of flattened payloads, using the catalogue's paths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chatlio_kit.captures.formats.records import InvalidRecord, parse
from chatlio_kit.chatlio.catalogue import EVENTS, Dtype
from chatlio_kit.chatlio.rejections import Reason

VISITOR, MESSAGES = "visitor", "messages"
ZAPIER, DOTS = SEPARATORS = ("__", ".")
PAYLOAD_PATHS = frozenset(path for column in EVENTS for path in column.paths.values())
"""The catalogue's paths in payloads."""
TIME_PATHS = sorted(
    {path for column in EVENTS if column.dtype is Dtype.TIME for path in column.paths.values()}
)
"""Paths of times in payloads."""
_TOP = frozenset(path for path in PAYLOAD_PATHS if "." not in path)
NESTED = frozenset(
    {path.partition(".")[0] for path in PAYLOAD_PATHS if "." in path}
    | {path for column in EVENTS if column.dtype is Dtype.JSON for path in column.paths.values()} & _TOP
    | {MESSAGES}
)
"""Keys of a payload whose values are objects or arrays."""


def is_split(row: Mapping[str, Any], separator: str) -> bool:
    """Return whether a row's columns are named like ``visitor<separator>UUID``."""
    roots = {key.partition(separator)[0] for key in row if separator in key}
    return any(root in NESTED and not isinstance(row.get(root), dict | list) for root in roots)


def holds_json(row: Mapping[str, Any]) -> bool:
    """Return whether a row's columns are a payload's own keys, with nested values as JSON."""
    texts = [row[key] for key in (VISITOR, MESSAGES) if isinstance(row.get(key), str)]
    has_json = any(text.lstrip()[:1] in ("{", "[") for text in texts)
    return has_json and not any(is_split(row, separator) for separator in SEPARATORS)


def nested(row: Mapping[str, Any], separator: str) -> dict[str, Any]:
    """Return the payload that a row's columns make up; an empty cell is a missing field.

    Raises:
        InvalidRecord: Messages were flattened too, or two columns have one path.
        ValueError: A nested field is not JSON.
    """
    payload: dict[str, Any] = {}
    for key, value in row.items():
        if value is None or value == "":
            continue
        root, *rest = key.split(separator) if separator else [key]
        if root == MESSAGES and rest:
            detail = (
                f"{key} is a part of messages that were flattened into one string, where a comma within a "
                "message looks like a separator. Capture the webhook's body as it is sent instead."
            )
            raise InvalidRecord(Reason.WRONG_TYPE, MESSAGES, detail)
        if root not in NESTED:
            payload[key] = value
            continue
        if not rest:
            payload[root] = _read(value) if root in (VISITOR, MESSAGES) else value
            continue
        parent = payload
        for part in (root, *rest[:-1]):
            parent = parent.setdefault(part, {})
            if not isinstance(parent, dict):
                raise _twice(key)
        if rest[-1] in parent:
            raise _twice(key)
        parent[rest[-1]] = value
    return payload


def _read(value: Any) -> Any:
    return parse(value.encode()) if isinstance(value, str) else value


def _twice(key: str) -> InvalidRecord:
    detail = f"The column {key} has the same path as another column. Keep one of them and read it again."
    return InvalidRecord(Reason.DUPLICATE_KEY, key, detail)
