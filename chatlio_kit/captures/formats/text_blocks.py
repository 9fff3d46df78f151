"""A file's text in blocks: as UTF-8, without runs of NULs, and with its beginning available in advance."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from chatlio_kit.captures.formats.compression import BREAKS, UntilBreak
from chatlio_kit.captures.formats.records import MOST_BYTES
from chatlio_kit.counting import counted
from chatlio_kit.errors import UsageError, option

BLOCK = 1 << 20
PEEK = 1 << 16
MOST_BLANK = 16_000_000
MOST_SKIPPED = 1_000_000_000
"""A record that is too large is skipped up to this many bytes; reading ends in a longer one."""

_UTF16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_ASCII = bytes(range(0x20, 0x7F)) + b"\t\r\n"
_GAP = 16
_NULS = rb"\0++(?=[\r\n])|\0{%d,}|\0+\Z" % _GAP
_NULS_INSIDE, _NULS_AT_START = re.compile(rb"(?<=\n)\0+|" + _NULS), re.compile(rb"(?:\A|(?<=\n))\0+|" + _NULS)


class Readable(Protocol):
    """Text that is read in blocks; an empty block is the end."""

    def read(self, size: int) -> bytes:
        """Return the next block."""


class FileText:
    """A file's bytes in blocks, as UTF-8 without a byte order mark or runs of NULs.

    A log that is truncated while it is written, or a disk that loses power, leaves NULs where a file has no
    content: at its beginning, at the edges of its lines, or in place of a part of them. Such a run counts as
    the end of the line that it interrupts. A line that contains only NULs becomes a line with one NUL.

    Args:
        handle: The file.
        has_mark: True if it begins with what may be a byte order mark.

    Attributes:
        nuls: Number of NULs skipped.
    """

    def __init__(self, handle: io.BufferedReader, *, has_mark: bool = True) -> None:
        self._source = UntilBreak(handle.read1)
        self._decoder: codecs.IncrementalDecoder | None = None
        self._starts_line, self._run = True, 0
        self.nuls = 0
        self._head = self._source.read(4, 4) if has_mark else b""
        for mark, encoding in _UTF16.items():
            if self._head.startswith(mark):
                self._head = self._head.removeprefix(mark)
                # Lone surrogates pass through: they cost their own record, not the file.
                self._decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")
        if self._decoder is None:
            self._head = self._head.removeprefix(codecs.BOM_UTF8)

    def read(self, size: int) -> bytes:
        """Return the next block; an empty one at the end.

        Raises:
            Exception: One of ``BREAKS``, after everything before it was returned.
        """
        block, self._head = self._head, b""
        while True:
            block = block or self._source.read(size, size)
            text = self._without_nuls(self._decoded(block), is_last=not block)
            if text or not block:
                return text
            block = b""

    def _decoded(self, block: bytes) -> bytes:
        if self._decoder is None:
            return block
        return self._decoder.decode(block, final=not block).encode("utf-8", "surrogatepass")

    def _without_nuls(self, block: bytes, *, is_last: bool) -> bytes:
        if self._run or b"\0" in block:
            block = bytes(self._run) + block
            whole = block if is_last else block.rstrip(b"\0")
            # A run may continue in the next block; a short placeholder for a long one waits for what follows.
            run = len(block) - len(whole)
            self._run = min(run, _GAP)
            self.nuls += run - self._run
            pattern = _NULS_AT_START if self._starts_line else _NULS_INSIDE
            block = pattern.sub(self._instead, whole)
        if block:
            self._starts_line = block.endswith(b"\n")
        return block

    def _instead(self, run: re.Match[bytes]) -> bytes:
        text, start, end = run.string, run.start(), run.end()
        starts_line = text[start - 1 : start] == b"\n" if start else self._starts_line
        ends_line = text[end : end + 1] in (b"\r", b"\n")
        instead = b"\0" if starts_line and ends_line else b""
        if not (starts_line or ends_line) and end < len(text):
            instead = b"\n"
        self.nuls += end - start - instead.count(b"\0")
        return instead


@dataclass
class Recoding:
    """The encoding of lines that are not UTF-8.

    Attributes:
        encoding: Python's name for it.
        lines: Number of lines read in it so far.
    """

    encoding: str
    lines: int = 0

    @classmethod
    def named(cls, name: str | None) -> Recoding | None:
        """Parse the option ``--encoding``.

        Raises:
            UsageError: The encoding does not exist, or encodes JSON's characters with other bytes.
        """
        if name is None:
            return None
        try:
            codec = codecs.lookup(name)
            has_ascii = _ASCII.decode(codec.name) == _ASCII.decode("ascii")
        except (LookupError, ValueError):
            raise UsageError(
                f"{option('encoding', repr(name))} is not a known encoding. Name one such as cp1252."
            ) from None
        if not has_ascii:
            raise UsageError(
                f"{option('encoding', repr(name))} encodes plain letters with other bytes, so JSON cannot be "
                "found in it. Convert such files to UTF-8."
            )
        return cls(codec.name)

    def line(self, raw: bytes) -> bytes:
        """Return a line as UTF-8; a line in neither encoding stays unchanged, and its record is rejected."""
        try:
            raw.decode()
        except UnicodeDecodeError:
            try:
                text = raw.decode(self.encoding)
            except UnicodeDecodeError:
                return raw
            self.lines += 1
            return text.encode("utf-8", "surrogatepass")
        return raw

    def note(self) -> str:
        """Return a sentence about the lines that were read in it."""
        return f"read as {self.encoding} (--encoding), not as UTF-8: {counted(self.lines, 'line')}"


class Recoded:
    """Text in blocks of whole lines, all in UTF-8."""

    def __init__(self, text: FileText, recoding: Recoding) -> None:
        self._text, self._recoding = text, recoding
        self._rest = b""

    def read(self, size: int) -> bytes:
        """Return the next block, which ends at the end of a line unless that is too far; empty at the end."""
        whole, block = self._rest, b""
        while len(whole) <= MOST_BYTES:
            try:
                block = self._text.read(size)
            except BREAKS:
                if not whole:
                    raise
                block = b""  # the text raises it again at the next call
            whole += block
            if not block or b"\n" in block:
                break
        end = (whole.rfind(b"\n") + 1 if block else 0) or len(whole)
        whole, self._rest = whole[:end], whole[end:]
        if whole.isascii():
            return whole
        return b"\n".join(map(self._recoding.line, whole.split(b"\n")))


class Blocks:
    """A text's blocks, the first of which are available before they are read.

    Errors are raised by ``finish``, once everything before them was read.

    Attributes:
        head: The text's beginning.
        ended: True if the text ends there.
    """

    def __init__(self, text: Readable) -> None:
        self._text = text
        self._broken: Exception | None = None
        self.ended = False
        parts: list[bytes] = []
        size = 0
        # Blank lines at the beginning are ignored, however many there are.
        while size < PEEK or (size < MOST_BLANK and not any(part.strip() for part in parts)):
            block = self._next(PEEK)
            if not block:
                self.ended = True
                break
            parts.append(block)
            size += len(block)
        self.head = b"".join(parts)

    def _next(self, size: int) -> bytes:
        if self._broken is not None:
            return b""
        try:
            return self._text.read(size)
        except BREAKS as broken:
            self._broken = broken
            return b""

    def extend_head(self, holds: Callable[[bytes], bool], most: int) -> bool:
        """Extend the head to the first block with lines that match; return False if none does.

        Args:
            holds: True if any of the given lines match; the last may be incomplete.
            most: Maximum length of the head.
        """
        lines = self.head
        while not holds(lines):
            block = b"" if self.ended or len(self.head) > most else self._next(BLOCK)
            if not block:
                return False
            self.head += block
            lines = lines[lines.rfind(b"\n") + 1 :] + block
        return True

    def __iter__(self) -> Iterator[bytes]:
        if self.head:
            yield self.head
        while block := self._next(BLOCK):
            yield block

    def check_skipped(self, skipped: int) -> None:
        """End reading in a record from which too many bytes were skipped."""
        if skipped > MOST_SKIPPED:
            self._broken = OSError(f"a record continues for more than {MOST_SKIPPED:,} bytes")

    def finish(self) -> None:
        """Raise the error, if any, after everything before it was read."""
        if self._broken is not None:
            raise self._broken
