"""Members of zip and tar archives, read as files; nothing is written to disk under a member's name."""

from __future__ import annotations

import io
import shutil
import struct
import tarfile
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import IO, Any, cast
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipExtFile, ZipFile, ZipInfo

from chatlio_kit.captures.formats.compression import (
    BREAKS,
    MAGIC_BYTES,
    MOST_RATIO,
    MOST_UNPACKED,
    ByteStream,
    UntilBreak,
)
from chatlio_kit.captures.sources.files import LITTER, SPECIAL, Source, is_litter, printable
from chatlio_kit.captures.sources.web import WebSource

LINK = "link in a tar"
_ZIP_MAGICS = (b"PK\x03\x04", b"PK\x05\x06")
_OFFICE = "[Content_Types].xml"
_ENCRYPTED = 0x1
_NTFS, _UNIX = 0x000A, 0x5455
_NTFS_START = datetime(1601, 1, 1, tzinfo=UTC)
_UPWARDS = (".", "..")
_BLOCK = 1 << 16
_MOST_HEADERS = 4_000_000
"""Maximum number of bytes between two members of a tar, read into memory; a few hundred are usual."""

Rename = Callable[[str], str]


@dataclass(frozen=True)
class Member:
    """One file in an archive.

    Attributes:
        name: Its name; members with equal names are numbered.
        path: Its path in the archive.
        size: Its size in bytes, according to the archive.
        modified_at: Its time, UTC; None if the archive has none, or one without a time zone.
        open: Opens it. In a tar it must be read before the next member.
        can_reopen: True if it can be opened more than once.
        left_out: Reason for leaving it out; empty if it is read.
        refusal: Reason why it cannot be read, if known in advance.
    """

    name: str
    path: str
    size: int
    modified_at: datetime | None
    open: Callable[[], io.BufferedReader]
    can_reopen: bool
    left_out: str = ""
    refusal: str = ""


class _UniqueNames:
    """Gives each member a unique, printable name."""

    def __init__(self, rename: Rename) -> None:
        self._rename, self._times = rename, Counter[str]()

    def of(self, path: str, left_out: str) -> str:
        name = self._rename(printable(path))
        if left_out:
            return name
        self._times[name] += 1
        return name if self._times[name] == 1 else f"{name} ({self._times[name]})"


def _is_litter(path: str) -> bool:
    return any(is_litter(part) for part in path.split("/") if part not in _UPWARDS)


def is_zip(handle: io.BufferedReader) -> bool:
    """Return whether an open file starts like a zip."""
    return handle.peek(4)[:4] in _ZIP_MAGICS


def zip_members(handle: io.BufferedReader, rename: Rename) -> Iterator[Member]:
    """Yield a zip's members in the order of their paths.

    Args:
        handle: The zip.
        rename: Returns the name to use for a name.

    Raises:
        BadZipFile: Its list of members cannot be read.
        OSError: It is an Office document.
    """
    with _open_zip(handle) as archive:
        infos = archive.infolist()
        if _OFFICE in archive.NameToInfo:
            raise OSError("It is an Office document. Save the sheet with the captures as CSV and read that")
        overlapping = _overlapping(infos)
        names = _UniqueNames(rename)
        files = (info for info in infos if not info.is_dir())
        for info in sorted(files, key=lambda info: (info.filename, info.header_offset)):
            left_out = LITTER if _is_litter(info.filename) else ""
            yield Member(
                names.of(info.filename, left_out),
                info.filename,
                info.file_size,
                _zip_time(info),
                partial(_open_zipped, archive, info),
                can_reopen=True,
                left_out=left_out,
                refusal=_zip_refusal(info, info.header_offset in overlapping),
            )


def zip_listing(source: Source) -> list[ZipInfo]:
    """Return a zip's list of members, reading little more than its end; empty if it is not a zip.

    The list of a file that cannot be opened is empty too; reading the file reports the reason.
    """
    with suppress(*BREAKS), source.open() as handle:
        if not is_zip(handle):
            return []
        if not isinstance(source, WebSource):
            with _open_zip(handle) as archive:
                return archive.infolist()
    if isinstance(source, WebSource):
        for opened in (source.open_end, source.open):  # some servers cannot send only the end
            with suppress(*BREAKS), opened() as end, _open_zip(end) as archive:
                return archive.infolist()
    return []


@contextmanager
def _open_zip(handle: io.BufferedReader) -> Iterator[ZipFile]:
    """Open a zip; a stream is copied to disk first, because a zip's list of members is at its end."""
    if handle.seekable():
        with ZipFile(handle) as archive:
            yield archive
        return
    with tempfile.TemporaryFile() as whole:
        shutil.copyfileobj(handle, whole)
        with ZipFile(whole) as archive:
            yield archive


def _open_zipped(archive: ZipFile, info: ZipInfo) -> io.BufferedReader:
    member = cast(ZipExtFile, archive.open(info))
    return io.BufferedReader(ByteStream(member.read1, member.close))


def _zip_refusal(info: ZipInfo, overlaps: bool) -> str:
    if info.flag_bits & _ENCRYPTED:
        return "It is encrypted. Unpack the zip with its password and read its contents."
    if info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        method = info.compress_type
        return f"It is packed with method {method}, which is not supported. Pack it with deflate instead."
    if overlaps:
        return "It shares its bytes with another member, which happens only in decompression bombs."
    return ""


def _overlapping(infos: list[ZipInfo]) -> set[int]:
    """Return the offsets of members that start within another one."""
    offsets, end = set[int](), 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        if info.header_offset < end:
            offsets.add(info.header_offset)
        end = max(end, info.header_offset + info.compress_size)
    return offsets


def _zip_time(info: ZipInfo) -> datetime | None:
    """Return the time in the extra fields of Unix or Windows; the plain one has no time zone.

    Source: PKWARE's APPNOTE 4.5.5 (NTFS) and Info-ZIP's extrafld.txt (0x5455, extended timestamp).
    """
    rest = info.extra
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


def is_tar(handle: io.BufferedReader) -> bool:
    """Return whether an open file starts with a tar header that has the right checksum."""
    try:
        tarfile.TarInfo.frombuf(handle.peek(MAGIC_BYTES)[:MAGIC_BYTES], "utf-8", "surrogateescape")
    except (tarfile.TarError, OSError, EOFError, ValueError):
        return False
    return True


def tar_members(handle: io.BufferedReader, rename: Rename) -> Iterator[Member]:
    """Yield a tar's members in their order, without seeking.

    Args:
        handle: The tar.
        rename: Returns the name to use for a name.

    Raises:
        OSError: The tar is truncated, or its list of members is damaged.
    """
    source, names = _BoundedTar(handle), _UniqueNames(rename)
    end = 0
    try:
        with tarfile.open(
            fileobj=cast(IO[bytes], source), mode="r|", tarinfo=_Header, ignore_zeros=True
        ) as archive:
            while (info := archive.next()) is not None:
                cast(Any, archive).members = []  # tarfile would keep all of them
                end = archive.offset
                source.allow(info.size)
                if not info.isdir():
                    yield _tar_member(archive, source, info, names)
            if archive.offset == end:
                raise tarfile.ReadError("its end is missing")
    except tarfile.TarError as broken:
        if not source.is_reported:
            raise source.broken or OSError(f"The tar is incomplete: {broken}") from None


def _tar_member(
    archive: tarfile.TarFile, source: _BoundedTar, info: tarfile.TarInfo, names: _UniqueNames
) -> Member:
    left_out = "" if info.isreg() else LINK if info.issym() or info.islnk() else SPECIAL
    if _is_litter(info.name):
        left_out = LITTER
    gaps: Any = info.sparse
    stored = sum(size for _, size in gaps) if info.issparse() else info.size
    is_bomb = info.size > MOST_UNPACKED and info.size > MOST_RATIO * stored
    refusal = "Almost all of it is a gap, which happens only in decompression bombs" if is_bomb else ""
    return Member(
        names.of(info.name.removeprefix("./"), left_out),
        info.name,
        info.size,
        _tar_time(info),
        lambda: io.BufferedReader(_tar_content(archive, source, info), _BLOCK),
        can_reopen=False,
        left_out=left_out,
        refusal=refusal,
    )


def _tar_content(archive: tarfile.TarFile, source: _BoundedTar, info: tarfile.TarInfo) -> ByteStream:
    """Return a member's bytes, up to an error."""
    if info.issparse() and (sparse := archive.extractfile(info)) is not None:
        return ByteStream(lambda size: _read_sparse(sparse, size))
    stream, remaining = cast(IO[bytes], archive.fileobj), info.size

    def read(size: int) -> bytes:
        nonlocal remaining
        block = stream.read(min(size, remaining))
        if remaining and not block:
            source.is_reported = True
            raise source.broken or OSError("The tar ends in the middle of it")
        remaining -= len(block)
        return block

    return ByteStream(read)


def _read_sparse(content: IO[bytes], size: int) -> bytes:
    try:
        return content.read(size)
    except tarfile.TarError as broken:
        raise OSError(f"The tar is incomplete: {broken}") from None


def _tar_time(info: tarfile.TarInfo) -> datetime | None:
    if not info.mtime:  # reproducible builds set none
        return None
    try:
        return datetime.fromtimestamp(info.mtime, UTC)
    except (OverflowError, ValueError, OSError):
        return None


class _Header(tarfile.TarInfo):
    """A member's header; a damaged one raises an error, whereas tarfile would assume the end of the tar."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        """Parse a header."""
        try:
            return super().frombuf(buf, encoding, errors)
        except (tarfile.EmptyHeaderError, tarfile.EOFHeaderError):  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as wrong:
            raise tarfile.ReadError(str(wrong)) from None


class _BoundedTar:
    """A tar's bytes, with a limit on those between two members; they end where the tar is damaged.

    Attributes:
        is_reported: True if reading a member reported the damage.
    """

    def __init__(self, handle: io.BufferedReader) -> None:
        self._handle, self._source = handle, UntilBreak(self._next)
        self._count, self._most = 0, _MOST_HEADERS
        self.is_reported = False

    @property
    def broken(self) -> Exception | None:
        """The error, if there was one."""
        return self._source.broken

    def allow(self, size: int) -> None:
        """Allow for the bytes of a member."""
        self._most = self._count + size + _MOST_HEADERS

    def read(self, size: int) -> bytes:
        """Return this many bytes; fewer at the end."""
        try:
            return self._source.read(size, size)
        except BREAKS:
            return b""

    def _next(self, size: int) -> bytes:
        block = self._handle.read1(size)
        self._count += len(block)
        if self._count > self._most:
            raise OSError("Its list of members does not end")
        return block
