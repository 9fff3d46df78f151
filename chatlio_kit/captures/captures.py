"""The captures that were named, read piece by piece."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from chatlio_kit.captures.archives import is_zip, members, open_zip
from chatlio_kit.captures.containers import BREAKS, unpacked
from chatlio_kit.captures.discover import Found, Names, find_files, note
from chatlio_kit.captures.folders import LITTER
from chatlio_kit.captures.places import CaptureFile
from chatlio_kit.captures.records import Fault, Lines, Raws, Remark, said, unreadable
from chatlio_kit.captures.splitting import read_records
from chatlio_kit.captures.tars import is_tar, tar_members
from chatlio_kit.events.rejection import Rejection

PIECE_RECORDS = 20_000
PIECE_BYTES = 5_000_000
_EMPTY = Remark("is empty: no record was read from it", "files are empty: no record was read from them")
_NESTED = "It is an archive within an archive. Unpack the outer one, and read what was in it"


@dataclass(frozen=True, slots=True)
class Stretch:
    """Records of one file, one after another, as they stand there."""

    file: CaptureFile
    records: Lines | Raws

    def __len__(self) -> int:
        return len(self.records)


@dataclass
class Piece:
    """A part of an export that is held in memory at once; its records are not parsed yet."""

    stretches: list[Stretch] = field(default_factory=list)
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


_FoundIn = tuple[CaptureFile, Lines | Raws | Fault]


class Captures:
    """Captured webhooks in files, folders and buckets.

    Attributes:
        files: the files, in the order in which they are read; an archive is one of them, whatever is in it.
        notes: sentences about what was left out and about files that gave nothing, filled while reading.
        read: how many records each file held, filled while reading.
    """

    def __init__(self, paths: Sequence[Path | str]) -> None:
        self._called: Callable[[str], str] = str
        self._take(find_files(paths))

    def _take(self, found: Found) -> None:
        self._found, self.files, self.notes = found, found.files, found.notes
        self.read: dict[str, int] = {}
        self._left_out: dict[str, Names] = {}
        self._remarks: dict[Remark, Names] = {}

    def called(self, name: Callable[[str], str]) -> Captures:
        """Return the same captures with files, and members of archives, called by other names."""
        others = copy(self)
        others._called = name
        others._take(self._found.called(name))
        return others

    @property
    def size(self) -> int:
        """The bytes of all files as they lie there, as far as that is known."""
        return sum(file.size or 0 for file in self.files)

    def pieces(self, records: int = PIECE_RECORDS, size: int = PIECE_BYTES) -> Iterator[Piece]:
        """Read all records, at most ``records`` at a time and about ``size`` bytes."""
        self.notes = self._found.notes
        self._left_out, self._remarks = defaultdict(Names), defaultdict(Names)
        piece, free, left = Piece(), records, size
        for file in self.files:
            self.read[file.name] = 0
            for part, found in self._found_in(file):
                self.read[file.name] += 1 if isinstance(found, Fault) else len(found)
                for cut in _parts(found, free, records):
                    if isinstance(cut, Fault):
                        piece.rejected.append(_rejection(part, cut))
                        free -= 1
                    else:
                        piece.stretches.append(Stretch(part, cut))
                        free -= len(cut)
                        left -= cut.size
                    if free <= 0 or left <= 0:
                        yield piece
                        piece, free, left = Piece(), records, size
        if piece.read:
            yield piece
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
                else:
                    yield from self._counted(file, read_records(opened))
        except BREAKS as broken:
            yield file, _closed(broken)
        if (change := file.place.change_of(file.size)) is not None:
            self._remarks[change].add(file.name)

    def _found_in_zip(self, file: CaptureFile, handle: io.BufferedReader) -> Iterator[_FoundIn]:
        with open_zip(handle) as archive:
            found, left_out = members(archive, self._called)
            for name in left_out:
                self._left_out[LITTER].add(f"{file.name}!{name}")
            if not found:
                self._remarks[_EMPTY].add(file.name)
            for member in found:
                part = file.member(member.name, member.path, member.size, member.modified_at)
                yield from self._found_in_member(part, member.refusal, member.open)

    def _found_in_tar(self, file: CaptureFile, handle: io.BufferedReader) -> Iterator[_FoundIn]:
        is_empty = True
        for member in tar_members(handle, self._called):
            is_empty = False
            part = file.member(member.name, member.path, member.size, member.modified_at)
            if member.left_out:
                self._left_out[member.left_out].add(part.name)
            else:
                yield from self._found_in_member(part, member.refusal, member.open)
        if is_empty:
            self._remarks[_EMPTY].add(file.name)

    def _found_in_member(
        self, part: CaptureFile, refusal: str, open_member: Callable[[], io.BufferedReader]
    ) -> Iterator[_FoundIn]:
        try:
            if refusal:
                raise OSError(refusal)
            with open_member() as handle:
                if is_zip(handle) or is_tar(opened := unpacked(handle)):
                    raise OSError(_NESTED)
                yield from self._counted(part, read_records(opened))
        except BREAKS as broken:
            yield part, _closed(broken)

    def _counted(
        self, part: CaptureFile, records: Iterator[Lines | Raws | Fault | Remark]
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


def _sentence(remark: Remark, names: Names) -> str:
    return f"{names} {remark.one}." if names.count == 1 else f"{names.count:,} {remark.many}: {names}."


def _closed(broken: Exception) -> Fault:
    """Reject a file of which nothing can be read."""
    words = broken.strerror if isinstance(broken, OSError) and broken.strerror else said(broken)
    return unreadable(1, b"", f"The file cannot be read: {words}.")


def _parts(found: Lines | Raws | Fault, free: int, records: int) -> Iterator[Lines | Raws | Fault]:
    """Cut what was read where a piece is full."""
    if isinstance(found, Fault) or len(found) <= free:
        yield found
        return
    numbers, raws = found.numbers, found.raws
    start = 0
    while start < len(raws):
        end = min(start + free, len(raws))
        yield Raws(numbers[start:end], raws[start:end], found.cut and end == len(raws))
        start, free = end, records


def _rejection(file: CaptureFile, fault: Fault) -> Rejection:
    raw = fault.raw.decode("utf-8", errors="replace")
    return Rejection(file.name, fault.number, fault.reason, None, fault.detail, raw)
