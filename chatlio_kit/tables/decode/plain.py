"""Records that are just as the catalogue knows them, many at once and column by column.

They have texts as values and each key once, and may have keys that the catalogue does not know, which types
(:mod:`chatlio_kit.tables.decode.typed`) refuse. Whatever is not surely so is left to the careful way of
:mod:`chatlio_kit.tables.decode.decode`, which gives the same row or says why there is none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, NamedTuple

import orjson
import pyarrow as pa

from chatlio_kit.captures import BARE, Text, recognise
from chatlio_kit.captures.dialects import meaning
from chatlio_kit.chatlio.catalogue import LEFT_BEHIND, Field
from chatlio_kit.chatlio.event_ids import WORDS, own_words
from chatlio_kit.chatlio.kinds import SHAPE_OF, Kind, Shape
from chatlio_kit.tables.decode.columns import TEXT, Lot, texts
from chatlio_kit.tables.decode.shared import (
    AROUND,
    TEXTS,
    Said,
    are_whole,
    as_texts,
    finished,
    have_points,
    is_free,
    json_text,
    require,
    said_in,
)
from chatlio_kit.tables.decode.strict import KNOWN_OF_MESSAGE, MESSAGE_PLACES, PARSERS, VISITOR

_OBJECT, _ARRAY = {dict}, {list}
_NOBODY: dict[str, Any] = {}


class Form(NamedTuple):
    """How payloads were written down.

    Attributes:
        dialect: the dialect's name.
        is_wrapped: whether something around them says more.
        is_exact: whether it is known that nothing of their texts was lost.
    """

    dialect: str
    is_wrapped: bool
    is_exact: bool


class Found(NamedTuple):
    """Records of one kind, all in the same form.

    Attributes:
        places: where each stands in its piece.
        raws: their texts.
        around: the envelopes, with a placeholder for the payload.
        payloads: what Chatlio sent.
    """

    places: Sequence[int]
    raws: Sequence[Text]
    around: list[dict[str, Any]]
    payloads: list[dict[str, Any]]

    def part(self, start: int, end: int) -> Found:
        """Give some of them."""
        return Found(*[each[start:end] for each in self])  # type: ignore[arg-type]


class _Places(NamedTuple):
    """Where an object's values stand.

    Attributes:
        texts: the Arrow type of an object of texts alone.
        names: the column of each.
        others: fields that need not be texts, with their keys.
        left: the keys of texts that go to no column.
    """

    texts: Any
    names: list[str]
    others: list[tuple[Field, str]]
    left: list[str]


def _places_of(fields: Sequence[tuple[Field, str]], left: Iterable[str] = ()) -> _Places:
    others = [(field, key) for field, key in fields if is_free(field)]
    named = [(field, key) for field, key in fields if (field, key) not in others]
    form = pa.struct([(key, TEXT) for _, key in named])
    return _Places(form, [field.name for field, _ in named], others, sorted(left))


_PAYLOADS = {shape: _places_of(PARSERS[shape].top, LEFT_BEHIND[shape] - {"messages"}) for shape in Shape}
_VISITORS = {shape: _places_of(PARSERS[shape].visitor) for shape in Shape}
_SAID = pa.struct(
    [(place, TEXT) for _, place in MESSAGE_PLACES] + [("sentAt", TEXT), ("isVisitorMsg", pa.bool_())]
)


def lot_of(kind: Kind, form: Form, found: Found) -> Lot:
    """Read records column by column.

    Raises:
        Unlike: when one of them is not just as the catalogue knows them.
        TypeError: the same, and so are ValueError and RecursionError: what Arrow and orjson refuse.
    """
    shape, payloads = SHAPE_OF[kind], found.payloads
    reader = PARSERS[shape]
    visitors = values_of(payloads, VISITOR)
    if set(map(type, visitors)) != _OBJECT:
        visitors = [_NOBODY if each is None or each == "" else each for each in visitors]
        require(set(map(type, visitors)) == _OBJECT)
    columns, free = _columns(_PAYLOADS[shape], payloads)
    if any(visitors):
        more, free_of_visitors = _columns(_VISITORS[shape], visitors)
        columns |= more
        free += free_of_visitors
    bodies = [orjson.dumps(payload, option=orjson.OPT_SORT_KEYS) for payload in payloads]
    around = found.around if form.is_wrapped else []
    if around:
        columns |= {column: texts(values_of(around, place)) for column, place in AROUND.items()}
    require(form.is_exact or are_whole(found.raws, bodies, around, orjson.dumps))
    said, is_known = _messages(payloads) if shape is Shape.TRANSCRIPT else (None, True)
    is_top_known = keys_in(payloads) <= reader.known
    if not (is_known and is_top_known and keys_in(visitors) <= reader.known_of_visitor):
        require(form.is_wrapped or is_top_known or all(recognise(each) is BARE for each in payloads))
        require(form.is_wrapped or not any(map(meaning, keys_in(payloads))))
        unknown = [reader.unknown_fields(*each) for each in zip(payloads, visitors, strict=True)]
        columns["extra_fields"] = texts([json_text(each) for each in unknown])
        free.append(unknown)
    require(form.is_exact or _keep_their_digits(found, free))
    words = own_words(kind, *[values_of(payloads, key) for key in WORDS])
    return finished(kind, found.places, columns, bodies, words, said)


def values_of(objects: list[dict[str, Any]], key: str) -> list[Any]:
    """Give the value of one key in each object; None where there is none."""
    return [each.get(key) for each in objects]


def keys_in(objects: list[dict[str, Any]]) -> set[str]:
    """Give all keys of all objects."""
    return set().union(*objects)


def _columns(places: _Places, objects: list[dict[str, Any]]) -> tuple[dict[str, Any], list[Sequence[Any]]]:
    """Give objects' values by column, and those that are free in form."""
    columns = dict(zip(places.names, pa.array(objects, places.texts).flatten(), strict=True))
    free: list[Sequence[Any]] = []
    for key in places.left:
        require(TEXTS.issuperset(map(type, values_of(objects, key))))
    for field, key in places.others:
        values = values_of(objects, key)
        told = as_texts(field, values)
        if told is not values:
            free.append(values)
        columns[field.name] = texts(told)
    return columns, free


def _keep_their_digits(found: Found, free: Sequence[Sequence[Any]]) -> bool:
    """Whether every number with a point is written again just as it stands in its text.

    They stand in free-form values alone. A payload has quotes, so one that is written as it stands cannot be
    found in some text of it or of the envelope.
    """
    doubtful = {place for values in free for place, value in enumerate(values) if have_points(value)}
    return all(orjson.dumps(found.payloads[place]) in bytes(found.raws[place]) for place in doubtful)


def _messages(payloads: list[dict[str, Any]]) -> tuple[Said, bool]:
    """Read transcripts' messages, and tell whether all their keys are known."""
    listed = [[] if each is None or each == "" else each for each in values_of(payloads, "messages")]
    require(set(map(type, listed)) == _ARRAY)
    messages = list(chain.from_iterable(listed))
    require(set(map(type, messages)) <= _OBJECT)
    *told, _, flags = pa.array(messages, _SAID).flatten()
    return said_in(listed, told, flags), keys_in(messages) <= KNOWN_OF_MESSAGE
