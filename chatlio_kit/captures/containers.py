"""From a file on disk to its bytes: decompressed, and as UTF-8 whatever it was written in.

What a file holds is told from its first bytes, never from its name.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

BOM = codecs.BOM_UTF8
BREAKS = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError)
"""What readers raise where a file ends too early or holds what it should not."""

Opener = Callable[[IO[bytes]], IO[bytes]]

_PACKED: dict[bytes, Opener] = {
    b"\x1f\x8b": lambda handle: cast(IO[bytes], gzip.GzipFile(fileobj=handle)),
    b"BZh": lambda handle: cast(IO[bytes], bz2.BZ2File(handle)),
    b"\xfd7zXZ\x00": lambda handle: cast(IO[bytes], lzma.LZMAFile(handle)),  # noqa: SIM115  closed by its reader
}
_UTF16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_LONGEST_MAGIC = 8


@contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """Open a file and undo its compression, if it has one of those we know."""
    with path.open("rb") as packed:
        handle = unpacked(packed)
        with handle:
            yield handle


def unpacked(handle: IO[bytes]) -> IO[bytes]:
    """Undo the compression of an open file that can be read from its start again."""
    start = handle.read(_LONGEST_MAGIC)
    handle.seek(0)
    for magic, opener in _PACKED.items():
        if start.startswith(magic):
            return opener(handle)
    return handle


class Text:
    """A file's bytes in blocks, as UTF-8 without a byte order mark."""

    def __init__(self, handle: IO[bytes]) -> None:
        self._handle = cast(io.BufferedReader, handle)
        self._broken: Exception | None = None
        self._decoder: codecs.IncrementalDecoder | None = None
        self._head = self._block(4)
        for mark, encoding in _UTF16.items():
            if self._head.startswith(mark):
                self._head = self._head.removeprefix(mark)
                # Lone surrogates go on as they are: they cost their own record, not the file.
                self._decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")
        if self._decoder is None:
            self._head = self._head.removeprefix(BOM)

    def read(self, size: int) -> bytes:
        """Give the next block; an empty one at the end.

        What stands before a break is given first; the break is raised when reading comes to it.
        """
        head, self._head = self._head, b""
        block = head or self._block(size)
        if self._decoder is None:
            return block
        text = self._decoder.decode(block, final=not block)
        while block and not text:
            block = self._block(size)
            text = self._decoder.decode(block, final=not block)
        return text.encode("utf-8", "surrogatepass")

    def _block(self, size: int) -> bytes:
        if self._broken is not None:
            raise self._broken
        parts = []
        while size > 0:
            try:
                part = self._handle.read1(size)
            except BREAKS as broken:
                self._broken = broken
                break
            if not part:
                break
            parts.append(part)
            size -= len(part)
        if self._broken is not None and not parts:
            raise self._broken
        return b"".join(parts)
