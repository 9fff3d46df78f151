"""Records to columns, one record at a time: the inner loop of a conversion.

Records as the catalogue knows them take the short way of :mod:`chatlio_kit.tables.plain`. Every other one
takes the careful way through :mod:`chatlio_kit.tables.reading`, which gives the same or says why it cannot.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import orjson

from chatlio_kit.captures import CaptureFile, Dialect, Piece, Unwrapped, parse, refusal, unwrap
from chatlio_kit.events.identity import canonical, digest, own_id
from chatlio_kit.events.kinds import SHAPE_OF, Kind, kind_of_shape, shape_of
from chatlio_kit.events.rejection import Reason, Rejection, shortened
from chatlio_kit.tables.arrow import Columns
from chatlio_kit.tables.plain import FROM_TOP, FROM_VISITOR, KINDS, Taken, take
from chatlio_kit.tables.reading import MESSAGE_COLUMNS, READERS, VISITOR, Unfit

TOP_COLUMNS, VISITOR_COLUMNS = tuple(FROM_TOP), tuple(FROM_VISITOR)
_HEAD = (
    "event_id", "kind", "received_at", "widget_id", "message_count", "message_ts", "extra_fields",
    "payload_digest",
)  # fmt: skip
_CONVERSATION, _ENDED = TOP_COLUMNS.index("conversation_id"), TOP_COLUMNS.index("ended_at")
_TS = MESSAGE_COLUMNS.index("ts")


class Rows:
    """What a piece's records say.

    Attributes:
        files: for each row its file, and so on for ``records`` and ``raws``.
        events: a column for each of the catalogue's that a record can fill; those of the visitor stand
            apart, named ``visitor.<column>``. Times are as they were written; an id is missing where it is
            told by the body.
        bodies: the payload in canonical form of each row whose id is told by it.
        messages: the columns of ``MESSAGE_COLUMNS``, for all transcripts one after another.
        rejected: records that gave no row.
        dialects: how many records a payload was taken from, by dialect.
    """

    def __init__(self) -> None:
        self.files: list[CaptureFile] = []
        self.records: list[int] = []
        self.raws: list[bytes] = []
        self.events = Columns(
            (*_HEAD, *TOP_COLUMNS, *(f"{VISITOR}.{name}" for name in VISITOR_COLUMNS)), {"message_count"}
        )
        self.bodies: dict[int, bytes] = {}
        self.messages = Columns(MESSAGE_COLUMNS, {"position"})
        self.rejected: list[Rejection] = []
        self.dialects: Counter[str] = Counter()

    def add(self, file: CaptureFile, record: int, raw: bytes, taken: Taken) -> None:
        """Add what was taken from a record."""
        kind, received, widget, values, body, messages, _, extra = taken
        event_id = own_id(kind, values[_CONVERSATION], values[_ENDED])
        if event_id is None:
            self.bodies[len(self.raws)] = body
        is_transcript = kind is Kind.TRANSCRIPT
        names = " ".join([message[_TS] for message in messages]) if messages else None
        count = len(messages) if is_transcript else None
        head = (event_id, kind, received, widget, count, names, extra, digest(body))
        self.events.add((*head, *values))
        if messages:
            self.messages.extend(messages)
        self.files.append(file)
        self.records.append(record)
        self.raws.append(raw)


def read_rows(piece: Piece, fallback: Kind | None, fields: Dialect | None = None) -> Rows:
    """Read a piece's records.

    Args:
        piece: the records.
        fallback: the kind of records that nothing else names.
        fields: the dialect that the user named, if any.
    """
    rows = Rows()
    for stretch in piece.stretches:
        file, last = stretch.file, len(stretch.raws) - 1
        for place, raw in enumerate(stretch.raws):
            try:
                value = orjson.loads(raw)
                taken = None
                if type(value) is dict and not (fields is not None and fields.fits(value)):
                    taken = take(raw, value, file.kind, fallback)
                if taken is None:
                    taken = _take_carefully(rows.dialects, raw, file.kind, fallback, fields)
                else:
                    rows.dialects[taken.dialect] += 1
            except Unfit as unfit:
                reason, where, detail = unfit.reason, unfit.field or None, unfit.detail
            except (ValueError, RecursionError) as wrong:
                cut = stretch.cut and place == last
                reason, where, detail = refusal(wrong, cut=cut)
            else:
                rows.add(file, stretch.numbers[place], raw, taken)
                continue
            shown = raw.decode("utf-8", errors="replace")
            rows.rejected.append(Rejection(file.name, stretch.numbers[place], reason, where, detail, shown))
    return rows


def _take_carefully(
    dialects: Counter[str], raw: bytes, by_file: Kind | None, fallback: Kind | None, fields: Dialect | None
) -> Taken:
    """Take any record, and count its dialect.

    Raises:
        Unfit: when it breaks a rule.
        ValueError: when it is no JSON, or no payload can be taken from it.
    """
    inside = _inside(parse(raw), fields)
    dialects[inside.dialect] += 1
    kind = _kind(inside, by_file, fallback)
    shape = SHAPE_OF[kind]
    values, messages = READERS[shape].read(inside.payload)
    received, widget = _text_or_none(inside.received_at, "receivedAt"), _text_or_none(inside.widget, "widget")
    top = [values.get(name) if shape in FROM_TOP[name] else None for name in TOP_COLUMNS]
    visitor = [values.get(name) if shape in FROM_VISITOR[name] else None for name in VISITOR_COLUMNS]
    listed = [tuple(message.get(name) for name in MESSAGE_COLUMNS) for message in messages]
    body = canonical(inside.payload)
    return Taken(
        kind, received, widget, (*top, *visitor), body, listed, inside.dialect, values.get("extra_fields")
    )


def _inside(value: Any, fields: Dialect | None) -> Unwrapped:
    if not isinstance(value, dict):
        detail = f"The record is {_article(value)}, not an object: {shortened(value)}."
        raise Unfit(Reason.NOT_AN_OBJECT, "", detail)
    inside = unwrap(value, fields)
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
    if named and not (isinstance(named, str) and named in KINDS):
        detail = f"kind is {shortened(named)}; expected one of {', '.join(Kind)}."
        raise Unfit(Reason.KIND_UNKNOWN, "kind", detail)
    kind = Kind(named) if named else by_file or kind_of_shape(shape) or fallback
    if kind is None:
        detail = (
            "Neither its capture nor its file or folder says whether this is conversation_started, "
            "unanswered or feedback. Name it with --kind (in Python kind=), or put the file into a folder of "
            "that name."
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
