"""The catalogue's tables in Arrow: schemas, frames, and events with their messages nested inside.

A nested table has the columns of ``events`` and one more, which holds the list of each event's messages.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from chatlio_kit.chatlio.catalogue import TABLES, Dtype
from chatlio_kit.chatlio.timestamps import ARROW_TIME

ARROW_DTYPES: dict[Dtype, Any] = {
    Dtype.TEXT: pa.large_string(),
    Dtype.JSON: pa.large_string(),
    Dtype.TIME: ARROW_TIME,
    Dtype.INTEGER: pa.int64(),
    Dtype.NUMBER: pa.float64(),
    Dtype.FLAG: pa.bool_(),
}
_PANDAS_DTYPES = {
    pa.large_string(): pd.StringDtype("pyarrow", na_value=np.nan),
    pa.int64(): pd.Int64Dtype(),
    pa.float64(): pd.Float64Dtype(),
    pa.bool_(): pd.BooleanDtype(),
}
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h
_TRIM_BYTES, _MMAP_BYTES = 75_000_000, 32_000_000


def arrow_schema(table: str) -> Any:
    """Return the Arrow schema of a table."""
    return pa.schema([(field.name, ARROW_DTYPES[field.dtype]) for field in TABLES[table]])


def arrow_table(table: str, columns: Mapping[str, Any]) -> Any:
    """Return columns as an Arrow table with the catalogue's schema."""
    schema = arrow_schema(table)
    return pa.table([columns[name].cast(schema.field(name).type) for name in schema.names], schema=schema)


def frame_of(table: Any) -> pd.DataFrame:
    """Return an Arrow table as a frame with the catalogue's dtypes."""
    frame: pd.DataFrame = table.to_pandas(types_mapper=_PANDAS_DTYPES.get)
    return frame


def combine_chunks(column: Any) -> Any:
    """Return a column as one array; a single chunk is not copied."""
    if not isinstance(column, pa.ChunkedArray):
        return column
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


MESSAGES = "messages"
"""The column that holds each event's messages."""
_EVENT_COLUMNS = ("event_id", "conversation_id", "origin")
"""The columns of ``messages`` that a message gets from its event."""
_MESSAGE_TYPES = {
    field.name: ARROW_DTYPES[field.dtype] for field in TABLES["messages"] if field.name not in _EVENT_COLUMNS
}
NESTED_SCHEMA = arrow_schema("events").append(
    pa.field(MESSAGES, pa.large_list(pa.struct(list(_MESSAGE_TYPES.items()))))
)


def nest(events: Any, messages: Any, counts: NDArray[np.int64]) -> Any:
    """Return events with their messages, a table with ``NESTED_SCHEMA``.

    Args:
        events: The table ``events``.
        messages: Columns of messages, in the order of their events; those of ``events`` may be missing.
        counts: Number of messages of each event.
    """
    offsets = pa.array(np.concatenate(([0], np.cumsum(counts))), pa.int64())
    columns = [combine_chunks(messages[name]).cast(dtype) for name, dtype in _MESSAGE_TYPES.items()]
    structs = pa.StructArray.from_arrays(columns, list(_MESSAGE_TYPES))
    lists = pa.LargeListArray.from_arrays(offsets, structs)
    return pa.table([*events.columns, lists], schema=NESTED_SCHEMA)


def events_of(nested: Any) -> Any:
    """Return the table ``events``."""
    return nested.drop_columns([MESSAGES])


def messages_of(nested: Any) -> Any:
    """Return the table ``messages``."""
    messages, owners = explode_messages(nested)
    columns = {name: messages[name] for name in _MESSAGE_TYPES}
    columns |= {name: nested[name].take(pa.array(owners)) for name in _EVENT_COLUMNS}
    return arrow_table("messages", columns)


def explode_messages(nested: Any) -> tuple[Any, NDArray[np.int64]]:
    """Return the messages' own columns, in the order of their events, and the row of each message's event."""
    columns = combine_chunks(nested[MESSAGES]).flatten().flatten()
    owners = np.repeat(np.arange(len(nested)), message_counts(nested))
    return pa.table(columns, list(_MESSAGE_TYPES)), owners


def message_counts(nested: Any) -> NDArray[np.int64]:
    """Return the number of messages of each event."""
    counts: NDArray[np.int64] = pc.list_value_length(combine_chunks(nested[MESSAGES])).fill_null(0).to_numpy()
    return counts


def drop_null_columns(nested: Any) -> Any:
    """Return a table without columns that hold only nulls: about half of them, because kinds differ."""
    return nested.select([name for name in nested.column_names if nested[name].null_count < len(nested)])


def fill_missing_columns(nested: Any) -> Any:
    """Return a table with ``NESTED_SCHEMA``, with nulls in the columns that were dropped."""
    kept = set(nested.column_names)
    columns = [
        nested[field.name] if field.name in kept else pa.nulls(len(nested), field.type)
        for field in NESTED_SCHEMA
    ]
    return pa.table(columns, schema=NESTED_SCHEMA)


@contextmanager
def system_allocator() -> Iterator[None]:
    """Allocate Arrow's memory from the process's heap, so that other code can use what Arrow frees."""
    with suppress(OSError, AttributeError, TypeError):  # the C library is not glibc
        # One heap for all threads keeps freed memory, up to a limit, instead of mapping memory again.
        mallopt = ctypes.CDLL(None).mallopt
        for setting, value in (
            (_M_ARENA_MAX, 1),
            (_M_TRIM_THRESHOLD, _TRIM_BYTES),
            (_M_MMAP_THRESHOLD, _MMAP_BYTES),
        ):
            mallopt(setting, value)
    before = pa.default_memory_pool()
    pa.set_memory_pool(pa.system_memory_pool())
    try:
        yield
    finally:
        pa.set_memory_pool(before)


def release_memory() -> None:
    """Release Arrow's unused memory, although a system pool keeps fragments."""
    pa.default_memory_pool().release_unused()
