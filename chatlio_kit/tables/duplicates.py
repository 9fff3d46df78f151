"""Which events of a run are new, which were there before, and which contradict an earlier one."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType

from chatlio_kit.events.rejection import Reason, Rejection
from chatlio_kit.private import new_temporary_folder, temporary_folder_unusable
from chatlio_kit.tables.building import Built
from chatlio_kit.tables.sightings import Keys, SeenIds, Sighting, are_distinct, as_keys

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
        self._folder = new_temporary_folder()
        self._seen = SeenIds(self._folder)

    def __enter__(self) -> Sightings:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def sift(self, built: Built) -> Sifted:
        """Take out what was there before; reject what has an earlier event's id and another payload."""
        rows = built.rows
        keys = as_keys(rows["event_id"])
        known = self._seen.look_up(keys)
        if self._settled is not None:
            ids = rows["event_id"].to_pylist()
            settled = self._settled(ids)
            known = {row: settled[each] for row, each in enumerate(ids) if each in settled} | known
        if not known and are_distinct(keys):
            self._remember(built, keys)
            return Sifted(built, 0)
        columns = [
            rows[name].to_pylist() for name in ("event_id", "payload_digest", "source_file", "source_record")
        ]
        new: dict[str, Sighting] = {}
        kept, duplicates, conflicts = [], 0, []
        for row, (event_id, digest, file, record) in enumerate(zip(*columns, strict=True)):
            earlier = known.get(row) or new.get(event_id)
            if earlier is None:
                new[event_id] = Sighting(digest, file, record)
                kept.append(row)
            elif earlier.digest == digest:
                duplicates += 1
            else:
                conflicts.append(_conflict(file, record, earlier, built.raw(row)))
        built = built.keep(kept, conflicts)
        self._remember(built, keys[kept])
        return Sifted(built, duplicates)

    def _remember(self, built: Built, keys: Keys) -> None:
        digests, files, records = (
            built.rows[name] for name in ("payload_digest", "source_file", "source_record")
        )
        try:
            self._seen.add(keys, as_keys(digests), files, records.to_numpy())
        except OSError as error:
            raise temporary_folder_unusable(error) from error


def _conflict(file: str, record: int, earlier: Sighting, raw: str) -> Rejection:
    detail = (
        f"It has the id of {earlier.file} record {earlier.record}, but another payload. "
        "Keep the right one of the two and read them again."
    )
    return Rejection(file, record, Reason.CONFLICTING_DUPLICATE, None, detail, raw)
