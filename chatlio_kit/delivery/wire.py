"""Accepted frames to wire records: one JSON object for each event, by the catalogue.

Keys are column names; a transcript's messages travel nested; what is missing is left out; times are UTC with
milliseconds. What the frames say is what is sent. The JSON is written column by column, which is faster than
record by record.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby, starmap
from operator import itemgetter
from typing import Any

import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from chatlio_kit.events.catalogue import MESSAGES_KEY, Dtype, Field, nested_fields, sent_fields

_TEXT = pa.large_string()
_TO_ESCAPE = '[\\x00-\\x1f"\\\\]'
_TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"  # Arrow's seconds have the decimals of their unit


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
    if not len(events):
        return iter(())
    members: list[pa.Array | None] = [_members(events[field.name], field) for field in sent_fields()]
    nested = _nested(messages)
    if nested:
        lists = [nested.get(event_id, "") for event_id in events["event_id"].tolist()]
        members.append(pa.array(lists, _TEXT))
    bodies = pc.cast(_objects(members), pa.large_binary()).to_pylist()
    return starmap(WireRecord, zip(events["event_id"].tolist(), events["kind"].tolist(), bodies, strict=True))


def _nested(messages: pd.DataFrame) -> dict[str, str]:
    """Give the member that holds an event's messages, by event."""
    if not len(messages):
        return {}
    rows = _objects([_members(messages[field.name], field) for field in nested_fields()]).to_pylist()
    lists: dict[str, list[str]] = {}
    for event_id, group in groupby(zip(messages["event_id"].tolist(), rows, strict=True), itemgetter(0)):
        lists.setdefault(event_id, []).extend(row for _, row in group)
    return {event_id: f',"{MESSAGES_KEY}":[{",".join(rows)}]' for event_id, rows in lists.items()}


def _objects(members: Iterable[pa.Array | None]) -> pa.Array:
    """Join members, each with a comma before it, to one object a row."""
    present = [each for each in members if each is not None]
    joined = pc.binary_join_element_wise(*present, _text("}"), _text(""), null_handling="skip")
    opened = pc.binary_replace_slice(joined, start=0, stop=1, replacement="{")
    is_empty = pc.equal(joined, _text("}"))
    return pc.if_else(is_empty, _text("{}"), opened) if pc.any(is_empty).as_py() else opened


def _members(column: pd.Series[Any], field: Field) -> pa.Array | None:
    """Write a column as ``,"name":value``, null where a value is missing; None when all are missing."""
    values = pa.Array.from_pandas(column)
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if values.null_count == len(values):
        return None
    key = f',"{field.name}":'
    if field.dtype is Dtype.TIME:
        moments = pc.cast(pc.floor_temporal(values, unit="millisecond"), pa.timestamp("ms", "UTC"))
        return _around(f'{key}"', pc.cast(pc.strftime(moments, format=_TIME_FORMAT), _TEXT), '"')
    if field.dtype in (Dtype.INTEGER, Dtype.FLAG):
        return _around(key, pc.cast(values, _TEXT), "")
    if field.dtype is Dtype.NUMBER:
        return _around(key, _escaped(values), "")
    texts = pc.cast(values, _TEXT)
    plain = _around(f'{key}"', texts, '"')
    special = pc.match_substring_regex(texts, _TO_ESCAPE)
    if not pc.any(special).as_py():
        return plain
    special = pc.fill_null(special, False)
    return pc.replace_with_mask(plain, special, _around(key, _escaped(texts.filter(special)), ""))


def _around(before: str, values: pa.Array, after: str) -> pa.Array:
    return pc.binary_join_element_wise(
        _text(before), values, _text(after), _text(""), null_handling="emit_null"
    )


def _escaped(values: pa.Array) -> pa.Array:
    """Write the values of few rows one by one."""
    written = (None if each is None else orjson.dumps(each).decode() for each in values.to_pylist())
    return pa.array(written, _TEXT)


def _text(value: str) -> pa.Scalar:
    return pa.scalar(value, _TEXT)
