"""Values next to a payload, in any spelling of their keys: time of arrival, kind and widget.

A key counts as one of ours if it differs only in case, spaces, ``_`` and ``-``, as ``ReceivedAt`` and
``widget_id`` do. It is read only if nothing contradicts it. A key in our own spelling always counts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from chatlio_kit.captures.dialects.clocks import advice, with_offset_if
from chatlio_kit.captures.formats.records import InvalidRecord
from chatlio_kit.chatlio.kinds import KINDS
from chatlio_kit.chatlio.rejections import Reason, shortened
from chatlio_kit.chatlio.timestamps import as_rfc3339, is_absent

PAYLOAD, RECEIVED, KIND, WIDGET = "payload", "receivedAt", "kind", "widget"
_MEANINGS = {"payload": PAYLOAD, "receivedat": RECEIVED, "kind": KIND, "widget": WIDGET, "widgetid": WIDGET}
_BETWEEN = re.compile(r"[\s_-]+")
_LONGEST = 40
_EMPTY = (None, "")


@lru_cache(maxsize=4096)
def meaning(key: str) -> str | None:
    """Return which of our keys a key means: payload, receivedAt, kind or widget; None for any other."""
    return _MEANINGS.get(_BETWEEN.sub("", key).lower()) if len(key) <= _LONGEST else None


def respelled(record: Mapping[str, Any], offset: str = "") -> dict[str, Any]:
    """Return a record with our own spelling of the keys that mean ours, where the meaning is unambiguous.

    If several keys have the same meaning, ours wins, or else their common value. Keys that contradict it, and
    keys of objects or arrays, keep their spelling.

    Args:
        record: The record.
        offset: Offset of times written without one.

    Raises:
        InvalidRecord: The value of a key in another spelling is not a time.
    """
    result = _respelled(record)
    for key in record.keys() - result.keys():
        if meaning(key) == RECEIVED:
            _require_time(with_offset_if(result[RECEIVED], offset), key)
    return result


def _respelled(record: Mapping[str, Any]) -> dict[str, Any]:
    spellings: dict[str, list[str]] = {}
    for key in record:
        if (name := meaning(key)) is not None and key != name and record[key] not in _EMPTY:
            spellings.setdefault(name, []).append(key)
    if not spellings:
        return dict(record)
    result = dict(record)
    for name, keys in spellings.items():
        values = [result[key] for key in keys]
        own = result.get(name)
        value = values[0] if own in _EMPTY else own
        if name != PAYLOAD and isinstance(value, dict | list):
            continue
        if own in _EMPTY and any(other != value for other in values):
            continue
        for key, other in zip(keys, values, strict=True):
            if other == value:
                del result[key]
        result[name] = value
    return result


def _require_time(value: Any, key: str) -> None:
    if isinstance(value, str) and (is_absent(value) or as_rfc3339(value)):
        return
    detail = f"{key} is {shortened(value)}; expected an RFC 3339 time. {advice(value, key)}"
    raise InvalidRecord(Reason.INVALID_TIME, key, detail)


def beside_fields(payload: Mapping[str, Any], offset: str = "") -> tuple[dict[str, Any], dict[str, Any]]:
    """Separate a payload from values that its capture put among the payload's own fields.

    A time and a kind are separated only if their values are unmistakable, and a widget only next to one of
    them.

    Args:
        payload: The payload.
        offset: Offset of times written without one.

    Returns:
        The payload, and the separated values under our keys.
    """
    if not any(map(meaning, payload)):
        return dict(payload), {}
    fields = _respelled(payload)
    around: dict[str, Any] = {}
    received = with_offset_if(fields.get(RECEIVED), offset)
    if isinstance(received, str) and as_rfc3339(received):
        around[RECEIVED] = received
    if isinstance(kind := fields.get(KIND), str) and kind in KINDS:
        around[KIND] = kind
    if around and isinstance(fields.get(WIDGET), str):
        around[WIDGET] = fields[WIDGET]
    rest = {
        key: value
        for key, value in payload.items()
        if (name := meaning(key)) not in around or (key != name and key in fields)  # a contradiction
    }
    return rest, around
