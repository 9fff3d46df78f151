"""What a capture says beside its payload, however the keys are spelt: time of arrival, kind and widget.

A key means one of ours if it is the same but for case, blanks, ``_`` and ``-``, as ``ReceivedAt`` and
``widget_id`` are. It is read only where nothing contradicts it. A key in our own spelling always counts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from chatlio_kit.captures.dialects.clocks import advice, with_offset
from chatlio_kit.captures.formats.records import Refused
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


def respelt(record: Mapping[str, Any], offset: str = "") -> dict[str, Any]:
    """Return a record with our own spelling of the keys that mean ours, where it is certain what is meant.

    Of several keys with one meaning, ours counts, or else their common value. Keys that contradict it, and
    those that hold objects or arrays, keep their spelling.

    Args:
        record: the record.
        offset: what times mean that are written without one.

    Raises:
        Refused: when a time under another spelling is none.
    """
    found = _respelt(record)
    for key in record.keys() - found.keys():
        if meaning(key) == RECEIVED:
            _require_time(with_offset_if(found[RECEIVED], offset), key)
    return found


def with_offset_if(moment: Any, offset: str) -> Any:
    """Return a time with an offset, if one is given and the time has none; anything else as it is."""
    return (with_offset(moment, offset) or moment) if offset and isinstance(moment, str) else moment


def _respelt(record: Mapping[str, Any]) -> dict[str, Any]:
    spellings: dict[str, list[str]] = {}
    for key in record:
        if (name := meaning(key)) is not None and key != name and record[key] not in _EMPTY:
            spellings.setdefault(name, []).append(key)
    if not spellings:
        return dict(record)
    found = dict(record)
    for name, keys in spellings.items():
        values = [found[key] for key in keys]
        own = found.get(name)
        value = values[0] if own in _EMPTY else own
        if name != PAYLOAD and isinstance(value, dict | list):
            continue
        if own in _EMPTY and any(each != value for each in values):
            continue
        for key, each in zip(keys, values, strict=True):
            if each == value:
                del found[key]
        found[name] = value
    return found


def _require_time(value: Any, key: str) -> None:
    if isinstance(value, str) and (is_absent(value) or as_rfc3339(value)):
        return
    detail = f"{key} is {shortened(value)}; expected an RFC 3339 time. {advice(value, key)}"
    raise Refused(Reason.INVALID_TIME, key, detail)


def beside_fields(payload: Mapping[str, Any], offset: str = "") -> tuple[dict[str, Any], dict[str, Any]]:
    """Split a payload from what its capture put among the payload's own fields.

    A time and a kind are taken only where they surely are ones, and a widget only beside one of them.

    Args:
        payload: the payload.
        offset: what times mean that are written without one.

    Returns:
        The payload, and what was among its fields, under our keys.
    """
    if not any(map(meaning, payload)):
        return dict(payload), {}
    found = _respelt(payload)
    around: dict[str, Any] = {}
    moment = with_offset_if(found.get(RECEIVED), offset)
    if isinstance(moment, str) and as_rfc3339(moment):
        around[RECEIVED] = moment
    if isinstance(kind := found.get(KIND), str) and kind in KINDS:
        around[KIND] = kind
    if around and isinstance(found.get(WIDGET), str):
        around[WIDGET] = found[WIDGET]
    rest = {
        key: value
        for key, value in payload.items()
        if (name := meaning(key)) not in around or (key != name and key in found)  # which contradicts it
    }
    return rest, around
