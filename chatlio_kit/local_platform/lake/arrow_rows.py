"""The columns of a dataset's lake files, derived from its JSON Schema, and rows that fit them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa

from ..store import Json

Convert = Callable[[Any], Any]
_INTEGERS = {"byte": pa.int8(), "short": pa.int16(), "int": pa.int32(), "long": pa.int64()}

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


class RowWriter:
    """Turns valid rows into an Arrow table with the same columns for every batch of a dataset."""

    def __init__(self, json_schema: Json) -> None:
        fields, self._convert = _object(json_schema)
        self.schema = pa.schema(fields)

    def table(self, rows: list[Json]) -> pa.Table:
        """The table of these rows.

        Raises:
            ValueError: when a value has no place in its column, such as a leap second.
        """
        convert = self._convert
        converted = rows if convert is None else [convert(row) for row in rows]
        return pa.Table.from_pylist(converted, schema=self.schema)


def _object(node: Json) -> tuple[list[pa.Field], Convert | None]:
    """The columns of an object, and what its values need before they fit; None when they fit as they are."""
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
    """The column type of a schema node; None for an object without known fields, which holds nothing."""
    kind, xdm_type = node.get("type"), node.get("meta:xdmType")
    if kind == "object":
        return _object_type(node)
    if kind == "array":
        inner, convert = _type(node.get("items", {"type": "string"}))
        if inner is None:
            return None, None
        return pa.list_(inner), None if convert is None else lambda values: [convert(each) for each in values]
    if kind == "string":
        if node.get("format") == "date-time":
            return pa.timestamp("ms", tz="UTC"), _instant
        if node.get("format") == "date":
            return pa.date32(), date.fromisoformat
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
        return [(key, convert_value(each)) for key, each in value.items()]

    return pa.map_(pa.string(), inner), pairs


def _instant(text: str) -> int:
    """Milliseconds since 1970, which pyarrow takes as they are.

    It drops the offset of a datetime where the environment has PYARROW_IGNORE_TIMEZONE, which pandera sets.
    """
    return (datetime.fromisoformat(text) - _EPOCH) // _MILLISECOND


def plain(value: Any) -> Any:
    """A row as its sender wrote it: without nulls, times as RFC 3339 text."""
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items() if each is not None}
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03d}Z"
    return value.isoformat() if isinstance(value, date) else value
