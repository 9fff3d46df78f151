"""The members of a zip, each read as a file of its own; nothing is written to the disk by its name."""

from __future__ import annotations

import io
import shutil
import struct
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import IO, Any, cast
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipExtFile, ZipFile, ZipInfo

from chatlio_kit.captures.sources.files import printable
from chatlio_kit.captures.sources.listing import is_litter

_MAGICS = (b"PK\x03\x04", b"PK\x05\x06")
_ENCRYPTED = 0x1
_UPWARDS = (".", "..")
_NTFS, _UNIX = 0x000A, 0x5455
_NTFS_START = datetime(1601, 1, 1, tzinfo=UTC)


def is_zip(handle: io.BufferedReader) -> bool:
    """Whether an open file begins as a zip does."""
    return handle.peek(4)[:4] in _MAGICS


@contextmanager
def open_zip(handle: io.BufferedReader) -> Iterator[ZipFile]:
    """Open a zip; one that comes as a stream is put on the disk first, as its list of members is at its end.

    Raises:
        BadZipFile: when its list of members cannot be read.
    """
    if handle.seekable():
        with ZipFile(handle) as archive:
            yield archive
        return
    with tempfile.TemporaryFile() as whole:
        shutil.copyfileobj(handle, whole)
        with ZipFile(whole) as archive:
            yield archive


class Member:
    """One file of a zip.

    Attributes:
        name: what it is called; members that are called alike are numbered.
        path: its path in the zip.
        size: its bytes, as the zip says.
        modified_at: its time, UTC; None where the zip has only a clock's reading without a zone.
        refusal: why it cannot be read, if that is clear before reading.
    """

    def __init__(self, archive: ZipFile, known: ZipInfo, name: str, refusal: str) -> None:
        self._archive, self._known = archive, known
        self.name, self.path, self.refusal = name, known.filename, refusal
        self.size = known.file_size
        self.modified_at = _time_of(known)

    def open(self) -> io.BufferedReader:
        """Open it for reading."""
        return io.BufferedReader(_Unzipped(self._archive.open(self._known)))


def members(archive: ZipFile, called: Callable[[str], str]) -> tuple[list[Member], list[str]]:
    """Give the members in order of their names, and what those are called that are left out."""
    files = sorted(
        (known for known in archive.infolist() if not known.is_dir()),
        key=lambda known: (known.filename, known.header_offset),
    )
    overlapping = _overlapping(archive.infolist())
    times, found, left_out = Counter[str](), list[Member](), list[str]()
    for known in files:
        if any(is_litter(part) for part in known.filename.split("/") if part not in _UPWARDS):
            left_out.append(called(printable(known.filename)))
            continue
        name = called(printable(known.filename))
        times[name] += 1
        if times[name] > 1:
            name = f"{name} ({times[name]})"
        found.append(Member(archive, known, name, _refusal(known, known.header_offset in overlapping)))
    return found, left_out


def _refusal(known: ZipInfo, overlaps: bool) -> str:
    if known.flag_bits & _ENCRYPTED:
        return "It is encrypted. Unpack the zip with its password, and read what was in it."
    if known.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        return (
            f"It is packed by method {known.compress_type}, which is not read. Pack it with deflate instead."
        )
    if overlaps:
        return "It shares its bytes with another member, as only in a zip that is made to fill a disk."
    return ""


def _overlapping(known: list[ZipInfo]) -> set[int]:
    """Find where members begin inside others."""
    found, end = set[int](), 0
    for each in sorted(known, key=lambda each: each.header_offset):
        if each.header_offset < end:
            found.add(each.header_offset)
        end = max(end, each.header_offset + each.compress_size)
    return found


class _Unzipped(io.RawIOBase):
    """A member's bytes, as far as they go before a break."""

    def __init__(self, handle: IO[bytes]) -> None:
        self._handle = handle

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = cast(ZipExtFile, self._handle).read1(len(buffer))
        buffer[: len(block)] = block
        return len(block)

    def close(self) -> None:
        self._handle.close()
        super().close()


def _time_of(known: ZipInfo) -> datetime | None:
    """Read a time that has a zone: the extra fields of Unix and Windows; the plain one is local to somewhere.

    Source: PKWARE's APPNOTE 4.5.5 (NTFS) and Info-ZIP's extrafld.txt (0x5455, extended timestamp).
    """
    rest = known.extra
    try:
        while len(rest) >= 4:
            tag, size = struct.unpack_from("<HH", rest)
            content, rest = rest[4 : 4 + size], rest[4 + size :]
            if tag == _UNIX and content[0] & 1:
                return datetime.fromtimestamp(struct.unpack_from("<i", content, 1)[0], UTC)
            if tag == _NTFS and struct.unpack_from("<HH", content, 4) == (1, 24):
                (ticks,) = struct.unpack_from("<Q", content, 8)
                return _NTFS_START + timedelta(microseconds=ticks // 10)
    except (struct.error, IndexError, OverflowError, ValueError, OSError):
        return None
    return None
