"""From values of records to Arrow columns: chunks of records of one kind, and a batch's chunks combined."""

from __future__ import annotations

from binascii import hexlify
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from chatlio_kit.chatlio.catalogue import EVENTS
from chatlio_kit.chatlio.event_ids import id_parts
from chatlio_kit.chatlio.kinds import Kind, Shape
from chatlio_kit.tables.decode.strict import MESSAGE_FIELDS, ParsedPayload

TEXT, WHOLE = pa.large_string(), pa.int64()
_COMPUTED = ("event_id", "kind", "received_at", "widget_id", "message_count", "message_ts", "extra_fields")
EVENT_COLUMNS = (*_COMPUTED, "payload_digest", *(field.name for field in EVENTS if field.paths))
"""The columns that a record itself can fill."""
MESSAGE_COLUMNS = (*(field.name for field, _ in MESSAGE_FIELDS), "author", "position")
_ID_COLUMNS = ("conversation_id", "ended_at")
_DIGEST_LENGTH = 2 * sha256().digest_size
_INTEGERS = frozenset({"message_count", "position"})

Integers = NDArray[np.int64]
Columns = dict[str, Any]
"""Arrow columns by name; a missing column has no value in any row."""


class DecodedRecord(NamedTuple):
    """An accepted record.

    Attributes:
        row: Its position in the batch.
        received_at: Time of capture, as written.
        widget_id: The widget that sent it.
        body: The payload in canonical form.
        payload: The payload's values.
        unknown_fields: The payload's fields that the catalogue does not know, as a JSON object.
    """

    row: int
    received_at: str | None
    widget_id: str | None
    body: bytes
    payload: Any
    unknown_fields: str | None = None


class PayloadColumns(NamedTuple):
    """The values of payloads of one shape.

    Attributes:
        events: A row for each payload.
        message_counts: Number of messages in each payload.
        messages: A row for each message, payload by payload, without ``position``.
    """

    events: Columns
    message_counts: Sequence[int]
    messages: Columns


@dataclass
class ColumnChunk:
    """Some records of a batch.

    Attributes:
        rows: Position of each record in its batch, ascending.
        events: A row for each record.
        message_counts: Number of messages in each record.
        messages: A row for each message, record by record.
        bodies: By row, the canonical payload of each record whose id depends on it.
    """

    rows: Integers
    events: Columns
    message_counts: Integers
    messages: Columns
    bodies: dict[int, bytes]


@dataclass
class DecodedBatch:
    """All accepted records of a batch, in its order.

    Attributes:
        rows: Position of each record in the batch.
        events: A column for each of ``EVENT_COLUMNS``. Times are as written; ids that depend on the body are
            missing.
        bodies: By row, the bodies that ids depend on.
        owners: Index of each message's event.
        messages: A column for each of ``MESSAGE_COLUMNS``.
    """

    rows: Integers
    events: Columns
    bodies: dict[int, bytes]
    owners: Integers
    messages: Columns


def string_array(values: Sequence[str | None]) -> Any:
    """Return a column of strings.

    Raises:
        TypeError: One of the values is not a string.
    """
    return pa.array(values, TEXT)


def digests(texts: Sequence[bytes | None]) -> Any:
    """Return a column of the strings' SHA-256 digests in hexadecimal digits."""
    found = [sha256(text).digest() for text in texts if text is not None]
    ends, mask = np.arange(len(texts) + 1), None
    if len(found) < len(texts):
        is_valid = np.fromiter((text is not None for text in texts), bool, len(texts))
        ends[1:] = np.cumsum(is_valid)
        mask = pa.py_buffer(np.packbits(is_valid, bitorder="little"))
    digits = pa.py_buffer(hexlify(b"".join(found)))
    return pa.Array.from_buffers(TEXT, len(texts), [mask, pa.py_buffer(ends * _DIGEST_LENGTH), digits])


def parsed_columns(_: Shape, payloads: Sequence[ParsedPayload]) -> PayloadColumns:
    """Return the columns of payloads of one shape that the strict parser read."""
    names = dict.fromkeys(chain.from_iterable(payload.values for payload in payloads))
    messages = list(chain.from_iterable(payload.messages for payload in payloads))
    return PayloadColumns(
        {name: string_array([payload.values.get(name) for payload in payloads]) for name in names},
        [len(payload.messages) for payload in payloads],
        {
            name: string_array([message[name] for message in messages])
            for name in MESSAGE_COLUMNS
            if messages and name != "position"
        },
    )


def build_chunk(kind: Kind, records: Sequence[DecodedRecord], payloads: PayloadColumns) -> ColumnChunk:
    """Return records of one kind as columns.

    Args:
        kind: Their kind.
        records: The records, in the batch's order.
        payloads: The columns of their payloads.
    """
    events, messages = payloads.events, payloads.messages
    parts = id_parts(
        kind,
        *[events[name].to_pylist() if name in events else [None] * len(records) for name in _ID_COLUMNS],
    )
    counts = np.array(payloads.message_counts, dtype=np.int64)
    ends = np.cumsum(counts)
    events |= {
        "event_id": digests(parts),
        "kind": pa.repeat(pa.scalar(str(kind), TEXT), len(records)),
        "received_at": string_array([record.received_at for record in records]),
        "widget_id": string_array([record.widget_id for record in records]),
        "payload_digest": digests([record.body for record in records]),
        "extra_fields": string_array([record.unknown_fields for record in records]),
    }
    if kind is Kind.TRANSCRIPT:
        events["message_count"] = pa.array(counts)
    if messages:
        listed = pa.LargeListArray.from_arrays(pa.array([0, *ends.tolist()]), messages["ts"])
        events["message_ts"] = pc.binary_join(listed, pa.scalar(" ", TEXT))
        firsts = np.repeat(ends - counts, counts)
        messages["position"] = pa.array(np.arange(1, len(firsts) + 1) - firsts)
    return ColumnChunk(
        np.array([record.row for record in records], dtype=np.int64),
        events,
        counts,
        messages,
        {record.row: record.body for record, own in zip(records, parts, strict=True) if own is None},
    )


def concat_chunks(chunks: Sequence[ColumnChunk]) -> DecodedBatch:
    """Return a batch's chunks in the order of its records; empty strings become missing.

    The chunks lose their columns, so that no column is held twice.
    """
    rows = _concatenated(chunk.rows for chunk in chunks)
    owners = _concatenated(np.repeat(chunk.rows, chunk.message_counts) for chunk in chunks)
    events = {
        name: _column(name, [(chunk.events, len(chunk.rows)) for chunk in chunks]) for name in EVENT_COLUMNS
    }
    messages = {
        name: _column(name, [(chunk.messages, int(chunk.message_counts.sum())) for chunk in chunks])
        for name in MESSAGE_COLUMNS
    }
    if (order := _order(rows)) is not None:
        rows = rows[order]
        events = {name: column.take(pa.array(order)) for name, column in events.items()}
    if (order := _order(owners)) is not None:
        owners = owners[order]
        messages = {name: column.take(pa.array(order)) for name, column in messages.items()}
    bodies = {row: body for chunk in chunks for row, body in chunk.bodies.items()}
    return DecodedBatch(rows, events, bodies, np.searchsorted(rows, owners), messages)


def _concatenated(parts: Iterable[Integers]) -> Integers:
    return np.concatenate([np.array([], dtype=np.int64), *parts])


def _order(rows: Integers) -> Integers | None:
    """Return the order that sorts rows; None if they are sorted."""
    return None if (np.diff(rows) >= 0).all() else np.argsort(rows, kind="stable")


def _column(name: str, parts: Sequence[tuple[Columns, int]]) -> Any:
    dtype = WHOLE if name in _INTEGERS else TEXT
    if not any(name in columns for columns, _ in parts):
        return pa.nulls(sum(length for _, length in parts), dtype)
    column = pa.concat_arrays(
        [columns.pop(name) if name in columns else pa.nulls(length, dtype) for columns, length in parts]
    )
    return _without_empty_texts(column) if dtype == TEXT else column


def _without_empty_texts(column: Any) -> Any:
    """Return a column with nulls for empty strings, which have no bytes: only the validity mask changes."""
    _, offsets, text = column.buffers()
    borders = np.frombuffer(offsets, np.int64)[column.offset :][: len(column) + 1]
    is_valid = borders[1:] > borders[:-1]
    null_count = len(column) - int(np.count_nonzero(is_valid))
    if null_count == column.null_count:
        return column
    mask = pa.py_buffer(np.packbits(is_valid, bitorder="little"))
    return pa.Array.from_buffers(TEXT, len(column), [mask, offsets, text], null_count)
