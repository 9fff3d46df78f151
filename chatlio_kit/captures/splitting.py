"""From a file's text to its records, in memory a block at a time.

A record is a non-blank line of newline-delimited JSON (numbered by its physical line), an element of an
array (by its index from 1), or an object standing alone or after another. A file that cannot be read to its
end gives the records before the break, and one more that says so.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import compress, count

import numpy as np
from numpy.typing import NDArray

from chatlio_kit.captures.blocks import Blocks
from chatlio_kit.captures.containers import BREAKS, Text, unpacked
from chatlio_kit.captures.csv_tables import layout_of, read_csv
from chatlio_kit.captures.dialects.dialect import Dialect
from chatlio_kit.captures.dialects.pages import unfold
from chatlio_kit.captures.encodings import Recoded, Recoding
from chatlio_kit.captures.foreign import no_captures, wide_encoding
from chatlio_kit.captures.forms import are_values, look_like_json
from chatlio_kit.captures.parquet_tables import is_parquet, read_parquet
from chatlio_kit.captures.records import (
    BLANK,
    MOST_BYTES,
    Fault,
    Lines,
    Raws,
    Remark,
    said,
    too_large,
    unreadable,
)
from chatlio_kit.captures.values import read_values

_OF_CHECKSUMS = ("CRC", "data check")
_TAR = range(257, 262)
_END = ord("\n")


def read_records(
    handle: io.BufferedReader, recoding: Recoding | None = None, fields: Dialect | None = None
) -> Iterator[Lines | Raws | Fault | Remark]:
    """Yield an open file's records, whatever their form and however they are compressed.

    Args:
        handle: the file.
        recoding: the encoding of lines that are not UTF-8, if it is known.
        fields: a dialect that the user named: where it walks a list, each element is a record.
    """
    number = 0
    try:
        opened = unpacked(handle)
        table = is_parquet(opened)
        records = read_parquet(opened) if table else split(_text(opened, recoding))
        for found in records if table and not (fields and fields.walk) else unfold(records, fields):
            if not isinstance(found, Remark):
                number = found.number if isinstance(found, Fault) else found.numbers[-1]
            yield found
    except BREAKS as broken:
        yield unreadable(number + 1, b"", _break(broken))


def _text(opened: io.BufferedReader, recoding: Recoding | None) -> Text | Recoded:
    text = Text(opened)
    return Recoded(text, recoding) if recoding else text


def _break(broken: Exception) -> str:
    stand = "Records before it stand."
    if any(word in str(broken) for word in _OF_CHECKSUMS):
        stand = "Its checksum is wrong: records before it are as they stand there, and may be altered."
    return f"The file breaks off here: {said(broken)}. {stand}"


def split(text: Text | Recoded) -> Iterator[Lines | Raws | Fault | Remark]:
    """Split a text into records, by the form that its beginning shows."""
    blocks = Blocks(text)
    head = blocks.head
    if not head.strip():
        yield from _by_line(blocks)
        return
    if head[_TAR.start : _TAR.stop] == b"ustar":
        detail = "The file is a tar archive, which is not read. Unpack it, and read what was in it."
        yield unreadable(1, b"", detail)
        return
    if wide := wide_encoding(head):
        yield unreadable(1, b"", f"The file is {wide}, without the mark that says so. Convert it to UTF-8.")
        return
    layout = layout_of(head)
    if layout is not None:
        yield from read_csv(blocks, layout)
    elif are_values(head, blocks.ended):
        yield from read_values(blocks)
    elif look_like_json(head):
        yield from _by_line(blocks)
    else:
        yield unreadable(1, b"", no_captures(head))


def _by_line(blocks: Blocks) -> Iterator[Lines | Raws | Fault | Remark]:
    number, rest, skipping, skipped = 0, b"", False, 0
    for block in blocks:
        if not skipping and not rest and block.isspace():
            number += block.count(b"\n")
            continue
        start, end = 0, block.rfind(b"\n")
        if end < 0:  # no line ends in this block
            if skipping:
                skipped += len(block)
                blocks.pass_over(skipped)
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
            yield from _filled(number + 1, text, ends)
            number += len(ends) + 1
        rest = block[end + 1 :]
    blocks.finish()  # where the file breaks off in a line, the break is told for it
    if rest.strip():
        yield Raws([number + 1], [rest.strip()], cut=True)


def _filled(first: int, text: bytes, ends: NDArray[np.int64]) -> Iterator[Lines | Raws | Fault | Remark]:
    """Give the lines that are not blank, with their numbers; all but the last end at ``ends``."""
    marks = np.frombuffer(text, dtype=np.uint8)
    starts = np.concatenate(([0], ends + 1))
    longest = int(ends[0]) if len(ends) else len(text)
    if longest <= MOST_BYTES and starts[-1] < len(text) and (marks[starts] > BLANK).all():
        yield Lines(first, text, ends)
        return
    lines = text.split(b"\n")
    if len(lines[0]) > MOST_BYTES:
        yield too_large(first, lines[0])
        first, lines = first + 1, lines[1:]
    raws = [line.strip() for line in lines]
    numbers = list(compress(count(first), raws))
    if numbers:
        yield Raws(numbers, [raw for raw in raws if raw])
