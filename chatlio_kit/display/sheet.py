"""A small table that shows itself: aligned text in a terminal, escaped HTML in a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from chatlio_kit.display.visible import visible

Cell = str | int | float | None


@dataclass(frozen=True)
class Sheet:
    """Rows under headings, with a title above and notes below.

    Whole numbers are shown with thousands separators and stand to the right; None shows as nothing. Texts may
    come from strangers: each stays in its own cell or note.
    """

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = ()

    def __str__(self) -> str:
        cells = [[visible(shown(cell)) for cell in row] for row in self.rows]
        table = [[visible(heading) for heading in self.headings], *cells] if any(self.headings) else cells
        widths = [max((len(row[at]) for row in table), default=0) for at in range(len(self.headings))]
        right = [self.is_numeric(at) for at in range(len(self.headings))]
        lines = [
            "  ".join(
                cell.rjust(width) if to_right else cell.ljust(width)
                for cell, width, to_right in zip(row, widths, right, strict=True)
            ).rstrip()
            for row in table
        ]
        if any(self.headings):
            lines.insert(1, "  ".join("─" * width for width in widths))
        around = [visible(self.title)] if self.title else []
        return "\n".join([*around, *lines, *(visible(note) for note in self.notes)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        right = [self.is_numeric(at) for at in range(len(self.headings))]
        head = "".join(
            f'<th style="text-align:{_side(to_right)}">{_html(heading)}</th>'
            for heading, to_right in zip(self.headings, right, strict=True)
        )
        body = "".join(
            "<tr>"
            + "".join(
                f'<td style="text-align:{_side(to_right)}{_indent(cell)}">{_html(shown(cell).strip())}</td>'
                for cell, to_right in zip(row, right, strict=True)
            )
            + "</tr>"
            for row in self.rows
        )
        caption = (
            f'<caption style="text-align:left;padding:.4em .5em"><b>{_html(self.title)}</b></caption>'
            if self.title
            else ""
        )
        header = f"<thead><tr>{head}</tr></thead>" if any(self.headings) else ""
        notes = "".join(f"<p>{_html(note)}</p>" for note in self.notes)
        return f"<table>{caption}{header}<tbody>{body}</tbody></table>{notes}"

    def is_numeric(self, at: int) -> bool:
        """Whether a column holds numbers alone."""
        cells = [row[at] for row in self.rows if row[at] is not None]
        return bool(cells) and all(isinstance(cell, int | float) for cell in cells)


def _html(text: str) -> str:
    return escape(visible(text, keep="\n\t"))


def _side(to_right: bool) -> str:
    return "right" if to_right else "left"


def _indent(cell: Cell) -> str:
    """Turn leading blanks, which HTML swallows, into padding."""
    blanks = len(cell) - len(cell.lstrip(" ")) if isinstance(cell, str) else 0
    return f";padding-left:{blanks}em" if blanks else ""


def shown(cell: Cell) -> str:
    """Write a cell as people read it."""
    if cell is None:
        return ""
    if isinstance(cell, int):
        return f"{cell:,}"
    return f"{cell:,.1f}" if isinstance(cell, float) else cell
