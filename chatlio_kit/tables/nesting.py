"""Events that hold their messages: one Arrow table instead of two.

It has the columns of ``events`` and one more, in which each event has the list of its own messages.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from chatlio_kit.chatlio.catalogue import TABLES
from chatlio_kit.tables.arrow import ARROW_DTYPES, arrow_schema, arrow_table, whole

MESSAGES = "messages"
"""The column that holds each event's messages."""

_OF_THE_EVENT = ("event_id", "conversation_id")
_SAID = [
    (each.name, ARROW_DTYPES[each.dtype]) for each in TABLES["messages"] if each.name not in _OF_THE_EVENT
]
NESTED_SCHEMA = arrow_schema("events").append(pa.field(MESSAGES, pa.large_list(pa.struct(_SAID))))


def nest(events: Any, messages: Any, counts: NDArray[np.int64]) -> Any:
    """Put messages into their events.

    Args:
        events: the table ``events``, in Arrow.
        messages: what messages have of their own, in Arrow, with other columns or without; one event's
            after another's, in the order of the events.
        counts: how many messages each event has.

    Returns:
        A table of ``NESTED_SCHEMA``.
    """
    ends = pa.array(np.concatenate(([0], np.cumsum(counts))), pa.int64())
    said = [whole(messages[name]).cast(kind) for name, kind in _SAID]
    each = pa.StructArray.from_arrays(said, [name for name, _ in _SAID])
    listed = pa.LargeListArray.from_arrays(ends, each)
    return pa.table([*events.columns, listed], schema=NESTED_SCHEMA)


def events_of(nested: Any) -> Any:
    """Give the table ``events``."""
    return nested.drop_columns([MESSAGES])


def said_in(nested: Any) -> tuple[Any, NDArray[np.int64]]:
    """Give what messages have of their own, one event's after another's, and the row of each one's event."""
    said = whole(nested[MESSAGES]).flatten().flatten()
    owners = np.repeat(np.arange(len(nested)), message_counts(nested))
    return pa.table(said, [name for name, _ in _SAID]), owners


def message_parts_of(nested: Any, first: int) -> Any:
    """Return what messages have of their own, and the number of each one's event in the column ``row``.

    Args:
        nested: events with their messages.
        first: the number of the first event.
    """
    said, owners = said_in(nested)
    return said.append_column("row", pa.array(owners + first, pa.int64()))


def messages_of(nested: Any, said: Any, owners: NDArray[np.int64]) -> Any:
    """Give the table ``messages``, with what its rows have from their events."""
    columns = {name: said[name] for name, _ in _SAID}
    columns |= {name: nested[name].take(pa.array(owners)) for name in _OF_THE_EVENT}
    return arrow_table("messages", columns)


def message_counts(nested: Any) -> NDArray[np.int64]:
    """Say how many messages each event holds."""
    counts: NDArray[np.int64] = pc.list_value_length(whole(nested[MESSAGES])).fill_null(0).to_numpy()
    return counts


def without_empty_columns(nested: Any) -> Any:
    """Leave out columns that hold nothing: half of them do, since a piece is mostly of one kind."""
    return nested.select([name for name in nested.column_names if nested[name].null_count < len(nested)])


def filled(nested: Any) -> Any:
    """Give the whole table again."""
    known = set(nested.column_names)
    columns = [
        nested[each.name] if each.name in known else pa.nulls(len(nested), each.type)
        for each in NESTED_SCHEMA
    ]
    return pa.table(columns, schema=NESTED_SCHEMA)
