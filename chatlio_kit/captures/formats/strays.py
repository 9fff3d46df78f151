"""Text files among captures that surely hold none: a README, notes, a program's log.

Nothing is left out that may be a capture, be it damaged, packed or in a form that is not read: such a file
costs a reject, which says what is wrong with it.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from contextlib import AbstractContextManager

from chatlio_kit.captures.formats.compression import BREAKS
from chatlio_kit.captures.formats.csv_tables import layout_of
from chatlio_kit.captures.formats.text_blocks import BLOCK, PEEK

STRAY = "text without a capture"

_OVERLAP = 200
_LONGEST = 1 << 28
_NO_TEXT = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_SIGNS = re.compile(
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
"""What every form of a capture has: JSON, or fields of Chatlio's, or a code that may hold them."""
_DATA = re.compile(
    r"\.(json|ndjson|jsonl|jsonlines|ldjson|geojson|har|csv|tsv|tab|parquet|pq|avro|orc|xml|xlsx?|sql|dump|db"
    r"|gz|gzip|bz2|xz|zst|zip|tar|tgz|7z|rar|br|lz4|snappy)(?![a-z])",
    re.IGNORECASE,
)

Open = Callable[[], AbstractContextManager[io.BufferedReader]]


def is_stray(name: str, head: bytes, open_again: Open) -> bool:
    """Whether a file surely holds no capture: it is text, all of it, and nothing in it is a capture's.

    A file whose name says that it holds data is none, whatever is in it: something else should be there.

    Args:
        name: what it is called.
        head: its first bytes, at least a few.
        open_again: opens it from its beginning.
    """
    if not head or _DATA.search(name.rpartition("/")[2].rpartition("!")[2]) or not _is_plain(head):
        return False
    try:
        with open_again() as handle:
            return _holds_nothing(handle)
    except BREAKS:  # reading its records says why
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
    return _NO_TEXT.search(text) is None and _SIGNS.search(text) is None
