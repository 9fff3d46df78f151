"""What a stretch of sorted rows tells: conversations with their messages, visitors, offline messages.

A stretch holds all rows of each of its keys, so the functions that make a notebook's frames make these too.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pandas as pd
import pyarrow as pa

from chatlio_kit.tables.arrow import frame_of
from chatlio_kit.tables.derived import conversations, distinct_messages, offline_messages, visitors
from chatlio_kit.tables.nesting import events_of, messages_of
from chatlio_kit.tables.schemas import empty
from chatlio_kit.tables.spill import Part

Rows = dict[str, Any]
"""Arrow tables by the name of the table that they belong to."""


def tell_conversations(part: Part) -> Rows:
    """Tell messages, each once, and conversations."""
    rows = part.read()
    if rows is None:
        return {}
    found = frame_of(events_of(rows))
    messages = distinct_messages(found, frame_of(messages_of(rows)))
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
