"""Read captures batch by batch."""

from __future__ import annotations

import io
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import chain, islice
from pathlib import Path
from zipfile import BadZipFile

from chatlio_kit.captures.dialects import Dialect
from chatlio_kit.captures.formats.compression import BREAKS, reraise_full_disk, unpacked
from chatlio_kit.captures.formats.records import (
    ByteRecords,
    ReadFault,
    ReadItem,
    Records,
    Remark,
    message_of,
    unreadable,
)
from chatlio_kit.captures.formats.splitting import LineSpan, are_lines, read_lines, read_records
from chatlio_kit.captures.formats.strays import NO_CAPTURES, STRAY, is_stray
from chatlio_kit.captures.formats.text_blocks import PEEK, Recoding
from chatlio_kit.captures.sources.archives import Member, is_tar, is_zip, tar_members, zip_members
from chatlio_kit.captures.sources.discovery import FoundFiles, find_files
from chatlio_kit.captures.sources.exclusion import Exclusion
from chatlio_kit.captures.sources.files import CaptureFile, Names, note
from chatlio_kit.captures.sources.web import WebSource
from chatlio_kit.chatlio.rejections import Rejection, shortened

BATCH_RECORDS = 20_000
BATCH_BYTES = 5_000_000
PART_BYTES = 10_000_000
"""Size in bytes of a part for another process, from a file of lines or from small files."""
_PART_FILES = 500
_PLAIN = re.compile(r"\.(?:ndjson|jsonl?|csv|log|txt)$", re.IGNORECASE)
_PACKED_RATIO = 10
"""Estimated maximum expansion of any other file, as a multiple of its size."""
_EMPTY = Remark("is empty: no record was read from it", "files are empty: no record was read from them")
_NESTED = "It is an archive within an archive. Unpack the outer one and read its contents"


@dataclass(frozen=True, slots=True)
class FileSlice:
    """Consecutive records of one file."""

    file: CaptureFile
    records: Records

    def __len__(self) -> int:
        return len(self.records)

    def shifted(self, lines: int) -> FileSlice:
        """Return the same records, this many lines further on in their file."""
        return FileSlice(self.file, self.records.shifted(lines))


@dataclass
class RawBatch:
    """The part of an export that is in memory at one time; its records are not parsed yet.

    Attributes:
        slices: Its records, by file.
        rejected: The parts that could not be read as records.
    """

    slices: list[FileSlice] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)

    @property
    def read(self) -> int:
        """The number of its records."""
        return sum(map(len, self.slices)) + len(self.rejected)

    @cached_property
    def raws(self) -> list[bytes]:
        """The bytes of all its records, slice by slice."""
        return [raw for file_slice in self.slices for raw in file_slice.records.raws]

    def text(self, row: int) -> str:
        """Return one record as text."""
        return self.raws[row].decode("utf-8", errors="replace")

    def __str__(self) -> str:
        return _listed(
            [*(piece.file.name for piece in self.slices), *(fault.file for fault in self.rejected)]
        )


class ReadAtHome(Exception):
    """An error at an archive whose members get other names, which only the main process can assign."""


@dataclass
class Part:
    """A part of captures that another process reads from the same storage.

    Attributes:
        captures: Its files, and remarks collected while they are read.
        span: The part of its only file; None for whole files.
    """

    captures: Captures
    span: LineSpan | None = None

    def batches(self) -> Iterator[RawBatch]:
        """Yield its batches; records of a span are numbered from its first line.

        Raises:
            ReadAtHome: At an archive whose members get other names.
        """
        return self.captures.part_batches(self.span)

    def __str__(self) -> str:
        names = _listed([file.name for file in self.captures.files])
        return f"{names} from byte {self.span.start:,} on" if self.span is not None else names


def _listed(names: Iterable[str]) -> str:
    return str(Names.of(list(dict.fromkeys(names)))) or "a batch of records"


_Read = tuple[CaptureFile, Records | ReadFault]


class Captures:
    """Captured webhooks in files, folders and buckets.

    Attributes:
        files: The files in reading order; an archive counts as one file.
        notes: Sentences about what was left out and about files without records, filled while reading.
        read: Number of records in each file, filled while reading.
        unopened: Reasons why files could not be opened, by name, filled while reading.

    Args:
        paths: Files, folders, patterns such as ``captures/**/*.ndjson``, and URLs; may be empty.
        exclude: Patterns for files and archive members that are not to be read.
        encoding: Encoding of lines that are not UTF-8.
    """

    def __init__(
        self, paths: Sequence[Path | str], exclude: Iterable[str] = (), encoding: str | None = None
    ) -> None:
        self._recoding = Recoding.named(encoding)
        self._rename: Callable[[str], str] | None = str
        self._exclusion = Exclusion(exclude)
        self._fields: Dialect | None = None
        self._start(find_files(paths, self._exclusion) if paths else FoundFiles([], {}))

    def _start(self, found: FoundFiles) -> None:
        self._found, self.files, self.notes = found, found.files, found.notes
        self.read: dict[str, int] = {}
        self._left_out: dict[str, Names] = {}
        self._remarks: dict[Remark, Names] = {}
        self._excluded: list[str] = []
        self._strays: list[tuple[CaptureFile, CaptureFile]] = []
        self._has_records, self._lines = False, dict[str, int | None]()
        self._noted = set[tuple[Remark, str]]()
        self.unopened: dict[str, str] = {}

    @property
    def exclude(self) -> tuple[str, ...]:
        """Patterns for files not to be read."""
        return self._exclusion.patterns

    @property
    def encoding(self) -> str | None:
        """The encoding of lines that are not UTF-8, if one was named."""
        return self._recoding.encoding if self._recoding else None

    def renamed(self, name: Callable[[str], str]) -> Captures:
        """Return the same captures with other names for files and archive members."""
        others = copy(self)
        others._rename = name
        others._start(self._found.renamed(name))
        return others

    def with_fields(self, fields: Dialect | None) -> Captures:
        """Return the same captures, to be read with the user's named fields."""
        others = copy(self)
        others._fields = fields
        return others

    @property
    def size(self) -> int:
        """The stored size of all files in bytes, as far as it is known."""
        return sum(file.size or 0 for file in self.files)

    def batches(self, records: int = BATCH_RECORDS, size: int = BATCH_BYTES) -> Iterator[RawBatch]:
        """Yield batches of at most ``records`` records and about ``size`` bytes."""
        self._begin()
        yield from self._batches(chain(self._read_all(), self._read_strays()), records, size)
        self._add_notes()

    def parts(self) -> Iterator[Part]:
        """Yield the parts that other processes may read in any order; their results count in this order.

        ``add_part`` merges the remarks on each part; ``last_batches`` follows the last part.
        """
        self._begin()
        waiting: list[CaptureFile] = []
        size = 0
        for file in self.files:
            self.read[file.name] = 0
            if spans := self._spans(file):
                if waiting:
                    yield self._part(waiting)
                waiting, size = [], 0
                yield from (self._part([file], span) for span in spans)
                continue
            waiting.append(file)
            packed = 1 if _PLAIN.search(file.name) else _PACKED_RATIO
            size += PART_BYTES if file.size is None else file.size * packed
            if size >= PART_BYTES or len(waiting) == _PART_FILES:
                yield self._part(waiting)
                waiting, size = [], 0
        if waiting:
            yield self._part(waiting)

    def lines_before(self, part: Part) -> int | None:
        """Return the number of lines that precede a part in its file.

        None if reading an earlier part of the file failed, so that this one does not count.
        """
        return self._lines.get(part.captures.files[0].name, 0)

    def add_part(self, part: Part) -> None:
        """Merge the remarks from reading a part."""
        others = part.captures
        name = others.files[0].name
        if part.span is not None:
            before = self._lines.get(name) or 0
            self._lines[name] = None if part.span.is_broken else before + part.span.lines
        for file, count in others.read.items():
            self.read[file] = self.read.get(file, 0) + count
        for left, names in others._left_out.items():
            self._left_out[left].extend(names)
        for remark, names in others._remarks.items():
            if part.span is None or (remark, name) not in self._noted:
                self._remarks[remark].extend(names)
            if part.span is not None:
                self._noted.add((remark, name))
        self._excluded += others._excluded
        self._strays += others._strays
        self._has_records |= others._has_records
        self._exclusion.unused &= others._exclusion.unused
        if self._recoding and others._recoding:
            self._recoding.lines += others._recoding.lines

    def rest_of(self, part: Part, count: int) -> Iterator[RawBatch]:
        """Yield a part's batches after the first ``count``, read in this process."""
        part.captures._rename = self._rename
        yield from islice(part.batches(), count, None)

    def last_batches(self) -> Iterator[RawBatch]:
        """Yield rejections that are known only after all parts were read, and add the notes."""
        yield from self._batches(self._read_strays())
        self._add_notes()

    def part_batches(self, span: LineSpan | None) -> Iterator[RawBatch]:
        """Yield the batches of a part; without a span, of all its files."""
        self._begin()
        return self._batches(self._read_all() if span is None else self._read_span(self.files[0], span))

    def _part(self, files: list[CaptureFile], span: LineSpan | None = None) -> Part:
        others = copy(self)
        others._rename = str if self._rename is str else None  # it may hold a key
        others._exclusion = copy(self._exclusion)
        others._recoding = copy(self._recoding)
        shared = [replace(file, source=file.source.shared()) for file in files]
        others._start(FoundFiles(shared, {}))
        return Part(others, span)

    def _spans(self, file: CaptureFile) -> list[LineSpan]:
        """Return the spans of a large file of lines; none for any other."""
        if (file.size or 0) < 2 * PART_BYTES or isinstance(file.source, WebSource):
            return []
        try:
            with file.source.open() as handle:
                head, state = handle.read(PEEK), getattr(handle.raw, "state", None)
            if not are_lines(head, self._fields):
                return []
        except BREAKS:  # reading it reports the reason
            return []
        starts = range(0, file.size or 0, PART_BYTES)
        ends: list[int | None] = [*starts[1:], None]
        return [LineSpan(start, end, state) for start, end in zip(starts, ends, strict=True)]

    def _begin(self) -> None:
        self.notes = self._found.notes
        self._excluded, self._strays = list(self._found.excluded), []
        self._left_out, self._remarks = defaultdict(Names), defaultdict(Names)
        self._has_records, self._lines = len(self.files) < len(self._found.files), {}
        self._noted, self.unopened = set(), {}
        if self._recoding:
            self._recoding.lines = 0

    def _batches(
        self,
        items: Iterable[tuple[CaptureFile, CaptureFile, Records | ReadFault]],
        records: int = BATCH_RECORDS,
        size: int = BATCH_BYTES,
    ) -> Iterator[RawBatch]:
        batch, records_left, bytes_left = RawBatch(), records, size
        for file, part, item in items:
            self.read[file.name] += 1 if isinstance(item, ReadFault) else len(item)
            for chunk in _chunks(item, records_left, records):
                if isinstance(chunk, ReadFault):
                    batch.rejected.append(_rejection(part, chunk))
                    records_left -= 1
                else:
                    batch.slices.append(FileSlice(part, chunk))
                    records_left -= len(chunk)
                    bytes_left -= chunk.size
                if records_left <= 0 or bytes_left <= 0:
                    yield batch
                    batch, records_left, bytes_left = RawBatch(), records, size
        if batch.read:
            yield batch

    def _read_all(self) -> Iterator[tuple[CaptureFile, CaptureFile, Records | ReadFault]]:
        """Yield the contents of each file: the file, the file or its member, and the records."""
        for file in self.files:
            self.read[file.name] = 0
            for part, item in self._read_file(file):
                self._has_records = True
                yield file, part, item

    def _read_strays(self) -> Iterator[tuple[CaptureFile, CaptureFile, ReadFault]]:
        """Yield a fault for each text file: without any captures, these are rejected rather than left out."""
        if not self._has_records:
            strays, self._strays = self._strays, []
            for file, part in strays:
                yield file, part, unreadable(1, b"", NO_CAPTURES)

    def _read_span(
        self, file: CaptureFile, span: LineSpan
    ) -> Iterator[tuple[CaptureFile, CaptureFile, Records | ReadFault]]:
        """Yield the records in a span of a file."""
        self.read[file.name], self._has_records = 0, True
        try:
            with self._opened(file) as handle:
                if getattr(handle.raw, "state", None) != span.state:
                    raise OSError("It changed while it was read. Read it again")
                for item in read_lines(handle, span, self._recoding):
                    if isinstance(item, Remark):
                        self._remarks[item].add(file.name)
                    else:
                        yield file, file, item
        except BREAKS as broken:
            span.is_broken = True
            yield file, file, _unopened(broken)
        if span.end is None and (change := file.source.change_of(file.size)) is not None:
            self._remarks[change].add(file.name)

    def _opened(self, file: CaptureFile) -> io.BufferedReader:
        try:
            return file.source.open()
        except BREAKS as broken:
            self.unopened[file.name] = message_of(broken)
            raise

    def _add_notes(self) -> None:
        """Add a note for each reason why files were left out."""
        if self._excluded:
            self.notes.append(note(f"--exclude, {len(self._excluded):,} in all", Names.of(self._excluded)))
        for pattern in sorted(self._exclusion.unused):
            self.notes.append(f"--exclude {shortened(pattern)} matches nothing (in Python exclude=)")
        if self._recoding:
            self.notes.append(self._recoding.note())
        if self._strays:
            self.notes.append(note(STRAY, Names.of([part.name for _, part in self._strays])))
        self.notes += [note(why, names) for why, names in sorted(self._left_out.items())]
        self.notes += [_sentence(remark, names) for remark, names in self._remarks.items()]

    def _read_file(self, file: CaptureFile) -> Iterator[_Read]:
        """Read a file, or each member of an archive."""
        try:
            with self._opened(file) as handle:
                if is_zip(handle):
                    yield from self._read_archive(file, zip_members(handle, self._renamer()))
                elif is_tar(opened := unpacked(handle)):
                    yield from self._read_archive(file, tar_members(opened, self._renamer()))
                elif not file.is_named and is_stray(file.name, handle.peek(PEEK), file.source.open):
                    self._strays.append((file, file))
                else:
                    yield from self._read_records(file, opened)
        except BREAKS as broken:
            reraise_full_disk(broken)
            yield file, _unopened(broken)
        if (change := file.source.change_of(file.size)) is not None:
            self._remarks[change].add(file.name)

    def _renamer(self) -> Callable[[str], str]:
        if self._rename is None:
            raise ReadAtHome
        return self._rename

    def _read_archive(self, file: CaptureFile, members: Iterable[Member]) -> Iterator[_Read]:
        is_empty = True
        for member in members:
            part = file.member(member.name, member.path, member.size, member.modified_at)
            if member.left_out:
                self._left_out[member.left_out].add(part.name)
                continue
            is_empty = False
            paths = [*(f"{path}!{member.path}" for path in file.paths), member.path]
            if file.paths and self._exclusion.matches(paths):
                self._excluded.append(part.name)
            else:
                yield from self._read_member(file, part, member)
        if is_empty:
            self._remarks[_EMPTY].add(file.name)

    def _read_member(self, file: CaptureFile, part: CaptureFile, member: Member) -> Iterator[_Read]:
        try:
            if member.refusal:
                raise OSError(member.refusal)
            with member.open() as handle:
                if is_zip(handle) or is_tar(opened := unpacked(handle)):
                    raise OSError(_NESTED)
                head = handle.peek(PEEK)
                open_again = member.open if member.can_reopen else None
                if open_again is None and len(head) == part.size:  # all of it is in memory
                    open_again = partial(_in_memory, head)
                if open_again is not None and is_stray(part.name, head, open_again):
                    self._strays.append((file, part))
                else:
                    yield from self._read_records(part, opened)
        except BREAKS as broken:
            reraise_full_disk(broken)
            yield part, _unopened(broken)

    def _read_records(self, part: CaptureFile, opened: io.BufferedReader) -> Iterator[_Read]:
        is_empty = True
        items: Iterator[ReadItem] = read_records(opened, self._recoding, self._fields)
        for item in items:
            if isinstance(item, Remark):
                self._remarks[item].add(part.name)
            else:
                is_empty = False
                yield part, item
        if is_empty:
            self._remarks[_EMPTY].add(part.name)


def _in_memory(content: bytes) -> io.BufferedReader:
    return io.BufferedReader(io.BytesIO(content))


def _sentence(remark: Remark, names: Names) -> str:
    return f"{names} {remark.one}." if names.count == 1 else f"{names.count:,} {remark.many}: {names}."


def _unopened(broken: Exception) -> ReadFault:
    """Return the error for a file that cannot be read at all."""
    if isinstance(broken, BadZipFile) and str(broken) == "File is not a zip file":
        detail = "The zip has no list of members at its end, so it may be truncated. Get a complete copy."
        return unreadable(1, b"", detail)
    message = broken.strerror if isinstance(broken, OSError) and broken.strerror else message_of(broken)
    return unreadable(1, b"", f"The file cannot be read: {message}.")


def _chunks(item: Records | ReadFault, first: int, most: int) -> Iterator[Records | ReadFault]:
    """Split records into chunks: at most ``first`` records in the first, and ``most`` in the others."""
    if isinstance(item, ReadFault) or len(item) <= first:
        yield item
        return
    numbers, raws = item.numbers, item.raws
    start, size = 0, first
    while start < len(raws):
        end = min(start + size, len(raws))
        yield ByteRecords(numbers[start:end], raws[start:end], item.cut and end == len(raws), item.is_loose)
        start, size = end, most


def _rejection(file: CaptureFile, fault: ReadFault) -> Rejection:
    raw = fault.raw.decode("utf-8", errors="replace")
    return Rejection(file.name, fault.number, fault.reason, None, fault.detail, raw)
