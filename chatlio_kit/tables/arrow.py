"""Columns as Arrow arrays, and Arrow arrays as the frames of the catalogue."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from chatlio_kit.chatlio.catalogue import TABLES, Dtype
from chatlio_kit.chatlio.timestamps import ARROW_TIME

ARROW_DTYPES: dict[Dtype, Any] = {
    Dtype.TEXT: pa.large_string(),
    Dtype.JSON: pa.large_string(),
    Dtype.TIME: ARROW_TIME,
    Dtype.INTEGER: pa.int64(),
    Dtype.NUMBER: pa.float64(),
    Dtype.FLAG: pa.bool_(),
}

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h
_MUCH, _LARGE = 75_000_000, 32_000_000
_PANDAS_DTYPES = {
    pa.large_string(): pd.StringDtype("pyarrow", na_value=np.nan),
    pa.int64(): pd.Int64Dtype(),
    pa.float64(): pd.Float64Dtype(),
    pa.bool_(): pd.BooleanDtype(),
}


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


def whole(column: Any) -> Any:
    """Give a column in one piece; what is in one already is not copied."""
    if not isinstance(column, pa.ChunkedArray):
        return column
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


@contextmanager
def lean_memory() -> Iterator[None]:
    """Let Arrow take memory from the heap that all else is taken from; its own pool keeps what it had."""
    _share_one_heap()
    before = pa.default_memory_pool()
    pa.set_memory_pool(pa.system_memory_pool())
    try:
        yield
    finally:
        pa.set_memory_pool(before)


def _share_one_heap() -> None:
    """Let all threads take memory from one heap, which keeps what is free until that is much.

    Else glibc gives each its own, which the others leave alone, and fetches larger pieces anew each time.
    """
    with suppress(OSError, AttributeError, TypeError):  # another C library than glibc
        adjust = ctypes.CDLL(None).mallopt
        for setting, value in ((_M_ARENA_MAX, 1), (_M_TRIM_THRESHOLD, _MUCH), (_M_MMAP_THRESHOLD, _LARGE)):
            adjust(setting, value)


def give_memory_back() -> None:
    """Give back what is free: also a system's pool keeps it where it lies in pieces."""
    pa.default_memory_pool().release_unused()
