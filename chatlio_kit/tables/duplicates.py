"""Which events of a run are new, which were there before, and which contradict an earlier one."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from chatlio_kit.events.rejection import Reason, Rejection
from chatlio_kit.tables.arrow import values_of
from chatlio_kit.tables.building import Built
from chatlio_kit.tables.sightings import SeenIds, Sighting

__all__ = ["Settled", "Sifted", "Sighting", "Sightings"]

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
        self._seen = SeenIds(Path(self._folder.name))

    def __enter__(self) -> Sightings:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._folder.cleanup()

    def sift(self, built: Built) -> Sifted:
        """Take out what was there before; reject what has an earlier event's id and another payload."""
        events = built.events
        columns = [
            values_of(events[name]) for name in ("event_id", "payload_digest", "source_file", "source_record")
        ]
        ids, digests, files, records = columns
        known = dict(self._settled(ids)) if self._settled is not None else {}
        known |= self._seen.look_up(ids)
        if not known and len(set(ids)) == len(ids):
            self._seen.add(ids, digests, files, records)
            return Sifted(built, 0)
        new: dict[str, Sighting] = {}
        kept, duplicates, conflicts = [], 0, []
        for row, (event_id, digest, file, record) in enumerate(zip(*columns, strict=True)):
            earlier = known.get(event_id) or new.get(event_id)
            if earlier is None:
                new[event_id] = Sighting(digest, file, int(record))
                kept.append(row)
            elif earlier.digest == digest:
                duplicates += 1
            else:
                conflicts.append(_conflict(file, int(record), earlier, built.raws[row]))
        seen = new.values()
        self._seen.add(
            list(new),
            [each.digest for each in seen],
            [each.file for each in seen],
            [each.record for each in seen],
        )
        return Sifted(built.keep(kept, conflicts), duplicates)


def _conflict(file: str, record: int, earlier: Sighting, raw: bytes) -> Rejection:
    detail = (
        f"It has the id of {earlier.file} record {earlier.record}, but another payload. "
        "Keep the right one of the two and read them again."
    )
    text = raw.decode("utf-8", errors="replace")
    return Rejection(file, record, Reason.CONFLICTING_DUPLICATE, None, detail, text)
