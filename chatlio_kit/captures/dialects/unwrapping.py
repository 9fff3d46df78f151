"""Unwrap payloads from loggers' envelopes."""

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
    respelled,
)
from chatlio_kit.captures.dialects.clocks import with_offset_if
from chatlio_kit.captures.dialects.columns import TIME_PATHS, nested
from chatlio_kit.captures.dialects.dialect import Body, Dialect, FieldPath
from chatlio_kit.captures.dialects.pages import page_of
from chatlio_kit.captures.dialects.table import BARE, ENVELOPE, LOGGERS
from chatlio_kit.captures.formats.records import InvalidRecord, RepeatedKey, message_of, parse
from chatlio_kit.chatlio.kinds import shape_of
from chatlio_kit.chatlio.rejections import Reason, shortened
from chatlio_kit.counting import counted

DEEPEST = 4
"""The maximum number of nested envelopes, e.g. of a gateway's event that passed through a queue."""

_HEAD_ENDS = b"\r\n\r\n"
_URL_SAFE = str.maketrans("-_", "+/")
_LAYERS = 3
"""The maximum depth of a string's encodings: JSON within JSON, or base64."""
_OPENS = (ord("{"), ord(" "), ord("\n"))
_HIGHEST_BYTE = 255
_BESIDE = (RECEIVED, KIND, WIDGET)
_OURS = (PAYLOAD, *_BESIDE)
_MARKS = frozenset().union(*(dialect.marks for dialect in LOGGERS))


@dataclass(slots=True)
class Unwrapped:
    """A payload and the values from its capture, unchecked.

    Attributes:
        payload: The body that Chatlio posted.
        received_at: Time of capture, RFC 3339.
        kind: Its kind.
        widget: The widget that sent it.
        dialect: Its dialect; if dialects are nested, all their names from the outside in.
        unread: Keys next to the payload that have a value and were not read.
        siblings: Numbers of further elements in lists of which ``--fields`` reads only one, by the path that
            would read them all.
        is_loose: True if the payload was assembled from columns, so that its text is not Chatlio's.
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
    """Unwrap a payload from its envelope, if it has one.

    Args:
        value: The record.
        fields: A dialect that the user named; other records are recognised by the table of dialects.

    Raises:
        InvalidRecord: The record is a logger's but has no Chatlio payload, or two dialects fit it.
        ValueError: Its body is not JSON.
    """
    dialect = fields if fields is not None and fields.fits(value) else recognise(value)
    if dialect is BARE:
        if shape_of(value) is None:
            raise InvalidRecord(Reason.SHAPE_UNKNOWN, None, _no_shape(fields))
        return _bare(value)
    return _enveloped(value) if dialect is ENVELOPE else _opened(value, dialect, 1)


def _no_shape(fields: Dialect | None) -> str:
    detail = "The record has none of Chatlio's shapes: transcript, offline message or conversation."
    if fields is None:
        return (
            f"{detail} If a logger wrote it, name the path of its payload with --fields (in Python fields=)."
        )
    named = ", ".join(map(str, fields.needs))
    return f"{detail} It does not have {named}, which --fields (in Python fields=) names."


def _bare(value: Mapping[str, Any], offset: str = "") -> Unwrapped:
    """Separate a payload from values that its capture put among its fields."""
    payload, around = beside_fields(value, offset)
    return Unwrapped(payload, around.get(RECEIVED), around.get(KIND), around.get(WIDGET))


def _enveloped(value: Mapping[str, Any], offset: str = "") -> Unwrapped:
    """Open this package's own envelope, whose keys may be spelled differently."""
    envelope = respelled(value, offset)
    if PAYLOAD not in envelope:
        names = " and ".join(key for key in envelope if meaning(key) == PAYLOAD)
        detail = f"{names} may each hold the payload. Name the right one with --fields payload=."
        raise InvalidRecord(Reason.SHAPE_UNKNOWN, None, detail)
    payload = envelope[PAYLOAD]
    if (
        not isinstance(payload, str)
        or payload.lstrip()[:1] in ("{", '"')
        or object_in_base64(payload) is not None
    ):
        payload = _decoded(payload, PAYLOAD, Body.JSON)
    unread = tuple(key for key in envelope if key not in _OURS and envelope[key] not in (None, ""))
    received, kind, widget = (envelope.get(key) for key in _BESIDE)
    return Unwrapped(payload, received, kind, widget, ENVELOPE.name, unread)


def recognise(value: Mapping[str, Any]) -> Dialect:
    """Return a record's dialect, recognised by its fields.

    Raises:
        InvalidRecord: Two dialects fit, or the record is a page of captures.
    """
    fitting = [dialect for dialect in _candidates(_MARKS.intersection(value)) if dialect.fits(value)]
    if len(fitting) > 1:
        names = ", ".join(dialect.name for dialect in fitting)
        detail = (
            f"Its fields fit several dialects: {names}. Name the path of its payload with --fields (in "
            "Python fields=)."
        )
        raise InvalidRecord(Reason.SHAPE_UNKNOWN, None, detail)
    if fitting:
        return fitting[0]
    if shape_of(value) is not None:
        return BARE
    if any(meaning(key) == PAYLOAD for key in value):
        return ENVELOPE
    page = page_of(value)
    if page is not None:
        detail = (
            f"It is a page that lists {counted(len(page.captures), 'capture')} in {page.place}. Put such "
            "pages in separate files, where each capture becomes a record."
        )
        raise InvalidRecord(Reason.SHAPE_UNKNOWN, str(page.place), detail)
    return BARE


@lru_cache(maxsize=256)
def _candidates(marks: frozenset[str]) -> tuple[Dialect, ...]:
    """Return the dialects that a record with these keys may have."""
    return tuple(dialect for dialect in LOGGERS if dialect.marks <= marks)


def _opened(value: Mapping[str, Any], dialect: Dialect, depth: int, offset: str = "") -> Unwrapped:
    offset = offset or dialect.offset
    if dialect.body is Body.COLUMNS:
        value = respelled(value, offset)
    payload = _payload(value, dialect)
    received, kind = dialect.received_at(value, offset), dialect.kind(value)
    widget = dialect.widget.find(value) if dialect.widget else None
    outer = Unwrapped(payload, received, kind, widget, dialect.name, is_loose=dialect.body is Body.COLUMNS)
    outer.unread, outer.siblings = _unread(value, dialect), dialect.siblings(value)
    if shape_of(payload) is not None:
        if dialect.body is Body.ITSELF:
            _merge(outer, _bare(payload, offset), dialect)
    else:
        inner = recognise(payload)
        if inner is BARE or depth == DEEPEST:
            where = f"its {dialect.payload}" if dialect.payload.keys else "its columns"
            detail = (
                f"It looks like {dialect.name}, but {where} has none of Chatlio's shapes: transcript, "
                "offline message or conversation."
            )
            raise InvalidRecord(Reason.SHAPE_UNKNOWN, str(dialect.payload) or None, detail)
        is_ours = inner is ENVELOPE
        within = _enveloped(payload, offset) if is_ours else _opened(payload, inner, depth + 1, offset)
        _merge(outer, within, dialect)
    if dialect.offset:
        _add_offsets(outer, dialect.offset)
    return outer


def _merge(outer: Unwrapped, inner: Unwrapped, dialect: Dialect) -> None:
    """Merge a nested envelope, which takes precedence except over fields that the user named."""
    outer.payload = inner.payload
    if inner.dialect != BARE.name:
        outer.dialect = f"{dialect.name} > {inner.dialect}"
    first, second = (outer, inner) if dialect.body is Body.ITSELF else (inner, outer)
    outer.received_at = first.received_at or second.received_at
    outer.kind = first.kind or second.kind
    outer.widget = first.widget or second.widget
    outer.unread += inner.unread
    outer.is_loose |= inner.is_loose


def _unread(value: Mapping[str, Any], dialect: Dialect) -> tuple[str, ...]:
    """Return the keys around a payload that mean ours, have a value and are not read."""
    if not dialect.payload.keys:
        return ()
    paths = (dialect.payload, dialect.received, dialect.label, dialect.widget)
    read = {path.keys[0] for path in paths if path}
    return tuple(
        key
        for key, member in value.items()
        if key not in read and meaning(key) in _BESIDE and isinstance(member, str | int) and member != ""
    )


def _add_offsets(unwrapped: Unwrapped, offset: str) -> None:
    """Add an offset to every time that has none."""
    unwrapped.received_at = with_offset_if(unwrapped.received_at, offset)
    for place in TIME_PATHS:
        *parents, key = place.split(".")
        parent = FieldPath(tuple(parents)).find(unwrapped.payload)
        if isinstance(parent, dict) and key in parent:
            parent[key] = with_offset_if(parent[key], offset)


def _payload(value: Mapping[str, Any], dialect: Dialect) -> dict[str, Any]:
    """Return the object that a record carries."""
    if dialect.body is Body.COLUMNS or not dialect.payload.keys:
        named = {path.keys[0] for path in (dialect.received, dialect.label, dialect.widget) if path}
        own = {key: member for key, member in value.items() if key not in named}
        return nested(own, dialect.separator) if dialect.body is Body.COLUMNS else own
    place = str(dialect.payload)
    body = dialect.payload.find(value)
    if body is None or body == "":
        detail = f"It looks like {dialect.name}, but its {place} is empty: it has no payload."
        raise InvalidRecord(Reason.SHAPE_UNKNOWN, place, detail)
    is_base64 = dialect.base64_flag is not None and dialect.base64_flag.find(value) in (True, "base64")
    body = _decoded(body, place, Body.BASE64 if is_base64 else dialect.body)
    if not isinstance(body, dict):
        raise InvalidRecord(Reason.NOT_AN_OBJECT, place, f"{place} is {shortened(body)}; expected an object.")
    return body


def _decoded(body: Any, place: str, written: Body) -> Any:
    """Decode a body while it is a string, or a list of bytes as numbers."""
    for _ in range(_LAYERS):
        if isinstance(body, list) and (text := _text_of_bytes(body)) is not None:
            body = text
        if not isinstance(body, str) or not body:
            break
        body, written = _read(body, place, written), Body.JSON
    return body


def _text_of_bytes(numbers: list[Any]) -> str | None:
    """Return the string whose bytes a logger wrote as numbers, if it may be an object."""
    if not numbers or numbers[0] not in _OPENS or not all(type(number) is int for number in numbers):
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
        if written is Body.JSON and (decoded := object_in_base64(text)) is not None:
            return decoded
        detail = f"{place} is not JSON: {message_of(wrong)}. Correct the record and read it again."
    raise InvalidRecord(Reason.NOT_JSON, place, detail)


def object_in_base64(text: str) -> dict[str, Any] | None:
    """Return the JSON object that a string holds in base64; None if it holds none.

    A false match is impossible, because the string must decode to JSON.

    Raises:
        RepeatedKey: The object has a key twice.
    """
    letters = "".join(text.split()).translate(_URL_SAFE).rstrip("=")
    if letters[:1] != "e":  # in base64, an object's opening brace becomes this letter
        return None
    try:
        value = parse(base64.b64decode(letters + "=" * (-len(letters) % 4), validate=True))
    except RepeatedKey:
        raise
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
