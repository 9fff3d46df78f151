"""Records that are all just as the catalogue knows them, read straight into types that are made of it.

A decoder of such a type refuses every key, type and shape that the catalogue does not have, and nulls where
texts are meant. So little is left to look at afterwards: that no key was lost since it stands twice or has a
null, and that numbers with a point keep their digits. What is refused is left to
:mod:`chatlio_kit.tables.decode.grouping`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from functools import cache
from itertools import chain
from operator import attrgetter
from types import GenericAlias
from typing import Annotated, Any, NamedTuple

import orjson
import pyarrow as pa
from msgspec import Meta, MsgspecError, Struct, defstruct, to_builtins
from msgspec.json import Decoder, Encoder

from chatlio_kit.captures import Text
from chatlio_kit.chatlio.catalogue import LEFT_BEHIND, LEFT_BEHIND_IN_MESSAGES, Dtype, Field
from chatlio_kit.chatlio.event_ids import WORDS, canonical, own_words
from chatlio_kit.chatlio.kinds import SHAPE_OF, TOLD_BY, Kind, Shape
from chatlio_kit.tables.decode.columns import Lot, texts
from chatlio_kit.tables.decode.grouping import as_one
from chatlio_kit.tables.decode.shared import (
    AROUND,
    PLACEHOLDER,
    Said,
    Unlike,
    are_whole,
    as_texts,
    finished,
    have_points,
    is_free,
    require,
    said_in,
)
from chatlio_kit.tables.decode.strict import MESSAGE_PLACES, PARSERS, VISITOR

_WORTH = 30
"""For fewer records so many columns are not worth their while."""
_WHOLE = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
_MESSAGES, _FLAG = "messages", "isVisitorMsg"

_write = Encoder(order="deterministic").encode  # fields stand in order; so do the keys of free values then


class _Types(NamedTuple):
    """What payloads of one shape are read with.

    Attributes:
        bare: reads payloads.
        wrapped: reads envelopes.
        nobody: a visitor of whom nothing is known.
    """

    bare: Decoder[Any]
    wrapped: Decoder[Any]
    nobody: Struct


def take_typed(
    first: int, raws: Sequence[Text], by_file: Kind | None, fallback: Kind | None
) -> tuple[Lot, str] | None:
    """Take records, if all are of one kind and form and just as the catalogue knows them.

    Args:
        first: the place of the first in its piece.
        raws: the records' texts.
        by_file: the kind that their file's name says.
        fallback: the kind of records that nothing else names.

    Returns:
        What was taken, and the name of its dialect; None where the records are not as one, or too few.
    """
    if len(raws) < _WORTH:
        return None
    try:
        head = orjson.loads(raws[0])
        like = as_one(first, raws[:1], [head], by_file, fallback)
        if like is None:
            return None
        lot = _lot(first, raws, like.kind, like.found.around[0] if like.form.is_wrapped else None)
    except (Unlike, MsgspecError, TypeError, ValueError, RecursionError):  # Arrow's refusals among them
        return None
    return lot, like.form.dialect


def _lot(first: int, raws: Sequence[Text], kind: Kind, envelope: dict[str, Any] | None) -> Lot:
    """Read records of one kind: bare ones, or all in envelopes that name the kind as this one does."""
    shape = SHAPE_OF[kind]
    reader, types = PARSERS[shape], _types(shape)
    columns: dict[str, Any] = {}
    around: list[Any] = []
    if envelope is None:
        payloads = list(map(types.bare.decode, raws))
    else:
        around = list(map(types.wrapped.decode, raws))
        payloads = _values(around, "payload")
        require(all(payloads) and set(_values(around, "kind")) == {envelope.get("kind")})
        columns = {column: texts(_values(around, place)) for column, place in AROUND.items()}
        for each in around:
            each.payload = PLACEHOLDER
    free = _fill(columns, reader.top, payloads)
    visitors = _values(payloads, VISITOR)
    if any(visitors):
        free += _fill(columns, reader.visitor, [each or types.nobody for each in visitors])
    bodies = list(map(_write, payloads))
    for place in _with_points(raws, free):  # whose form is a matter of who writes them
        bodies[place] = canonical(to_builtins(payloads[place]))
    require(are_whole(raws, bodies, around, _write))
    said = _said(_values(payloads, _MESSAGES)) if shape is Shape.TRANSCRIPT else None
    told = [_values(payloads, key) if key in reader.known else [None] * len(raws) for key in WORDS]
    return finished(kind, range(first, first + len(raws)), columns, bodies, own_words(kind, *told), said)


def _values(objects: Sequence[Struct], key: str) -> list[Any]:
    """Give the value of one key in each object; None where there is none."""
    return list(map(attrgetter(key), objects))


def _fill(
    columns: dict[str, Any], fields: Iterable[tuple[Field, str]], objects: Sequence[Struct]
) -> list[tuple[str, list[Any]]]:
    """Add objects' values to the columns; give the keys of values that are free in form, and these."""
    free = []
    for field, key in fields:
        if not is_free(field):
            columns[field.name] = texts(_values(objects, key))
            continue
        values = _values(objects, key)
        told = as_texts(field, values)
        if told is not values:
            free.append((key, values))
        columns[field.name] = texts(told)
    return free


def _with_points(raws: Sequence[Text], free: Iterable[tuple[str, list[Any]]]) -> list[int]:
    """Give the places of records that hold numbers with a point, all written again just as they stand.

    Such numbers stand in free values alone. A key has quotes, so a key with its value cannot be found in some
    text, nor in another value as long as only one of the record's values holds such numbers. It may be found
    in a lost one, where the key stands twice; that is for :func:`are_whole` to see.

    Raises:
        Unlike: when one is written in another way.
    """
    found: set[int] = set()
    for key, values in free:
        for place, value in enumerate(values):
            if have_points(value):
                written = b'"%b":%b' % (key.encode(), orjson.dumps(value))
                require(place not in found and written in bytes(raws[place]))
                found.add(place)
    return sorted(found)


def _said(listed: Sequence[Sequence[Struct]]) -> Said:
    messages = list(chain.from_iterable(listed))
    told = [texts(_values(messages, place)) for _, place in MESSAGE_PLACES]
    return said_in(listed, told, pa.array(_values(messages, _FLAG), pa.bool_()))


@cache
def _types(shape: Shape) -> _Types:
    reader = PARSERS[shape]
    visitor = _type("Visitor", {key: _type_of(field) for field, key in reader.visitor})
    fields = {key: _type_of(field) for field, key in reader.top} | {VISITOR: visitor}
    fields |= dict.fromkeys(LEFT_BEHIND[shape], str)
    if shape is Shape.TRANSCRIPT:
        keys = {place for _, place in MESSAGE_PLACES} | LEFT_BEHIND_IN_MESSAGES
        message = _type("Message", dict.fromkeys(keys, str) | {_FLAG: bool})
        fields[_MESSAGES] = GenericAlias(list, (message,))
    payload = _type("Payload", fields, TOLD_BY[shape])
    envelope = _type("Envelope", dict.fromkeys((*AROUND.values(), "kind"), str) | {"payload": payload})
    return _Types(Decoder(payload), Decoder(envelope), visitor())


def _type_of(field: Field) -> Any:
    if field.dtype is Dtype.JSON:
        return Any
    return str | _WHOLE if field.any_scalar else str


def _type(name: str, fields: dict[str, Any], needed: Collection[str] = ()) -> Any:
    """Make a type of objects with no other keys than these; what is written of them has its keys in order."""
    each = [(key, fields[key]) if key in needed else (key, fields[key], None) for key in sorted(fields)]
    return defstruct(name, each, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, gc=False)
