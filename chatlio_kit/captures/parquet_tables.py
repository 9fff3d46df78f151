"""Parquet to records: a row becomes an object of its columns' names, numbered from 1.

A null is an absent field. Rows are read a thousand at a time, so a file of any size takes little memory.
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
import pyarrow.parquet as pq

from chatlio_kit.captures.records import MOST_BYTES, Fault, Raws, row_of, too_large, unreadable

MAGIC = b"PAR1"
_ROWS = 1000
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
            with pq.ParquetFile(pa.PythonFile(source, mode="r"), buffer_size=_BUFFER) as file:
                for batch in file.iter_batches(_ROWS, use_threads=False):
                    yield from _records(batch, number)
                    number += len(batch)
        except pa.ArrowException as wrong:
            raise OSError(str(wrong)) from wrong


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
