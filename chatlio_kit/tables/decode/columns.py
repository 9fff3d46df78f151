"""Records that were read together, as columns; and all lots of a piece as one table again."""

from __future__ import annotations

from binascii import hexlify
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from chatlio_kit.chatlio.catalogue import EVENTS
from chatlio_kit.tables.decode.strict import MESSAGE_COLUMNS

TEXT, WHOLE = pa.large_string(), pa.int64()
_HEAD = ("event_id", "kind", "received_at", "widget_id", "message_count", "message_ts", "extra_fields")
EVENT_COLUMNS = (*_HEAD, "payload_digest", *(each.name for each in EVENTS if each.places))
"""The columns that a record itself can fill."""
_DIGEST_LETTERS = 2 * sha256().digest_size
_INTEGERS = frozenset({"message_count", "position"})

Places = NDArray[np.int64]


@dataclass
class Lot:
    """Some records of a piece.

    Attributes:
        places: where each stands in its piece, in their order.
        events: Arrow columns, a row for each record; a column that is not there is missing in all rows.
        counts: how many messages each record has.
        bodies: the canonical payload of each record whose id is told by it, once it is known when that was
            received, by its place.
        messages: Arrow columns, one record's messages after another's.
    """

    places: Sequence[int]
    events: dict[str, Any]
    counts: Places
    bodies: dict[int, bytes]
    messages: dict[str, Any] = field(default_factory=dict)


@dataclass
class Joined:
    """All lots of a piece, in the order of its records.

    Attributes:
        places: where each row's record stands in its piece.
        events: a column for each of ``EVENT_COLUMNS``. Times are as they were written; an id is missing where
            it is told by the body.
        bodies: the bodies that tell ids, by their records' places in the piece.
        owners: for each message the row that it belongs to.
        messages: a column for each of ``MESSAGE_COLUMNS``.
    """

    places: Places
    events: dict[str, Any]
    bodies: dict[int, bytes]
    owners: Places
    messages: dict[str, Any]


def type_of(column: str) -> Any:
    """Give the Arrow type of a column."""
    return WHOLE if column in _INTEGERS else TEXT


def texts(values: Sequence[str | None]) -> Any:
    """Give a column of texts.

    Raises:
        TypeError: when one of the values is no text.
    """
    return pa.array(values, TEXT)


def digests(words: Sequence[bytes | None]) -> Any:
    """Give the SHA-256 digest of each text as hexadecimal digits, all of them written at once."""
    told = [sha256(each).digest() for each in words if each is not None]
    ends, mask = np.arange(len(words) + 1), None
    if len(told) < len(words):
        is_there = np.fromiter((each is not None for each in words), bool, len(words))
        ends[1:] = np.cumsum(is_there)
        mask = pa.py_buffer(np.packbits(is_there, bitorder="little"))
    text = hexlify(b"".join(told))
    return pa.Array.from_buffers(
        TEXT, len(words), [mask, pa.py_buffer(ends * _DIGEST_LETTERS), pa.py_buffer(text)]
    )


def lengths(column: Any) -> Places:
    """Say how many bytes each text of a column that was built here has; a missing one has none."""
    borders = _borders(column)
    return borders[1:] - borders[:-1]


def _borders(column: Any) -> Places:
    """Say where in its bytes each row of a column begins, and where the last one ends."""
    return np.frombuffer(column.buffers()[1], np.int64)[column.offset :][: len(column) + 1]


def join(lots: Sequence[Lot]) -> Joined:
    """Put a piece's lots together; empty texts are missing. The lots lose their columns to it."""
    places = _whole([each.places for each in lots])
    owners = _whole([np.repeat(each.places, each.counts) for each in lots if each.messages])
    order, by_owner = _order(places), _order(owners)
    events = {
        name: _column(name, [(each.events, len(each.places)) for each in lots]) for name in EVENT_COLUMNS
    }
    talks = [(each.messages, int(each.counts.sum())) for each in lots if each.messages]
    messages = {name: _column(name, talks) for name in MESSAGE_COLUMNS}
    if order is not None:
        places = places[order]
        events = {name: column.take(pa.array(order)) for name, column in events.items()}
    if by_owner is not None:
        owners = owners[by_owner]
        messages = {name: column.take(pa.array(by_owner)) for name, column in messages.items()}
    bodies = {place: body for each in lots for place, body in each.bodies.items()}
    return Joined(places, events, bodies, np.searchsorted(places, owners), messages)


def _whole(parts: Iterable[Sequence[int] | Places]) -> Places:
    return np.concatenate(
        [np.array([], dtype=np.int64), *(np.asarray(each, dtype=np.int64) for each in parts)]
    )


def _order(places: Places) -> Places | None:
    """Give the order that sorts places; None where they are in order."""
    return None if (np.diff(places) >= 0).all() else np.argsort(places, kind="stable")


def _column(name: str, parts: Sequence[tuple[dict[str, Any], int]]) -> Any:
    kind = type_of(name)
    if not any(name in columns for columns, _ in parts):
        return pa.nulls(sum(rows for _, rows in parts), kind)
    found = [columns.pop(name) if name in columns else pa.nulls(rows, kind) for columns, rows in parts]
    column = pa.concat_arrays(found)
    return _without_blanks(column) if kind == TEXT else column


def _without_blanks(column: Any) -> Any:
    """Let empty texts be missing: they have no bytes, so only what says which are there is made anew."""
    is_there = lengths(column) > 0
    missing = len(column) - int(np.count_nonzero(is_there))
    if missing == column.null_count:
        return column
    _, ends, text = column.buffers()
    mask = pa.py_buffer(np.packbits(is_there, bitorder="little"))
    return pa.Array.from_buffers(TEXT, len(column), [mask, ends, text], missing)
