"""Write frames to Excel workbooks. Untrusted text never becomes a formula or a link."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd

_MOST_ROWS = 1_048_575  # plus a row of headings
_LONGEST = 32_767
_WIDEST, _NARROWEST = 48, 9
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "'")
"""Prefixes that a spreadsheet would treat as more than text when a cell is edited."""
_NOT_IN_XML = re.compile("[\ud800-\udfff\ufffe\uffff]")


def write_workbook(path: Path, sheets: Mapping[str, pd.DataFrame]) -> None:
    """Write frames to a workbook, one sheet for each, without their index.

    Strings are written unchanged. Strings that a spreadsheet could treat as a formula are quoted, as if by a
    leading apostrophe. Strings longer than a cell can hold are shortened and marked. Times with a time zone
    are written as local time, and the heading names the zone. Rows beyond the size of a sheet continue on
    another.

    Raises:
        OSError: The file cannot be written.
    """
    xlsxwriter = import_module("xlsxwriter")
    options = {
        "constant_memory": True,
        "strings_to_formulas": False,
        "strings_to_urls": False,
        "strings_to_numbers": False,
    }
    workbook = xlsxwriter.Workbook(path, options)
    try:
        formats = {
            "heading": workbook.add_format({"bold": True, "text_wrap": True, "valign": "top"}),
            "quoted": workbook.add_format({"quote_prefix": True}),
            "time": workbook.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"}),
        }
        for name, frame in sheets.items():
            for title, rows in _parts(name, frame):
                _write_sheet(workbook.add_worksheet(title), rows, formats)
    finally:
        try:
            workbook.close()
        except import_module("xlsxwriter.exceptions").FileCreateError as error:
            raise error.args[0] from None


def _parts(name: str, frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    for number, first in enumerate(range(0, max(1, len(frame)), _MOST_ROWS), start=1):
        title = name if number == 1 else f"{name} {number}"
        yield title, frame.iloc[first : first + _MOST_ROWS]


def _write_sheet(sheet: Any, frame: pd.DataFrame, formats: Mapping[str, Any]) -> None:
    columns, headings = [], []
    for name in frame.columns:
        column = frame[name]
        zone = column.dt.tz if isinstance(column.dtype, pd.DatetimeTZDtype) else None
        headings.append(f"{name} ({zone})" if zone else str(name))
        if zone:
            column = column.dt.tz_localize(None)
        columns.append((_writer(sheet, column, formats), column.astype("object").tolist()))
        width = min(
            _WIDEST, max(_NARROWEST, *(len(str(value)) for value in column.head(50)), len(headings[-1]))
        )
        sheet.set_column(len(columns) - 1, len(columns) - 1, width)
    sheet.freeze_panes(1, 0)
    for at, heading in enumerate(headings):
        sheet.write_string(0, at, heading, formats["heading"])
    for row in range(len(frame)):
        for at, (write, values) in enumerate(columns):
            value = values[row]
            if value is not None and value is not pd.NA and value == value:  # noqa: PLR0124 - NaN and NaT are not
                write(row + 1, at, value)
    if len(frame) and columns:
        sheet.autofilter(0, 0, len(frame), len(columns) - 1)


def _writer(
    sheet: Any, column: pd.Series[Any], formats: Mapping[str, Any]
) -> Callable[[int, int, Any], None]:
    """Return the function that writes a cell of this column."""
    if pd.api.types.is_bool_dtype(column.dtype):
        return lambda row, at, value: sheet.write_boolean(row, at, bool(value))
    if pd.api.types.is_datetime64_dtype(column.dtype):
        return lambda row, at, value: sheet.write_datetime(row, at, value.to_pydatetime(), formats["time"])
    if pd.api.types.is_numeric_dtype(column.dtype):
        return sheet.write_number  # type: ignore[no-any-return]

    def write_text(row: int, at: int, value: object) -> None:
        text = _NOT_IN_XML.sub("\ufffd", str(value))
        if len(text) > _LONGEST:
            note = f"… [the first of {len(text):,} characters]"
            text = text[: _LONGEST - len(note)] + note
        sheet.write_string(row, at, text, formats["quoted"] if text.startswith(_FORMULA) else None)

    return write_text
