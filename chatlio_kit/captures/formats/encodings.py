"""Lines that are not UTF-8, read in an encoding that the user names."""

from __future__ import annotations

import codecs
from dataclasses import dataclass

from chatlio_kit.captures.formats.compression import BREAKS
from chatlio_kit.captures.formats.records import MOST_BYTES
from chatlio_kit.captures.formats.text_blocks import Readable
from chatlio_kit.errors import UsageError, option

_ASCII = bytes(range(0x20, 0x7F)) + b"\t\r\n"


@dataclass
class Recoding:
    """The encoding of lines that are not UTF-8.

    Attributes:
        encoding: its name, as Python knows it.
        lines: how many lines were read in it so far.
    """

    encoding: str
    lines: int = 0

    @classmethod
    def named(cls, name: str | None) -> Recoding | None:
        """Read the option ``--encoding``.

        Raises:
            UsageError: when there is no such encoding, or lines cannot be told apart in it.
        """
        if name is None:
            return None
        try:
            codec = codecs.lookup(name)
            has_ascii = _ASCII.decode(codec.name) == _ASCII.decode("ascii")
        except (LookupError, ValueError):
            raise UsageError(
                f"{option('encoding', repr(name))} is no known encoding. Name one such as cp1252."
            ) from None
        if not has_ascii:
            raise UsageError(
                f"{option('encoding', repr(name))} has other bytes for plain letters, so no JSON "
                "is found in it. Convert such files to UTF-8."
            )
        return cls(codec.name)

    def line(self, raw: bytes) -> bytes:
        """Return a line as UTF-8; one that is neither stays as it is, and costs its record."""
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
        """Return a sentence about what was read in it."""
        return f"{self.lines:,} lines that are not UTF-8 were read as {self.encoding} (--encoding)"


class Recoded:
    """A text in blocks, line by line in UTF-8."""

    def __init__(self, text: Readable, recoding: Recoding) -> None:
        self._text, self._recoding = text, recoding
        self._rest = b""
        self._broken: Exception | None = None

    def read(self, size: int) -> bytes:
        """Return the next block, which ends with a line unless that is monstrous; an empty one at the end.

        What stands before a break is returned first, as the text itself does it.
        """
        whole = self._rest
        while len(whole) <= MOST_BYTES:
            block = self._next(size, has_more=bool(whole))
            whole += block
            if not block or b"\n" in block:
                break
        cut = whole.rfind(b"\n") + 1 if block else 0
        cut = cut or len(whole)
        whole, self._rest = whole[:cut], whole[cut:]
        if whole.isascii():
            return whole
        return b"\n".join(map(self._recoding.line, whole.split(b"\n")))

    def _next(self, size: int, *, has_more: bool) -> bytes:
        if self._broken is None:
            try:
                return self._text.read(size)
            except BREAKS as broken:
                self._broken = broken
        if has_more:
            return b""
        raise self._broken
