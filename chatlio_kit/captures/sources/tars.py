"""The members of a tar, read one after another as a stream; nothing is written to the disk."""

from __future__ import annotations

import io
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, Any, cast

from chatlio_kit.captures.formats.compression import BREAKS, MAGIC_BYTES, MOST_RATIO, MOST_UNPACKED
from chatlio_kit.captures.sources.files import printable
from chatlio_kit.captures.sources.listing import LITTER, SPECIAL, is_litter

LINK = "link in a tar"
_MOST_HEADERS = 4_000_000
"""Bytes: what stands between two members is read into memory; in any real tar it is a few hundred."""
_BLOCK = 1 << 16
_UPWARDS = (".", "..")


def is_tar(handle: io.BufferedReader) -> bool:
    """Whether an open file begins with a tar's header, whose checksum fits."""
    try:
        tarfile.TarInfo.frombuf(handle.peek(MAGIC_BYTES)[:MAGIC_BYTES], "utf-8", "surrogateescape")
    except (tarfile.TarError, OSError, EOFError, ValueError):
        return False
    return True


@dataclass(frozen=True)
class TarMember:
    """One member of a tar.

    Attributes:
        name: what it is called; members that are called alike are numbered.
        path: its path in the tar.
        size: its bytes.
        modified_at: its time, UTC; None where the tar has none.
        left_out: why it is no file of captures; empty for one that is read.
        refusal: why it cannot be read, if that is clear before reading.
        content: its bytes, to be read before the next member is asked for; None where it has none to read.
    """

    name: str
    path: str
    size: int
    modified_at: datetime | None
    left_out: str
    refusal: str
    content: io.BufferedReader | None

    def open(self) -> io.BufferedReader:
        """Return its bytes.

        Raises:
            OSError: when it has none to read.
        """
        if self.content is None:
            raise OSError(self.refusal or self.left_out)
        return self.content


def tar_members(handle: io.BufferedReader, called: Callable[[str], str]) -> Iterator[TarMember]:
    """Read the members as they follow one another.

    Raises:
        OSError: when the tar breaks off, or its list of members is damaged.
    """
    source, times = _Bounded(handle), Counter[str]()
    end = 0
    try:
        with tarfile.open(
            fileobj=cast(IO[bytes], source), mode="r|", tarinfo=_Header, ignore_zeros=True
        ) as archive:
            while (known := archive.next()) is not None:
                cast(Any, archive).members = []  # else it remembers all of them
                end = archive.offset
                source.allow(known.size)
                if known.isdir():
                    continue
                name = called(printable(known.name.removeprefix("./")))
                times[name] += 1
                if times[name] > 1:
                    name = f"{name} ({times[name]})"
                yield _member(archive, source, known, name)
            if archive.offset == end:
                raise tarfile.ReadError("its end is missing")
    except tarfile.TarError as broken:
        if source.is_told:
            return
        raise source.broken or OSError(f"The tar breaks off: {broken}") from None


def _member(archive: tarfile.TarFile, source: _Bounded, known: tarfile.TarInfo, name: str) -> TarMember:
    is_file = known.isreg()
    left_out = "" if is_file else LINK if known.issym() or known.islnk() else SPECIAL
    if any(is_litter(part) for part in known.name.split("/") if part not in _UPWARDS):
        left_out = LITTER
    gaps: Any = known.sparse
    stored = sum(size for _, size in gaps) if known.issparse() else known.size
    refusal = ""
    if known.size > MOST_UNPACKED and known.size > MOST_RATIO * stored:
        refusal = "Almost all of it is a gap, as only in a tar that is made to fill a disk"
    content: io.RawIOBase | None = None
    if is_file and not left_out and not refusal:
        sparse = archive.extractfile(known) if known.issparse() else None
        content = _Content(archive, source, known.size) if sparse is None else _Sparse(sparse)
    return TarMember(
        name,
        known.name,
        known.size,
        _time_of(known),
        left_out,
        refusal,
        None if content is None else io.BufferedReader(content, _BLOCK),
    )


def _time_of(known: tarfile.TarInfo) -> datetime | None:
    if not known.mtime:  # what is packed the same way again gets no time
        return None
    try:
        return datetime.fromtimestamp(known.mtime, UTC)
    except (OverflowError, ValueError, OSError):
        return None


class _Header(tarfile.TarInfo):
    """A member's header; one that is damaged is an error, where the library takes it for the tar's end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        """Read a header."""
        try:
            return super().frombuf(buf, encoding, errors)
        except (tarfile.EmptyHeaderError, tarfile.EOFHeaderError):  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as wrong:
            raise tarfile.ReadError(str(wrong)) from None


class _Bounded:
    """A tar's bytes, of which only so many may stand between two members.

    Attributes:
        broken: what broke; the bytes end there.
        is_told: whether a member was told to end there.
    """

    def __init__(self, handle: io.BufferedReader) -> None:
        self._handle = handle
        self._taken, self._most = 0, _MOST_HEADERS
        self.broken: Exception | None = None
        self.is_told = False

    def allow(self, size: int) -> None:
        """Go on to the end of a member of so many bytes."""
        self._most = self._taken + size + _MOST_HEADERS

    def read(self, size: int) -> bytes:
        """Read on."""
        block = b""
        while self.broken is None and len(block) < size:
            try:
                more = self._handle.read1(size - len(block))
            except BREAKS as broken:
                self.broken = broken
                break
            if not more:
                break
            block += more
            self._taken += len(more)
            if self._taken > self._most:
                self.broken = OSError("Its list of members goes on and on, as no tar of captures does")
        return block


class _Content(io.RawIOBase):
    """A member's bytes, as far as they go before a break."""

    def __init__(self, archive: tarfile.TarFile, source: _Bounded, size: int) -> None:
        self._archive, self._source, self._left = archive, source, size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        stream = cast(IO[bytes], self._archive.fileobj)
        block = stream.read(min(len(buffer), self._left))
        if self._left and not block:
            self._source.is_told = True
            raise self._source.broken or OSError("The tar ends in the middle of it")
        self._left -= len(block)
        buffer[: len(block)] = block
        return len(block)


class _Sparse(io.RawIOBase):
    """The bytes of a member that was packed without its gaps."""

    def __init__(self, content: IO[bytes]) -> None:
        self._content = content

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            block = self._content.read(len(buffer))
        except tarfile.TarError as broken:
            raise OSError(f"The tar breaks off: {broken}") from None
        buffer[: len(block)] = block
        return len(block)
