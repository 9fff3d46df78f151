"""Accepted frames to wire records: one JSON object for each event, by the catalogue.

Keys are column names; a transcript's messages travel nested; what is missing is left out; times are UTC with
milliseconds. What the frames say is what is sent. The JSON is written column by column, and the records of a
piece stay in one buffer, so that a request is cut out of it as a whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from chatlio_kit.chatlio.catalogue import MESSAGES_KEY, Dtype, Field, nested_fields, sent_fields

_TEXT = pa.large_string()
_FIRST_PLAIN, _QUOTE, _BACKSLASH = 0x20, 0x22, 0x5C
"""JSON escapes what is below a blank, the quote and the backslash."""


@dataclass(frozen=True, slots=True)
class WireRecord:
    """One event as it is sent."""

    event_id: str
    body: bytes


class WireRecords(Sequence[WireRecord]):
    """Events as they are sent, in their order. A slice shares their buffer.

    Args:
        ids: event ids.
        bodies: their bodies, a comma after each.
        rows: their rows in the ledger, if they have been written down.
    """

    def __init__(self, ids: pa.Array, bodies: pa.Array, rows: NDArray[np.int64] | None = None) -> None:
        self._ids = ids
        self._bodies = bodies
        self._rows = rows
        _, ends, text = bodies.buffers()
        self._text = memoryview(text or b"")
        self.ends = np.frombuffer(ends or bytes(8), dtype=np.int64)[bodies.offset :][: len(bodies) + 1]
        """Where each begins in the buffer, and where the last one ends; one more than records."""

    @classmethod
    def of(cls, records: Iterable[WireRecord], rows: Iterable[int] | None = None) -> WireRecords:
        """Lay single records side by side."""
        every = list(records)
        bodies = pa.array([record.body + b"," for record in every], pa.large_binary())
        laid = None if rows is None else np.array(list(rows), dtype=np.int64)
        return cls(pa.array([record.event_id for record in every], _TEXT), bodies, laid)

    def written_at(self, rows: NDArray[np.int64]) -> WireRecords:
        """Give them with their rows in the ledger."""
        return WireRecords(self._ids, self._bodies, rows)

    @property
    def rows(self) -> NDArray[np.int64]:
        """Their rows in the ledger; where they have none, their places."""
        return np.arange(len(self)) if self._rows is None else self._rows

    def __len__(self) -> int:
        return len(self._bodies)

    @overload
    def __getitem__(self, place: int) -> WireRecord: ...
    @overload
    def __getitem__(self, place: slice) -> WireRecords: ...
    def __getitem__(self, place: int | slice) -> WireRecord | WireRecords:
        if isinstance(place, slice):
            start, stop, step = place.indices(len(self))
            if step != 1:
                return self.take(range(start, stop, step))
            count = max(0, stop - start)
            return WireRecords(
                self._ids.slice(start, count), self._bodies.slice(start, count), self.rows[start:stop]
            )
        place = range(len(self))[place]
        body = bytes(self._text[self.ends[place] : self.ends[place + 1] - 1])
        return WireRecord(self._ids[place].as_py(), body)

    def __iter__(self) -> Iterator[WireRecord]:
        return (self[place] for place in range(len(self)))

    def take(self, places: Sequence[int] | NDArray[np.int64]) -> WireRecords:
        """Keep the records at some places."""
        kept = np.asarray(places, dtype=np.int64)
        return WireRecords(self._ids.take(pa.array(kept)), self._bodies.take(pa.array(kept)), self.rows[kept])

    @property
    def sizes(self) -> NDArray[np.int64]:
        """The bytes of each body."""
        return np.diff(self.ends) - 1

    @property
    def joined(self) -> memoryview:
        """The bodies as one text with a comma between them."""
        return self._text[self.ends[0] : max(self.ends[0], self.ends[-1] - 1)]


def wire_records(events: pd.DataFrame, messages: pd.DataFrame) -> WireRecords:
    """Write events as wire records, in their order.

    Args:
        events: accepted events.
        messages: their messages, a row for each message of each transcript (``event_id``), in order.
    """
    if not len(events):
        return WireRecords.of(())
    members = [each for field in sent_fields() for each in _members(events[field.name], field)]
    members += _nested(messages, _array(events["event_id"]))
    return WireRecords(_array(events["event_id"]), _objects(members, "},"))


def _nested(messages: pd.DataFrame, event_ids: pa.Array) -> list[pa.Array]:
    """Write the member that holds an event's messages, null where it has none; nothing when none has any."""
    owners = pc.index_in(_array(messages["event_id"]), value_set=event_ids)
    ours = owners.is_valid().to_numpy(zero_copy_only=False)
    if not ours.any():
        return []
    places = np.asarray(owners.drop_null(), dtype=np.int64)
    if (np.diff(places) < 0).any() or not ours.all():
        order = np.argsort(places, kind="stable")
        messages, places = messages.take(np.flatnonzero(ours)[order]), places[order]
    rows = _objects([each for field in nested_fields() for each in _members(messages[field.name], field)])
    counts = np.bincount(places, minlength=len(event_ids))
    ends = pa.array(np.concatenate(([0], np.cumsum(counts))), pa.int64())
    lists = pa.LargeListArray.from_arrays(ends, rows, mask=pa.array(counts == 0))
    return [_around(f',"{MESSAGES_KEY}":[', pc.binary_join(lists, _text(",")), "]")]


def _objects(members: Sequence[pa.Array | pa.Scalar], end: str = "}") -> pa.Array:
    """Join members, each with a comma before it, to one object a row."""
    joined = pc.binary_join_element_wise(*members, _text(end), _text(""), null_handling="skip")
    return pc.binary_replace_slice(joined, start=0, stop=1, replacement="{")


def _members(column: pd.Series[Any], field: Field) -> list[pa.Array | pa.Scalar]:
    """Write a column as ``,"name":value``, null where a value is missing; nothing when all are missing.

    A column without a gap is given in parts, which spares a copy of it.
    """
    values = _array(column)
    if values.null_count == len(values):
        return []
    written, quote = _written(values, field.dtype)
    before, after = f',"{field.name}":{quote}', quote
    if values.null_count:
        return [_around(before, written, after)]
    return [_text(before), written, _text(after)]


def _written(values: pa.Array, dtype: Dtype) -> tuple[pa.Array, str]:
    """Write values as JSON without the quotes around them, and give these."""
    if dtype is Dtype.TIME:
        # Arrow writes a time that has no zone thirty times faster, always as 2024-03-11 08:03:10.123456
        moments = pc.cast(pc.cast(values, pa.timestamp("us", "UTC")).cast(pa.int64()), pa.timestamp("us"))
        times = pc.binary_replace_slice(pc.cast(moments, _TEXT), start=23, stop=26, replacement="Z")
        return pc.binary_replace_slice(times, start=10, stop=11, replacement="T"), '"'
    if dtype in (Dtype.INTEGER, Dtype.FLAG):
        return pc.cast(values, _TEXT), ""
    if dtype is Dtype.NUMBER:
        numbers = (None if each is None else orjson.dumps(each).decode() for each in values.to_pylist())
        return pa.array(numbers, _TEXT), ""
    return _escaped(pc.cast(values, _TEXT)), '"'


def _escaped(texts: pa.Array) -> pa.Array:
    """Escape what JSON asks for; most columns hold nothing of it, and looking is fast."""
    _, offsets, text = texts.buffers()
    if text is None:
        return texts
    ends = np.frombuffer(offsets, dtype=np.int64)[texts.offset : texts.offset + len(texts) + 1]
    used = np.frombuffer(text, dtype=np.uint8)[ends[0] : ends[-1]]
    found = [each for each in (_BACKSLASH, _QUOTE) if (used == each).any()]  # the backslash first
    if (used < _FIRST_PLAIN).any():
        found += np.unique(used[used < _FIRST_PLAIN]).tolist()
    for each in found:
        escape = json.dumps(chr(each))[1:-1]
        texts = pc.replace_substring(texts, pattern=chr(each), replacement=escape)
    return texts


def _around(before: str, values: pa.Array, after: str) -> pa.Array:
    return pc.binary_join_element_wise(
        _text(before), values, _text(after), _text(""), null_handling="emit_null"
    )


def _array(column: pd.Series[Any]) -> pa.Array:
    values = pa.array(column.array)
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def _text(value: str) -> pa.Scalar:
    return pa.scalar(value, _TEXT)
