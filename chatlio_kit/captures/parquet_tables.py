"""Parquet to records: a row becomes an object of its columns' names, numbered from 1.

A null is an absent field. At most a thousand rows are held at a time, and only as many as fit in memory, so a
file of any size takes little of it.
"""

from __future__ import annotations

import io
import json
import math
import shutil
import tempfile
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from chatlio_kit.captures.parquet_sizes import MOST_HELD, size_of
from chatlio_kit.captures.records import MOST_BYTES, Fault, Raws, row_of, too_large, unreadable
from chatlio_kit.events.rejection import Reason

MAGIC = b"PAR1"
_VALUE = 64
"""Bytes that a value takes in Python beside its text."""
_BUFFER = 1 << 20
_IN_MEMORY = 1 << 24


def is_parquet(handle: io.BufferedReader) -> bool:
    """Whether an open file is Parquet, by its first bytes."""
    return handle.peek(len(MAGIC))[: len(MAGIC)] == MAGIC


def read_parquet(handle: io.BufferedReader) -> Iterator[Raws | Fault]:
    """Read a table's rows.

    Raises:
        OSError: when it breaks off.
    """
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as copy:
        source: Any = handle
        if not handle.seekable():
            # What is packed can only be read from front to back, and a Parquet file is read from its end.
            shutil.copyfileobj(handle, copy)
            copy.seek(0)
            source = copy
        number = 0
        try:
            file = pq.ParquetFile(pa.PythonFile(source, mode="r"), buffer_size=_BUFFER)
            for group in range(file.metadata.num_row_groups):
                yield from _read_group(file, group, source, number)
                number += file.metadata.row_group(group).num_rows
        except pa.ArrowException as wrong:
            raise OSError(str(wrong)) from wrong


def _read_group(file: Any, group: int, source: Any, before: int) -> Iterator[Raws | Fault]:
    size = size_of(file.metadata, file.schema, group, source)
    if size.refusal:
        detail = (
            f"A part of the file is made to fill a memory: {size.refusal}. Its "
            f"{file.metadata.row_group(group).num_rows:,} rows are not read."
        )
        yield Fault(before + 1, b"", Reason.TOO_LARGE, detail)
        return
    if size.as_dictionary:
        file = pq.ParquetFile(
            pa.PythonFile(source, mode="r"),
            metadata=file.metadata,
            buffer_size=_BUFFER,
            read_dictionary=list(size.as_dictionary),
        )
    for batch in file.iter_batches(size.rows, row_groups=[group], use_threads=False):
        yield from _within_limit(batch, before) if size.as_dictionary else _records(batch, before)
        before += len(batch)


def _within_limit(batch: Any, before: int) -> Iterator[Raws | Fault]:
    """Read rows whose repeated values are not written out, as many at once as memory may hold."""
    if sum(map(_weight, batch.columns)) <= MOST_HELD:
        yield from _records(batch, before)
    elif len(batch) == 1:
        yield too_large(before + 1, b"")
    else:
        half = len(batch) // 2
        yield from _within_limit(batch.slice(0, half), before)
        yield from _within_limit(batch.slice(half), before + half)


def _weight(array: Any) -> int:
    """Return about how many bytes values take when they are all written out."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        lengths = pc.binary_length(array.dictionary).take(array.indices)
        return int(pc.sum(lengths).as_py() or 0) + _VALUE * len(array)
    if pa.types.is_struct(kind):
        return sum(map(_weight, array.flatten())) + _VALUE * len(array)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_map(kind):
        inside = array.flatten() if not pa.types.is_map(kind) else array.cast(_entries(kind)).flatten()
        return _weight(inside) + _VALUE * len(array)
    return int(array.nbytes) + _VALUE * len(array)


def _entries(kind: Any) -> Any:
    return pa.list_(pa.struct([pa.field("key", kind.key_type, nullable=False), kind.item_field]))


def _records(batch: Any, before: int) -> Iterator[Raws | Fault]:
    try:
        rows: list[dict[str, Any] | None] = batch.to_pylist()
    except UnicodeDecodeError:
        rows = [_row(batch.slice(place, 1)) for place in range(len(batch))]
    numbers: list[int] = []
    raws: list[bytes] = []
    for number, row in enumerate(rows, start=before + 1):
        found = _text(number, row)
        if isinstance(found, bytes):
            numbers.append(number)
            raws.append(found)
            continue
        if raws:
            yield Raws(numbers, raws)
            numbers, raws = [], []
        yield found
    if raws:
        yield Raws(numbers, raws)


def _row(one: Any) -> dict[str, Any] | None:
    try:
        return cast(dict[str, Any], one.to_pylist()[0])
    except UnicodeDecodeError:
        return None


def _text(number: int, row: dict[str, Any] | None) -> bytes | Fault:
    if row is None:
        return unreadable(number, b"", "The row holds text that is not UTF-8. Write it again as UTF-8.")
    plain = {name: _plain(value) for name, value in row.items() if value is not None}
    try:
        text = row_of(plain)
    except TypeError:  # a number beyond 64 bits, or bytes that are no text
        text = json.dumps(plain).encode()
    return text if len(text) <= MOST_BYTES else too_large(number, text)


def _plain(value: Any) -> Any:
    """Write a value as JSON has it: decimals and times as text, what is not there left out."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items() if each is not None}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="surrogateescape")
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Decimal | timedelta):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
