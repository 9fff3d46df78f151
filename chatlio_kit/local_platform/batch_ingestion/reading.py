"""Rows of an uploaded file: JSON lines, a JSON array, or Parquet whose columns fit the schema.

Source: Batch ingestion troubleshooting guide; Field constraints, "Parquet"; ETL guide, "Transformations".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from ..server.service import is_deep
from ..store import Json
from .conversion import CONVERSIONS, TypeCompatibilityException, type_of

Row = tuple[Json | None, bytes]
"""A row, None if it cannot be parsed; and its text, empty in Parquet."""

LONGEST_ROW = 16_000_000
_PARQUET_ROWS = 1_000
_READ = 1_000_000
_DECODER = json.JSONDecoder()
_BLANKS = re.compile(r"[ \t\r\n]*")
_BY_PHYSICAL = {"INT32": "int", "INT64": "long", "DOUBLE": "number", "BOOLEAN": "boolean"}
_BY_CONVERTED = {
    "UTF8": "string", "INT_8": "byte", "INT_16": "short", "INT_32": "int", "INT_64": "long", "DATE": "date",
    "TIMESTAMP_MILLIS": "date-time",
}  # fmt: skip


class UnreadableFile(Exception):
    """An error for a file that is not in its format."""


def rows_of(path: Path, input_format: Json, json_schema: Json, first: Path) -> Iterator[Row]:
    """Yield the rows of a batch's file; an empty file has none.

    Args:
        path: The file.
        input_format: The format that the batch was created with.
        json_schema: The schema that columns must fit.
        first: The batch's first file; all files must have its columns.

    Raises:
        UnreadableFile: It has another format; the iterator raises it.
        TypeCompatibilityException: A column does not fit; the iterator raises it.
    """
    if path.stat().st_size == 0:
        return iter(())
    if input_format["format"] == "parquet":
        return _parquet_rows(path, json_schema, first)
    return _array_rows(path) if input_format.get("isMultiLineJson") else _line_rows(path)


def _line_rows(path: Path) -> Iterator[Row]:
    with path.open("rb") as file:
        while line := file.readline(LONGEST_ROW):
            text, is_whole = line.strip(), len(line) < LONGEST_ROW or line.endswith(b"\n")
            while not is_whole and (rest := file.readline(LONGEST_ROW)):
                is_whole, text = rest.endswith(b"\n"), b"{"
            if text:
                yield _parsed(text), text


class _Text:
    """A text file that is read value by value."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._text, self._at = "", 0

    def next(self) -> str:
        """Return the next character other than whitespace without consuming it; "" at the end."""
        while True:
            self._at = _BLANKS.match(self._text, self._at).end()  # type: ignore[union-attr]
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._grow():
                return ""

    def step(self) -> None:
        """Consume the next character."""
        self._at += 1

    def value(self) -> str | None:
        """Return the text of the next JSON value; None at the end."""
        while True:
            try:
                end = _DECODER.raw_decode(self._text, self._at)[1]
            except (ValueError, RecursionError):
                end = len(self._text)
            if end < len(self._text):
                start, self._at = self._at, end
                return self._text[start:end]
            if end - self._at > LONGEST_ROW or not self._grow():
                return None

    def _grow(self) -> bool:
        # The buffer doubles, so that a long value is not parsed repeatedly.
        more = self._file.read(max(_READ, len(self._text) - self._at))
        self._text, self._at = self._text[self._at :] + more, 0
        return bool(more)


def _array_rows(path: Path) -> Iterator[Row]:
    try:
        with path.open(encoding="utf-8") as file:
            text = _Text(file)
            if text.next() != "[":
                raise UnreadableFile("The file is not a JSON array")
            text.step()
            while text.next() != "]":
                element = text.value()
                if element is None or text.next() not in (",", "]"):
                    raise UnreadableFile("The JSON array is incomplete")
                if text.next() == ",":
                    text.step()
                yield _parsed(element.encode()), element.encode()
    except UnicodeDecodeError as error:
        raise UnreadableFile("The file is not UTF-8") from error


def _parsed(text: bytes) -> Json | None:
    try:
        row = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return row if isinstance(row, dict) and not is_deep(row) else None


def _parquet_rows(path: Path, json_schema: Json, first: Path) -> Iterator[Row]:
    """Yield rows in which times are milliseconds, and absent values null."""
    try:
        file = pq.ParquetFile(path, pre_buffer=False, buffer_size=_READ)
    except (pa.ArrowException, OSError) as error:
        raise UnreadableFile("The file is not Parquet") from error
    with file:
        for number in range(len(file.schema)):
            _check_column(file.schema.column(number), json_schema)
        if not pq.read_metadata(first).schema.equals(file.schema):
            raise UnreadableFile("The files of the batch have different columns")
        plain = pa.schema([(field.name, _plain_type(field.type)) for field in file.schema_arrow])
        try:
            for batch in file.iter_batches(batch_size=_PARQUET_ROWS):
                table = pa.Table.from_batches([batch]).cast(plain)
                for row in table.to_pylist(maps_as_pydicts="strict"):
                    yield row, b""
        except (pa.ArrowException, OSError, KeyError) as error:
            raise UnreadableFile("The file is damaged") from error


def _check_column(column: Any, json_schema: Json) -> None:
    """Refuse a leaf column that matches no field in the schema by path and type."""
    steps, node, path = column.path.split("."), json_schema, ""
    while steps:
        target, name = type_of(node), steps.pop(0)
        if target == "array":
            if [name, *steps[:1]] != ["list", "element"]:
                raise TypeCompatibilityException(path, "a different form of Parquet", "a list of element")
            steps.pop(0)
            node = node.get("items", {})
        elif target == "map" and name == "key_value":
            node = {"type": "string"} if steps.pop(0) == "key" else node["additionalProperties"]
        elif target in ("object", "map"):
            path = f"{path}.{name}".lstrip(".")
            child = node.get("properties", {}).get(name, node.get("additionalProperties"))
            if not isinstance(child, dict):
                raise TypeCompatibilityException(path, "a column", "nothing: the schema has no such field")
            node = child
        else:
            raise TypeCompatibilityException(path, "object", target)
    inbound = _inbound(column)
    if type_of(node) not in CONVERSIONS.get(inbound, ()):
        raise TypeCompatibilityException(path, inbound, type_of(node))


def _inbound(column: Any) -> str:
    """Return the XDM type of a leaf column, or Parquet's name of a type that has none."""
    logical, converted = column.logical_type, column.converted_type
    if converted != "NONE":
        return _BY_CONVERTED.get(converted, str(converted))
    if logical.type != "NONE":
        return str(logical)
    return _BY_PHYSICAL.get(column.physical_type, str(column.physical_type))


def _plain_type(kind: pa.DataType) -> pa.DataType:
    """Return a column's type with times as milliseconds and dates as text."""
    if pa.types.is_timestamp(kind):
        return pa.int64()
    if pa.types.is_date(kind):
        return pa.string()
    if pa.types.is_dictionary(kind):
        return kind.value_type
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, _plain_type(field.type)) for field in kind.fields])
    if pa.types.is_map(kind):
        return pa.map_(kind.key_type, _plain_type(kind.item_type))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(_plain_type(kind.value_type))
    return kind
