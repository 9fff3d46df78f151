"""Small tables: aligned text in a terminal, escaped HTML in a notebook."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from chatlio_kit.display.visible import visible

Cell = str | int | float | None
ELLIPSIS = "⋮"
"""A cell that represents omitted rows."""
_LINE_BREAK = " ↵ "
_OPTION = re.compile(r"(?<!\S)--[a-z][a-z-]*")
_LONGEST_ON_A_LINE = 80
_NOTE = "padding:0 .5em"  # in line with the cells
_FLOW = {
    "left": "text-align:left;vertical-align:top;white-space:pre-line",
    "right": "text-align:right;vertical-align:top;white-space:nowrap",
}


class FormattedNumber(str):
    """A number with its own format, aligned like other numbers."""

    __slots__ = ()


@dataclass(frozen=True)
class Sheet:
    """Rows under headings, with a title above and notes below.

    Numbers have thousands separators and are aligned to the right; None is an empty cell. Untrusted text
    cannot break out of its cell or note.
    """

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = ()

    def __str__(self) -> str:
        cells = [[_on_one_line(format_cell(cell)) for cell in row] for row in self.rows]
        table = [[visible(heading) for heading in self.headings], *cells] if any(self.headings) else cells
        columns = range(len(self.headings))
        widths = [max((len(row[column]) for row in table), default=0) for column in columns]
        aligned = [str.rjust if self.is_numeric(column) else str.ljust for column in columns]
        lines = [
            "  ".join(
                align(cell, width) for cell, width, align in zip(row, widths, aligned, strict=True)
            ).rstrip()
            for row in table
        ]
        if any(self.headings):
            lines.insert(1, "  ".join("─" * width for width in widths))
        title = [visible(self.title)] if self.title else []
        return "\n".join([*title, *lines, *(visible(note) for note in self.notes)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        sides = ["right" if self.is_numeric(column) else "left" for column in range(len(self.headings))]
        head = "".join(
            f'<th style="text-align:{side};vertical-align:bottom">{_html(heading)}</th>'
            for heading, side in zip(self.headings, sides, strict=True)
        )
        rows = (
            "".join(
                f'<td style="{_FLOW[side]}{_indent(cell)}">{_html(format_cell(cell).strip())}</td>'
                for cell, side in zip(row, sides, strict=True)
            )
            for row in self.rows
        )
        body = "".join(f"<tr>{row}</tr>" for row in rows)
        flow = ";white-space:nowrap" if len(self.title) <= _LONGEST_ON_A_LINE else ""
        caption = (
            f'<caption style="text-align:left;padding:.4em .5em{flow}"><b>{_html(self.title)}</b></caption>'
            if self.title
            else ""
        )
        header = f"<thead><tr>{head}</tr></thead>" if any(self.headings) else ""
        notes = "".join(f'<p style="{_NOTE}">{_html(note)}</p>' for note in self.notes)
        return f"<table>{caption}{header}<tbody>{body}</tbody></table>{notes}"

    def is_numeric(self, column: int) -> bool:
        """Return whether a column holds only numbers."""
        cells = [row[column] for row in self.rows if row[column] is not None]
        cells = [cell for cell in cells if cell != ELLIPSIS]
        return bool(cells) and all(isinstance(cell, int | float | FormattedNumber) for cell in cells)


class SheetDisplay(ABC):
    """Base class of objects that appear as a sheet in terminals and notebooks."""

    @abstractmethod
    def sheet(self) -> Sheet:
        """Return the sheet to show."""

    def __repr__(self) -> str:
        return str(self.sheet())

    def _repr_html_(self) -> str:
        return self.sheet()._repr_html_()


def _on_one_line(text: str) -> str:
    return visible(text.replace("\r\n", "\n").replace("\n", _LINE_BREAK))


def _html(text: str) -> str:
    """Escape a text; the name of an option does not break at its hyphens."""
    return _OPTION.sub(r'<span style="white-space:nowrap">\g<0></span>', escape(visible(text, keep="\n\t")))


def _indent(cell: Cell) -> str:
    """Return leading spaces, which HTML ignores, as padding."""
    blanks = len(cell) - len(cell.lstrip(" ")) if isinstance(cell, str) else 0
    return f";padding-left:{blanks}em" if blanks else ""


def format_cell(cell: Cell) -> str:
    """Return a cell as text."""
    if cell is None:
        return ""
    if isinstance(cell, int):
        return f"{cell:,}"
    return f"{cell:,.1f}" if isinstance(cell, float) else cell
