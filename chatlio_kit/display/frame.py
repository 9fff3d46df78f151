"""Frames as tables to read: times to the second, texts on the left, missing values empty."""

from __future__ import annotations

from typing import Any

import pandas as pd
from pandas.api import types

from chatlio_kit.counting import counted
from chatlio_kit.display.sheet import ELLIPSIS, Cell, FormattedNumber, Sheet

_MOST_ROWS, _FIRST, _LAST = 28, 12, 6
_MOST_COLUMNS = 10
_LONGEST = 240


def frame_sheet(frame: pd.DataFrame | pd.Series[Any], *, time_zone: str = "UTC") -> Sheet:
    """Return a frame as a table to read. Only the first and last rows of a long frame are shown.

    Args:
        frame: Any frame or series. An index without a name that only numbers the rows is left out.
        time_zone: The zone in which times are shown; the headings name it.
    """
    table = (
        frame if isinstance(frame, pd.DataFrame) else frame.to_frame("" if frame.name is None else frame.name)
    )
    rows = pd.concat([table.head(_FIRST), table.tail(_LAST)]) if len(table) > _MOST_ROWS else table
    index = [rows.index.get_level_values(level).to_series() for level in range(rows.index.nlevels)]
    is_numbering = rows.index.nlevels == 1 and rows.index.name is None and types.is_integer_dtype(rows.index)
    columns = (
        []
        if is_numbering
        else [(name or "", level) for name, level in zip(rows.index.names, index, strict=True)]
    )
    columns += [(name, rows.iloc[:, at]) for at, name in enumerate(rows.columns[:_MOST_COLUMNS])]
    headings = [_heading(name, column, time_zone) for name, column in columns]
    cells: list[list[Cell]] = [
        list(row) for row in zip(*(_cells(column, time_zone) for _, column in columns), strict=True)
    ]
    notes = []
    if len(rows) < len(table):
        cells.insert(_FIRST, [ELLIPSIS for _ in columns])
        notes.append(f"{len(table):,} rows; the first {_FIRST} and the last {_LAST} are shown.")
    if more := [str(name) for name in table.columns[_MOST_COLUMNS:]]:
        notes.append(f"{counted(len(more), 'more column')}: {', '.join(more)}.")
    if table.empty:
        notes.append("No rows.")
    return Sheet("", headings, cells, notes)


def _heading(name: object, column: pd.Series[Any], time_zone: str) -> str:
    text = " · ".join(map(str, name)) if isinstance(name, tuple) else str(name)
    return f"{text} ({time_zone})" if isinstance(column.dtype, pd.DatetimeTZDtype) else text


def _cells(column: pd.Series[Any], time_zone: str) -> list[Cell]:
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        column = column.dt.tz_convert(time_zone)
    decimals = _decimals(column)
    return [_cell(value, decimals) for value in column.tolist()]


def _decimals(column: pd.Series[Any]) -> int:
    """Return the number of decimals for a column of numbers: none, or enough for three significant digits."""
    if not types.is_float_dtype(column):
        return 0
    sizes = column.dropna().abs()
    if sizes.empty or (sizes == sizes.round()).all():
        return 0
    return 3 if sizes.max() <= 1 else 2 if sizes.max() < 10 else 1


def _cell(value: Any, decimals: int) -> Cell:
    if isinstance(value, list | dict | set | tuple):
        return _shortened(str(value))
    if pd.isna(value):
        return None
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, pd.Timestamp):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, pd.Timedelta):
        return str(value.round("s"))
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return FormattedNumber(f"{value:,.{decimals}f}")
    return _shortened(str(value))


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
