"""Deduplicate events and detect conflicting payloads."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
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
from chatlio_kit.tables.deduplicate.twins import ComparableBatch, Twins
from chatlio_kit.tables.validate.event_batch import EventBatch

__all__ = ["Deduplicator", "FirstOccurrence", "Settled"]

Settled = Callable[[list[str]], Mapping[str, FirstOccurrence]]
"""A function that returns the ids settled before this run."""


class Deduplicator:
    """The events accepted so far in a run. Use it as a context manager.

    Args:
        settled: Looks up events settled before this run.
        with_twins: If true, look for :mod:`~chatlio_kit.tables.deduplicate.twins` from the first record on.
        most_in_memory: Number of ids held in memory before they are written to disk.

    Attributes:
        missed_twins: True if loose records were read after others that they could not be compared with.
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

    def apply(self, batch: EventBatch) -> EventBatch:
        """Remove events that were read before; reject those with an earlier event's id and another payload.

        Loose records and their twins are treated alike.

        Raises:
            OutputError: The folder for temporary files cannot be used.
        """
        try:
            return self._apply(batch)
        except OSError as error:
            raise temporary_folder_unusable(error) from error

    def _apply(self, batch: EventBatch) -> EventBatch:
        rows = batch.rows
        keys = as_keys(rows["event_id"])
        earlier_by_row = self._seen.look_up(keys)
        if self._settled is not None:
            ids = rows["event_id"].to_pylist()
            settled = self._settled(ids)
            earlier_by_row = {
                row: settled[id_] for row, id_ in enumerate(ids) if id_ in settled
            } | earlier_by_row
        comparable = self._comparable(batch)
        if not earlier_by_row and not (comparable and comparable.may_have_twins) and are_distinct(keys):
            self._remember(batch, keys)
            if comparable and self._twins is not None:
                self._twins.add(batch, comparable, range(len(batch)))
            return batch
        columns = [
            rows[name].to_pylist() for name in ("event_id", "payload_digest", "source_file", "source_record")
        ]
        new: dict[str, FirstOccurrence] = {}
        kept, duplicates, conflicts = list[int](), list[int](), []
        for row, (event_id, digest, file, record) in enumerate(zip(*columns, strict=True)):
            earlier = earlier_by_row.get(row) or new.get(event_id)
            twin = comparable.twin(row) if comparable else None
            if earlier is not None and earlier.digest == digest:
                duplicates.append(row)
            elif comparable and twin is not None:
                if twin.digest == comparable.body(row):
                    duplicates.append(row)
                else:
                    conflicts.append(_conflict(file, record, twin, batch.raw(row)))
                continue
            elif earlier is not None:
                conflicts.append(_conflict(file, record, earlier, batch.raw(row)))
                continue
            else:
                new[event_id] = FirstOccurrence(digest, file, record)
                kept.append(row)
            if comparable:
                comparable.add(row, file, record)
        distinct = batch.keep(kept, conflicts)
        self._remember(distinct, keys[kept])
        if comparable and self._twins is not None:  # events settled before this run have twins in it too
            self._twins.add(batch, comparable, [*kept, *duplicates])
        return replace(distinct, duplicates=len(duplicates))

    def _comparable(self, batch: EventBatch) -> ComparableBatch | None:
        """Return a batch in the form in which twins are equal; None if there are no twins to look for.

        A batch without records comes from a Slack export, whose events have no twins among captures.
        """
        if not batch.raw_batch.slices:
            return None
        if self._twins is None and batch.remarks.loose:
            self._twins = Twins(self._folder)
            self.missed_twins = not self._is_first
        self._is_first = False
        return self._twins.compare(batch) if self._twins is not None and len(batch) else None

    def _remember(self, batch: EventBatch, keys: Keys) -> None:
        digests, files, records = (
            batch.rows[name] for name in ("payload_digest", "source_file", "source_record")
        )
        self._seen.add(keys, as_keys(digests), files, records.to_numpy())


def _conflict(file: str, record: int, earlier: FirstOccurrence, raw: str) -> Rejection:
    detail = (
        f"It has the same id as {earlier.file} record {earlier.record}, but another payload. Keep the "
        "correct one and read them again."
    )
    return Rejection(file, record, Reason.CONFLICTING_DUPLICATE, None, detail, raw)
