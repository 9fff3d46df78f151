"""Records to columns, one record at a time: the inner loop of a conversion.

Records as the catalogue knows them take the short ways of :mod:`chatlio_kit.tables.decode.typed` and
:mod:`chatlio_kit.tables.decode.grouping`. Every other one takes the careful way through
:mod:`chatlio_kit.tables.decode.strict`, which gives the same or says why it cannot.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import orjson
import pyarrow as pa

from chatlio_kit.captures import (
    Dialect,
    FileSlice,
    RawBatch,
    Text,
    Unwrapped,
    is_exact,
    parse,
    refusal,
    unwrap,
)
from chatlio_kit.captures.dialects import advice, meaning
from chatlio_kit.chatlio.event_ids import canonical, own_words_of
from chatlio_kit.chatlio.kinds import KINDS, SHAPE_OF, Kind, kind_of_shape, shape_of
from chatlio_kit.chatlio.rejections import Reason, Rejection, shortened
from chatlio_kit.tables.decode.columns import WHOLE, Joined, Lot, digests, join, texts, type_of
from chatlio_kit.tables.decode.grouping import take, take_opened
from chatlio_kit.tables.decode.strict import MESSAGE_COLUMNS, PARSERS, InvalidRecord, MessageRow
from chatlio_kit.tables.decode.typed import take_typed

_AT_ONCE = 640
"""Records read together: so many that a call costs little beside them; more would only take memory."""


@dataclass
class Remarks:
    """What is noteworthy about the records of a piece, besides what they say.

    Attributes:
        unread: keys beside payloads that hold something and were not read, and in how many records.
        siblings: elements of lists beside the one that ``--fields`` names, by the place that names each.
        loose: the places of records whose text is not the one captured, since they were put together from
            typed values or from columns.
    """

    unread: Counter[str] = field(default_factory=Counter)
    siblings: Counter[str] = field(default_factory=Counter)
    loose: set[int] = field(default_factory=set)

    def add(self, place: int, inside: Unwrapped) -> None:
        """Add what was found while a payload was taken out of a record."""
        self.unread.update(inside.unread)
        self.siblings.update(inside.siblings)
        if inside.is_loose:
            self.loose.add(place)


@dataclass(frozen=True)
class Rows:
    """What a piece's records say.

    Attributes:
        told: their columns.
        rejected: records that gave no row.
        dialects: how many records a payload was taken from, by dialect.
        remarks: what else was found.
    """

    told: Joined
    rejected: list[Rejection]
    dialects: Counter[str]
    remarks: Remarks


def read_rows(piece: RawBatch, fallback: Kind | None, fields: Dialect | None = None) -> Rows:
    """Read a piece's records.

    Args:
        piece: the records.
        fallback: the kind of records that nothing else names.
        fields: the dialect that the user named, if any.
    """
    reading = _Reading(fallback, fields)
    first = 0
    for stretch in piece.stretches:
        for start in range(0, len(stretch), _AT_ONCE):
            reading.read(first, start, stretch.records.part(start, start + _AT_ONCE), stretch)
        first += len(stretch)
    return Rows(join(reading.lots), reading.rejected, reading.dialects, reading.remarks)


class Taken(NamedTuple):
    """A record's values.

    Attributes:
        kind: its kind.
        received: when it was captured, as written.
        widget: which widget sent it.
        values: its columns.
        words: those that tell its id; None where its body has to.
        body: the payload in canonical form.
        messages: the columns of each of its messages.
    """

    kind: Kind
    received: str | None
    widget: str | None
    values: dict[str, str | None]
    words: bytes | None
    body: bytes
    messages: list[MessageRow]


class _Reading:
    """A piece while it is read."""

    def __init__(self, fallback: Kind | None, fields: Dialect | None) -> None:
        self._fallback, self._fields = fallback, fields
        self.lots: list[Lot] = []
        self.rejected: list[Rejection] = []
        self.dialects: Counter[str] = Counter()
        self.remarks = Remarks()
        self._mixed: FileSlice | None = None

    def read(self, first: int, start: int, raws: Sequence[Text], stretch: FileSlice) -> None:
        """Read some records of a stretch.

        Args:
            first: where the stretch begins in its piece.
            start: where they begin in the stretch.
            raws: their texts.
            stretch: the stretch.
        """
        if stretch.records.is_loose:
            self.remarks.loose.update(range(first + start, first + start + len(raws)))
        if stretch is not self._mixed and self._fields is None:
            typed = take_typed(first + start, raws, stretch.file.kind, self._fallback)
            if typed is not None:
                lot, dialect = typed
                self.lots.append(lot)
                self.dialects[dialect] += len(raws)
                return
            self._mixed = stretch  # so its other records are hardly worth the try
        values = self._values(raws)
        lots, dialects, left = take(first + start, raws, values, stretch.file.kind, self._fallback)
        self.lots += lots
        self.dialects.update(dialects)
        opened = self._opened(raws, values, left)
        if opened:
            lots, dialects, found = take_opened(
                first + start, raws, opened, stretch.file.kind, self._fallback
            )
            self.lots += lots
            self.dialects.update(dialects)
            for place in found:
                self.remarks.add(first + start + place, opened[place])
            left = [place for place in left if place not in found]
        taken: dict[int, Taken] = {}
        for place in left:
            number, raw = start + place, bytes(raws[place])
            try:
                taken[first + number] = self._take_carefully(first + number, raw, stretch.file.kind)
            except InvalidRecord as unfit:
                reason, where, detail = unfit.reason, unfit.field or None, unfit.detail
            except (ValueError, RecursionError) as wrong:
                cut = stretch.records.cut and number == len(stretch) - 1
                reason, where, detail = refusal(wrong, cut=cut)
            else:
                continue
            shown = raw.decode("utf-8", errors="replace")
            told = Rejection(stretch.file.name, stretch.records.numbers[number], reason, where, detail, shown)
            self.rejected.append(told)
        if taken:
            self.lots.append(_lot(taken))

    def _values(self, raws: Sequence[Text]) -> list[Any]:
        """Give records' values; None for those that have to be read carefully."""
        try:
            values = list(map(orjson.loads, raws))
        except ValueError:
            values = list(map(_value, raws))
        fields = self._fields
        if fields is None:
            return values
        return [None if isinstance(each, dict) and fields.fits(each) else each for each in values]

    def _opened(self, raws: Sequence[Text], values: list[Any], places: Sequence[int]) -> dict[int, Unwrapped]:
        """Take payloads out of what loggers put around them, where they surely are all that the texts say."""
        opened: dict[int, Unwrapped] = {}
        for place in places:
            value = values[place]
            if type(value) is dict and is_exact(bytes(raws[place]), value):
                with suppress(ValueError, RecursionError):  # told by the careful way
                    opened[place] = unwrap(value, self._fields)
        return opened

    def _take_carefully(self, place: int, raw: bytes, by_file: Kind | None) -> Taken:
        """Take any record, and count its dialect.

        Args:
            place: where it stands in its piece.
            raw: its text.
            by_file: the kind that its file's name says.

        Raises:
            Unfit: when it breaks a rule.
            ValueError: when it is no JSON, or no payload can be taken from it.
        """
        inside = _inside(parse(raw), self._fields)
        self.dialects[inside.dialect] += 1
        self.remarks.add(place, inside)
        kind = _kind(inside, by_file, self._fallback)
        values, messages = PARSERS[SHAPE_OF[kind]].read(inside.payload)
        received = _text_or_none(inside.received_at, "receivedAt")
        widget = _text_or_none(_number_as_text(inside.widget), "widget")
        words = own_words_of(kind, inside.payload)
        return Taken(kind, received, widget, values, words, canonical(inside.payload), messages)


def _value(raw: Text) -> Any:
    try:
        return orjson.loads(raw)
    except ValueError:
        return None


def _lot(taken: dict[int, Taken]) -> Lot:
    """Turn records that were taken one by one into columns."""
    records = list(taken.values())
    counts = [len(each.messages) for each in records]
    are_others = [each.kind is not Kind.TRANSCRIPT for each in records]
    names = dict.fromkeys(name for each in records for name in each.values)
    events = {name: texts([each.values.get(name) for each in records]) for name in names} | {
        "event_id": digests([each.words for each in records]),
        "kind": texts([each.kind for each in records]),
        "received_at": texts([each.received for each in records]),
        "widget_id": texts([each.widget for each in records]),
        "message_count": pa.array(counts, WHOLE, mask=np.array(are_others)),
        "message_ts": texts([" ".join([message["ts"] for message in each.messages]) for each in records]),
        "payload_digest": digests([each.body for each in records]),
    }
    said = [message for each in records for message in each.messages]
    messages = {name: pa.array([each.get(name) for each in said], type_of(name)) for name in MESSAGE_COLUMNS}
    bodies = {place: each.body for place, each in taken.items() if each.words is None}
    return Lot(list(taken), events, np.array(counts, dtype=np.int64), bodies, messages)


def _inside(value: Any, fields: Dialect | None) -> Unwrapped:
    if not isinstance(value, dict):
        detail = f"The record is {_article(value)}, not an object: {shortened(value)}."
        raise InvalidRecord(Reason.NOT_AN_OBJECT, "", detail)
    inside = unwrap(value, fields)
    if not isinstance(inside.payload, dict):
        detail = (
            f"The envelope's payload is {_article(inside.payload)}, not an object. JSON and base64 are read "
            "as texts too. If the payload stands elsewhere, name it with --fields (in Python fields=)."
        )
        raise InvalidRecord(Reason.NOT_AN_OBJECT, "payload", detail)
    return inside


def _own_kind(payload: dict[str, Any]) -> str | None:
    """Return what stands under the key of a kind among a payload's own fields, and is none."""
    found = (payload[key] for key in payload if meaning(key) == "kind")
    return next((each for each in found if isinstance(each, str) and each), None)


_ARTICLES = {list: "an array", str: "a text", bool: "true or false", type(None): "null"}


def _article(value: object) -> str:
    return _ARTICLES.get(type(value), "a number")


def _kind(inside: Unwrapped, by_file: Kind | None, fallback: Kind | None) -> Kind:
    shape = shape_of(inside.payload)
    if shape is None:
        detail = "The payload is none of Chatlio's shapes: transcript, offline message or conversation."
        raise InvalidRecord(Reason.SHAPE_UNKNOWN, "", detail)
    named = inside.kind
    if named and not (isinstance(named, str) and named in KINDS):
        detail = f"kind is {shortened(named)}; expected one of {', '.join(Kind)}."
        raise InvalidRecord(Reason.KIND_UNKNOWN, "kind", detail)
    kind = Kind(named) if named else by_file or kind_of_shape(shape) or fallback
    if kind is None and (own := _own_kind(inside.payload)) is not None:
        detail = f"kind is {shortened(own)}; expected one of {', '.join(Kind)}."
        raise InvalidRecord(Reason.KIND_UNKNOWN, "kind", detail)
    if kind is None:
        detail = (
            "Neither its capture nor its file or folder says whether this is conversation_started, "
            "unanswered or feedback. Name it with --kind (in Python kind=), or put the file into a folder of "
            "that name."
        )
        raise InvalidRecord(Reason.KIND_UNKNOWN, "kind", detail)
    if SHAPE_OF[kind] is not shape:
        detail = f"It is labelled {kind}, but its payload is of the {shape} shape. Correct the label."
        if not named:
            whose = "Its file or folder is" if by_file else "--kind (in Python kind=) is"
            detail = f"{whose} named {kind}, but its payload is of the {shape} shape. " + (
                "Put it into a file of another name." if by_file else "Name another kind."
            )
        raise InvalidRecord(Reason.KIND_MISMATCH, "kind", detail)
    return kind


def _number_as_text(value: Any) -> Any:
    """A widget may have a whole number for its id; a table of texts has the same digits."""
    return str(value) if type(value) is int else value


def _text_or_none(value: Any, place: str) -> str | None:
    if value is None or isinstance(value, str):
        return value or None
    detail = f"{place} is {shortened(value)}; expected a text."
    more = f" {advice(value, place)}" if place == "receivedAt" else ""
    raise InvalidRecord(Reason.WRONG_TYPE, place, detail + more)
