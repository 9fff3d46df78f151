"""A dialect that the user names: ``--fields payload=request.body,received=request.time,kind=meta.hook``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chatlio_kit.captures.dialects.dialect import Body, Clock, Dialect, FieldPath
from chatlio_kit.errors import UsageError, option

NAME = "named fields"

_PAYLOADS = {"payload": Body.JSON, "payload-base64": Body.BASE64}
_CLOCKS = {
    "received": Clock.RFC3339,
    "received-utc": Clock.UTC,
    "received-seconds": Clock.SECONDS,
    "received-milliseconds": Clock.MILLISECONDS,
}
MEANINGS = {
    **{name: f"the payload: {body}" for name, body in _PAYLOADS.items()},
    **{name: f"when it was captured: {clock}" for name, clock in _CLOCKS.items()},
    "kind": "the kind, or a path or URL that names one; a word that names none is told, not passed over",
    "widget": "the widget, as text",
}
"""What can be named, and what it means. Without a payload the record itself is one, without what is named."""
FIELDS = tuple(MEANINGS)


def named_fields(fields: str | Mapping[str, str] | None) -> Dialect | None:
    """Read the option ``--fields``.

    Args:
        fields: ``name=place`` with commas between, or a mapping of the same. A place is a dotted path or a
            JSON Pointer. Without a payload the record itself is the payload, without what is named.

    Raises:
        UsageError: when it cannot be read.
    """
    if fields is None:
        return None
    places = dict(fields) if isinstance(fields, Mapping) else _pairs(fields)
    if not places:
        raise _unusable("nothing is named")
    for name, place in places.items():
        if name not in FIELDS:
            raise _unusable(f"{name!r} is none of {', '.join(FIELDS)}")
        if not isinstance(place, str) or not all(FieldPath.of(place).keys or ("",)):
            raise _unusable(f"{name!r} has no place")
    payloads, clocks = _PAYLOADS.keys() & places, _CLOCKS.keys() & places
    for found in (payloads, clocks):
        if len(found) > 1:
            raise _unusable(f"only one of {' and '.join(sorted(found))} can be")
    payload = FieldPath.of(places[next(iter(payloads))]) if payloads else FieldPath(())
    clock = next(iter(clocks), "received")
    received, label, widget = (
        FieldPath.of(places[name]) if name in places else None for name in (clock, "kind", "widget")
    )
    named = tuple(place for place in (received, label, widget) if place)
    more: dict[str, Any] = {"received": received, "clock": _CLOCKS[clock], "label": label, "widget": widget}
    body = _PAYLOADS[next(iter(payloads))] if payloads else Body.ITSELF
    needs = (payload,) if payloads else named
    return Dialect(
        NAME, "Fields that the user named", needs, payload, "--fields", body, keeps_kind=True, **more
    )


def _pairs(text: str) -> dict[str, str]:
    places: dict[str, str] = {}
    for pair in text.split(","):
        name, equals, place = (part.strip() for part in pair.partition("="))
        if not equals:
            raise _unusable(f"{pair.strip()!r} is not name=place")
        if name in places:
            raise _unusable(f"{name!r} stands twice")
        places[name] = place
    return places


def _unusable(why: str) -> UsageError:
    return UsageError(
        f"{option('fields')} cannot be read: {why}. "
        "Write it as in payload=request.body,received=request.time,kind=meta.hook."
    )
