"""Columns as Arrow arrays, and Arrow arrays as the frames of the catalogue."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from chatlio_kit.events.catalogue import TABLES, Dtype
from chatlio_kit.events.times import ARROW_TIME

_ROWS_AT_ONCE = 200

ARROW_DTYPES: dict[Dtype, Any] = {
    Dtype.TEXT: pa.large_string(),
    Dtype.JSON: pa.large_string(),
    Dtype.TIME: ARROW_TIME,
    Dtype.INTEGER: pa.int64(),
    Dtype.NUMBER: pa.float64(),
    Dtype.FLAG: pa.bool_(),
}

_PANDAS_DTYPES = {
    pa.large_string(): pd.StringDtype("pyarrow", na_value=np.nan),
    pa.int64(): pd.Int64Dtype(),
    pa.float64(): pd.Float64Dtype(),
    pa.bool_(): pd.BooleanDtype(),
}


class Columns:
    """Columns that grow row by row.

    Python's values become Arrow's a few rows at a time, while they still are in the processor's cache.

    Args:
        names: the columns; they hold texts.
        integers: those of them that hold whole numbers.
    """

    def __init__(self, names: Sequence[str], integers: Collection[str] = ()) -> None:
        self._names = names
        self._types = [pa.int64() if name in integers else pa.large_string() for name in names]
        self._chunks: list[list[Any]] = [[] for _ in names]
        self._rows: list[tuple[Any, ...]] = []

    def add(self, row: tuple[Any, ...]) -> None:
        """Add a row: a value for each column."""
        self._rows.append(row)
        if len(self._rows) >= _ROWS_AT_ONCE:
            self._settle()

    def extend(self, rows: list[tuple[Any, ...]]) -> None:
        """Add rows."""
        self._rows += rows
        if len(self._rows) >= _ROWS_AT_ONCE:
            self._settle()

    def finish(self) -> dict[str, Any]:
        """Give the columns; empty texts are missing."""
        self._settle()
        columns = {}
        for name, kind, chunks in zip(self._names, self._types, self._chunks, strict=True):
            column = pa.concat_arrays(chunks) if chunks else pa.nulls(0, kind)
            columns[name] = column if kind == pa.int64() else _without_blanks(column)
        return columns

    def _settle(self) -> None:
        if not self._rows:
            return
        for kind, chunks, values in zip(
            self._types, self._chunks, zip(*self._rows, strict=True), strict=True
        ):
            chunks.append(pa.array(values, kind))
        self._rows = []


def texts(values: Sequence[str | None]) -> Any:
    """Give a column of texts; empty ones are missing."""
    return _without_blanks(pa.array(values, pa.large_string()))


def _without_blanks(column: Any) -> Any:
    blank = pc.equal(column, "")
    return pc.if_else(blank, None, column) if pc.any(blank).as_py() else column


def values_of(column: pd.Series[Any]) -> list[Any]:
    """Give a column's values as Python has them, None where one is missing: faster than pandas' own way."""
    values: list[Any] = pa.array(column.array).to_pylist()
    return values


def arrow_frame(table: str, columns: Mapping[str, Any]) -> pd.DataFrame:
    """Build a table of the catalogue from Arrow columns."""
    return frame_of(arrow_table(table, columns))


def arrow_table(table: str, columns: Mapping[str, Any]) -> Any:
    """Put Arrow columns into the catalogue's order, each of its dtype."""
    schema = arrow_schema(table)
    return pa.table([columns[name].cast(schema.field(name).type) for name in schema.names], schema=schema)


def arrow_schema(table: str) -> Any:
    """Give the Arrow schema of a table."""
    return pa.schema([(field.name, ARROW_DTYPES[field.dtype]) for field in TABLES[table]])


def frame_of(table: Any) -> pd.DataFrame:
    """Show an Arrow table as a frame with the catalogue's dtypes."""
    frame: pd.DataFrame = table.to_pandas(types_mapper=_PANDAS_DTYPES.get)
    return frame
