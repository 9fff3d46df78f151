"""Read the rows of a Parquet file as objects, with the column names as keys, numbered from 1.

A null is a missing field, and typed values are written as JSON that is as close as possible to the captured
JSON. At most a thousand rows are held at once, and only as many as fit in memory. Their possible size is
computed from the footer and the page headers before a row group is read.
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
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, NamedTuple, cast
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from chatlio_kit.captures.dialects.columns import NESTED, PAYLOAD_PATHS, TIME_PATHS
from chatlio_kit.captures.formats.records import (
    MOST_BYTES,
    ByteRecords,
    ReadFault,
    RepeatedKey,
    message_of,
    refusal,
    row_of,
    too_large,
    unreadable,
)
from chatlio_kit.chatlio.numbers import WrittenNumber, is_double
from chatlio_kit.chatlio.rejections import Reason

MAGIC = b"PAR1"
MOST_HELD = 64_000_000
"""Maximum size in bytes of the rows held in memory at once."""

_ROWS_AT_ONCE = 1000
_MANY_ROWS, _ROWS_TO_A_BYTE = 1_000_000, 100
_MOST_PACKED = 200
"""Maximum expansion of a column over its compressed size; captures reach a tenth of it."""
_WIDTH = 8
_HEADER = 64
_PREFIXED = "DELTA_BYTE_ARRAY"
_VALUE = 64
"""Memory in bytes per Python value, without its text."""
_BUFFER = 1 << 20
_IN_MEMORY = 1 << 24
_UUIDS = frozenset({"UUID", "conversationUUID"})
_UUID_BYTES = 16
_TIMES = frozenset(place.rpartition(".")[2] for place in TIME_PATHS) | {"sentAt"}
_TEXTS = frozenset({"ts"})
"""Values that are strings although they look like decimal numbers."""
_LAST_ZEROS = re.compile(r"(?:\.|(\.\d*?[1-9]))0+(?=$|[Z+-])")


@dataclass(frozen=True)
class _Plan:
    """The plan for reading a row group.

    Attributes:
        rows: Number of rows to read at a time.
        as_dictionary: Columns that stay dictionary-encoded, because their values repeat too often.
        refusal: Reason for not reading it; empty if it is read.
    """

    rows: int = _ROWS_AT_ONCE
    as_dictionary: tuple[str, ...] = ()
    refusal: str = ""


def _plan(metadata: Any, schema: Any, group: int, source: Any) -> _Plan:
    """Return the plan for reading a row group.

    Args:
        metadata: The file's footer.
        schema: The file's Parquet schema.
        group: Number of the row group.
        source: The file, open for reading and seeking.
    """
    rows = metadata.row_group(group)
    chunks = [rows.column(index) for index in range(rows.num_columns)]
    packed = sum(chunk.total_compressed_size for chunk in chunks)
    if rows.num_rows > max(_MANY_ROWS, _ROWS_TO_A_BYTE * packed):
        return _Plan(refusal=f"it holds {rows.num_rows:,} rows in {packed:,} bytes")
    longest, as_dictionary = 1, list[str]()
    for index, chunk in enumerate(chunks):
        column = schema.column(index)
        unpacked, values = chunk.total_uncompressed_size, chunk.num_values
        if unpacked > max(MOST_HELD, _MOST_PACKED * chunk.total_compressed_size):
            return _Plan(refusal=f"{chunk.path_in_schema} expands to {unpacked:,} bytes")
        is_list = column.max_repetition_level > 0
        if is_list and values * _WIDTH > max(MOST_HELD, _MOST_PACKED * packed):
            return _Plan(refusal=f"{chunk.path_in_schema} holds {values:,} values in {packed:,} bytes")
        value = max(_longest_value(chunk, source), column.length or 0)
        if value > MOST_HELD:
            return _Plan(refusal=f"{chunk.path_in_schema} may hold values of {value:,} bytes")
        if is_list and value * values > MOST_HELD:
            as_dictionary.append(chunk.path_in_schema)
        elif not is_list:
            longest = max(longest, value)
    return _Plan(max(1, min(_ROWS_AT_ONCE, MOST_HELD // longest)), tuple(as_dictionary))


def _longest_value(chunk: Any, source: Any) -> int:
    """Return the maximum size of a value that is stored once for many rows."""
    if _PREFIXED in chunk.encodings:
        return int(chunk.total_uncompressed_size)
    if not chunk.has_dictionary_page or chunk.dictionary_page_offset is None:
        return 0
    source.seek(chunk.dictionary_page_offset)
    return _unpacked_size(source.read(_HEADER))


def _unpacked_size(header: bytes) -> int:
    """Parse the uncompressed size in a page's header; the header's first fields are the type and this size.

    Source: Apache Parquet's parquet.thrift (PageHeader) in Thrift's compact protocol.

    Raises:
        OSError: It is not a page header.
    """
    numbers, position = [], 0
    try:
        for _ in range(2):
            if header[position] != 0x15:  # the next field, an i32
                raise OSError("A page of the Parquet file has no header")
            position, number, shift = position + 1, 0, 0
            while True:
                byte = header[position]
                number |= (byte & 0x7F) << shift
                position, shift = position + 1, shift + 7
                if not byte & 0x80:
                    break
            numbers.append(number >> 1)  # zigzag; neither is negative
    except IndexError:
        raise OSError("A page of the Parquet file is truncated") from None
    return numbers[1]


class _Written(NamedTuple):
    """The origin of a file's values.

    Attributes:
        is_loose: True if its rows hold payloads as typed values.
        by_duckdb: True if DuckDB wrote it, which converts times with an offset to UTC and may store them
            without one. All of Chatlio's times have an offset.
    """

    is_loose: bool
    by_duckdb: bool


def is_parquet(handle: io.BufferedReader) -> bool:
    """Return whether an open file is Parquet, determined from its first bytes."""
    return handle.peek(len(MAGIC))[: len(MAGIC)] == MAGIC


def read_parquet(handle: io.BufferedReader) -> Iterator[ByteRecords | ReadFault]:
    """Read a table's rows.

    Raises:
        OSError: The file ends early.
    """
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as copy:
        source: Any = handle
        if not handle.seekable():
            # A compressed file is read front to back, but a Parquet file from its end.
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
    """Return whether the table holds payloads as JSON strings rather than as typed columns."""
    return not any(
        field.name in PAYLOAD_PATHS | NESTED
        or pa.types.is_nested(getattr(field.type, "storage_type", field.type))
        for field in schema
    )


def _read_group(
    file: Any, group: int, source: Any, before: int, written: _Written
) -> Iterator[ByteRecords | ReadFault]:
    plan = _plan(file.metadata, file.schema, group, source)
    if plan.refusal:
        detail = (
            f"A part of the file would exhaust the memory: {plan.refusal}. Its "
            f"{file.metadata.row_group(group).num_rows:,} rows are not read."
        )
        yield ReadFault(before + 1, b"", Reason.TOO_LARGE, detail)
        return
    if plan.as_dictionary:
        file = pq.ParquetFile(
            pa.PythonFile(source, mode="r"),
            metadata=file.metadata,
            buffer_size=_BUFFER,
            read_dictionary=list(plan.as_dictionary),
        )
    for batch in file.iter_batches(plan.rows, row_groups=[group], use_threads=False):
        yield from (
            _within_limit(batch, before, written) if plan.as_dictionary else _records(batch, before, written)
        )
        before += len(batch)


def _within_limit(batch: Any, before: int, written: _Written) -> Iterator[ByteRecords | ReadFault]:
    """Read dictionary-encoded rows, as many at a time as fit in memory."""
    if sum(map(_weight, batch.columns)) <= MOST_HELD:
        yield from _records(batch, before, written)
    elif len(batch) == 1:
        yield too_large(before + 1, b"")
    else:
        half = len(batch) // 2
        yield from _within_limit(batch.slice(0, half), before, written)
        yield from _within_limit(batch.slice(half), before + half, written)


def _weight(array: Any) -> int:
    """Return the approximate size of values in bytes without dictionary encoding."""
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
    except (ValueError, OverflowError):  # text that is not UTF-8, or a time after the year 9999
        rows = [_row(batch.slice(index, 1)) for index in range(len(batch))]
    numbers: list[int] = []
    raws: list[bytes] = []
    for number, row in enumerate(rows, start=before + 1):
        record = _text(number, row, written)
        if isinstance(record, bytes):
            numbers.append(number)
            raws.append(record)
            continue
        if raws:
            yield ByteRecords(numbers, raws, is_loose=written.is_loose)
            numbers, raws = [], []
        yield record
    if raws:
        yield ByteRecords(numbers, raws, is_loose=written.is_loose)


def _row(one: Any) -> dict[str, Any] | str:
    """Return a row, or the reason why it cannot be read."""
    try:
        return cast(dict[str, Any], one.to_pylist()[0])
    except UnicodeDecodeError:
        return "it holds text that is not UTF-8"
    except (ValueError, OverflowError) as wrong:
        return message_of(wrong)


def _text(number: int, row: dict[str, Any] | str, written: _Written) -> bytes | ReadFault:
    if isinstance(row, str):
        return unreadable(number, b"", f"The row cannot be read: {row}. Correct it and read it again.")
    try:
        plain = _plain(row, "", written)
        try:
            text = row_of(plain)
        except TypeError:  # a number beyond 64 bits, or bytes that are not text
            text = json.dumps(plain, default=str).encode()
    except RepeatedKey as wrong:
        reason, _, detail = refusal(wrong)
        return ReadFault(number, b"", reason, detail)
    return text if len(text) <= MOST_BYTES else too_large(number, text)


def _plain(value: Any, key: str, written: _Written) -> Any:
    """Return a value as JSON, without nulls and as close as possible to Chatlio's original.

    Args:
        value: The value.
        key: Its key in its object.
        written: The origin of the file's values.
    """
    if isinstance(value, dict):
        members = {name: _plain(member, name, written) for name, member in value.items()}
        return {name: member for name, member in members.items() if member is not None}
    if isinstance(value, list):
        if value and all(isinstance(item, tuple) for item in value):
            return _plain(_mapping(value), key, written)
        return [_plain(item, key, written) for item in value]
    if isinstance(value, bytes):
        if key in _UUIDS and len(value) == _UUID_BYTES:
            return str(UUID(bytes=value))
        return value.decode("utf-8", errors="surrogateescape")
    if isinstance(value, datetime):
        return _time_text(value, is_utc=written.by_duckdb and key in _TIMES)
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
    mapping = {str(key): value for key, value in pairs}
    if len(mapping) < len(pairs):
        counts = Counter(str(key) for key, _ in pairs)
        raise RepeatedKey(next(key for key, count in counts.items() if count > 1))
    return mapping


def _time_text(value: datetime, *, is_utc: bool) -> str:
    """Format a time as Chatlio does: without trailing zeros, and with Z for UTC."""
    text = _LAST_ZEROS.sub(r"\1", value.isoformat()).replace("+00:00", "Z")
    return f"{text}Z" if is_utc and value.tzinfo is None else text


def _number(value: Decimal) -> int | float | WrittenNumber:
    text = format(value, "f")
    if value == value.to_integral_value() and "." not in text:
        return int(value)
    return float(text) if is_double(text) else WrittenNumber(text)
