"""Which events of a run are new, which were there before, and which contradict an earlier one."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from chatlio_kit.events.rejection import Reason, Rejection
from chatlio_kit.tables.building import Built
from chatlio_kit.tables.seen_ids import MOST_IN_MEMORY, FirstOccurrence, Keys, SeenIds, are_distinct, as_keys

__all__ = ["Deduplicated", "Deduplicator", "FirstOccurrence", "Settled"]

Settled = Callable[[list[str]], Mapping[str, FirstOccurrence]]
"""Looks up which of these ids were settled before this run."""


@dataclass
class Deduplicated:
    """What is left of a batch without its duplicates, and how many they were."""

    built: Built
    duplicates: int


class Deduplicator:
    """Knows the events that a run has accepted so far. Use it as a context manager.

    Args:
        settled: looks up what was settled before this run.
        most_in_memory: how many ids are held in memory before they go to disk.
    """

    def __init__(self, settled: Settled | None = None, *, most_in_memory: int = MOST_IN_MEMORY) -> None:
        self._settled = settled
        self._folder = tempfile.TemporaryDirectory(prefix="chatlio-kit-")
        self._seen = SeenIds(Path(self._folder.name), most_in_memory)

    def __enter__(self) -> Deduplicator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._folder.cleanup()

    def apply(self, built: Built) -> Deduplicated:
        """Remove what was there before; reject what has an earlier event's id and another payload."""
        rows = built.rows
        keys = as_keys(rows["event_id"])
        known = self._seen.look_up(keys)
        if self._settled is not None:
            ids = rows["event_id"].to_pylist()
            settled = self._settled(ids)
            known = {
                row: settled[event_id] for row, event_id in enumerate(ids) if event_id in settled
            } | known
        if not known and are_distinct(keys):
            self._remember(built, keys)
            return Deduplicated(built, 0)
        columns = [
            rows[name].to_pylist() for name in ("event_id", "payload_digest", "source_file", "source_record")
        ]
        new: dict[str, FirstOccurrence] = {}
        kept, duplicates, conflicts = [], 0, []
        for row, (event_id, digest, file, record) in enumerate(zip(*columns, strict=True)):
            earlier = known.get(row) or new.get(event_id)
            if earlier is None:
                new[event_id] = FirstOccurrence(digest, file, record)
                kept.append(row)
            elif earlier.digest == digest:
                duplicates += 1
            else:
                conflicts.append(_conflict(file, record, earlier, built.raw(row)))
        built = built.keep(kept, conflicts)
        self._remember(built, keys[kept])
        return Deduplicated(built, duplicates)

    def _remember(self, built: Built, keys: Keys) -> None:
        digests, files, records = (
            built.rows[name] for name in ("payload_digest", "source_file", "source_record")
        )
        self._seen.add(keys, as_keys(digests), files, records.to_numpy())


def _conflict(file: str, record: int, earlier: FirstOccurrence, raw: str) -> Rejection:
    detail = (
        f"It has the id of {earlier.file} record {earlier.record}, but another payload. "
        "Keep the right one of the two and read them again."
    )
    return Rejection(file, record, Reason.CONFLICTING_DUPLICATE, None, detail, raw)
