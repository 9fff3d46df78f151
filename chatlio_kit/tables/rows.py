"""Records to rows of values, one record at a time: the inner loop of a conversion.

Nearly every record is as the catalogue knows it: known keys, texts as values, written once each. For these a
row is taken with a few passes in C. Every other record takes the careful way through
:mod:`chatlio_kit.tables.reading`, which gives the same row or says why there is none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson

from chatlio_kit.captures import HUGE, CaptureFile, Piece, Unwrapped, keeps_quotes, parse, refusal, unwrap
from chatlio_kit.events.catalogue import EVENTS, fields_of
from chatlio_kit.events.identity import canonical
from chatlio_kit.events.kinds import SHAPE_OF, Kind, Shape, kind_of_shape, shape_of
from chatlio_kit.events.rejection import Reason, Rejection, shortened
from chatlio_kit.tables.reading import (
    KNOWN_OF_MESSAGE,
    MESSAGE_COLUMNS,
    MESSAGE_KEYS,
    READERS,
    VISITOR,
    Unfit,
    author_by_user,
)

_ENVELOPE = frozenset({"receivedAt", "kind", "widget", "payload"})
_ENVELOPE_COLUMNS = ("received_at", "widget_id")
_KINDS = {str(kind): kind for kind in Kind}
_TEXTS = frozenset({str, type(None)})
_PLAIN = frozenset({str, int, bool, float, type(None)})
_QUOTE = b'"'
_PAYLOAD_KEY = len(b',"payload":')
_NOBODY: dict[str, Any] = {}
_TRAITS, _WORDS = "visitorTraits", "extraData"


def _sources(prefix: str) -> dict[str, dict[Shape, str]]:
    """For each column that a visitor (or the payload itself) may fill: its key there, by shape."""
    found: dict[str, dict[Shape, str]] = {}
    for each in EVENTS:
        for shape, place in each.places.items():
            if place.startswith(f"{VISITOR}.") == bool(prefix):
                found.setdefault(each.name, {})[shape] = place.removeprefix(prefix)
    return found


_FROM_TOP, _FROM_VISITOR = _sources(""), _sources(f"{VISITOR}.")
TOP_COLUMNS, VISITOR_COLUMNS = tuple(_FROM_TOP), tuple(_FROM_VISITOR)
# None is no key of a JSON object, so columns that a shape does not have come out empty.
_TOP_KEYS = {shape: [places.get(shape) for places in _FROM_TOP.values()] for shape in Shape}
_VISITOR_KEYS = {shape: [places.get(shape) for places in _FROM_VISITOR.values()] for shape in Shape}
_NEEDED = {
    shape: [
        each.places[shape].removeprefix(f"{VISITOR}.")
        for each in fields_of(shape)
        if shape in each.required_in
    ]
    for shape in Shape
}


@dataclass(slots=True)
class Rows:
    """What a piece's records say, before it is columns.

    Attributes:
        files: for each row its file, and so on for ``records`` and ``raws``.
        kinds: the kind of each row.
        received: what the captures say of time and widget.
        values: the values of ``TOP_COLUMNS`` and then of ``VISITOR_COLUMNS``.
        bodies: the payloads in canonical form.
        extra: fields that the catalogue does not know, by row.
        messages: the values of ``MESSAGE_COLUMNS``, for all transcripts one after another.
        counts: how many of these each row has.
        message_ts: their ``ts`` for each row.
        rejected: records that gave no row.
    """

    files: list[CaptureFile] = field(default_factory=list)
    records: list[int] = field(default_factory=list)
    raws: list[bytes] = field(default_factory=list)
    kinds: list[Kind] = field(default_factory=list)
    received: list[Any] = field(default_factory=list)
    widgets: list[Any] = field(default_factory=list)
    values: list[tuple[Any, ...]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    extra: dict[int, str] = field(default_factory=dict)
    messages: list[tuple[Any, ...]] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    message_ts: list[str | None] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)


def read_rows(piece: Piece, fallback: Kind | None) -> Rows:
    """Read a piece's records.

    Args:
        piece: the records.
        fallback: the kind of records that nothing else names.
    """
    rows = Rows()
    for stretch in piece.stretches:
        file, last = stretch.file, len(stretch.raws) - 1
        for place, raw in enumerate(stretch.raws):
            try:
                value = orjson.loads(raw)
                if type(value) is not dict or not _take(rows, raw, value, file.kind, fallback):
                    _take_carefully(rows, raw, file.kind, fallback)
            except Unfit as unfit:
                reason, where, detail = unfit.reason, unfit.field or None, unfit.detail
            except (ValueError, RecursionError) as wrong:
                cut = stretch.cut and place == last
                reason, where, detail = refusal(wrong, cut=cut)
            else:
                rows.files.append(file)
                rows.records.append(stretch.numbers[place])
                rows.raws.append(raw)
                continue
            shown = raw.decode("utf-8", errors="replace")
            rows.rejected.append(Rejection(file.name, stretch.numbers[place], reason, where, detail, shown))
    return rows


def _take(rows: Rows, raw: bytes, value: dict[str, Any], by_file: Kind | None, fallback: Kind | None) -> bool:
    """Take a record that is just as the catalogue knows it; False, and nothing taken, when it is not."""
    if "payload" in value and _ENVELOPE.issuperset(value):
        payload = value.pop("payload")
        if type(payload) is not dict:
            return False
        received, named, widget = value.get("receivedAt"), value.get("kind"), value.get("widget")
        if not (_TEXTS.issuperset(map(type, value.values())) and value):
            return False
        around = orjson.dumps(value)
        length, quotes = len(around) + _PAYLOAD_KEY, around.count(_QUOTE) + 2
    else:
        payload, received, named, widget, length, quotes = value, None, None, None, 0, 0
    shape = shape_of(payload)
    if shape is None:
        return False
    kind = (_KINDS.get(named) if named else by_file) or kind_of_shape(shape) or fallback
    if kind is None or SHAPE_OF[kind] is not shape or (named and named not in _KINDS):
        return False
    reader = READERS[shape]
    visitor = payload.get(VISITOR)
    if type(visitor) is not dict:
        if visitor:
            return False
        visitor = _NOBODY
    if not (reader.known.issuperset(payload) and reader.known_of_visitor.issuperset(visitor)):
        return False
    body = orjson.dumps(payload, option=orjson.OPT_SORT_KEYS)
    # Written again a text gets no longer, so one of equal length has lost no key; only floats can grow.
    is_proven = len(raw) == len(body) + length
    needed = _NEEDED[shape]
    if needed and not all(map(visitor.get, needed)):
        return False
    messages: list[tuple[Any, ...]] = []
    message_ts = None
    if shape is Shape.TRANSCRIPT:
        listed = _listed(payload.get("messages"))
        flat = _flatten(payload)
        if listed is None or flat is None:
            return False
        is_proven = is_proven and flat
        messages, message_ts = listed
    if not is_proven and not keeps_quotes(raw, body.count(_QUOTE) + quotes):
        return False
    values = (*map(payload.get, _TOP_KEYS[shape]), *map(visitor.get, _VISITOR_KEYS[shape]))
    if not _TEXTS.issuperset(map(type, values)):
        return False
    rows.kinds.append(kind)
    rows.received.append(received or None)
    rows.widgets.append(widget or None)
    rows.values.append(values)
    rows.bodies.append(body)
    rows.messages += messages
    rows.counts.append(len(messages))
    rows.message_ts.append(message_ts)
    return True


def _listed(found: Any) -> tuple[list[tuple[Any, ...]], str | None] | None:
    """Take a transcript's messages, or None when one of them is not as the catalogue knows it."""
    if not found:
        return ([], None) if found is None or found in ("", []) else None
    if type(found) is not list:
        return None
    taken, names = [], []
    for position, message in enumerate(found, start=1):
        if type(message) is not dict or not KNOWN_OF_MESSAGE.issuperset(message):
            return None
        get = message.get
        ts, flag = get("ts"), get("isVisitorMsg")
        values = (*map(get, MESSAGE_KEYS),)
        if not ts or not _TEXTS.issuperset(map(type, values)):
            return None
        if flag is True or flag is False:
            author = "visitor" if flag else "agent"
        elif flag is None:
            author = author_by_user(get("userId"))
        else:
            return None
        names.append(ts)
        taken.append((*values, author, position))
    if len(set(names)) != len(names):
        return None
    return taken, " ".join(names)


def _flatten(payload: dict[str, Any]) -> bool | None:
    """Write a transcript's traits and words as JSON text.

    Returns:
        Whether no float stands in them; None when their values need a closer look.
    """
    traits, words = payload.get(_TRAITS), payload.get(_WORDS)
    without_floats = True
    if type(traits) is dict:
        types = set(map(type, traits.values()))
        if not _PLAIN.issuperset(types):
            return None
        if float in types:
            without_floats = False
            if any(type(value) is float and abs(value) >= HUGE for value in traits.values()):
                return None
        payload[_TRAITS] = canonical(traits).decode() if traits else None
    if type(words) is list:
        if not _TEXTS.issuperset(map(type, words)):
            return None
        payload[_WORDS] = orjson.dumps(words).decode() if words else None
    return without_floats


def _take_carefully(rows: Rows, raw: bytes, by_file: Kind | None, fallback: Kind | None) -> None:
    """Take any record.

    Raises:
        Unfit: when it breaks a rule.
        ValueError: when it is no JSON.
    """
    inside = _inside(parse(raw))
    kind = _kind(inside, by_file, fallback)
    values, messages = READERS[SHAPE_OF[kind]].read(inside.payload)
    received, widget = _text_or_none(inside.received_at, "receivedAt"), _text_or_none(inside.widget, "widget")
    body = canonical(inside.payload)
    if extra := values.get("extra_fields"):
        rows.extra[len(rows.kinds)] = extra
    shape = SHAPE_OF[kind]
    rows.kinds.append(kind)
    rows.received.append(received)
    rows.widgets.append(widget)
    top = [values.get(name) if shape in _FROM_TOP[name] else None for name in TOP_COLUMNS]
    visitor = [values.get(name) if shape in _FROM_VISITOR[name] else None for name in VISITOR_COLUMNS]
    rows.values.append((*top, *visitor))
    rows.bodies.append(body)
    rows.messages += [tuple(message.get(name) for name in MESSAGE_COLUMNS) for message in messages]
    rows.counts.append(len(messages))
    rows.message_ts.append(" ".join(message["ts"] for message in messages) or None)


def _inside(value: Any) -> Unwrapped:
    if not isinstance(value, dict):
        detail = f"The record is {_article(value)}, not an object: {shortened(value)}."
        raise Unfit(Reason.NOT_AN_OBJECT, "", detail)
    inside = unwrap(value)
    if not isinstance(inside.payload, dict):
        detail = f"The envelope's payload is {_article(inside.payload)}, not an object."
        raise Unfit(Reason.NOT_AN_OBJECT, "payload", detail)
    return inside


_ARTICLES = {list: "an array", str: "a text", bool: "true or false", type(None): "null"}


def _article(value: object) -> str:
    return _ARTICLES.get(type(value), "a number")


def _kind(inside: Unwrapped, by_file: Kind | None, fallback: Kind | None) -> Kind:
    shape = shape_of(inside.payload)
    if shape is None:
        detail = "The payload is none of Chatlio's shapes: transcript, offline message or conversation."
        raise Unfit(Reason.SHAPE_UNKNOWN, "", detail)
    named = inside.kind
    if named and not (isinstance(named, str) and named in _KINDS):
        detail = f"kind is {shortened(named)}; expected one of {', '.join(Kind)}."
        raise Unfit(Reason.KIND_UNKNOWN, "kind", detail)
    kind = Kind(named) if named else by_file or kind_of_shape(shape) or fallback
    if kind is None:
        detail = (
            "Neither its capture nor its file or folder says whether this is conversation_started, "
            "unanswered or feedback. Name it with --kind, or put the file into a folder of that name."
        )
        raise Unfit(Reason.KIND_UNKNOWN, "kind", detail)
    if SHAPE_OF[kind] is not shape:
        detail = f"It is labelled {kind}, but its payload is of the {shape} shape. Correct the label."
        raise Unfit(Reason.KIND_MISMATCH, "kind", detail)
    return kind


def _text_or_none(value: Any, place: str) -> str | None:
    if value is None or isinstance(value, str):
        return value or None
    raise Unfit(Reason.WRONG_TYPE, place, f"{place} is {shortened(value)}; expected a text.")
