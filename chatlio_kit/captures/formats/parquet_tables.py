"""Parquet to records: a row becomes an object of its columns' names, numbered from 1.

A null is an absent field, and JSON is written of typed values that is as near to the captured one as can be.
At most a thousand rows are held at a time, and only as many as fit in memory, so a file of any size takes
little of it.
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
import pyarrow.compute as pc
import pyarrow.parquet as pq

from chatlio_kit.captures.dialects.columns import NESTED, PLACES, TIME_PLACES
from chatlio_kit.captures.formats.parquet_sizes import MOST_HELD, size_of
from chatlio_kit.captures.formats.records import (
    MOST_BYTES,
    ByteRecords,
    ReadFault,
    RepeatedKey,
    refusal,
    row_of,
    said,
    too_large,
    unreadable,
)
from chatlio_kit.chatlio.numbers import WrittenNumber, is_double
from chatlio_kit.chatlio.rejections import Reason

MAGIC = b"PAR1"
_VALUE = 64
"""Bytes that a value takes in Python beside its text."""
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


def read_parquet(handle: io.BufferedReader) -> Iterator[ByteRecords | ReadFault]:
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
            is_loose = not _keeps_text(file.schema_arrow)
            written = _Written(is_loose, (file.metadata.created_by or "").startswith("DuckDB"))
            for group in range(file.metadata.num_row_groups):
                yield from _read_group(file, group, source, number, written)
                number += file.metadata.row_group(group).num_rows
        except pa.ArrowException as wrong:
            raise OSError(str(wrong)) from wrong


def _keeps_text(schema: Any) -> bool:
    """Whether payloads stand in the table as their JSON, not as values of its types."""
    return not any(
        field.name in PLACES | NESTED or pa.types.is_nested(getattr(field.type, "storage_type", field.type))
        for field in schema
    )


def _read_group(
    file: Any, group: int, source: Any, before: int, written: _Written
) -> Iterator[ByteRecords | ReadFault]:
    size = size_of(file.metadata, file.schema, group, source)
    if size.refusal:
        detail = (
            f"A part of the file is made to fill a memory: {size.refusal}. Its "
            f"{file.metadata.row_group(group).num_rows:,} rows are not read."
        )
        yield ReadFault(before + 1, b"", Reason.TOO_LARGE, detail)
        return
    if size.as_dictionary:
        file = pq.ParquetFile(
            pa.PythonFile(source, mode="r"),
            metadata=file.metadata,
            buffer_size=_BUFFER,
            read_dictionary=list(size.as_dictionary),
        )
    for batch in file.iter_batches(size.rows, row_groups=[group], use_threads=False):
        yield from (
            _within_limit(batch, before, written) if size.as_dictionary else _records(batch, before, written)
        )
        before += len(batch)


def _within_limit(batch: Any, before: int, written: _Written) -> Iterator[ByteRecords | ReadFault]:
    """Read rows whose repeated values are not written out, as many at once as memory may hold."""
    if sum(map(_weight, batch.columns)) <= MOST_HELD:
        yield from _records(batch, before, written)
    elif len(batch) == 1:
        yield too_large(before + 1, b"")
    else:
        half = len(batch) // 2
        yield from _within_limit(batch.slice(0, half), before, written)
        yield from _within_limit(batch.slice(half), before + half, written)


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


def _records(batch: Any, before: int, written: _Written) -> Iterator[ByteRecords | ReadFault]:
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
            yield ByteRecords(numbers, raws, is_loose=written.is_loose)
            numbers, raws = [], []
        yield found
    if raws:
        yield ByteRecords(numbers, raws, is_loose=written.is_loose)


def _row(one: Any) -> dict[str, Any] | str:
    """Return a row, or why it cannot be read."""
    try:
        return cast(dict[str, Any], one.to_pylist()[0])
    except UnicodeDecodeError:
        return "it holds text that is not UTF-8"
    except (ValueError, OverflowError) as wrong:
        return said(wrong)


def _text(number: int, row: dict[str, Any] | str, written: _Written) -> bytes | ReadFault:
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
        return ReadFault(number, b"", reason, detail)
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
