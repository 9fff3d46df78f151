"""Records that are just as the catalogue knows them, many at once and column by column.

Nearly every record is one: texts as values, each key once. Whatever is not surely so is left to the careful
way of :mod:`chatlio_kit.tables.rows`, which gives the same row or says why there is none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from chatlio_kit.captures import BARE, Text, floats_in, keeps_quotes, recognise
from chatlio_kit.events.catalogue import LEFT_BEHIND, Dtype, Field
from chatlio_kit.events.identity import canonical, own_words
from chatlio_kit.events.kinds import SHAPE_OF, Kind, Shape
from chatlio_kit.tables.lots import TEXT, WHOLE, Lot, digests, lengths, texts
from chatlio_kit.tables.reading import KNOWN_OF_MESSAGE, MESSAGE_PLACES, READERS, VISITOR

_TEXTS = frozenset({str, type(None)})
_OBJECT, _ARRAY, _FREE, _FLAT = {dict}, {list}, {dict, list}, {str, int, bool, type(None)}
_QUOTE = b'"'
_PAYLOAD_KEY = len(b',"payload":')
_NOBODY: dict[str, Any] = {}


class Unlike(Exception):
    """Among these records is one that is not just as the catalogue knows them."""


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
        around: what the envelope says; the payload is taken out.
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
    others = [(field, key) for field, key in fields if field.dtype is Dtype.JSON or field.any_scalar]
    named = [(field, key) for field, key in fields if (field, key) not in others]
    form = pa.struct([(key, TEXT) for _, key in named])
    return _Places(form, [field.name for field, _ in named], others, sorted(left))


_PAYLOADS = {shape: _places_of(READERS[shape].top, LEFT_BEHIND[shape] - {"messages"}) for shape in Shape}
_VISITORS = {shape: _places_of(READERS[shape].visitor) for shape in Shape}
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
    reader = READERS[shape]
    visitors = values_of(payloads, VISITOR)
    if set(map(type, visitors)) != _OBJECT:
        visitors = [_NOBODY if each is None or each == "" else each for each in visitors]
        _require(set(map(type, visitors)) == _OBJECT)
    columns, free = _columns(_PAYLOADS[shape], payloads)
    if any(visitors):
        more, free_of_visitors = _columns(_VISITORS[shape], visitors)
        columns |= more
        free += free_of_visitors
    for field in reader.required:
        _require(field.name in columns and _is_everywhere(columns[field.name]))
    events = {name: column for name, column in columns.items() if column.null_count < len(payloads)}
    bodies = [orjson.dumps(payload, option=orjson.OPT_SORT_KEYS) for payload in payloads]
    if form.is_wrapped:
        events["received_at"] = texts(values_of(found.around, "receivedAt"))
        events["widget_id"] = texts(values_of(found.around, "widget"))
    _require(form.is_exact or _are_whole(found, bodies, form.is_wrapped))
    counts, is_known = np.zeros(len(payloads), dtype=np.int64), True
    messages: dict[str, Any] = {}
    if shape is Shape.TRANSCRIPT:
        counts, messages, is_known = _messages(payloads)
        events["message_count"] = pa.array(counts, WHOLE)
        events["message_ts"] = _joined(counts, messages["ts"])
    is_top_known = keys_in(payloads) <= reader.known
    if not (is_known and is_top_known and keys_in(visitors) <= reader.known_of_visitor):
        _require(form.is_wrapped or is_top_known or all(recognise(each) is BARE for each in payloads))
        unknown = [reader.unknown_fields(*each) for each in zip(payloads, visitors, strict=True)]
        events["extra_fields"] = texts([_json_text(each) for each in unknown])
        free.append(unknown)
    _require(form.is_exact or _keep_their_digits(found, free))
    events["kind"] = pa.repeat(pa.scalar(str(kind), TEXT), len(payloads))
    events["payload_digest"] = digests(bodies)
    words = own_words(kind, payloads)
    events["event_id"] = digests(words)
    told = zip(found.places, bodies, words, strict=True)
    by_body = {place: body for place, body, own in told if own is None}
    return Lot(found.places, events, counts, by_body, messages)


def values_of(objects: list[dict[str, Any]], key: str) -> list[Any]:
    """Give the value of one key in each object; None where there is none."""
    return [each.get(key) for each in objects]


def keys_in(objects: list[dict[str, Any]]) -> set[str]:
    """Give all keys of all objects."""
    return set().union(*objects)


def _require(is_so: bool) -> None:
    if not is_so:
        raise Unlike


def _columns(places: _Places, objects: list[dict[str, Any]]) -> tuple[dict[str, Any], list[Sequence[Any]]]:
    """Give objects' values by column, and those that are free in form."""
    columns = dict(zip(places.names, pa.array(objects, places.texts).flatten(), strict=True))
    free: list[Sequence[Any]] = []
    for key in places.left:
        _require(_TEXTS.issuperset(map(type, values_of(objects, key))))
    for field, key in places.others:
        values = values_of(objects, key)
        if field.any_scalar:
            values = [str(each) if type(each) is int else each for each in values]
        elif not _TEXTS.issuperset(map(type, values)):
            free.append(values)
            values = [each if type(each) is str or each is None else _json_text(each) for each in values]
        columns[field.name] = texts(values)
    return columns, free


def _is_everywhere(column: Any) -> bool:
    return not column.null_count and bool(lengths(column).all())


def _json_text(value: Any) -> str | None:
    _require(type(value) in _FREE)
    return canonical(value).decode() if value else None


def _keep_their_digits(found: Found, free: Sequence[Sequence[Any]]) -> bool:
    """Whether every number with a point is written again just as it stands in its text.

    They stand in free-form values alone. A payload has quotes, so one that is written as it stands cannot be
    found in some text of it or of the envelope.
    """
    doubtful = {
        place
        for values in free
        for place, value in enumerate(values)
        if value and type(value) in _FREE and not _is_flat(value) and any(True for _ in floats_in(value))
    }
    return all(orjson.dumps(found.payloads[place]) in bytes(found.raws[place]) for place in doubtful)


def _is_flat(value: Any) -> bool:
    """Whether an object holds nothing but texts and whole numbers, as most do."""
    return type(value) is dict and _FLAT.issuperset(map(type, value.values()))


def _are_whole(found: Found, bodies: list[bytes], is_enveloped: bool) -> bool:
    """Whether no key was lost since it stands twice.

    Written again a text gets no longer, so where the lengths are equal nothing was lost; only numbers with a
    point could grow, and these are written as they stand. Else the quotes tell: a lost key takes two with it.
    """
    around = orjson.dumps(found.around) if is_enveloped else b""
    # brackets and commas of the list are not in the records; a comma and the payload's key are
    rest = len(around) - 1 + len(bodies) * (_PAYLOAD_KEY - 1) if is_enveloped else 0
    if sum(map(len, found.raws)) == sum(map(len, bodies)) + rest:
        return True
    own = [orjson.dumps(each).count(_QUOTE) + 2 if is_enveloped else 0 for each in found.around]
    return all(
        keeps_quotes(bytes(raw), body.count(_QUOTE) + more)
        for raw, body, more in zip(found.raws, bodies, own, strict=True)
    )


def _messages(payloads: list[dict[str, Any]]) -> tuple[Any, dict[str, Any], bool]:
    """Read transcripts' messages: how many each has, their columns, and whether all their keys are known."""
    listed = [[] if each is None or each == "" else each for each in values_of(payloads, "messages")]
    _require(set(map(type, listed)) == _ARRAY)
    said = list(chain.from_iterable(listed))
    _require(set(map(type, said)) <= _OBJECT)
    *told, _, flags = pa.array(said, _SAID).flatten()
    columns = {field.name: column for (field, _), column in zip(MESSAGE_PLACES, told, strict=True)}
    names = columns["ts"]
    _require(_is_everywhere(names))
    counts = np.fromiter(map(len, listed), np.int64, len(listed))
    ends = np.cumsum(counts)
    _require(_are_distinct(names, counts))
    columns["author"] = _authors(flags, columns["slack_user_id"])
    columns["position"] = pa.array(np.arange(1, len(said) + 1) - np.repeat(ends - counts, counts), WHOLE)
    return counts, columns, keys_in(said) <= KNOWN_OF_MESSAGE


def _are_distinct(names: Any, counts: Any) -> bool:
    """Whether no transcript has a message's name twice; the names of most rise from message to message."""
    borders = np.cumsum(counts)
    rises = np.ones(len(names) + 1, dtype=bool)
    rises[1:-1] = pc.greater(names[1:], names[:-1]).to_numpy(zero_copy_only=False)
    rises[borders] = True  # what follows is another transcript's
    if rises.all():
        return True
    told = names.dictionary_encode()
    transcripts = np.repeat(np.arange(len(counts)), counts)
    pairs = transcripts * len(told.dictionary) + told.indices.to_numpy()
    return len(np.unique(pairs)) == len(names)


def _authors(flags: Any, users: Any) -> Any:
    """Say who wrote each message, as :func:`chatlio_kit.tables.reading.author_of` does."""
    visitor, agent, unknown = (pa.scalar(each, TEXT) for each in ("visitor", "agent", "unknown"))
    by_flag = pc.if_else(flags, visitor, agent)
    if not flags.null_count:
        return by_flag
    return pc.coalesce(by_flag, pc.if_else(pc.equal(users, ""), visitor, agent), unknown)


def _joined(counts: Any, names: Any) -> Any:
    """Name each transcript's messages in one text."""
    ends = pa.array(np.concatenate(([0], np.cumsum(counts))), WHOLE)
    return pc.binary_join(pa.LargeListArray.from_arrays(ends, names), pa.scalar(" ", TEXT))
