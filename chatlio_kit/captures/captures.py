"""The captures that were named, read piece by piece."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from chatlio_kit.captures.discover import CaptureFile, find_files
from chatlio_kit.captures.records import Fault, Raws
from chatlio_kit.captures.splitting import read_records
from chatlio_kit.events.rejection import Rejection

PIECE_RECORDS = 10_000
PIECE_BYTES = 5_000_000


@dataclass(slots=True)
class Stretch:
    """Records of one file, one after another, as they stand there."""

    file: CaptureFile
    numbers: list[int]
    raws: list[bytes]
    cut: bool = False


@dataclass(slots=True)
class Piece:
    """A part of an export that is held in memory at once; its records are not parsed yet."""

    stretches: list[Stretch] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)

    @property
    def read(self) -> int:
        """How many records it holds."""
        return sum(len(stretch.raws) for stretch in self.stretches) + len(self.rejected)


class Captures:
    """Captured webhooks in files and folders.

    Attributes:
        files: the files, in the order in which they are read.
        notes: sentences about files that gave nothing, filled while reading.
        read: how many records each file held, filled while reading.
    """

    def __init__(self, paths: Sequence[Path | str]) -> None:
        self.files = find_files(paths)
        self.notes: list[str] = []
        self.read: dict[str, int] = {}

    def pieces(self, records: int = PIECE_RECORDS, size: int = PIECE_BYTES) -> Iterator[Piece]:
        """Read all records, at most ``records`` at a time and about ``size`` bytes."""
        self.notes.clear()
        piece, free, left = Piece(), records, size
        for file in self.files:
            count = 0
            for found in read_records(file.path):
                count += 1 if isinstance(found, Fault) else len(found.raws)
                for part in _parts(found, free, records):
                    if isinstance(part, Fault):
                        piece.rejected.append(_rejection(file, part))
                        free -= 1
                    else:
                        piece.stretches.append(Stretch(file, part.numbers, part.raws, part.cut))
                        free -= len(part.raws)
                        left -= sum(map(len, part.raws))
                    if free <= 0 or left <= 0:
                        yield piece
                        piece, free, left = Piece(), records, size
            self.read[file.name] = count
            if not count:
                self.notes.append(f"{file.name} is empty: no record was read from it.")
        if piece.read:
            yield piece


def _parts(found: Raws | Fault, free: int, records: int) -> Iterator[Raws | Fault]:
    """Cut what was read where a piece is full."""
    if isinstance(found, Fault) or len(found.raws) <= free:
        yield found
        return
    start = 0
    while start < len(found.raws):
        end = min(start + free, len(found.raws))
        yield Raws(found.numbers[start:end], found.raws[start:end], found.cut and end == len(found.raws))
        start, free = end, records


def _rejection(file: CaptureFile, fault: Fault) -> Rejection:
    raw = fault.raw.decode("utf-8", errors="replace")
    return Rejection(file.name, fault.number, fault.reason, None, fault.detail, raw)
