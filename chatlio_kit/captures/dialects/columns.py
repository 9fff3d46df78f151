"""Rows whose nested keys became columns, put together again by the catalogue's places."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chatlio_kit.captures.formats.records import Refused, parse
from chatlio_kit.chatlio.catalogue import EVENTS, Dtype
from chatlio_kit.chatlio.rejections import Reason

VISITOR, MESSAGES = "visitor", "messages"
ZAPIER, DOTS = SEPARATORS = ("__", ".")
PLACES = frozenset(place for each in EVENTS for place in each.places.values())
"""Where in payloads the catalogue's fields stand."""
TIME_PLACES = sorted({place for each in EVENTS if each.dtype is Dtype.TIME for place in each.places.values()})
"""Where in payloads times stand."""
_TOP = frozenset(place for place in PLACES if "." not in place)
NESTED = frozenset(
    {place.partition(".")[0] for place in PLACES if "." in place}
    | {place for each in EVENTS if each.dtype is Dtype.JSON for place in each.places.values()} & _TOP
    | {MESSAGES}
)
"""Keys of a payload that hold objects or arrays."""


def is_split(row: Mapping[str, Any], separator: str) -> bool:
    """Whether a row's columns are named ``visitor<separator>UUID`` and so on."""
    roots = {key.partition(separator)[0] for key in row if separator in key}
    return any(root in NESTED and not isinstance(row.get(root), dict | list) for root in roots)


def holds_json(row: Mapping[str, Any]) -> bool:
    """Whether a row has a payload's own keys as columns, its nested ones as JSON text."""
    found = [row[key] for key in (VISITOR, MESSAGES) if isinstance(row.get(key), str)]
    holds = any(text.lstrip()[:1] in ("{", "[") for text in found)
    return holds and not any(is_split(row, separator) for separator in SEPARATORS)


def put_together(row: Mapping[str, Any], separator: str) -> dict[str, Any]:
    """Nest a row's columns as a payload has them; an empty cell is an absent field.

    Raises:
        Refused: when messages were flattened too, or two columns claim one place.
        ValueError: when a nested field's text is no JSON.
    """
    payload: dict[str, Any] = {}
    for key, value in row.items():
        if value is None or value == "":
            continue
        root, *way = key.split(separator) if separator else [key]
        if root == MESSAGES and way:
            detail = (
                f"{key} is a part of messages that were flattened into one text, and a comma in a message "
                "cannot be told from one between two. Capture the webhook's body as it is sent instead."
            )
            raise Refused(Reason.WRONG_TYPE, MESSAGES, detail)
        if root not in NESTED:
            payload[key] = value
            continue
        if not way:
            payload[root] = _read(value) if root in (VISITOR, MESSAGES) else value
            continue
        inside = payload
        for part in (root, *way[:-1]):
            inside = inside.setdefault(part, {})
            if not isinstance(inside, dict):
                raise _twice(key)
        if way[-1] in inside:
            raise _twice(key)
        inside[way[-1]] = value
    return payload


def _read(value: Any) -> Any:
    return parse(value.encode()) if isinstance(value, str) else value


def _twice(key: str) -> Refused:
    detail = (
        f"The column {key} stands where another one stands already. Keep one of the two and read it again."
    )
    return Refused(Reason.DUPLICATE_KEY, key, detail)
