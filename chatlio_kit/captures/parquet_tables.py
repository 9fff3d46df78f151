"""Parquet to records: a row becomes an object of its columns' names, numbered from 1.

A null is an absent field, and JSON is written of typed values that is as near to the captured one as can be.
Rows are read a thousand at a time, so a file of any size takes little memory.
"""

from __future__ import annotations

import io
import json
import math
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, NamedTuple, cast
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq

from chatlio_kit.captures.dialects.columns import NESTED, PLACES, TIME_PLACES
from chatlio_kit.captures.records import (
    MOST_BYTES,
    Fault,
    Raws,
    RepeatedKey,
    refusal,
    row_of,
    said,
    too_large,
    unreadable,
)
from chatlio_kit.events.numbers import WrittenNumber, is_double

MAGIC = b"PAR1"
_ROWS = 1000
_BUFFER = 1 << 20
_IN_MEMORY = 1 << 24
_UUIDS = frozenset({"UUID", "conversationUUID"})
_UUID_BYTES = 16
_TIMES = frozenset(place.rpartition(".")[2] for place in TIME_PLACES) | {"sentAt"}
_TEXTS = frozenset({"ts"})
"""What is a text although it looks like a decimal number."""
_LAST_ZEROS = re.compile(r"(?:\.|(\.\d*?[1-9]))0+(?=$|[Z+-])")


class _Written(NamedTuple):
    """How a file was written.

    Attributes:
        is_loose: whether its rows hold payloads as typed values.
        by_duckdb: whether DuckDB wrote it, which makes instants in UTC of texts with an offset, and may keep
            them without one. All times of Chatlio's have an offset.
    """

    is_loose: bool
    by_duckdb: bool


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
                is_loose = not _keeps_text(file.schema_arrow)
                written = _Written(is_loose, (file.metadata.created_by or "").startswith("DuckDB"))
                for batch in file.iter_batches(_ROWS, use_threads=False):
                    yield from _records(batch, number, written)
                    number += len(batch)
        except pa.ArrowException as wrong:
            raise OSError(str(wrong)) from wrong


def _keeps_text(schema: Any) -> bool:
    """Whether payloads stand in the table as their JSON, not as values of its types."""
    return not any(
        field.name in PLACES | NESTED or pa.types.is_nested(getattr(field.type, "storage_type", field.type))
        for field in schema
    )


def _records(batch: Any, before: int, written: _Written) -> Iterator[Raws | Fault]:
    try:
        rows: list[dict[str, Any] | str] = batch.to_pylist()
    except (ValueError, OverflowError):  # text that is not UTF-8, or a time beyond the year 9999
        rows = [_row(batch.slice(place, 1)) for place in range(len(batch))]
    numbers: list[int] = []
    raws: list[bytes] = []
    for number, row in enumerate(rows, start=before + 1):
        found = _text(number, row, written)
        if isinstance(found, bytes):
            numbers.append(number)
            raws.append(found)
            continue
        if raws:
            yield Raws(numbers, raws, is_loose=written.is_loose)
            numbers, raws = [], []
        yield found
    if raws:
        yield Raws(numbers, raws, is_loose=written.is_loose)


def _row(one: Any) -> dict[str, Any] | str:
    """Return a row, or why it cannot be read."""
    try:
        return cast(dict[str, Any], one.to_pylist()[0])
    except UnicodeDecodeError:
        return "it holds text that is not UTF-8"
    except (ValueError, OverflowError) as wrong:
        return said(wrong)


def _text(number: int, row: dict[str, Any] | str, written: _Written) -> bytes | Fault:
    if isinstance(row, str):
        return unreadable(number, b"", f"The row cannot be read: {row}. Correct it and read it again.")
    try:
        plain = _plain(row, "", written)
        try:
            text = row_of(plain)
        except TypeError:  # a number beyond 64 bits, or bytes that are no text
            text = json.dumps(plain, default=str).encode()
    except RepeatedKey as wrong:
        reason, _, detail = refusal(wrong)
        return Fault(number, b"", reason, detail)
    return text if len(text) <= MOST_BYTES else too_large(number, text)


def _plain(value: Any, key: str, written: _Written) -> Any:
    """Write a value as JSON has it, as near to what Chatlio wrote as can be; what is null is left out.

    Args:
        value: the value.
        key: the key that it has in its object.
        written: how the file was written.
    """
    if isinstance(value, dict):
        told = {name: _plain(each, name, written) for name, each in value.items()}
        return {name: each for name, each in told.items() if each is not None}
    if isinstance(value, list):
        if value and all(isinstance(each, tuple) for each in value):
            return _plain(_mapping(value), key, written)
        return [_plain(each, key, written) for each in value]
    if isinstance(value, bytes):
        if key in _UUIDS and len(value) == _UUID_BYTES:
            return str(UUID(bytes=value))
        return value.decode("utf-8", errors="surrogateescape")
    if isinstance(value, datetime):
        return _moment(value, is_utc=written.by_duckdb and key in _TIMES)
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, UUID | timedelta):
        return str(value)
    if isinstance(value, Decimal):
        return format(value, "f") if key in _TEXTS else _number(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _mapping(pairs: list[tuple[Any, Any]]) -> dict[str, Any]:
    found = {str(key): value for key, value in pairs}
    if len(found) < len(pairs):
        raise RepeatedKey(
            next(key for key, count in Counter(str(key) for key, _ in pairs).items() if count > 1)
        )
    return found


def _moment(value: datetime, *, is_utc: bool) -> str:
    """Write a time as Chatlio does: no zeros at the end of its decimals, and Z for no offset."""
    text = _LAST_ZEROS.sub(r"\1", value.isoformat()).replace("+00:00", "Z")
    return f"{text}Z" if is_utc and value.tzinfo is None else text


def _number(value: Decimal) -> int | float | WrittenNumber:
    text = format(value, "f")
    if value == value.to_integral_value() and "." not in text:
        return int(value)
    return float(text) if is_double(text) else WrittenNumber(text)
