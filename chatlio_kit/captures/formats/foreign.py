"""What a file is that holds no captures in a form that is read, told from its beginning."""

from __future__ import annotations

import re

from chatlio_kit.chatlio.rejections import shortened

NO_CAPTURES = (
    "The file holds no captures: no line of its beginning is a JSON object or array, "
    "nor is it a table with captures in its columns."
)

_FORMS: tuple[tuple[bytes, str], ...] = (
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive. Unpack it, and read what was in it."),
    (b"Rar!", "a RAR archive. Unpack it, and read what was in it."),
    (b"\x04\x22\x4d\x18", "packed with LZ4. Unpack it, and read what was in it."),
    (b"\xff\x06\x00\x00sNaPpY", "packed with Snappy. Unpack it, and read what was in it."),
    (b"SQLite format 3\x00", "an SQLite database. Write the table with the captures as CSV, and read that."),
    (b"\xd0\xcf\x11\xe0", "an Office document. Save the sheet with the captures as CSV, and read that."),
    (b"Obj\x01", "an Avro file. Write it as Parquet or as a JSON object a line, and read that."),
    (b"ORC", "an ORC file. Write it as Parquet or as a JSON object a line, and read that."),
    (b"ARROW1", "an Arrow file. Write it as Parquet, and read that."),
    (b"%PDF-", "a PDF document, which holds no captures."),
    (b"<!doctype html", "a web page, as a server sends in place of a file. Get the file again."),
    (b"<html", "a web page, as a server sends in place of a file. Get the file again."),
    (b"<?xml", "XML, perhaps a server's answer in place of a file. Captures are JSON, CSV or Parquet."),
)
_BEHIND = re.compile(rb"(?m)^([^\s{\[][^{\n]{0,200}?)\{\s*\"[^\n]*\}[\s);]*$")
"""A line that has something before its JSON object."""


def no_captures(head: bytes) -> str:
    """Say what a file is that has no captures in it, or what keeps them from being read."""
    start = head.lstrip()[:32]
    for magic, form in _FORMS:
        if head.startswith(magic) or (magic[:1] == b"<" and start.lower().startswith(magic)):
            return f"The file is {form}"
    if found := _BEHIND.search(head):
        before = shortened(found[1].decode("utf-8", errors="replace"), 40)
        return (
            f"The file has lines with something before their JSON, such as {before}. Take that away, so that "
            "each line is a JSON object, and read it again."
        )
    return NO_CAPTURES


def wide_encoding(head: bytes) -> str | None:
    """Name the encoding of a text that has two or four bytes for each letter; None for any other."""
    start = head[: len(head[:512]) // 4 * 4]
    if len(start) < 8:
        return None
    zeros = [start[place::4].count(0) == len(start) // 4 for place in range(4)]
    letters = {
        (False, True, True, True): "UTF-32 (little-endian)",
        (True, True, True, False): "UTF-32 (big-endian)",
        (False, True, False, True): "UTF-16 (little-endian)",
        (True, False, True, False): "UTF-16 (big-endian)",
    }
    return letters.get((zeros[0], zeros[1], zeros[2], zeros[3]))
