"""Split a file into its records, with one block in memory.

A record is a non-blank line of newline-delimited JSON (numbered by its physical line), an element of an array
(numbered from 1), or one of several consecutive objects. A file that cannot be read to its end yields the
records before the error, and one fault.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, compress, count

import numpy as np
from numpy.typing import NDArray

from chatlio_kit.captures.dialects.dialect import Dialect
from chatlio_kit.captures.dialects.pages import begins_page, lists_captures, unfold
from chatlio_kit.captures.formats.compression import (
    BREAKS,
    MAGIC_BYTES,
    ByteStream,
    reraise_full_disk,
    unpacked,
)
from chatlio_kit.captures.formats.csv_tables import layout_of, read_csv
from chatlio_kit.captures.formats.json_values import Values, read_values
from chatlio_kit.captures.formats.parquet_tables import is_parquet, read_parquet
from chatlio_kit.captures.formats.records import (
    BLANK,
    MOST_BYTES,
    ByteRecords,
    LineRecords,
    ReadFault,
    ReadItem,
    Remark,
    message_of,
    too_large,
    unreadable,
)
from chatlio_kit.captures.formats.sniffing import are_values, holds_record, is_record, look_like_json
from chatlio_kit.captures.formats.strays import no_captures, wide_encoding
from chatlio_kit.captures.formats.text_blocks import BLOCK, Blocks, FileText, Readable, Recoded, Recoding
from chatlio_kit.counting import counted

_CHECKSUM_ERRORS = ("CRC", "data check")
_NULS = Remark(
    "holds runs of NUL bytes, like a log that was truncated while being written: they were skipped",
    "files hold runs of NUL bytes, like logs that were truncated while being written: these were skipped",
)
_END = ord("\n")


def read_records(
    handle: io.BufferedReader, recoding: Recoding | None = None, fields: Dialect | None = None
) -> Iterator[ReadItem]:
    """Read an open file's records, whatever their format and compression.

    Args:
        handle: The file.
        recoding: Encoding of lines that are not UTF-8, if the user named one.
        fields: A dialect that the user named; if it walks a list, each element is a record.
    """
    number, text = 0, None
    records: Iterator[ReadItem]
    try:
        opened = unpacked(handle)
        if is_parquet(opened):
            records = read_parquet(opened)
            if fields is not None and fields.walk:
                records = unfold(records, fields)
        else:
            start = opened.peek(MAGIC_BYTES)[:MAGIC_BYTES]
            text = FileText(opened)
            records = unfold(split(Recoded(text, recoding) if recoding else text, start), fields)
        for item in records:
            if not isinstance(item, Remark):
                number = item.number if isinstance(item, ReadFault) else item.numbers[-1]
            yield item
    except BREAKS as broken:
        reraise_full_disk(broken)
        yield unreadable(number + 1, b"", _break(broken))
    if text is not None and text.nuls:
        yield _NULS


@dataclass
class LineSpan:
    """Some bytes of a file of lines, which another process reads: the lines that begin within them.

    Attributes:
        start: The first byte.
        end: The byte after the last; None for the rest of the file.
        state: The store's mark of the file's state; None if it has none.
        lines: Number of lines read.
        is_broken: True if reading failed, so that nothing after it counts.
    """

    start: int
    end: int | None
    state: str | None = None
    lines: int = 0
    is_broken: bool = False


def are_lines(head: bytes, fields: Dialect | None) -> bool:
    """Return whether a file is plain newline-delimited JSON, so that any of its lines can be read alone.

    Args:
        head: Its first bytes; more must follow.
        fields: A dialect that the user named.
    """
    head = head.removeprefix(codecs.BOM_UTF8)
    first, ends, _ = head.partition(b"\n")
    if not (first.startswith(b"{") and ends and is_record(first)) or b"\0" in head:
        return False
    is_walked = fields is not None and bool(fields.walk)
    return not (is_walked or layout_of(head) or are_values(head, False) or lists_captures(first, fields))


def read_lines(
    handle: io.BufferedReader, span: LineSpan, recoding: Recoding | None = None
) -> Iterator[ReadItem]:
    """Read the records of a span; their numbers count from the first line that begins in it.

    Args:
        handle: The file, one that :func:`are_lines`.
        span: The bytes, and the progress of reading them.
        recoding: The encoding of lines that are not UTF-8, if the user named it.
    """
    try:
        text = FileText(_lines_within(handle, span), has_mark=not span.start)
        counted = _Counted(Recoded(text, recoding) if recoding else text, span)
        yield from _by_line(Blocks(counted), are_pages=False)
    except BREAKS as broken:
        span.is_broken = True
        yield unreadable(span.lines + 1, b"", _break(broken))
    if text.nuls:
        yield _NULS


def _lines_within(handle: io.BufferedReader, span: LineSpan) -> io.BufferedReader:
    """Return a stream of the lines that begin in a span; the last line may end after it."""
    position = handle.seek(max(span.start - 1, 0))
    while span.start and (block := handle.readline(BLOCK)):  # the rest of the previous line
        position += len(block)
        if block.endswith(b"\n"):
            break
    is_whole = True

    def read(size: int) -> bytes:
        nonlocal position, is_whole
        if span.end is None:
            return handle.read1(size)
        if position >= span.end and is_whole:
            return b""
        inside = span.end - position
        block = handle.read1(min(size, inside)) if inside > 0 else handle.readline(size)
        position += len(block)
        is_whole = block.endswith(b"\n")
        return block

    return io.BufferedReader(ByteStream(read))


class _Counted:
    """A text whose lines are counted while it is read."""

    def __init__(self, text: Readable, span: LineSpan) -> None:
        self._text, self._span = text, span

    def read(self, size: int) -> bytes:
        block = self._text.read(size)
        self._span.lines += block.count(b"\n")
        return block


def _break(broken: Exception) -> str:
    before = "Records before it are kept."
    if any(word in str(broken) for word in _CHECKSUM_ERRORS):
        before = "Its checksum is wrong: records before it are kept, but may be altered."
    return f"The file breaks off here: {message_of(broken)}. {before}"


def split(text: Readable, start: bytes = b"") -> Iterator[ReadItem]:
    """Split a text into records, by the format of its beginning.

    Args:
        text: The text as UTF-8.
        start: The file's first bytes, which identify the format of other files.
    """
    blocks = Blocks(text)
    head = blocks.head
    if not head.strip():
        yield from _by_line(blocks)
        return
    if wide := wide_encoding(start):
        yield unreadable(1, b"", f"The file is {wide}, without a byte order mark. Convert it to UTF-8.")
        return
    layout = layout_of(head)
    if layout is not None:
        yield from read_csv(blocks, layout)
    elif are_values(head, blocks.ended):
        yield from read_values(blocks)
    elif look_like_json(head) or blocks.extend_head(holds_record, MOST_BYTES):
        yield from _by_line(blocks)
    else:
        yield from _after_words(blocks, start)


def _after_words(blocks: Blocks, start: bytes) -> Iterator[ReadItem]:
    """Read records that follow more unrelated lines than the head holds, if any."""
    number, rest = 0, b""
    source = iter(blocks)
    for block in source:
        text = rest + block
        whole = text.rfind(b"\n") + 1
        if holds_record(text[:whole]):
            lines = text.split(b"\n")
            index = next(index for index, line in enumerate(lines) if is_record(line))
            if skipped := number + index:
                detail = (
                    f"The file begins with {counted(skipped, 'line')} without captures. Records after that "
                    "are kept."
                )
                yield unreadable(skipped, lines[0][:1000], detail)
            yield from _by_line(blocks, chain([b"\n".join(lines[index:])], source), skipped)
            return
        number += text.count(b"\n", 0, whole)
        rest = text[whole:] if len(text) - whole <= MOST_BYTES else b""
    blocks.finish()
    yield unreadable(1, b"", no_captures(start, blocks.head))


def _by_line(
    blocks: Blocks,
    source: Iterator[bytes] | None = None,
    number: int = 0,
    are_pages: bool | None = None,
) -> Iterator[ReadItem]:
    """Read each line as a record.

    Args:
        blocks: The text.
        source: The blocks still to be read; by default all.
        number: Number of the previous line.
        are_pages: True if lines are pages that list captures; None where the first one shows it.
    """
    source = iter(blocks) if source is None else source
    rest, skipping, skipped = b"", False, 0
    while block := next(source, b""):
        if not skipping and not rest and block.isspace():
            number += block.count(b"\n")
            continue
        start, end = 0, block.rfind(b"\n")
        first_end = len(rest) + (block.find(b"\n") if end >= 0 else len(block))
        if first_end > MOST_BYTES and not skipping and are_pages is not False:
            page = Values(blocks, chain([rest + block], source))
            before = number
            number = yield from page.page(number)
            if number > before:
                are_pages, rest = True, b""
                source = chain(filter(None, [page.rest()]), page.blocks)
                continue
            are_pages = False
        if end < 0:  # no line ends in this block
            if skipping:
                skipped += len(block)
                blocks.check_skipped(skipped)
            else:
                rest += block
                if len(rest) > MOST_BYTES:
                    yield too_large(number + 1, rest)
                    skipping, rest = True, b""
            continue
        if skipping:
            number, skipping, skipped = number + 1, False, 0
            start = block.find(b"\n") + 1
        if start <= end:
            text = b"".join((rest, memoryview(block)[start:end]))
            ends = np.flatnonzero(np.frombuffer(text, dtype=np.uint8) == _END)
            for item in _filled(number + 1, text, ends):
                yield item
                if are_pages is None and not isinstance(item, ReadFault | Remark):
                    are_pages = begins_page(item.raws)
            number += len(ends) + 1
        rest = block[end + 1 :]
    blocks.finish()  # if the file ends within a line, its end is the error
    if rest.strip():
        yield ByteRecords([number + 1], [rest.strip()], cut=True)


def _filled(first: int, text: bytes, ends: NDArray[np.int64]) -> Iterator[ReadItem]:
    """Yield the lines that are not blank, with their numbers; all but the last end at ``ends``."""
    marks = np.frombuffer(text, dtype=np.uint8)
    starts = np.concatenate(([0], ends + 1))
    longest = int(ends[0]) if len(ends) else len(text)
    if longest <= MOST_BYTES and starts[-1] < len(text) and (marks[starts] > BLANK).all():
        yield LineRecords(first, text, ends)
        return
    lines = text.split(b"\n")
    if len(lines[0]) > MOST_BYTES:
        yield too_large(first, lines[0])
        first, lines = first + 1, lines[1:]
    raws = [line.strip() for line in lines]
    numbers = list(compress(count(first), raws))
    if numbers:
        yield ByteRecords(numbers, [raw for raw in raws if raw])
