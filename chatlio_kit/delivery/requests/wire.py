"""Serialize accepted events as wire records: one JSON object for each event, by the catalogue.

Keys are column names; a transcript's messages are nested; missing values are left out; times are UTC with
milliseconds. The JSON is written column by column, and the records of a batch stay in one buffer, from which
a request body is a slice.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from chatlio_kit.chatlio.catalogue import MESSAGES_KEY, Dtype, Field, nested_fields, sent_fields
from chatlio_kit.chatlio.identities import IDENTITIES_KEY, IdentityColumn

_TEXT = pa.large_string()
_FIRST_UNESCAPED, _QUOTE, _BACKSLASH = 0x20, 0x22, 0x5C
"""JSON escapes characters below a space, the quote and the backslash."""


@dataclass(frozen=True, slots=True)
class WireRecord:
    """One event in wire form."""

    event_id: str
    body: bytes


class WireRecords(Sequence[WireRecord]):
    """Events in wire form, in order. A slice shares their buffer.

    Args:
        ids: Event ids.
        bodies: Their bodies, a comma after each.
        rows: Their ledger rows, if they were inserted.
    """

    def __init__(self, ids: pa.Array, bodies: pa.Array, rows: NDArray[np.int64] | None = None) -> None:
        self._ids = ids
        self._bodies = bodies
        self._rows = rows
        _, ends, text = bodies.buffers()
        self._text = memoryview(text or b"")
        self.ends = np.frombuffer(ends or bytes(8), dtype=np.int64)[bodies.offset :][: len(bodies) + 1]
        """The start of each record in the buffer, and the end of the last: one more than records."""

    @classmethod
    def of(cls, records: Iterable[WireRecord], rows: Iterable[int] | None = None) -> WireRecords:
        """Copy single records into one buffer."""
        listed = list(records)
        bodies = pa.array([record.body + b"," for record in listed], pa.large_binary())
        ids = pa.array([record.event_id for record in listed], _TEXT)
        return cls(ids, bodies, None if rows is None else np.array(list(rows), dtype=np.int64))

    def with_rows(self, rows: NDArray[np.int64]) -> WireRecords:
        """Return the same records with their ledger rows."""
        return WireRecords(self._ids, self._bodies, rows)

    @property
    def rows(self) -> NDArray[np.int64]:
        """Their ledger rows; their indexes if they were not inserted."""
        return np.arange(len(self)) if self._rows is None else self._rows

    def __len__(self) -> int:
        return len(self._bodies)

    @overload
    def __getitem__(self, index: int) -> WireRecord: ...
    @overload
    def __getitem__(self, index: slice) -> WireRecords: ...
    def __getitem__(self, index: int | slice) -> WireRecord | WireRecords:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step != 1:
                return self.take(range(start, stop, step))
            count = max(0, stop - start)
            return WireRecords(
                self._ids.slice(start, count), self._bodies.slice(start, count), self.rows[start:stop]
            )
        index = range(len(self))[index]
        body = bytes(self._text[self.ends[index] : self.ends[index + 1] - 1])
        return WireRecord(self._ids[index].as_py(), body)

    def __iter__(self) -> Iterator[WireRecord]:
        return (self[index] for index in range(len(self)))

    def take(self, indexes: Sequence[int] | NDArray[np.int64]) -> WireRecords:
        """Return the records at these indexes."""
        kept = np.asarray(indexes, dtype=np.int64)
        return WireRecords(self._ids.take(pa.array(kept)), self._bodies.take(pa.array(kept)), self.rows[kept])

    @property
    def sizes(self) -> NDArray[np.int64]:
        """The bytes of each body."""
        return np.diff(self.ends) - 1

    @property
    def joined(self) -> memoryview:
        """The bodies, with a comma between them."""
        return self._text[self.ends[0] : max(self.ends[0], self.ends[-1] - 1)]


def wire_records(
    events: pd.DataFrame, messages: pd.DataFrame, identities: Sequence[IdentityColumn] = ()
) -> WireRecords:
    """Serialize events as wire records, in their order.

    Args:
        events: Accepted events.
        messages: Their messages, a row for each message of each transcript (``event_id``), in order.
        identities: The events' ids by namespace, those that can be primary first.
    """
    if not len(events):
        return WireRecords.of(())
    members = [member for field in sent_fields() for member in _members(events[field.name], field)]
    members += _nested(messages, as_array(events["event_id"]))
    members += _identity_map(identities)
    return WireRecords(as_array(events["event_id"]), _objects(members, "},"))


def _nested(messages: pd.DataFrame, event_ids: pa.Array) -> list[pa.Array]:
    """Return the member with an event's messages, null if it has none; empty if no event has any."""
    messages, counts = grouped_messages(messages, event_ids)
    if not len(messages):
        return []
    members = [member for field in nested_fields() for member in _members(messages[field.name], field)]
    rows = _objects(members)
    ends = pa.array(np.concatenate(([0], np.cumsum(counts))), pa.int64())
    lists = pa.LargeListArray.from_arrays(ends, rows, mask=pa.array(counts == 0))
    return [_around(f',"{MESSAGES_KEY}":[', pc.binary_join(lists, _text(",")), "]")]


def grouped_messages(messages: pd.DataFrame, event_ids: pa.Array) -> tuple[pd.DataFrame, NDArray[np.int64]]:
    """Return the messages of these events in the events' order, and the number for each event."""
    owners = pc.index_in(as_array(messages["event_id"]), value_set=event_ids)
    has_owner = owners.is_valid().to_numpy(zero_copy_only=False)
    indexes = np.asarray(owners.drop_null(), dtype=np.int64)
    if (np.diff(indexes) < 0).any() or not has_owner.all():
        order = np.argsort(indexes, kind="stable")
        messages, indexes = messages.take(np.flatnonzero(has_owner)[order]), indexes[order]
    return messages, np.bincount(indexes, minlength=len(event_ids))


def primary_flags(columns: Sequence[IdentityColumn]) -> list[NDArray[np.bool_]]:
    """Return, by namespace, a mask of events with their primary id there; each event has at most one."""
    is_without = np.ones(len(columns[0].ids), dtype=np.bool_)  # events without a primary id so far
    flags = []
    for column in columns:
        flags.append(column.ids.notna().to_numpy() & is_without & (not column.is_email))
        is_without &= ~flags[-1]
    return flags


def _identity_map(columns: Sequence[IdentityColumn]) -> list[pa.Array]:
    """Return the member ``identityMap``, null without an id; exactly one id of each event is primary."""
    if not columns:
        return []
    parts = []
    flags = primary_flags(columns)
    for column, is_primary in zip(columns, flags, strict=True):
        ids = pc.cast(as_array(column.ids), _TEXT)
        before = _text(f',"{column.namespace}":[{{"id":"')
        state = _text('","authenticatedState":"ambiguous","primary":')
        primary = pc.if_else(pa.array(is_primary), _text("true"), _text("false"))
        item = (before, _escaped(ids), state, primary, _text("}]"), _text(""))
        parts.append(pc.binary_join_element_wise(*item, null_handling="emit_null"))
    maps = pc.if_else(pa.array(np.logical_or.reduce(flags)), _objects(parts), pa.scalar(None, _TEXT))
    return [_around(f',"{IDENTITIES_KEY}":', maps, "")]


def _objects(members: Sequence[pa.Array | pa.Scalar], end: str = "}") -> pa.Array:
    """Join members, each with a leading comma, into one object per row."""
    joined = pc.binary_join_element_wise(*members, _text(end), _text(""), null_handling="skip")
    return pc.binary_replace_slice(joined, start=0, stop=1, replacement="{")


def _members(column: pd.Series[Any], field: Field) -> list[pa.Array | pa.Scalar]:
    """Return a column as ``,"name":value``, null where a value is missing; empty if all are missing.

    A column without missing values is returned in parts, which saves a copy.
    """
    values = as_array(column)
    if field.unsent is not None:
        values = pc.if_else(pc.equal(values, field.unsent), None, values)
    if values.null_count == len(values):
        return []
    literals, quote = _literals(values, field.dtype)
    before, after = f',"{field.name}":{quote}', quote
    if values.null_count:
        return [_around(before, literals, after)]
    return [_text(before), literals, _text(after)]


def _literals(values: pa.Array, dtype: Dtype) -> tuple[pa.Array, str]:
    """Return values as JSON without their quotes, and the quote."""
    if dtype is Dtype.TIME:
        return _time_texts(values), '"'
    if dtype in (Dtype.INTEGER, Dtype.FLAG):
        return pc.cast(values, _TEXT), ""
    return _escaped(pc.cast(values, _TEXT)), '"'


def time_texts(column: pd.Series[Any]) -> list[str | None]:
    """Return times in wire form."""
    texts: list[str | None] = _time_texts(as_array(column)).to_pylist()
    return texts


def _time_texts(values: pa.Array) -> pa.Array:
    # Arrow formats a time without a zone thirty times faster, always as 2024-03-11 08:03:10.123456
    moments = pc.cast(pc.cast(values, pa.timestamp("us", "UTC")).cast(pa.int64()), pa.timestamp("us"))
    times = pc.binary_replace_slice(pc.cast(moments, _TEXT), start=23, stop=26, replacement="Z")
    return pc.binary_replace_slice(times, start=10, stop=11, replacement="T")


def _escaped(texts: pa.Array) -> pa.Array:
    """Escape strings for JSON; most columns need no escape, and the check is fast."""
    _, offsets, text = texts.buffers()
    if text is None:
        return texts
    ends = np.frombuffer(offsets, dtype=np.int64)[texts.offset : texts.offset + len(texts) + 1]
    used = np.frombuffer(text, dtype=np.uint8)[ends[0] : ends[-1]]
    escaped = [code for code in (_BACKSLASH, _QUOTE) if (used == code).any()]  # the backslash first
    escaped += np.unique(used[used < _FIRST_UNESCAPED]).tolist()
    for code in escaped:
        escape = json.dumps(chr(code))[1:-1]
        texts = pc.replace_substring(texts, pattern=chr(code), replacement=escape)
    return texts


def _around(before: str, values: pa.Array, after: str) -> pa.Array:
    return pc.binary_join_element_wise(
        _text(before), values, _text(after), _text(""), null_handling="emit_null"
    )


def as_array(column: pd.Series[Any]) -> pa.Array:
    """Return a column as one Arrow array."""
    values = pa.array(column.array)
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def _text(value: str) -> pa.Scalar:
    return pa.scalar(value, _TEXT)
