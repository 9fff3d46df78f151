"""Decompress files while they are read. The first bytes identify the format, whatever the file's name."""

from __future__ import annotations

import bz2
import errno
import io
import lzma
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol
from zipfile import BadZipFile

import pyarrow as pa

from chatlio_kit.private_files import temporary_folder_unusable

BREAKS = (
    OSError, EOFError, ValueError, NotImplementedError, zlib.error, lzma.LZMAError, BadZipFile, struct.error
)  # fmt: skip
"""The errors that readers raise for a truncated or damaged file."""

MOST_UNPACKED = 16_000_000
MOST_RATIO = 1100
"""A file that expands beyond this size, and beyond this many times its own, is a decompression bomb.

Gzip cannot reach this ratio, so a log of blank lines passes; captures reach at most a tenth of it.
"""

MAGIC_BYTES = 512
"""Number of leading bytes that identify a file's format."""

_XZ_MEMORY = 1 << 28
_LONGEST_MAGIC = 8
_AT_ONCE = 1 << 16
_SMALL_CHUNK = 128
"""Chunk size in bytes for bzip2 and xz: small, because they return nothing from a chunk with an error."""
_ZSTD_CHUNK, _ZSTD_BLOCK = 1 << 10, 1 << 13
"""Number of bytes read and returned at a time for zstd, for the same reason."""

Read = Callable[[int], bytes]


def reraise_full_disk(broken: Exception) -> None:
    """Raise the error of a full disk on this machine, which is not the file's fault.

    Raises:
        OutputError: The disk is full.
    """
    if isinstance(broken, OSError) and broken.errno == errno.ENOSPC:
        raise temporary_folder_unusable(broken) from broken


class UntilBreak:
    """A reader that raises a source's error only after everything before it was read, on every call.

    Args:
        read: Returns at most the given number of bytes; none at the end.

    Attributes:
        broken: The error that the source raised, if any.
    """

    def __init__(self, read: Read) -> None:
        self._read = read
        self.broken: Exception | None = None

    def read(self, size: int, least: int = 1) -> bytes:
        """Return at most ``size`` bytes, and at least ``least`` unless the source ends or fails.

        Raises:
            Exception: One of ``BREAKS``, once everything before it was read.
        """
        parts: list[bytes] = []
        count = 0
        while self.broken is None and count < least:
            try:
                part = self._read(size - count)
            except BREAKS as broken:
                self.broken = broken
                break
            if not part:
                break
            parts.append(part)
            count += len(part)
        if self.broken is not None and not parts:
            raise self.broken
        return b"".join(parts)


class ByteStream(io.RawIOBase):
    """A stream of the bytes that a function returns; its first read returns enough to recognise a format.

    Args:
        read: Returns at most the given number of bytes; none at the end.
        close: Called when the stream is closed.
    """

    def __init__(self, read: Read, close: Callable[[], object] = lambda: None) -> None:
        self._source, self._close = UntilBreak(read), close
        self._least = MAGIC_BYTES

    def readable(self) -> bool:
        """Return true."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read bytes into a buffer and return their number."""
        block = self._source.read(len(buffer), min(self._least, len(buffer)))
        self._least = 1
        buffer[: len(block)] = block
        return len(block)

    def close(self) -> None:
        """Close the stream and its source."""
        if not self.closed:
            self._close()
        super().close()


class _Decompressor(Protocol):
    """One compressed stream, with the interface of bz2 and lzma."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes | memoryview, max_length: int) -> bytes: ...


class _Inflater:
    """A gzip decompressor that returns the last byte before an error, with the interface of bz2 and lzma."""

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
    """Decompress damaged data byte by byte until it fails."""
    parts: list[bytes] = []
    with suppress(zlib.error):
        for index in range(len(data)):
            parts.append(stream.decompress(data[index : index + 1]))
    return b"".join(parts)


class _PackedFile:
    """The compressed bytes, counted while they are read.

    Attributes:
        count: Number of bytes read.
        chunk: Maximum number of bytes per read.
    """

    closed = False

    def __init__(self, handle: io.BufferedReader) -> None:
        self._handle = handle
        self.count = 0
        self.chunk = _AT_ONCE

    def close(self) -> None:
        """Do nothing: the code that opened the file closes it."""

    def read(self, size: int) -> bytes:
        block = self._handle.read1(min(size, self.chunk))
        self.count += len(block)
        return block


class _Streams:
    """Consecutive compressed streams, each decompressed only as far as it is read.

    Args:
        packed: The compressed bytes.
        make: Creates a decompressor.
        chunk: Number of bytes to feed it at a time.
    """

    def __init__(self, packed: _PackedFile, make: Callable[[], _Decompressor], chunk: int = _AT_ONCE) -> None:
        self._packed, self._make, self._chunk = packed, make, chunk
        self._current = make()
        self._input = memoryview(b"")

    def read(self, size: int) -> bytes:
        while True:
            if self._current.eof:
                # A stream may be padded with zeros; anything else must be another stream.
                rest = (self._current.unused_data + self._input).lstrip(b"\0")
                while not rest and (block := self._packed.read(_AT_ONCE)):
                    rest = block.lstrip(b"\0")
                if not rest:
                    return b""
                self._current, self._input = self._make(), memoryview(rest)
            if block := self._current.decompress(self._next(), size):
                return block

    def _next(self) -> bytes | memoryview:
        if not self._current.needs_input:
            return b""
        if not self._input:
            self._input = memoryview(self._packed.read(_AT_ONCE))
            if not self._input:
                raise EOFError("The compressed stream is incomplete")
        chunk, self._input = self._input[: self._chunk], self._input[self._chunk :]
        return chunk


def _zstd(packed: _PackedFile) -> Read:
    packed.chunk = _ZSTD_CHUNK
    stream = pa.CompressedInputStream(pa.PythonFile(packed, mode="r"), "zstd")

    def read(size: int) -> bytes:
        block: bytes = stream.read(min(size, _ZSTD_BLOCK))
        return block

    return read


_UNPACKERS: dict[bytes, Callable[[_PackedFile], Read]] = {
    b"\x1f\x8b": lambda packed: _Streams(packed, _Inflater).read,
    b"BZh": lambda packed: _Streams(packed, bz2.BZ2Decompressor, _SMALL_CHUNK).read,
    b"\xfd7zXZ\x00": lambda packed: (
        _Streams(packed, lambda: lzma.LZMADecompressor(memlimit=_XZ_MEMORY), _SMALL_CHUNK).read
    ),
    b"\x28\xb5\x2f\xfd": _zstd,
}


class _Unpacked(ByteStream):
    """The decompressed bytes of a file, up to the limit for decompression bombs."""

    def __init__(self, handle: io.BufferedReader, unpack: Callable[[_PackedFile], Read]) -> None:
        self._packed, self._count = _PackedFile(handle), 0
        self._unpack = unpack(self._packed)
        super().__init__(self._next)

    def _next(self, size: int) -> bytes:
        if self._count > MOST_UNPACKED and self._count > MOST_RATIO * self._packed.count:
            raise OSError(f"It expands to over {MOST_RATIO:,} times its size, which no captures do")
        block = self._unpack(size)
        self._count += len(block)
        return block


def unpacked(handle: io.BufferedReader) -> io.BufferedReader:
    """Return an open file without its compression; a file that is not compressed is returned unchanged."""
    if isinstance(handle.raw, _Unpacked):
        return handle
    start = handle.peek(_LONGEST_MAGIC)[:_LONGEST_MAGIC]
    for magic, unpack in _UNPACKERS.items():
        if start.startswith(magic):
            return io.BufferedReader(_Unpacked(handle, unpack))
    return handle
