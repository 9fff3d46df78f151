"""What a stretch of sorted rows tells: conversations with their messages, visitors, offline messages.

A stretch holds all rows of each of its keys, so the functions that make a notebook's frames make these too.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from chatlio_kit.events.catalogue import TABLES
from chatlio_kit.tables.arrow import arrow_frame, frame_of
from chatlio_kit.tables.derived import conversations, distinct_messages, offline_messages, visitors
from chatlio_kit.tables.schemas import empty
from chatlio_kit.tables.spill import Part

Rows = dict[str, Any]
"""Arrow tables by the name of the table that they belong to."""


MESSAGES = "messages"
"""The column in which events hold their messages while they wait to be told."""

_OF_THE_EVENT = ("event_id", "conversation_id")
_SAID = [each.name for each in TABLES["messages"] if each.name not in _OF_THE_EVENT]


def with_messages(events: Any, messages: pd.DataFrame, owners: NDArray[np.int64]) -> Any:
    """Give events as Arrow rows, each with its messages.

    Args:
        events: Arrow rows.
        messages: their messages, one event's after another's.
        owners: for each message the row of its event.
    """
    counts = np.bincount(owners, minlength=len(events))
    ends = pa.array(np.concatenate(([0], np.cumsum(counts))), pa.int64())
    said = pa.Table.from_pandas(messages[_SAID], preserve_index=False, nthreads=1).combine_chunks()
    each = pa.StructArray.from_arrays([_whole(said[name]) for name in _SAID], _SAID)
    return events.append_column(MESSAGES, pa.LargeListArray.from_arrays(ends, each))


def _messages(rows: Any) -> pd.DataFrame:
    """Take messages out of their events again."""
    listed = _whole(rows[MESSAGES])
    owners = pa.array(np.repeat(np.arange(len(rows)), pc.list_value_length(listed).to_numpy()))
    columns = {name: rows[name].take(owners) for name in _OF_THE_EVENT}
    columns |= zip(_SAID, listed.flatten().flatten(), strict=True)
    return arrow_frame("messages", columns)


def _whole(column: Any) -> Any:
    """Give a column in one piece."""
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def tell_conversations(part: Part) -> Rows:
    """Tell messages, each once, and conversations."""
    rows = part.read()
    if rows is None:
        return {}
    found = frame_of(rows.drop_columns([MESSAGES]))
    messages = distinct_messages(found, _messages(rows))
    return _rows(messages=messages, conversations=conversations(found, messages))


def tell_visitors(part: Part) -> Rows:
    """Tell visitors."""
    found = _read(part)
    return {} if found is None else _rows(visitors=visitors(found))


def tell_offline_messages(part: Part) -> Rows:
    """Tell offline messages, in order of time."""
    found = _read(part)
    return {} if found is None else _rows(offline_messages=offline_messages(found))


def arrow_rows(frame: pd.DataFrame, name: str) -> Any:
    """Give a table's frame as Arrow rows, as its file has them."""
    return pa.Table.from_pandas(frame, schema=file_schema(name), preserve_index=False, nthreads=1)


@cache
def file_schema(name: str) -> Any:
    """Give the schema of a table's file, pandas' part of it included."""
    return pa.Table.from_pandas(empty(name), preserve_index=False).schema


def _read(part: Part) -> pd.DataFrame | None:
    rows = part.read()
    return None if rows is None else frame_of(rows)


def _rows(**frames: pd.DataFrame) -> Rows:
    return {name: arrow_rows(frame, name) for name, frame in frames.items()}
