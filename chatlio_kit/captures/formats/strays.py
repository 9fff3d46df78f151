"""Files without captures: their descriptions, and the rule for leaving them out.

A text file is left out only if it is known to hold no captures: a README, notes, a program's log. A file that
may be a capture, even if damaged, packed or in an unsupported format, is rejected.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from contextlib import AbstractContextManager

from chatlio_kit.captures.formats.compression import BREAKS
from chatlio_kit.captures.formats.csv_tables import layout_of
from chatlio_kit.captures.formats.text_blocks import BLOCK, PEEK
from chatlio_kit.chatlio.rejections import shortened

STRAY = "text without a capture"
NO_CAPTURES = (
    "The file holds no captures: no line of its beginning is a JSON object or array, "
    "nor is it a table with captures in its columns."
)

_FORMS: tuple[tuple[bytes, str], ...] = (
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive. Unpack it and read its contents."),
    (b"Rar!", "a RAR archive. Unpack it and read its contents."),
    (b"\x04\x22\x4d\x18", "packed with LZ4. Unpack it and read its contents."),
    (b"\xff\x06\x00\x00sNaPpY", "packed with Snappy. Unpack it and read its contents."),
    (b"SQLite format 3\x00", "an SQLite database. Export the table with the captures as CSV and read that."),
    (b"\xd0\xcf\x11\xe0", "an Office document. Save the sheet with the captures as CSV and read that."),
    (b"Obj\x01", "an Avro file. Convert it to Parquet or to JSON Lines and read that."),
    (b"ORC", "an ORC file. Convert it to Parquet or to JSON Lines and read that."),
    (b"ARROW1", "an Arrow file. Convert it to Parquet and read that."),
    (b"%PDF-", "a PDF document, which holds no captures."),
    (b"<!doctype html", "a web page, which a server sent in place of a file. Download the file again."),
    (b"<html", "a web page, which a server sent in place of a file. Download the file again."),
    (b"<?xml", "XML, perhaps a server's response in place of a file. Captures are JSON, CSV or Parquet."),
)
_PREFIXED = re.compile(rb"(?m)^([^\s{\[][^{\n]{0,200}?)\{\s*\"[^\n]*\}[\s);]*$")
"""A line with other text before its JSON object."""

_OVERLAP = 200
_LONGEST = 1 << 28
_NO_TEXT = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_MARKS = re.compile(
    rb"""
      [{\[] \s* \\* ["'{]                             # an object or an array of them, or its text in a text
    | (?:\A|\n) \s* (?:[{}\]]|\{\s*\}) \s* (?:\n|\Z) # brackets that have a line to themselves
    | %7B | \\u007b | &quot; | &\#x?\d               # JSON in a URL, in a text or in a page
    | [\n\t;,|"'] [0-9A-F]{8}(?:-[0-9A-F]{4}){3}-[0-9A-F]{12} [\r\n\t;,|"']  # a cell with a UUID
    | [0-9A-Z+/]{60} | eyJ[0-9A-Z_-]{40}             # base64, or another code
    | conversationUUID | identUserId | identTraits | visitorEmail | emailPretty | isVisitorMsg
    | slackChannel | slackTeam | htmlBody | textBody
    """,
    re.VERBOSE | re.IGNORECASE,
)
"""Signs of a capture in any format: JSON, Chatlio's fields, or an encoding that may hide them."""
_DATA = re.compile(
    r"\.(json|ndjson|jsonl|jsonlines|ldjson|geojson|har|csv|tsv|tab|parquet|pq|avro|orc|xml|xlsx?|sql|dump|db"
    r"|gz|gzip|bz2|xz|zst|zip|tar|tgz|7z|rar|br|lz4|snappy)(?![a-z])",
    re.IGNORECASE,
)

Open = Callable[[], AbstractContextManager[io.BufferedReader]]


def no_captures(start: bytes, head: bytes) -> str:
    """Describe a file without captures, or explain why its captures cannot be read.

    Args:
        start: Its first bytes.
        head: The beginning of its text.
    """
    markup = head.lstrip()[:32].lower()
    for magic, form in _FORMS:
        if start.startswith(magic) or (magic[:1] == b"<" and markup.startswith(magic)):
            return f"The file is {form}"
    if prefix := _PREFIXED.search(head):
        before = shortened(prefix[1].decode("utf-8", errors="replace"), 40)
        return (
            f"The file has lines with something before their JSON, such as {before}. Remove it so that each "
            "line is a JSON object, and read the file again."
        )
    return NO_CAPTURES


def wide_encoding(start: bytes) -> str | None:
    """Return the encoding of text with two or four bytes per letter; None for any other."""
    start = start[: len(start) // 4 * 4]
    if len(start) < 8:
        return None
    zeros = [start[index::4].count(0) == len(start) // 4 for index in range(4)]
    encodings = {
        (False, True, True, True): "UTF-32 (little-endian)",
        (True, True, True, False): "UTF-32 (big-endian)",
        (False, True, False, True): "UTF-16 (little-endian)",
        (True, False, True, False): "UTF-16 (big-endian)",
    }
    return encodings.get((zeros[0], zeros[1], zeros[2], zeros[3]))


def is_stray(name: str, head: bytes, open_again: Open) -> bool:
    """Return whether a file is known to hold no captures: it is all text, without any sign of a capture.

    A file named like a data file is never a stray, because it should hold captures.

    Args:
        name: Its name.
        head: Its first bytes, at least a few.
        open_again: Opens it from its beginning.
    """
    if not head or _DATA.search(name.rpartition("/")[2].rpartition("!")[2]) or not _is_plain(head):
        return False
    try:
        with open_again() as handle:
            return _holds_nothing(handle)
    except BREAKS:  # reading its records reports the error
        return False


def _holds_nothing(handle: io.BufferedReader) -> bool:
    head = handle.read(PEEK)
    if not head.strip() or layout_of(head) is not None:
        return False
    tail, block, size = b"", head, 0
    while block:
        if not _is_plain(tail + block) or size > _LONGEST:
            return False
        size += len(block)
        tail, block = block[-_OVERLAP:], handle.read(BLOCK)
    return True


def _is_plain(text: bytes) -> bool:
    return _NO_TEXT.search(text) is None and _MARKS.search(text) is None
