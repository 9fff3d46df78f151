"""The captures that were named, read piece by piece."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chatlio_kit.captures.dialects import unwrap
from chatlio_kit.captures.discover import CaptureFile, find_files
from chatlio_kit.captures.records import Record, read_records
from chatlio_kit.events.rejection import Reason, Rejection, shortened

PIECE_RECORDS = 10_000
PIECE_BYTES = 32_000_000


@dataclass(slots=True)
class Captured:
    """One payload that was captured, with everything its capture says about it, not yet checked."""

    file: CaptureFile
    record: int
    raw: bytes
    payload: dict[str, Any]
    received_at: Any
    kind: Any
    widget: Any


@dataclass(slots=True)
class Piece:
    """A stretch of an export that is held in memory at once."""

    captured: list[Captured]
    rejected: list[Rejection]

    @property
    def read(self) -> int:
        """How many records it holds."""
        return len(self.captured) + len(self.rejected)


class Captures:
    """Captured webhooks in files and folders.

    Attributes:
        files: the files, in the order in which they are read.
        notes: sentences about files that gave nothing, filled while reading.
    """

    def __init__(self, paths: Sequence[Path | str]) -> None:
        self.files = find_files(paths)
        self.notes: list[str] = []

    def pieces(self, records: int = PIECE_RECORDS) -> Iterator[Piece]:
        """Read all records, at most ``records`` at a time."""
        self.notes.clear()
        piece, size = Piece([], []), 0
        for file in self.files:
            count = 0
            for record in read_records(file.path):
                count += 1
                size += len(record.raw)
                kept = _captured(file, record)
                if isinstance(kept, Captured):
                    piece.captured.append(kept)
                else:
                    piece.rejected.append(kept)
                if piece.read >= records or size >= PIECE_BYTES:
                    yield piece
                    piece, size = Piece([], []), 0
            if not count:
                self.notes.append(f"{file.name} is empty: no record was read from it.")
        if piece.read:
            yield piece


def _captured(file: CaptureFile, record: Record) -> Captured | Rejection:
    def rejected(reason: Reason, field: str | None, detail: str) -> Rejection:
        raw = record.raw.decode("utf-8", errors="replace")
        return Rejection(file.name, record.number, reason, field, detail, raw)

    if record.reason is not None:
        return rejected(record.reason, None, record.detail)
    if not isinstance(record.value, dict):
        detail = f"The record is {_article(record.value)}, not an object: {shortened(record.value)}."
        return rejected(Reason.NOT_AN_OBJECT, None, detail)
    inside = unwrap(record.value)
    if not isinstance(inside.payload, dict):
        detail = f"The envelope's payload is {_article(inside.payload)}, not an object."
        return rejected(Reason.NOT_AN_OBJECT, "payload", detail)
    return Captured(
        file, record.number, record.raw, inside.payload, inside.received_at, inside.kind, inside.widget
    )


_ARTICLES = {list: "an array", str: "a text", bool: "true or false", type(None): "null"}


def _article(value: object) -> str:
    return _ARTICLES.get(type(value), "a number")
