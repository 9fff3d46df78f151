"""The captures that were named, read piece by piece."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from zipfile import BadZipFile

from chatlio_kit.captures.dialects import Dialect
from chatlio_kit.captures.formats.compression import BREAKS, unpacked
from chatlio_kit.captures.formats.encodings import Recoding
from chatlio_kit.captures.formats.foreign import NO_CAPTURES
from chatlio_kit.captures.formats.records import ByteRecords, LineRecords, ReadFault, Remark, said, unreadable
from chatlio_kit.captures.formats.splitting import read_records
from chatlio_kit.captures.formats.strays import STRAY, is_stray
from chatlio_kit.captures.formats.text_blocks import PEEK
from chatlio_kit.captures.sources.discovery import FoundFiles, Names, find_files, note
from chatlio_kit.captures.sources.exclusion import Exclusion
from chatlio_kit.captures.sources.files import CaptureFile
from chatlio_kit.captures.sources.listing import LITTER
from chatlio_kit.captures.sources.tars import TarMember, is_tar, tar_members
from chatlio_kit.captures.sources.zips import Member, is_zip, members, open_zip
from chatlio_kit.chatlio.rejections import Rejection, shortened

PIECE_RECORDS = 20_000
PIECE_BYTES = 5_000_000
_OFFICE = "[Content_Types].xml"
_EMPTY = Remark("is empty: no record was read from it", "files are empty: no record was read from them")
_NESTED = "It is an archive within an archive. Unpack the outer one, and read what was in it"


@dataclass(frozen=True, slots=True)
class FileSlice:
    """Records of one file, one after another, as they stand there."""

    file: CaptureFile
    records: LineRecords | ByteRecords

    def __len__(self) -> int:
        return len(self.records)


@dataclass
class RawBatch:
    """A part of an export that is held in memory at once; its records are not parsed yet."""

    stretches: list[FileSlice] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)

    @property
    def read(self) -> int:
        """How many records it holds."""
        return sum(map(len, self.stretches)) + len(self.rejected)

    @cached_property
    def raws(self) -> list[bytes]:
        """All its records as they stand in their files, one stretch after another."""
        return [raw for stretch in self.stretches for raw in stretch.records.raws]

    def shown(self, place: int) -> str:
        """Give one of them as text."""
        return self.raws[place].decode("utf-8", errors="replace")


_FoundIn = tuple[CaptureFile, LineRecords | ByteRecords | ReadFault]


class Captures:
    """Captured webhooks in files, folders and buckets.

    Attributes:
        files: the files, in the order in which they are read; an archive is one of them, whatever is in it.
        notes: sentences about what was left out and about files that gave nothing, filled while reading.
        read: how many records each file held, filled while reading.

    Args:
        paths: files, folders, patterns such as ``captures/**/*.ndjson``, and URLs.
        exclude: patterns for files and members of archives that are not to be read.
        encoding: what lines are in that are not UTF-8.
    """

    def __init__(
        self, paths: Sequence[Path | str], exclude: Iterable[str] = (), encoding: str | None = None
    ) -> None:
        self._recoding = Recoding.named(encoding)
        self._called: Callable[[str], str] = str
        self._exclusion = Exclusion(exclude)
        self._fields: Dialect | None = None
        self._take(find_files(paths, self._exclusion))

    def _take(self, found: FoundFiles) -> None:
        self._found, self.files, self.notes = found, found.files, found.notes
        self.read: dict[str, int] = {}
        self._left_out: dict[str, Names] = {}
        self._remarks: dict[Remark, Names] = {}
        self._excluded: list[str] = []
        self._strays: list[CaptureFile] = []

    @property
    def exclude(self) -> tuple[str, ...]:
        """The patterns for what is not to be read."""
        return self._exclusion.patterns

    @property
    def encoding(self) -> str | None:
        """The encoding of lines that are not UTF-8, if it was named."""
        return self._recoding.encoding if self._recoding else None

    def called(self, name: Callable[[str], str]) -> Captures:
        """Return the same captures with files, and members of archives, called by other names."""
        others = copy(self)
        others._called = name
        others._take(self._found.called(name))
        return others

    def reading(self, fields: Dialect | None) -> Captures:
        """Give the same captures, read with the fields that the user named."""
        others = copy(self)
        others._fields = fields
        return others

    @property
    def size(self) -> int:
        """The bytes of all files as they lie there, as far as that is known."""
        return sum(file.size or 0 for file in self.files)

    def pieces(self, records: int = PIECE_RECORDS, size: int = PIECE_BYTES) -> Iterator[RawBatch]:
        """Read all records, at most ``records`` at a time and about ``size`` bytes."""
        self.notes = self._found.notes
        self._excluded, self._strays = list(self._found.excluded), []
        self._left_out, self._remarks = defaultdict(Names), defaultdict(Names)
        if self._recoding:
            self._recoding.lines = 0
        piece, free, left = RawBatch(), records, size
        for file, part, found in self._all_found():
            self.read[file.name] += 1 if isinstance(found, ReadFault) else len(found)
            for cut in _parts(found, free, records):
                if isinstance(cut, ReadFault):
                    piece.rejected.append(_rejection(part, cut))
                    free -= 1
                else:
                    piece.stretches.append(FileSlice(part, cut))
                    free -= len(cut)
                    left -= cut.size
                if free <= 0 or left <= 0:
                    yield piece
                    piece, free, left = RawBatch(), records, size
        if piece.read:
            yield piece
        self._tell_left_out()

    def _all_found(self) -> Iterator[tuple[CaptureFile, CaptureFile, LineRecords | ByteRecords | ReadFault]]:
        """Yield what each file holds: the file, the part of it, and the records."""
        has_records = len(self.files) < len(self._found.files)
        for file in self.files:
            self.read[file.name] = 0
            for part, found in self._found_in(file):
                has_records = True
                yield file, part, found
        if not has_records:  # nothing is a stray among captures where there are none
            strays, self._strays = self._strays, []
            for stray in strays:
                yield stray, stray, unreadable(1, b"", NO_CAPTURES)

    def _tell_left_out(self) -> None:
        """Add notes about what was left out while reading."""
        if self._excluded:
            self.notes.append(note(f"--exclude, {len(self._excluded):,} in all", self._excluded))
        for pattern in sorted(self._exclusion.unused):
            self.notes.append(f"--exclude {shortened(pattern)} matches nothing (in Python exclude=)")
        if self._recoding:
            self.notes.append(self._recoding.note())
        if self._strays:
            self.notes.append(note(STRAY, [stray.name for stray in self._strays]))
        self.notes += [note(why, names) for why, names in sorted(self._left_out.items())]
        self.notes += [_sentence(remark, names) for remark, names in self._remarks.items()]

    def _found_in(self, file: CaptureFile) -> Iterator[_FoundIn]:
        """Read a file, or each member of an archive."""
        try:
            with file.place.open() as handle:
                opened = handle if is_zip(handle) else unpacked(handle)
                if is_zip(handle):
                    yield from self._found_in_zip(file, handle)
                elif is_tar(opened):
                    yield from self._found_in_tar(file, opened)
                elif not file.is_named and is_stray(file.name, handle.peek(PEEK), file.place.open):
                    self._strays.append(file)
                else:
                    yield from self._counted(file, read_records(opened, self._recoding, self._fields))
        except BREAKS as broken:
            yield file, _closed(broken)
        if (change := file.place.change_of(file.size)) is not None:
            self._remarks[change].add(file.name)

    def _found_in_zip(self, file: CaptureFile, handle: io.BufferedReader) -> Iterator[_FoundIn]:
        with open_zip(handle) as archive:
            if _OFFICE in archive.NameToInfo:
                raise OSError(
                    "It is an Office document. Save the sheet with the captures as CSV, and read that"
                )
            found, left_out = members(archive, self._called)
            for name in left_out:
                self._left_out[LITTER].add(f"{file.name}!{name}")
            if not found:
                self._remarks[_EMPTY].add(file.name)
            for member in found:
                if self._is_excluded(file, member):
                    continue
                part = file.member(member.name, member.path, member.size, member.modified_at)
                yield from self._found_in_member(part, member.refusal, member.open, member.open)

    def _found_in_tar(self, file: CaptureFile, handle: io.BufferedReader) -> Iterator[_FoundIn]:
        is_empty = True
        for member in tar_members(handle, self._called):
            is_empty = False
            if self._is_excluded(file, member):
                continue
            part = file.member(member.name, member.path, member.size, member.modified_at)
            if member.left_out:
                self._left_out[member.left_out].add(part.name)
            else:
                yield from self._found_in_member(part, member.refusal, member.open)
        if is_empty:
            self._remarks[_EMPTY].add(file.name)

    def _found_in_member(
        self,
        part: CaptureFile,
        refusal: str,
        open_member: Callable[[], io.BufferedReader],
        open_again: Callable[[], io.BufferedReader] | None = None,
    ) -> Iterator[_FoundIn]:
        try:
            if refusal:
                raise OSError(refusal)
            with open_member() as handle:
                if is_zip(handle) or is_tar(opened := unpacked(handle)):
                    raise OSError(_NESTED)
                head = handle.peek(PEEK)
                if open_again is None and len(head) == part.size:  # a tar is read once; this one is held
                    open_again = partial(_in_memory, head)
                if open_again is not None and is_stray(part.name, head, open_again):
                    self._strays.append(part)
                else:
                    yield from self._counted(part, read_records(opened, self._recoding, self._fields))
        except BREAKS as broken:
            yield part, _closed(broken)

    def _is_excluded(self, file: CaptureFile, member: Member | TarMember) -> bool:
        is_excluded = bool(file.paths) and self._exclusion.matches(_ways(file, member))
        if is_excluded:
            self._excluded.append(f"{file.name}!{member.name}")
        return is_excluded

    def _counted(
        self, part: CaptureFile, records: Iterator[LineRecords | ByteRecords | ReadFault | Remark]
    ) -> Iterator[_FoundIn]:
        is_empty = True
        for found in records:
            if isinstance(found, Remark):
                self._remarks[found].add(part.name)
                continue
            is_empty = False
            yield part, found
        if is_empty:
            self._remarks[_EMPTY].add(part.name)


def _in_memory(content: bytes) -> io.BufferedReader:
    return io.BufferedReader(io.BytesIO(content))


def _sentence(remark: Remark, names: Names) -> str:
    return f"{names} {remark.one}." if names.count == 1 else f"{names.count:,} {remark.many}: {names}."


def _ways(file: CaptureFile, member: Member | TarMember) -> list[str]:
    """Return the paths that a member goes by: behind its archive's, and inside of it."""
    return [*(f"{path}!{member.path}" for path in file.paths), member.path]


def _closed(broken: Exception) -> ReadFault:
    """Reject a file of which nothing can be read."""
    if isinstance(broken, BadZipFile) and str(broken) == "File is not a zip file":
        detail = (
            "The zip has no list of its members at its end, as when it is cut off. Get a whole copy of it."
        )
        return unreadable(1, b"", detail)
    words = broken.strerror if isinstance(broken, OSError) and broken.strerror else said(broken)
    return unreadable(1, b"", f"The file cannot be read: {words}.")


def _parts(
    found: LineRecords | ByteRecords | ReadFault, free: int, records: int
) -> Iterator[LineRecords | ByteRecords | ReadFault]:
    """Cut what was read where a piece is full."""
    if isinstance(found, ReadFault) or len(found) <= free:
        yield found
        return
    numbers, raws = found.numbers, found.raws
    start = 0
    while start < len(raws):
        end = min(start + free, len(raws))
        cut = found.cut and end == len(raws)
        yield ByteRecords(numbers[start:end], raws[start:end], cut, found.is_loose)
        start, free = end, records


def _rejection(file: CaptureFile, fault: ReadFault) -> Rejection:
    raw = fault.raw.decode("utf-8", errors="replace")
    return Rejection(file.name, fault.number, fault.reason, None, fault.detail, raw)
