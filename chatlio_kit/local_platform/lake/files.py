"""The lake's files: columns, matching rows, and safe writing.

A batch's rows are split into numbered parts that fit in memory; a streamed batch has one part.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from ..server.service import now_ms
from ..store import Json, Store, open_private

_DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
FAILED_FILE = "part-00000.json"
PART_ROWS, PART_BYTES = 25_000, 32_000_000
GOOD_SUFFIX, FAILED_SUFFIX = ".parquet", ".json"

Convert = Callable[[Any], Any]
_INTEGERS = {"byte": pa.int8(), "short": pa.int16(), "int": pa.int32(), "long": pa.int64()}

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def new_batch_id() -> str:
    """Return an id that sorts by time: 10 digits of milliseconds and 16 random ones."""
    moment = now_ms()
    head = "".join(_DIGITS[moment >> shift & 31] for shift in range(45, -1, -5))
    return head + "".join(secrets.choice(_DIGITS) for _ in range(16))


def good_file(lake: Path, batch_id: str, part: int = 0) -> Path:
    """Return the path of a part of a successful batch's rows."""
    return lake / f"{batch_id}{f'.{part:05}' if part else ''}{GOOD_SUFFIX}"


def good_files(lake: Path, batch_id: str) -> Iterator[Path]:
    """Yield the paths of the parts with a batch's rows."""
    part = 0
    while (path := good_file(lake, batch_id, part)).exists():
        yield path
        part += 1


class PartWriter:
    """A writer that collects a batch's rows and writes them in parts.

    Attributes:
        parts: Number of parts written.
        size: Their size in bytes.
    """

    def __init__(self, lake: Path, batch_id: str) -> None:
        self.parts = self.size = 0
        self._lake, self._batch_id = lake, batch_id
        self._gathered: list[pa.Table] = []

    def add(self, table: pa.Table) -> None:
        """Add rows; columns that only some tables have are null in the others."""
        self._gathered.append(table)
        rows, size = (sum(getattr(each, name) for each in self._gathered) for name in ("num_rows", "nbytes"))
        if rows >= PART_ROWS or size >= PART_BYTES:
            self.close()

    def close(self) -> None:
        """Write the remaining rows."""
        if self._gathered:
            table = pa.concat_tables(self._gathered, promote_options="default")
            self.size += write_rows(self._lake, self._batch_id, table, self.parts)
            self.parts += 1
            self._gathered = []


def batch_of(path: Path) -> str:
    """Return the id of the batch to which a file of the lake belongs."""
    return path.name.partition(".")[0]


def failed_file(lake: Path, batch_id: str) -> Path:
    """Return the path of a failed batch's messages."""
    return lake / f"{batch_id}{FAILED_SUFFIX}"


def write_rows(lake: Path, batch_id: str, table: pa.Table, part: int = 0) -> int:
    """Write a part of a batch's rows as Parquet; return its size in bytes."""
    return write_table(good_file(lake, batch_id, part), table)


def write_table(path: Path, table: pa.Table) -> int:
    """Write or replace a file of rows; return its size in bytes."""
    return write_file(path, lambda file: pq.write_table(table, file))


def write_failed(lake: Path, batch_id: str, lines: Iterable[bytes]) -> int:
    """Write a batch's failed messages, one per line; return the file's size in bytes."""
    return write_file(failed_file(lake, batch_id), lambda file: file.writelines(lines))


def write_file(path: Path, fill: Callable[[BinaryIO], None]) -> int:
    """Write a file completely or not at all; return its size in bytes."""
    unfinished = path.with_suffix(f"{path.suffix}.unfinished")
    with open(open_private(unfinished, os.O_TRUNC | os.O_WRONLY), "wb") as file:
        fill(file)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
    if os.name == "posix":  # Windows cannot open folders
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    return path.stat().st_size


def remove_files(lake: Path, batch_id: str) -> None:
    """Remove a batch's files."""
    for path in (*list(good_files(lake, batch_id))[::-1], failed_file(lake, batch_id)):
        path.unlink(missing_ok=True)


def remove_orphans(store: Store) -> None:
    """Remove files of inactive batches, and of unrecorded ones, whose messages are still in the inbox."""
    known = store.batch_ids() - store.batch_ids(status="inactive")
    for path in store.lake.iterdir():
        if path.suffix == ".unfinished" or batch_of(path) not in known:
            path.unlink()


class RowWriter:
    """A converter of valid rows to Arrow tables that have the same columns in all batches of a dataset."""

    def __init__(self, json_schema: Json) -> None:
        fields, self._convert = _object(json_schema)
        self.schema = pa.schema(fields)

    def table(self, rows: list[Json]) -> pa.Table:
        """Return the table of these rows.

        Raises:
            ValueError: A value does not fit its column, e.g. a leap second.
        """
        convert = self._convert
        converted = rows if convert is None else [convert(row) for row in rows]
        return pa.Table.from_pylist(converted, schema=self.schema)


def _object(node: Json) -> tuple[list[pa.Field], Convert | None]:
    """Return the columns of an object, and the conversion of its values if necessary."""
    fields: list[pa.Field] = []
    converts: list[tuple[str, Convert]] = []
    for name, child in node.get("properties", {}).items():
        kind, convert = _type(child)
        if kind is None:
            continue
        fields.append(pa.field(name, kind))
        if convert is not None:
            converts.append((name, convert))

    def convert_object(value: Json) -> Json:
        converted = value.copy()
        for name, convert in converts:
            present = value.get(name)
            if present is not None:
                converted[name] = convert(present)
        return converted

    return fields, convert_object if converts else None


def _type(node: Json) -> tuple[pa.DataType | None, Convert | None]:
    """Return the column type of a schema node (None for an object without fields), and the conversion."""
    kind, xdm_type = node.get("type"), node.get("meta:xdmType")
    if kind == "object":
        return _object_type(node)
    if kind == "array":
        inner, convert = _type(node.get("items", {"type": "string"}))
        if inner is None:
            return None, None
        return pa.list_(inner), None if convert is None else lambda values: [
            convert(value) for value in values
        ]
    if kind == "string":
        if node.get("format") == "date-time":
            return pa.timestamp("ms", tz="UTC"), _instant
        if node.get("format") == "date":
            return pa.date32(), _day
        return pa.string(), None
    if kind == "integer":
        return _INTEGERS.get(str(xdm_type), pa.int64()), None
    if kind == "number":
        return pa.float64(), float
    if kind == "boolean":
        return pa.bool_(), None
    return pa.string(), str


def _object_type(node: Json) -> tuple[pa.DataType | None, Convert | None]:
    if node.get("properties"):
        fields, convert = _object(node)
        return (pa.struct(fields), convert) if fields else (None, None)
    values = node.get("additionalProperties")
    if not isinstance(values, dict):
        return None, None
    inner, convert_value = _type(values)
    if inner is None:
        return None, None

    def pairs(value: Json) -> list[tuple[str, Any]]:
        if convert_value is None:
            return list(value.items())
        return [(key, convert_value(member)) for key, member in value.items()]

    return pa.map_(pa.string(), inner), pairs


def _instant(moment: str | int) -> int:
    """Return milliseconds since 1970, which pyarrow stores unchanged.

    pyarrow drops the offset of a datetime when PYARROW_IGNORE_TIMEZONE is set, which pandera does.
    """
    if isinstance(moment, int):
        return moment
    return (datetime.fromisoformat(moment) - _EPOCH) // _MILLISECOND


def _day(moment: str | int) -> date:
    """Return the day of a date, or of milliseconds since 1970."""
    return date.fromisoformat(moment) if isinstance(moment, str) else (_EPOCH + moment * _MILLISECOND).date()


def plain(value: Any) -> Any:
    """Return a row as its sender wrote it: without nulls, and with times in RFC 3339."""
    if isinstance(value, dict):
        return {key: plain(member) for key, member in value.items() if member is not None}
    if isinstance(value, list):
        return [plain(element) for element in value]
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03d}Z"
    return value.isoformat() if isinstance(value, date) else value
