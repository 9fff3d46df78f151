"""Records that are just as the catalogue knows them, read with a few passes in C.

Nearly every record is one: known keys, texts as values, each key once. Whatever is not surely so is left to
the careful way of :mod:`chatlio_kit.tables.rows`, which gives the same row or says why there is none.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Any, NamedTuple

import orjson

from chatlio_kit.captures import BARE, ENVELOPE, HUGE, keeps_quotes
from chatlio_kit.events.catalogue import EVENTS, LEFT_BEHIND, fields_of
from chatlio_kit.events.identity import canonical
from chatlio_kit.events.kinds import SHAPE_OF, Kind, Shape, kind_of_shape, shape_of
from chatlio_kit.tables.reading import KNOWN_OF_MESSAGE, MESSAGE_KEYS, READERS, VISITOR, author_by_user

_ENVELOPE_KEYS = frozenset({"receivedAt", "kind", "widget", "payload"})
_TEXTS = frozenset({str, type(None)})
_FLAGS = frozenset({bool})
_SAID = _TEXTS | _FLAGS
_OBJECTS = frozenset({dict})
_QUOTE = b'"'
_PAYLOAD_KEY = len(b',"payload":')
_NOBODY: dict[str, Any] = {}
_TRAITS, _WORDS = "visitorTraits", "extraData"
_BODIES = LEFT_BEHIND[Shape.TRANSCRIPT] - {"messages"}

KINDS = {str(kind): kind for kind in Kind}


def _sources(prefix: str) -> dict[str, dict[Shape, str]]:
    """For each column that a visitor (or the payload itself) may fill: its key there, by shape."""
    found: dict[str, dict[Shape, str]] = {}
    for each in EVENTS:
        for shape, place in each.places.items():
            if place.startswith(f"{VISITOR}.") == bool(prefix):
                found.setdefault(each.name, {})[shape] = place.removeprefix(prefix)
    return found


FROM_TOP, FROM_VISITOR = _sources(""), _sources(f"{VISITOR}.")
# None is no key of a JSON object, so columns that a shape does not have come out empty.
_TOP_KEYS: dict[Shape, list[Any]] = {
    shape: [places.get(shape) for places in FROM_TOP.values()] for shape in Shape
}
_VISITOR_KEYS: dict[Shape, list[Any]] = {
    shape: [places.get(shape) for places in FROM_VISITOR.values()] for shape in Shape
}
_NEEDED = {
    shape: [
        each.places[shape].removeprefix(f"{VISITOR}.")
        for each in fields_of(shape)
        if shape in each.required_in
    ]
    for shape in Shape
}


class Taken(NamedTuple):
    """A record's values.

    Attributes:
        kind: its kind.
        received: when it was captured, as written.
        widget: which widget sent it.
        values: a value for each column of ``FROM_TOP`` and then of ``FROM_VISITOR``.
        body: the payload in canonical form.
        messages: the values of ``MESSAGE_COLUMNS`` for each message.
        dialect: how it was captured.
        extra: fields that the catalogue does not know, as JSON text.
    """

    kind: Kind
    received: str | None
    widget: str | None
    values: tuple[str | None, ...]
    body: bytes
    messages: list[tuple[Any, ...]]
    dialect: str
    extra: str | None = None


def take(raw: bytes, value: dict[str, Any], by_file: Kind | None, fallback: Kind | None) -> Taken | None:
    """Take a record that is just as the catalogue knows it; None when that is not sure.

    Args:
        raw: the record's text.
        value: the same as orjson reads it; what is taken may be changed in place.
        by_file: the kind that its file's name says.
        fallback: the kind of records that nothing else names.
    """
    payload, received, named, widget, length, quotes = value, None, None, None, 0, 0
    if "payload" in value and _ENVELOPE_KEYS.issuperset(value):
        payload = value.pop("payload")
        if type(payload) is not dict or not value or not _TEXTS.issuperset(map(type, value.values())):
            return None
        received, named, widget = value.get("receivedAt"), value.get("kind"), value.get("widget")
        around = orjson.dumps(value)
        length, quotes = len(around) + _PAYLOAD_KEY, around.count(_QUOTE) + 2
    shape = shape_of(payload)
    if shape is None or (named and named not in KINDS):
        return None
    kind = KINDS[named] if named else by_file or kind_of_shape(shape) or fallback
    visitor = payload.get(VISITOR)
    if visitor is None or visitor == "":
        visitor = _NOBODY
    if kind is None or SHAPE_OF[kind] is not shape or type(visitor) is not dict:
        return None
    reader = READERS[shape]
    if not (reader.known.issuperset(payload) and reader.known_of_visitor.issuperset(visitor)):
        return None
    if not all(map(visitor.get, _NEEDED[shape])):
        return None
    try:
        body = orjson.dumps(payload, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # nested deeper than orjson writes
        return None
    # Written again a text gets no longer, so one of equal length has lost no key; only floats can grow.
    is_proven = len(raw) == len(body) + length
    messages: list[tuple[Any, ...]] = []
    if shape is Shape.TRANSCRIPT:
        listed, has_floats = _listed(payload.get("messages")), _flatten(payload)
        if (
            listed is None
            or has_floats is None
            or not _TEXTS.issuperset(map(type, map(payload.get, _BODIES)))
        ):
            return None
        messages, is_proven = listed, is_proven and not has_floats
    if not is_proven and not keeps_quotes(raw, body.count(_QUOTE) + quotes):
        return None
    values = (*map(payload.get, _TOP_KEYS[shape]), *map(visitor.get, _VISITOR_KEYS[shape]))
    if not _TEXTS.issuperset(map(type, values)):
        return None
    dialect = ENVELOPE.name if length else BARE.name
    return Taken(kind, received or None, widget or None, values, body, messages, dialect)


def _listed(found: Any) -> list[tuple[Any, ...]] | None:
    """Take a transcript's messages; None when one of them is not as the catalogue knows it."""
    if not found:
        return [] if found is None or found in ("", []) else None
    if type(found) is not list or not _OBJECTS.issuperset(map(type, found)):
        return None
    if not KNOWN_OF_MESSAGE.issuperset(chain.from_iterable(found)):
        return None
    if not _SAID.issuperset(map(type, chain.from_iterable(map(dict.values, found)))):
        return None
    rows = [(*map(each.get, MESSAGE_KEYS),) for each in found]
    if not _TEXTS.issuperset(map(type, chain.from_iterable(rows))):
        return None
    names = [each.get("ts") for each in found]
    if not all(names) or len(set(names)) != len(names):
        return None
    flags = [each.get("isVisitorMsg") for each in found]
    if _FLAGS.issuperset(map(type, flags)):
        authors = ["visitor" if flag else "agent" for flag in flags]
    elif flags.count(None) == len(flags):
        authors = [author_by_user(each.get("userId")) for each in found]
    else:
        return None
    return [(*row, author, place) for place, (row, author) in enumerate(zip(rows, authors, strict=True), 1)]


def _flatten(payload: dict[str, Any]) -> bool | None:
    """Write a transcript's traits and words as JSON text.

    Returns:
        Whether a float stands in them; None when their values need a closer look.
    """
    traits, words = payload.get(_TRAITS), payload.get(_WORDS)
    has_floats = False
    if type(traits) is dict:
        for found in _floats(traits.values()):
            has_floats = True
            if abs(found) >= HUGE:
                return None
        payload[_TRAITS] = canonical(traits).decode() if traits else None
    if type(words) is list:
        if not _TEXTS.issuperset(map(type, words)):
            return None
        payload[_WORDS] = orjson.dumps(words).decode() if words else None
    return has_floats


def _floats(values: Iterable[Any]) -> Iterable[float]:
    for value in values:
        if type(value) is float:
            yield value
        elif type(value) is dict:
            yield from _floats(value.values())
        elif type(value) is list:
            yield from _floats(value)
