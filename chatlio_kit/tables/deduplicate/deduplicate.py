"""Which events of a run are new, which were there before, and which contradict an earlier one."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType

from chatlio_kit.chatlio.rejections import Reason, Rejection
from chatlio_kit.private_files import new_temporary_folder, temporary_folder_unusable
from chatlio_kit.tables.deduplicate.seen_ids import (
    MOST_IN_MEMORY,
    FirstOccurrence,
    Keys,
    SeenIds,
    are_distinct,
    as_keys,
)
from chatlio_kit.tables.deduplicate.twins import Compared, Twins
from chatlio_kit.tables.validate.event_batch import EventBatch

__all__ = ["DeduplicatedBatch", "Deduplicator", "FirstOccurrence", "Settled"]

Settled = Callable[[list[str]], Mapping[str, FirstOccurrence]]
"""Looks up which of these ids were settled before this run."""


@dataclass
class DeduplicatedBatch:
    """What is left of a batch without its duplicates, and how many they were."""

    built: EventBatch
    duplicates: int


class Deduplicator:
    """The events that a run has accepted so far. Use it as a context manager.

    Args:
        settled: looks up what was settled before this run.
        with_twins: whether to look for twins (:mod:`chatlio_kit.tables.deduplicate.twins`) from the first record on.
        most_in_memory: how many ids are held in memory before they go to disk.

    Attributes:
        missed_twins: whether loose records were read after others that they could not be compared with.
    """

    def __init__(
        self,
        settled: Settled | None = None,
        *,
        with_twins: bool = False,
        most_in_memory: int = MOST_IN_MEMORY,
    ) -> None:
        self._settled = settled
        self._folder = new_temporary_folder()
        self._seen = SeenIds(self._folder, most_in_memory)
        self._twins = Twins(self._folder) if with_twins else None
        self._is_first = True
        self.missed_twins = False

    def __enter__(self) -> Deduplicator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def apply(self, built: EventBatch) -> DeduplicatedBatch:
        """Take out what was there before; reject what has an earlier event's id and another payload.

        The same is done with loose records and their twins.
        """
        rows = built.rows
        keys = as_keys(rows["event_id"])
        known = self._seen.look_up(keys)
        if self._settled is not None:
            ids = rows["event_id"].to_pylist()
            settled = self._settled(ids)
            known = {row: settled[each] for row, each in enumerate(ids) if each in settled} | known
        twins = self._compared(built)
        if not known and not (twins and twins.is_of_interest) and are_distinct(keys):
            self._remember(built, keys, twins, range(len(built)))
            return DeduplicatedBatch(built, 0)
        columns = [
            rows[name].to_pylist() for name in ("event_id", "payload_digest", "source_file", "source_record")
        ]
        new: dict[str, FirstOccurrence] = {}
        kept, duplicates, conflicts = list[int](), list[int](), []
        for row, (event_id, digest, file, record) in enumerate(zip(*columns, strict=True)):
            earlier = known.get(row) or new.get(event_id)
            twin = twins.twin(row) if twins else None
            if earlier is not None and earlier.digest == digest:
                duplicates.append(row)
            elif twins and twin is not None:
                if twin.digest == twins.body(row):
                    duplicates.append(row)
                else:
                    conflicts.append(_conflict(file, record, twin, built.raw(row)))
                continue
            elif earlier is not None:
                conflicts.append(_conflict(file, record, earlier, built.raw(row)))
                continue
            else:
                new[event_id] = FirstOccurrence(digest, file, record)
                kept.append(row)
            if twins:
                twins.add(row, file, record)
        left = built.keep(kept, conflicts)
        self._remember(left, keys[kept], None, [])
        if twins and self._twins is not None:  # what was settled before this run has its twins in it too
            self._twins.add(built, twins, [*kept, *duplicates])
        return DeduplicatedBatch(left, len(duplicates))

    def _compared(self, built: EventBatch) -> Compared | None:
        """Bring a piece into the form in which twins are alike, where there may be any."""
        if self._twins is None and built.remarks.loose:
            self._twins = Twins(self._folder)
            self.missed_twins = not self._is_first
        self._is_first = False
        return self._twins.compare(built) if self._twins is not None and len(built) else None

    def _remember(self, built: EventBatch, keys: Keys, twins: Compared | None, rows: Sequence[int]) -> None:
        digests, files, records = (
            built.rows[name] for name in ("payload_digest", "source_file", "source_record")
        )
        try:
            self._seen.add(keys, as_keys(digests), files, records.to_numpy())
            if twins is not None and self._twins is not None:
                self._twins.add(built, twins, rows)
        except OSError as error:
            raise temporary_folder_unusable(error) from error


def _conflict(file: str, record: int, earlier: FirstOccurrence, raw: str) -> Rejection:
    detail = (
        f"It has the id of {earlier.file} record {earlier.record}, but another payload. "
        "Keep the right one of the two and read them again."
    )
    return Rejection(file, record, Reason.CONFLICTING_DUPLICATE, None, detail, raw)
