"""Accepted frames to wire records: one JSON object for each event, by the catalogue.

Keys are column names; a transcript's messages travel nested; what is missing is left out; times are UTC with
milliseconds. What the frames say is what is sent.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson
import pandas as pd
import pyarrow as pa

from chatlio_kit.events.catalogue import MESSAGES_KEY, Dtype, Field, nested_fields, sent_fields
from chatlio_kit.events.times import to_wire


@dataclass(frozen=True, slots=True)
class WireRecord:
    """One event as it is sent."""

    event_id: str
    kind: str
    body: bytes


def wire_records(events: pd.DataFrame, messages: pd.DataFrame) -> Iterator[WireRecord]:
    """Write events as wire records, in their order.

    Args:
        events: accepted events.
        messages: their messages, a row for each message of each transcript (``event_id``), in order.
    """
    fields = list(sent_fields())
    names = [field.name for field in fields]
    nested = _nested(messages)
    ids, kinds = events["event_id"].tolist(), events["kind"].tolist()
    columns = [_values(events[field.name], field) for field in fields]
    for event_id, kind, *values in zip(ids, kinds, *columns, strict=True):
        record = {name: value for name, value in zip(names, values, strict=True) if value is not None}
        if event_id in nested:
            record[MESSAGES_KEY] = nested[event_id]
        yield WireRecord(event_id, kind, orjson.dumps(record))


def _nested(messages: pd.DataFrame) -> dict[str, list[dict[str, Any]]]:
    fields = list(nested_fields())
    names = [field.name for field in fields]
    columns = [_values(messages[field.name], field) for field in fields]
    nested: dict[str, list[dict[str, Any]]] = {}
    for event_id, *values in zip(messages["event_id"].tolist(), *columns, strict=True):
        row = {name: value for name, value in zip(names, values, strict=True) if value is not None}
        nested.setdefault(event_id, []).append(row)
    return nested


def _values(column: pd.Series[Any], field: Field) -> list[Any]:
    """Give a column's values as JSON has them, None where one is missing."""
    texts = to_wire(column) if field.dtype is Dtype.TIME else column
    values: list[Any] = pa.Array.from_pandas(texts).to_pylist()
    return values
