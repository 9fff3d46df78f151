"""A payload taken out of whatever a logger put around it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from chatlio_kit.captures.dialects.columns import put_together
from chatlio_kit.captures.dialects.dialect import Body, Dialect
from chatlio_kit.captures.dialects.pages import page_of
from chatlio_kit.captures.dialects.table import BARE, ENVELOPE, LOGGERS
from chatlio_kit.captures.records import Refused, RepeatedKey, parse, said
from chatlio_kit.events.kinds import shape_of
from chatlio_kit.events.rejection import Reason, shortened

DEEPEST = 4
"""How many envelopes may stand in one another, as when a gateway's event is sent through a queue."""

_HEAD_ENDS = b"\r\n\r\n"
_MARKS = frozenset().union(*(dialect.marks for dialect in LOGGERS))


@dataclass(slots=True)
class Unwrapped:
    """A payload and what its capture says about it, all of it as it was found.

    Attributes:
        payload: what Chatlio posted.
        received_at: when it was captured, RFC 3339.
        kind: which kind it is.
        widget: which widget sent it.
        dialect: the dialect it was written in; with one in another, all their names from the outside in.
    """

    payload: Any
    received_at: Any = None
    kind: Any = None
    widget: Any = None
    dialect: str = BARE.name


def unwrap(value: Mapping[str, Any], fields: Dialect | None = None) -> Unwrapped:
    """Take a payload out of its envelope, if it has one.

    Args:
        value: the record.
        fields: a dialect that the user named; records that it does not fit are told by the table.

    Raises:
        Refused: when it is a logger's record without a Chatlio payload, or one that two dialects fit.
        ValueError: when its body is no JSON.
    """
    dialect = fields if fields is not None and fields.fits(value) else recognise(value)
    if dialect is BARE:
        if shape_of(value) is None:
            detail = (
                "The record is none of Chatlio's shapes: transcript, offline message or conversation. "
                "If a logger wrote it, say with --fields (in Python fields=) where its payload stands."
            )
            raise Refused(Reason.SHAPE_UNKNOWN, None, detail)
        return Unwrapped(value)
    if dialect is ENVELOPE:
        around = (value.get("receivedAt"), value.get("kind"), value.get("widget"))
        return Unwrapped(value["payload"], *around, ENVELOPE.name)
    return _opened(value, dialect, 1)


def recognise(value: Mapping[str, Any]) -> Dialect:
    """Tell a record's dialect by its fields.

    Raises:
        Refused: when two dialects fit, or when the record is a page of captures.
    """
    found = [dialect for dialect in _candidates(_MARKS.intersection(value)) if dialect.fits(value)]
    if len(found) > 1:
        names = " and ".join(dialect.name for dialect in found)
        detail = f"Its fields are those of {names} alike. Say with --fields where its payload stands."
        raise Refused(Reason.SHAPE_UNKNOWN, None, detail)
    if found:
        return found[0]
    if shape_of(value) is not None:
        return BARE
    if "payload" in value:
        return ENVELOPE
    page = page_of(value)
    if page is not None:
        detail = (
            f"It is a page that lists {len(page.captures):,} captures in {page.place}. Such pages have to "
            "stand in files of their own: there each capture is a record."
        )
        raise Refused(Reason.SHAPE_UNKNOWN, str(page.place), detail)
    return BARE


@lru_cache(maxsize=256)
def _candidates(marks: frozenset[str]) -> tuple[Dialect, ...]:
    """Give the dialects that a record with these marks can be of: one logger's records have the same."""
    return tuple(dialect for dialect in LOGGERS if dialect.marks <= marks)


def _opened(value: Mapping[str, Any], dialect: Dialect, depth: int) -> Unwrapped:
    payload = _payload(value, dialect)
    received, kind = dialect.received_at(value), dialect.kind(value)
    widget = dialect.widget.find(value) if dialect.widget else None
    name = dialect.name
    if shape_of(payload) is None:
        inner = recognise(payload)
        if inner is BARE or depth == DEEPEST:
            where = f"its {dialect.payload}" if dialect.payload.keys else "its columns"
            detail = (
                f"It is of the dialect {dialect.name}, but {where} is none of Chatlio's shapes: transcript, "
                "offline message or conversation."
            )
            raise Refused(Reason.SHAPE_UNKNOWN, str(dialect.payload) or None, detail)
        within = unwrap(payload) if inner is ENVELOPE else _opened(payload, inner, depth + 1)
        payload, name = within.payload, f"{name} > {within.dialect}"
        received, kind = within.received_at or received, within.kind or kind
        widget = within.widget or widget
    return Unwrapped(payload, received, kind, widget, name)


def _payload(value: Mapping[str, Any], dialect: Dialect) -> dict[str, Any]:
    """Give the object that a record carries."""
    named = {place.keys[0] for place in (dialect.received, dialect.label, dialect.widget) if place}
    if dialect.body is Body.COLUMNS:
        return put_together({key: each for key, each in value.items() if key not in named}, dialect.separator)
    if not dialect.payload.keys:
        return {key: each for key, each in value.items() if key not in named}
    place = str(dialect.payload)
    body = dialect.payload.find(value)
    if body is None or body == "":
        detail = f"It is of the dialect {dialect.name}, but its {place} is empty: it holds no payload."
        raise Refused(Reason.SHAPE_UNKNOWN, place, detail)
    is_base64 = dialect.base64_flag is not None and dialect.base64_flag.find(value) is True
    if isinstance(body, str):
        body = _read(body, place, Body.BASE64 if is_base64 else dialect.body)
    if not isinstance(body, dict):
        raise Refused(Reason.NOT_AN_OBJECT, place, f"{place} is {shortened(body)}; expected an object.")
    return body


def _read(text: str, place: str, written: Body) -> Any:
    raw = text.encode(errors="surrogatepass")
    try:
        if written is not Body.JSON:
            raw = base64.b64decode(raw, validate=True)
        if written is Body.HTTP:
            raw = raw.partition(_HEAD_ENDS)[2]
        return parse(raw)
    except RepeatedKey:
        raise
    except binascii.Error:
        detail = f"{place} is {shortened(text)}; expected base64."
    except ValueError as wrong:
        detail = f"{place} is not JSON: {said(wrong)}. Correct the record and read it again."
    raise Refused(Reason.NOT_JSON, place, detail)
