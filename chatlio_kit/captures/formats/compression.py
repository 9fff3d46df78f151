"""From a file's bytes to those that were packed in it, and to UTF-8 whatever it was written in.

What a file holds is told from its first bytes, never from its name.
"""

from __future__ import annotations

import bz2
import codecs
import io
import lzma
import re
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol
from zipfile import BadZipFile

import pyarrow as pa

BOM = codecs.BOM_UTF8
BREAKS = (
    OSError, EOFError, ValueError, NotImplementedError, zlib.error, lzma.LZMAError, BadZipFile, struct.error
)  # fmt: skip
"""What readers raise where a file ends too early or holds what it should not."""

MOST_UNPACKED = 16_000_000
MOST_RATIO = 1100
"""What unpacks to more than the first, and to so many times its size, is made to fill a memory or a disk.

No gzip reaches this ratio, so a log of blank lines passes; captures reach a tenth of it at most.
"""

MAGIC_BYTES = 512
"""As many of a file's first bytes say what it holds."""

_XZ_MEMORY = 1 << 28
_UTF16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_LONGEST_MAGIC = 8
_AT_ONCE = 1 << 16
_GAP = 16
_NULS = rb"\0++(?=[\r\n])|\0{%d,}|\0+\Z" % _GAP
_NULS_INSIDE, _NULS_AT_START = re.compile(rb"(?<=\n)\0+|" + _NULS), re.compile(rb"(?:\A|(?<=\n))\0+|" + _NULS)
_SIP = 128
"""Bytes: bzip2 and xz give nothing of what they took in together with a break, so they take in little."""
_ZSTD_SIP, _ZSTD_GIVES = 1 << 10, 1 << 13
"""Bytes: for the same reason it takes in little of a zstd, and is asked for little."""


class _Source:
    """Packed bytes, counted as they are taken, so many at once at most."""

    closed = False

    def __init__(self, handle: io.BufferedReader) -> None:
        self._handle = handle
        self.taken = 0
        self.most = _AT_ONCE

    def close(self) -> None:
        """Leave the file to whoever opened it."""

    def read(self, size: int) -> bytes:
        block = self._handle.read1(min(size, self.most))  # before a break, what there is
        self.taken += len(block)
        return block


class _Decompressor(Protocol):
    """One compressed stream, as bz2 and lzma unpack theirs."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes | memoryview, max_length: int) -> bytes: ...


class _Inflater:
    """A gzip stream, unpacked like the others; what stands before a break is given to the last byte."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self._has_more = False
        self._broken: zlib.error | None = None

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def needs_input(self) -> bool:
        return not (self._stream.unconsumed_tail or self._has_more or self._broken)

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data

    def decompress(self, data: bytes | memoryview, max_length: int) -> bytes:
        if self._broken is not None:
            raise self._broken
        data = self._stream.unconsumed_tail + data
        before = self._stream.copy()
        try:
            block = self._stream.decompress(data, max_length)
        except zlib.error as broken:
            self._broken = broken
            return _before_break(before, data)
        self._has_more = len(block) == max_length
        return block


def _before_break(stream: Any, data: bytes) -> bytes:
    """Give what can be unpacked of data that is broken somewhere."""
    parts: list[bytes] = []
    with suppress(zlib.error):
        for place in range(len(data)):
            parts.append(stream.decompress(data[place : place + 1]))
    return b"".join(parts)


class _Streams:
    """Compressed streams, one after another, unpacked no further than what is asked for.

    Args:
        source: the packed bytes.
        make: makes what unpacks a stream.
        sip: how many bytes that takes in at once.
    """

    def __init__(self, source: _Source, make: Callable[[], _Decompressor], sip: int = _AT_ONCE) -> None:
        self._source, self._make, self._sip = source, make, sip
        self._current = make()
        self._fed = memoryview(b"")

    def read(self, size: int) -> bytes:
        while True:
            if self._current.eof:
                # Zeros may fill a stream up; anything else has to be another one.
                rest = (self._current.unused_data + self._fed).lstrip(b"\0")
                while not rest and (block := self._source.read(_AT_ONCE)):
                    rest = block.lstrip(b"\0")
                if not rest:
                    return b""
                self._current, self._fed = self._make(), memoryview(rest)
            if block := self._current.decompress(self._next(), size):
                return block

    def _next(self) -> bytes | memoryview:
        if not self._current.needs_input:
            return b""
        if not self._fed:
            self._fed = memoryview(self._source.read(_AT_ONCE))
            if not self._fed:
                raise EOFError("The compressed stream ends before its end")
        fed, self._fed = self._fed[: self._sip], self._fed[self._sip :]
        return fed


def _xz() -> _Decompressor:
    return lzma.LZMADecompressor(memlimit=_XZ_MEMORY)


def _unzstd(source: _Source) -> Callable[[int], bytes]:
    source.most = _ZSTD_SIP
    stream = pa.CompressedInputStream(pa.PythonFile(source, mode="r"), "zstd")

    def read(size: int) -> bytes:
        block: bytes = stream.read(min(size, _ZSTD_GIVES))  # of what it cannot give whole it gives nothing
        return block

    return read


_UNPACKERS: dict[bytes, Callable[[_Source], Callable[[int], bytes]]] = {
    b"\x1f\x8b": lambda source: _Streams(source, _Inflater).read,
    b"BZh": lambda source: _Streams(source, bz2.BZ2Decompressor, _SIP).read,
    b"\xfd7zXZ\x00": lambda source: _Streams(source, _xz, _SIP).read,
    b"\x28\xb5\x2f\xfd": _unzstd,
}


class _Unpacked(io.RawIOBase):
    """What an unpacker gives, up to what no honest file holds."""

    def __init__(self, source: _Source, read: Callable[[int], bytes]) -> None:
        self._source, self._read = source, read
        self._given = 0
        self._broken: Exception | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = self._next(len(buffer))
        # What was packed is known by its first bytes, so as many come together.
        while 0 < len(block) < MAGIC_BYTES - self._given and (more := self._next(len(buffer) - len(block))):
            block += more
        if not block and self._broken is not None:
            raise self._broken
        buffer[: len(block)] = block
        self._given += len(block)
        return len(block)

    def _next(self, size: int) -> bytes:
        if self._broken is not None:
            return b""
        try:
            block = self._read(size)
        except BREAKS as broken:
            self._broken = broken
            return b""
        given = self._given + len(block)
        if given > MOST_UNPACKED and given > MOST_RATIO * self._source.taken:
            self._broken = OSError(f"It unpacks to over {MOST_RATIO:,} times its size, as no captures do")
        return block


def unpacked(handle: io.BufferedReader) -> io.BufferedReader:
    """Undo the compression of an open file, if it has one of those we know; what was unpacked stays."""
    if isinstance(handle.raw, _Unpacked):
        return handle
    start = handle.peek(_LONGEST_MAGIC)[:_LONGEST_MAGIC]
    for magic, unpack in _UNPACKERS.items():
        if start.startswith(magic):
            source = _Source(handle)
            return io.BufferedReader(_Unpacked(source, unpack(source)))
    return handle


class Text:
    """A file's bytes in blocks, as UTF-8 without a byte order mark and without runs of NULs.

    A log that is cut to nothing while it is written, or a disk that loses power, leaves NULs where a file has
    no content: at its beginning, at the edges of its lines, or instead of a part of them. Such a run counts
    as the end of the line that it breaks off. A line of nothing but NULs stays one that holds a NUL.

    Attributes:
        nuls: how many NULs were passed over.
    """

    def __init__(self, handle: io.BufferedReader) -> None:
        self._handle = handle
        self._broken: Exception | None = None
        self._decoder: codecs.IncrementalDecoder | None = None
        self._starts_line, self._run = True, 0
        self.nuls = 0
        self._head = self._block(4)
        for mark, encoding in _UTF16.items():
            if self._head.startswith(mark):
                self._head = self._head.removeprefix(mark)
                # Lone surrogates go on as they are: they cost their own record, not the file.
                self._decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")
        if self._decoder is None:
            self._head = self._head.removeprefix(BOM)

    def read(self, size: int) -> bytes:
        """Return the next block; an empty one at the end.

        What stands before a break is given first; the break is raised when reading comes to it.
        """
        head, self._head = self._head, b""
        block = head or self._block(size)
        while True:
            text = self._without_nuls(self._decoded(block), is_last=not block)
            if text or not block:
                return text
            block = self._block(size)

    def _decoded(self, block: bytes) -> bytes:
        if self._decoder is None:
            return block
        return self._decoder.decode(block, final=not block).encode("utf-8", "surrogatepass")

    def _without_nuls(self, block: bytes, *, is_last: bool) -> bytes:
        if self._run or b"\0" in block:
            block = bytes(self._run) + block
            whole = block if is_last else block.rstrip(b"\0")
            # A run may go on in the next block; of a long one a short stand-in waits for what follows.
            run = len(block) - len(whole)
            self._run = min(run, _GAP)
            self.nuls += run - self._run
            pattern = _NULS_AT_START if self._starts_line else _NULS_INSIDE
            block = pattern.sub(self._instead, whole)
        if block:
            self._starts_line = block.endswith(b"\n")
        return block

    def _instead(self, found: re.Match[bytes]) -> bytes:
        text, start, end = found.string, found.start(), found.end()
        starts_line = text[start - 1 : start] == b"\n" if start else self._starts_line
        ends_line = text[end : end + 1] in (b"\r", b"\n")
        instead = b"\0" if starts_line and ends_line else b""
        if not (starts_line or ends_line) and end < len(text):
            instead = b"\n"
        self.nuls += end - start - instead.count(b"\0")
        return instead

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
