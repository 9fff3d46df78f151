"""Read the rows of a CSV table as objects, with the header's names as keys and the cells as strings.

A row is numbered by the physical line on which it starts. A damaged row costs only itself: reading continues
at the next line that is a complete row.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import orjson

from chatlio_kit.captures.dialects.columns import NESTED, PAYLOAD_PATHS
from chatlio_kit.captures.formats.records import (
    MOST_BYTES,
    ByteRecords,
    ReadFault,
    ReadItem,
    Remark,
    not_utf8,
    row_of,
    too_large,
    unreadable,
)
from chatlio_kit.captures.formats.sniffing import is_record
from chatlio_kit.captures.formats.text_blocks import Blocks
from chatlio_kit.counting import counted

csv.field_size_limit(MOST_BYTES)

_COPY_TO = "If PostgreSQL's COPY TO wrote the file, it doubled them: export with FORMAT csv and read again"

_TAB = "\t"
_DELIMITERS = (",", ";", _TAB)
_SEPARATOR = re.compile(r'"?sep=(.)"?\s*')
"""The line above a header in which Excel names the delimiter."""
_BACKSLASH, _NULL, _NO_MORE = "\\", "\\N", "\\."
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_MEANT = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_ROWS_CHECKED = 20
_BATCH = 1000
_QUOTE = b'"'
_LONGEST_NAME = 200
_ROOT = re.compile(r"__|\.")
_UUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")


@dataclass(frozen=True)
class Layout:
    """The format of a CSV table.

    Attributes:
        names: Names in the header.
        delimiter: Character between cells.
        has_json: True if cells hold JSON; False if the columns are the fields.
        above: Number of lines before the header.
        is_copy: True if backslashes escape and every line is a row, as in PostgreSQL's COPY TO.
    """

    names: tuple[str, ...]
    delimiter: str
    has_json: bool
    above: int = 0
    is_copy: bool = False

    def cells(self, text: str) -> Sequence[str | None] | None:
        """Split a row into its cells, with None for null; return None if its quotes do not match."""
        if self.is_copy:
            cells = text.rstrip("\r\n").split(self.delimiter)
            return [None if cell == _NULL else _unescaped(cell) for cell in cells]
        try:
            return next(csv.reader((text,), delimiter=self.delimiter, strict=True), [])
        except csv.Error:
            return None

    def is_row(self, text: str) -> bool:
        """Return whether a line alone is a row of this table: a capture in the right number of cells."""
        cells = self.cells(text)
        return cells is not None and len(cells) == len(self.names) and self._holds(cells)

    def _holds(self, cells: Sequence[str | None]) -> bool:
        texts = [cell for cell in cells if cell]
        if self.has_json:
            return any(text.lstrip()[:1] == "{" and text.rstrip()[-1:] == "}" for text in texts)
        return any(_UUID.fullmatch(text) for text in texts)


def layout_of(head: bytes) -> Layout | None:
    """Return the layout of a table, detected from its beginning; None if it is not a table of captures.

    The header has to name each column once. A row with as many cells has to hold JSON, or the header has to
    name the payload's fields. If more lines are JSON records than rows, the lines before them are not a
    table, but messages such as those a program logs at its start.
    """
    lines = [f"{line}\n" for line in head.lstrip(b"\r\n").decode("utf-8", errors="replace").split("\n")]
    lines = lines[next((index for index, line in enumerate(lines) if line.strip()), len(lines)) :]
    separator = _SEPARATOR.fullmatch(lines[0]) if lines else None
    lines = lines[1:] if separator else lines
    if len(lines) < 2 or lines[0].lstrip()[:1] in ("{", "["):
        return None
    for delimiter in [separator[1]] if separator else sorted(_DELIMITERS, key=lines[0].count, reverse=True):
        # JSON without quotes around it is JSON Lines, unless the line has other cells.
        if lines[1].lstrip()[:1] in ("{", "[") and (delimiter == "," or delimiter not in lines[0]):
            continue
        rows = _first_rows(lines, delimiter)
        names = next(rows, [])
        if not _are_names(names):
            continue
        full_rows = islice((row for row in rows if len(row) == len(names)), _ROWS_CHECKED)
        has_json = any(cell.lstrip()[:1] in ("{", "[") for row in full_rows for cell in row)
        if has_json or _are_fields(names):
            is_copy = delimiter == _TAB and _is_copy(lines[1:], len(names))
            before = int(separator is not None)
            layout = Layout(_without_blanks(names), delimiter, has_json, before, is_copy)
            return layout if separator or _is_table(layout, lines) else None
    return None


def _is_table(layout: Layout, lines: Sequence[str]) -> bool:
    are_records = [is_record(line.encode()) for line in lines]
    records = sum(are_records)
    rows = (line for line, skip in zip(lines, are_records, strict=True) if not skip and layout.is_row(line))
    return records <= sum(1 for _ in islice(rows, records))


def _without_blanks(names: Sequence[str]) -> tuple[str, ...]:
    """Strip spaces from the names of a payload's own fields."""
    bare = [
        name.strip() if _ROOT.split(name.strip())[0] in PAYLOAD_PATHS | NESTED else name for name in names
    ]
    return tuple(bare if len(set(bare)) == len(bare) else names)


def _is_copy(lines: Sequence[str], width: int) -> bool:
    """Return whether backslashes escape: a null, an end mark or JSON valid only unescaped shows it."""
    is_sure = any(line.strip() == _NO_MORE for line in lines)
    for line in lines:
        cells = line.rstrip("\r\n").split(_TAB)
        if len(cells) != width:
            continue
        is_sure = is_sure or _NULL in cells
        for cell in cells:
            if cell.startswith('"'):  # such cells are quoted, so quotes escape
                return False
            if cell.startswith("{") and _BACKSLASH in cell:
                verbatim, unescaped = _is_json(cell), _is_json(_unescaped(cell))
                if verbatim and not unescaped:
                    return False
                is_sure = is_sure or unescaped > verbatim
    return is_sure


def _may_be_copy(row: bytes) -> bool:
    """Return whether a row holds JSON that has another meaning if its backslashes escape."""
    cells = row.decode("utf-8", errors="replace").rstrip("\r\n").split(_TAB)
    doubtful = [cell for cell in cells if cell.startswith("{") and _BACKSLASH * 2 in cell]
    return any(_is_json(_unescaped(cell)) for cell in doubtful)


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except ValueError:
        return False
    return True


def _unescaped(cell: str) -> str:
    """Return a cell of COPY TO without its escapes."""
    if _BACKSLASH not in cell:
        return cell
    return _ESCAPED.sub(lambda escape: _MEANT.get(escape[1], escape[1]), cell)


def _first_rows(lines: Iterable[str], delimiter: str) -> Iterator[list[str]]:
    reader = csv.reader(lines, delimiter=delimiter)
    while True:
        try:
            yield next(reader)
        except csv.Error:  # other rows may be complete
            continue
        except StopIteration:
            return


def _are_names(names: Sequence[str]) -> bool:
    required = names[1:] if len(names) > 1 else names  # a frame's index is written without a name
    return (
        bool(names)
        and len(set(names)) == len(names)
        and all(name.strip() and len(name) <= _LONGEST_NAME for name in required)
        and not any(mark in name for name in names for mark in "{}[\n\x00")
    )


def _are_fields(names: Sequence[str]) -> bool:
    roots = {_ROOT.split(name.strip())[0] for name in names}
    return len(roots & (PAYLOAD_PATHS | NESTED)) > 1 or any(
        name.strip().startswith(("visitor__", "visitor.")) for name in names
    )


def read_csv(blocks: Blocks, layout: Layout) -> Iterator[ReadItem]:
    """Read a table's rows."""
    doubtful = 0
    numbers: list[int] = []
    raws: list[bytes] = []
    rows = _rows(blocks, layout)
    for number, row, is_cut in islice(rows, 1 + layout.above, None):
        doubtful += layout.delimiter == _TAB and not layout.is_copy and b"\\\\" in row and _may_be_copy(row)
        record = _record(number, row, layout, is_cut)
        if isinstance(record, bytes):
            numbers.append(number)
            raws.append(record)
        if raws and (isinstance(record, ReadFault) or len(raws) == _BATCH):
            yield ByteRecords(numbers, raws)
            numbers, raws = [], []
        if isinstance(record, ReadFault):
            yield record
    if raws:
        yield ByteRecords(numbers, raws)
    if doubtful:
        yield Remark(
            f"has rows with doubled backslashes ({doubtful:,}), which were read unchanged. {_COPY_TO}",
            f"files have rows with doubled backslashes ({doubtful:,} each), which were read unchanged. "
            f"{_COPY_TO}",
        )


def _rows(blocks: Blocks, layout: Layout) -> Iterator[tuple[int, bytes, bool]]:
    """Join physical lines to rows; yield number, bytes, and whether the text ends within the row."""
    start, row, size, is_open = 0, list[bytes](), 0, False
    for number, line in _lines(blocks):
        if layout.delimiter == _TAB and line.strip() == _NO_MORE.encode():
            continue
        if layout.is_copy:
            if line.strip():
                yield number, line, False
            continue
        if is_open and line.count(_QUOTE) % 2 == 0 and layout.is_row(line.decode("utf-8", errors="replace")):
            yield start, b"".join(row), False
            is_open = False
        if not is_open:
            if not line.strip():
                continue
            start, row, size = number, [], 0
        row.append(line)
        size += len(line)
        is_open = is_open != bool(line.count(_QUOTE) % 2)
        if not is_open or size > MOST_BYTES:
            yield start, b"".join(row), False
            row, is_open = [], False
    blocks.finish()  # if the file ends within a row, its end is the error
    if is_open:
        yield start, b"".join(row), True


def _lines(blocks: Blocks) -> Iterator[tuple[int, bytes]]:
    number, rest, skipping, skipped = 0, b"", False, 0
    for block in blocks:
        *lines, rest = (rest + block).split(b"\n")
        if skipping and lines:
            skipping, skipped = False, 0
            del lines[0]
        for line in lines:
            number += 1
            yield number, line + b"\n"
        if len(rest) > MOST_BYTES and not skipping:
            number, skipping = number + 1, True
            yield number, rest
        if skipping:
            skipped += len(rest)
            blocks.check_skipped(skipped)
            rest = b""
    if rest:
        yield number + 1, rest


def _record(number: int, row: bytes, layout: Layout, is_cut: bool) -> bytes | ReadFault:
    if len(row) > MOST_BYTES:
        return too_large(number, row)
    if is_cut:
        return unreadable(
            number, row, "The file is truncated in its last row: an opening quote is not closed."
        )
    try:
        text = row.decode()
    except UnicodeDecodeError:
        return unreadable(number, row, f"The row is not UTF-8: {not_utf8(row)}.")
    cells = layout.cells(text)
    if cells is None:
        return unreadable(number, row, "The row's quotes do not match. Correct the row and read it again.")
    if len(cells) != len(layout.names):
        detail = (
            f"The row has {counted(len(cells), 'cell')}, but the header names "
            f"{counted(len(layout.names), 'column')}. Correct the row and read it again."
        )
        return unreadable(number, row, detail)
    return row_of({name: cell for name, cell in zip(layout.names, cells, strict=True) if cell is not None})
