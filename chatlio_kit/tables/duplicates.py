"""Which events of a run are new, which were there before, and which contradict an earlier one.

The ids of a run are remembered on disk, so memory stays flat however long an export is.
"""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from chatlio_kit.events.rejection import Reason, Rejection
from chatlio_kit.tables.building import Built


@dataclass(frozen=True, slots=True)
class Sighting:
    """Where an event was read first, and the digest of its payload."""

    digest: str
    file: str
    record: int


Settled = Callable[[list[str]], Mapping[str, Sighting]]
"""Looks up which of these ids were settled before this run."""


@dataclass
class Sifted:
    """What is left of a piece after its duplicates were taken out, and how many they were."""

    built: Built
    duplicates: int


class Sightings:
    """The events that a run has accepted so far. Use it as a context manager."""

    def __init__(self, settled: Settled | None = None) -> None:
        self._settled = settled
        self._folder = tempfile.TemporaryDirectory(prefix="chatlio-kit-")
        self._db = sqlite3.connect(Path(self._folder.name) / "sightings.db", isolation_level=None)
        self._db.execute("PRAGMA journal_mode=OFF")
        self._db.execute("PRAGMA synchronous=OFF")
        self._db.execute(
            "CREATE TABLE sighting (id TEXT PRIMARY KEY, digest TEXT, file TEXT, record INTEGER)"
            " WITHOUT ROWID"
        )

    def __enter__(self) -> Sightings:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()
        self._folder.cleanup()

    def sift(self, built: Built) -> Sifted:
        """Take out what was there before; reject what has an earlier event's id and another payload."""
        events = built.events
        ids = events["event_id"].tolist()
        known = dict(self._settled(ids)) if self._settled is not None else {}
        known |= self._look_up(ids)
        new: dict[str, Sighting] = {}
        kept, duplicates, conflicts = [], 0, []
        columns = (events[name] for name in ("event_id", "payload_digest", "source_file", "source_record"))
        for row, (event_id, digest, file, record) in enumerate(zip(*columns, strict=True)):
            earlier = known.get(event_id) or new.get(event_id)
            if earlier is None:
                new[event_id] = Sighting(digest, file, int(record))
                kept.append(row)
            elif earlier.digest == digest:
                duplicates += 1
            else:
                conflicts.append(_conflict(file, int(record), earlier, built.raws[row]))
        self._remember(new)
        if len(kept) == len(events):
            return Sifted(built, 0)
        return Sifted(built.keep(kept, conflicts), duplicates)

    def _look_up(self, ids: list[str]) -> dict[str, Sighting]:
        found = self._db.execute(
            "SELECT id, digest, file, record FROM sighting WHERE id IN (SELECT value FROM json_each(?))",
            (json.dumps(ids),),
        )
        return {event_id: Sighting(*place) for event_id, *place in found}

    def _remember(self, new: Mapping[str, Sighting]) -> None:
        rows: Iterable[tuple[str, str, str, int]] = (
            (event_id, seen.digest, seen.file, seen.record) for event_id, seen in new.items()
        )
        self._db.execute("BEGIN")
        self._db.executemany("INSERT INTO sighting VALUES (?, ?, ?, ?)", rows)
        self._db.execute("COMMIT")


def _conflict(file: str, record: int, earlier: Sighting, raw: bytes) -> Rejection:
    detail = (
        f"It has the id of {earlier.file} record {earlier.record}, but another payload. "
        "Keep the right one of the two and read them again."
    )
    text = raw.decode("utf-8", errors="replace")
    return Rejection(file, record, Reason.CONFLICTING_DUPLICATE, None, detail, text)
