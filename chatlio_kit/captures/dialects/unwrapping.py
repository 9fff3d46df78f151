"""A payload taken out of whatever a logger put around it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from chatlio_kit.captures.dialects.beside import (
    KIND,
    PAYLOAD,
    RECEIVED,
    WIDGET,
    beside_fields,
    meaning,
    respelt,
    with_offset_if,
)
from chatlio_kit.captures.dialects.columns import TIME_PLACES, put_together
from chatlio_kit.captures.dialects.dialect import Body, Dialect, FieldPath
from chatlio_kit.captures.dialects.pages import page_of
from chatlio_kit.captures.dialects.table import BARE, ENVELOPE, LOGGERS
from chatlio_kit.captures.formats.records import Refused, RepeatedKey, message_of, parse
from chatlio_kit.chatlio.kinds import shape_of
from chatlio_kit.chatlio.rejections import Reason, shortened

DEEPEST = 4
"""How many envelopes may stand in one another, as when a gateway's event is sent through a queue."""

_HEAD_ENDS = b"\r\n\r\n"
_URL_SAFE = str.maketrans("-_", "+/")
_LAYERS = 3
"""How often a text may hold another one: JSON in a JSON text, or in base64."""
_OPENS = (ord("{"), ord(" "), ord("\n"))
_HIGHEST_BYTE = 255
_BESIDE = (RECEIVED, KIND, WIDGET)
_OURS = (PAYLOAD, *_BESIDE)
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
        unread: keys beside the payload that hold something and were not read.
        siblings: how many elements of a list stand beside the one that ``--fields`` names, by the place that
            would name each of them.
        is_loose: whether the payload was put together from columns, so that its text is not Chatlio's.
    """

    payload: Any
    received_at: Any = None
    kind: Any = None
    widget: Any = None
    dialect: str = BARE.name
    unread: tuple[str, ...] = ()
    siblings: Mapping[str, int] = field(default_factory=dict)
    is_loose: bool = False


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
            raise Refused(Reason.SHAPE_UNKNOWN, None, _no_shape(fields))
        return _bare(value)
    return _enveloped(value) if dialect is ENVELOPE else _opened(value, dialect, 1)


def _no_shape(fields: Dialect | None) -> str:
    detail = "The record is none of Chatlio's shapes: transcript, offline message or conversation."
    if fields is None:
        return (
            f"{detail} If a logger wrote it, say with --fields (in Python fields=) where its payload stands."
        )
    named = ", ".join(map(str, fields.needs))
    return f"{detail} It does not have {named}, which --fields (in Python fields=) names."


def _bare(value: Mapping[str, Any], offset: str = "") -> Unwrapped:
    """Take what a capture put among a payload's own fields."""
    payload, around = beside_fields(value, offset)
    return Unwrapped(payload, around.get(RECEIVED), around.get(KIND), around.get(WIDGET))


def _enveloped(value: Mapping[str, Any], offset: str = "") -> Unwrapped:
    """Open our own envelope, whose keys may be spelt in other ways."""
    found = respelt(value, offset)
    if PAYLOAD not in found:
        names = " and ".join(key for key in found if meaning(key) == PAYLOAD)
        detail = f"{names} may each hold the payload. Name the right one with --fields payload=."
        raise Refused(Reason.SHAPE_UNKNOWN, None, detail)
    payload = found[PAYLOAD]
    if (
        not isinstance(payload, str)
        or payload.lstrip()[:1] in ("{", '"')
        or object_in_base64(payload) is not None
    ):
        payload = _decoded(payload, PAYLOAD, Body.JSON)
    unread = tuple(key for key in found if key not in _OURS and found[key] not in (None, ""))
    return Unwrapped(payload, found.get(RECEIVED), found.get(KIND), found.get(WIDGET), ENVELOPE.name, unread)


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
    if any(meaning(key) == PAYLOAD for key in value):
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


def _opened(value: Mapping[str, Any], dialect: Dialect, depth: int, offset: str = "") -> Unwrapped:
    offset = offset or dialect.offset
    if dialect.body is Body.COLUMNS:
        value = respelt(value, offset)
    payload = _payload(value, dialect)
    received, kind = dialect.received_at(value, offset), dialect.kind(value)
    widget = dialect.widget.find(value) if dialect.widget else None
    found = Unwrapped(payload, received, kind, widget, dialect.name, is_loose=dialect.body is Body.COLUMNS)
    found.unread, found.siblings = _unread(value, dialect), dialect.siblings(value)
    if shape_of(payload) is not None:
        if dialect.body is Body.ITSELF:
            _add(found, _bare(payload, offset), dialect)
    else:
        inner = recognise(payload)
        if inner is BARE or depth == DEEPEST:
            where = f"its {dialect.payload}" if dialect.payload.keys else "its columns"
            detail = (
                f"It is of the dialect {dialect.name}, but {where} is none of Chatlio's shapes: transcript, "
                "offline message or conversation."
            )
            raise Refused(Reason.SHAPE_UNKNOWN, str(dialect.payload) or None, detail)
        is_ours = inner is ENVELOPE
        within = _enveloped(payload, offset) if is_ours else _opened(payload, inner, depth + 1, offset)
        _add(found, within, dialect)
    if dialect.offset:
        _add_offsets(found, dialect.offset)
    return found


def _add(found: Unwrapped, within: Unwrapped, dialect: Dialect) -> None:
    """Add what stands further inside: it counts, but for what the user named beside it."""
    found.payload = within.payload
    if within.dialect != BARE.name:
        found.dialect = f"{dialect.name} > {within.dialect}"
    for name in ("received_at", "kind", "widget"):
        outer, inner = getattr(found, name), getattr(within, name)
        setattr(found, name, (outer or inner) if dialect.body is Body.ITSELF else (inner or outer))
    found.unread += within.unread
    found.is_loose |= within.is_loose


def _unread(value: Mapping[str, Any], dialect: Dialect) -> tuple[str, ...]:
    """Return the keys around a payload that mean ours, hold something and are not read."""
    if not dialect.payload.keys:
        return ()
    places = (dialect.payload, dialect.received, dialect.label, dialect.widget)
    read = {place.keys[0] for place in places if place}
    return tuple(
        key
        for key, each in value.items()
        if key not in read and meaning(key) in _BESIDE and isinstance(each, str | int) and each != ""
    )


def _add_offsets(found: Unwrapped, offset: str) -> None:
    """Add an offset to each time that is written without one."""
    found.received_at = with_offset_if(found.received_at, offset)
    for place in TIME_PLACES:
        *way, last = place.split(".")
        inside = FieldPath(tuple(way)).find(found.payload)
        if isinstance(inside, dict) and last in inside:
            inside[last] = with_offset_if(inside[last], offset)


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
    is_base64 = dialect.base64_flag is not None and dialect.base64_flag.find(value) in (True, "base64")
    body = _decoded(body, place, Body.BASE64 if is_base64 else dialect.body)
    if not isinstance(body, dict):
        raise Refused(Reason.NOT_AN_OBJECT, place, f"{place} is {shortened(body)}; expected an object.")
    return body


def _decoded(body: Any, place: str, written: Body) -> Any:
    """Decode a body for as long as it is a text, or the bytes of one as numbers."""
    for _ in range(_LAYERS):
        if isinstance(body, list) and (text := _text_of_bytes(body)) is not None:
            body = text
        if not isinstance(body, str) or not body:
            break
        body, written = _read(body, place, written), Body.JSON
    return body


def _text_of_bytes(numbers: list[Any]) -> str | None:
    """Return the text whose bytes these numbers are, if it may be an object's; loggers write such lists."""
    if not numbers or numbers[0] not in _OPENS or not all(type(each) is int for each in numbers):
        return None
    if not 0 <= min(numbers) <= max(numbers) <= _HIGHEST_BYTE:
        return None
    return bytes(numbers).decode("utf-8", errors="surrogateescape")


def _read(text: str, place: str, written: Body) -> Any:
    raw = text.encode(errors="surrogatepass")
    try:
        if written is Body.HTTP:
            return parse(base64.b64decode(raw, validate=True).partition(_HEAD_ENDS)[2])
        is_json = written is not Body.BASE64 or text.lstrip()[:1] == "{"
        return parse(raw if is_json else base64.b64decode(raw, validate=True))
    except RepeatedKey:
        raise
    except binascii.Error:
        detail = f"{place} is {shortened(text)}; expected base64."
    except ValueError as wrong:
        if written is Body.JSON and (found := object_in_base64(text)) is not None:
            return found
        detail = f"{place} is not JSON: {message_of(wrong)}. Correct the record and read it again."
    raise Refused(Reason.NOT_JSON, place, detail)


def object_in_base64(text: str) -> dict[str, Any] | None:
    """Return the JSON object that a text holds in base64; None when it holds none.

    No other text is taken for one, since what base64 makes of it would have to be JSON.

    Raises:
        RepeatedKey: when the object has a key twice.
    """
    letters = "".join(text.split()).translate(_URL_SAFE).rstrip("=")
    if letters[:1] != "e":  # as all that begins with a brace
        return None
    try:
        found = parse(base64.b64decode(letters + "=" * (-len(letters) % 4), validate=True))
    except RepeatedKey:
        raise
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
