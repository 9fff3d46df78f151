"""Read the dataset's batches: rows that landed, and rows that the platform failed after accepting them.

A full read reads every batch again; missing events are gone. A quick read reads only new batches, and looks
up earlier ones in Catalog: if one has changed, it reads everything again.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from typing import IO, Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from chatlio_kit.aep import Batch, Platform, StoredFile, masked
from chatlio_kit.connection import Connection
from chatlio_kit.delivery.ledger.destination import DestinationLedger
from chatlio_kit.delivery.ledger.models import DeadLetter, Gone
from chatlio_kit.display import Progress
from chatlio_kit.errors import (
    AuthenticationFailed,
    NotFound,
    OutputError,
    PermissionMissing,
    PlatformError,
    RateLimited,
    Unreachable,
)

ID_COLUMN = "_id"
READ_AGAIN_UP_TO = 50_000
"""Up to this many landed events, every run reads all of them again; above, only ``reconcile`` does."""
LANDED = frozenset({"success", "active"})
FAILED = frozenset({"failed", "failure"})
WITHOUT_ROWS = frozenset({"aborted", "abandoned", "inactive", "deleted", "archived", "retained"})
"""Statuses of batches that will bring no more rows (Batch ingestion: statuses)."""
_CLOCK_SKEW_MS = 5 * 60 * 1000
_QUIET_SECONDS = 1.0
"""Seconds without a new row after which no more rows are expected."""
_IN_MEMORY = 16_000_000
_ROWS_AT_ONCE = 50_000
_NOT_ABOUT_ONE_BATCH = (Unreachable, AuthenticationFailed, PermissionMissing, RateLimited)


class UnreadableBatch(Exception):
    """A batch whose rows cannot be read, with the reason in words."""


def was_ingested(batch: Batch) -> bool:
    """Return whether a batch brought rows, which another one may have taken over since."""
    return batch.status in LANDED or batch.successor_id is not None


def is_without_rows(batch: Batch) -> bool:
    """Return whether a batch will bring no more rows, and no other one has taken any over."""
    return batch.status in WITHOUT_ROWS and batch.successor_id is None


def last_successor(platform: Platform, batch: Batch) -> Batch | None:
    """Return the batch that holds the rows of a consolidated one; None if they succeed each other.

    The catalogue names it in the tag ``acp_successor``; it may have a successor of its own.

    Raises:
        NotFound: It is deleted.
    """
    seen = {batch.id}
    while batch.successor_id is not None:
        if batch.successor_id in seen:
            return None
        seen.add(batch.successor_id)
        batch = platform.catalog.batch(batch.successor_id)
    return batch


def read_back(
    connection: Connection,
    ledger: DestinationLedger,
    *,
    wait: float,
    again: bool = True,
    may_repeat: bool = False,
    quiet: bool = False,
) -> None:
    """Read the dataset until every delivered event has landed or failed, or time is up.

    It reads only batches since the first send, and only the ids in their files.

    Args:
        connection: The destination.
        ledger: The destination's part of the ledger.
        wait: Seconds to wait for rows that are still under way; 0 looks once.
        again: If true, read earlier batches again. If few events have landed, or rows are known to have
            changed, they are always read again.
        may_repeat: True if rows may repeat an id; then reading ends when no more of them arrive.
        quiet: If true, show no progress.
    """
    started = time.monotonic()
    pause, rows = 0.2, None
    before = ledger.counts()
    reader = DatasetReader(connection, ledger)
    is_full = again or before.landed <= READ_AGAIN_UP_TO or ledger.landings.needs_full_read()
    with Progress("reading back", before.delivered, "events", quiet=quiet) as progress:
        progress.advance(before.landed)
        while True:
            reader.read_all() if is_full else reader.read_new()
            is_full = False
            now = ledger.counts()
            progress.advance(max(0, now.landed - before.landed))
            before = now
            remaining = wait - (time.monotonic() - started)
            if remaining <= 0 or (
                not now.under_way and (not may_repeat or rows == ledger.landings.row_count())
            ):
                return
            rows = ledger.landings.row_count()
            time.sleep(min(pause if now.under_way else max(pause, _QUIET_SECONDS), remaining))
            pause = min(pause * 1.5, 30.0)


class DatasetReader:
    """One read of the dataset, in one or more passes.

    Args:
        connection: The destination.
        ledger: The destination's part of the ledger.
    """

    def __init__(self, connection: Connection, ledger: DestinationLedger) -> None:
        self._connection = connection
        self._platform = connection.platform
        self._ledger = ledger
        self._landings = ledger.landings
        self._number = 0
        self._is_full = False
        self._has_changed = False

    def read_new(self) -> bool:
        """Read the batches that were not read before, and follow consolidated ones.

        Returns:
            True if the platform has finished all of them.
        """
        return self._read(is_full=False)

    def read_all(self) -> bool:
        """Read every batch again, and mark what is gone.

        Returns:
            True if the platform has finished all of them.
        """
        return self._read(is_full=True)

    def _read(self, *, is_full: bool) -> bool:
        if self._ledger.first_sent_at() is None:
            return True
        # the first call to the platform also returns its time, which the read's record needs
        dataset = self._dataset()
        if is_full or not self._number:
            self._number = self._landings.begin_read(self._platform.now())
        if dataset is None:
            self._landings.mark_dataset_deleted(self._number)
        else:
            self._is_full, self._has_changed = is_full, False
            is_done = self._visit_all()
            if self._has_changed and not is_full:
                return self._read(is_full=True)
            if is_full:
                self._landings.mark_gone(self._number, _default_reason(dataset))
        self._landings.finish_read(self._number, self._platform.now())
        return dataset is None or is_done

    def _dataset(self) -> Mapping[str, Any] | None:
        try:
            return self._platform.catalog.dataset(self._connection.dataset_id)
        except NotFound:
            return None

    def _visit_all(self) -> bool:
        catalog = self._platform.catalog
        since = max(0, self._ledger.sent_since() - _CLOCK_SKEW_MS)
        listed: set[str] = set()
        is_done = True
        for batch in catalog.batches(self._connection.dataset_id, created_after=since):
            listed.add(batch.id)
            is_done &= self._visit(batch)
        for batch_id in self._landings.batches_with_events():
            if batch_id not in listed:
                try:
                    is_done &= self._visit(catalog.batch(batch_id))
                except NotFound:
                    self._mark_gone(batch_id, Gone.DELETED)
        return is_done

    def _visit(self, batch: Batch) -> bool:
        """Record the contents of a batch, and return whether the platform has finished it."""
        known = self._landings.batch(batch.id)
        if batch.successor_id is not None:
            return self._follow(batch)
        if batch.status in LANDED:
            if known and known.is_read and (not self._is_full or known.readback == self._number):
                return True
            return self._read_rows(batch)
        if known and known.holds_events:
            self._mark_gone(batch.id, _reason(batch))
        if batch.status in FAILED:
            if known is None:
                return self._record_failures(batch)
            return True
        return batch.status in WITHOUT_ROWS

    def _follow(self, batch: Batch) -> bool:
        """Count a consolidated batch's rows once, in the batch that took them over."""
        known = self._landings.batch(batch.id)
        holds_events = known is not None and known.holds_events
        try:
            last = last_successor(self._platform, batch)
        except NotFound:
            if holds_events:
                self._mark_gone(batch.id, Gone.DELETED)
            return True
        if last is None:
            return False
        is_done = self._visit(last)
        if last.status in LANDED:
            if is_done:
                self._landings.supersede_batch(batch.id)
            elif holds_events:
                self._mark_unreadable(batch.id, None)
        elif holds_events:
            self._mark_gone(batch.id, _reason(last))
        return is_done

    def _read_rows(self, batch: Batch) -> bool:
        try:
            self._landings.mark_landed(self._number, batch.id, self.ids(batch))
        except NotFound:
            return self._look_again(batch)
        except UnreadableBatch as error:
            self._mark_unreadable(batch.id, str(error))
            return False
        return True

    def _look_again(self, batch: Batch) -> bool:
        """Determine why a batch has no files: it was consolidated, or the batch or its files are deleted."""
        try:
            now = self._platform.catalog.batch(batch.id)
        except NotFound:
            self._mark_gone(batch.id, Gone.DELETED)
            return True
        if (now.status, now.successor_id) != (batch.status, batch.successor_id):
            return self._visit(now)
        self._mark_unreadable(batch.id, "it has rows, but its files are missing")
        return False

    def _mark_unreadable(self, batch_id: str, problem: str | None) -> None:
        known = self._landings.batch(batch_id)
        self._has_changed |= bool(known and known.rows)
        self._landings.mark_batch(batch_id, Gone.UNREADABLE, problem)

    def _mark_gone(self, batch_id: str, reason: str) -> None:
        self._has_changed = True
        self._landings.mark_batch(batch_id, reason)

    def _record_failures(self, batch: Batch) -> bool:
        try:
            self._ledger.mark_failed(batch.id, _failures(self._connection, batch))
        except NotFound:
            return False  # its files are not there yet: the next read finds them
        return True

    def ids(self, batch: Batch) -> Iterator[list[str]]:
        """Yield the ids of a batch's rows in chunks.

        A file is read to its end before its first id is yielded, so that a damaged file yields none.

        Raises:
            NotFound: Its files are not there.
            UnreadableBatch: A file cannot be downloaded or understood.
        """
        access = self._platform.data_access
        try:
            files = access.files(batch.id)
        except NotFound:
            raise
        except _NOT_ABOUT_ONE_BATCH:
            raise
        except PlatformError as error:
            raise UnreadableBatch(error.reason) from None
        if not files and batch.metrics.get("outputRecordCount"):
            raise NotFound(access.service, "list the batch's files", "there are none, although it has rows")
        for file in files:
            with tempfile.SpooledTemporaryFile(_IN_MEMORY) as copy:
                self._download(file, copy)
                for _ in _ids_in(file, copy):
                    pass
                yield from _ids_in(file, copy)

    def _download(self, file: StoredFile, copy: IO[bytes]) -> None:
        try:
            self._platform.data_access.save(file, copy)
        except NotFound:
            raise
        except _NOT_ABOUT_ONE_BATCH:
            raise
        except PlatformError as error:
            raise UnreadableBatch(f"{file.name} cannot be downloaded: {error.reason}") from None
        except OSError as error:
            raise OutputError(
                f"A copy of the batch file {file.name!r} could not be written to {tempfile.gettempdir()!r}: "
                f"{error.strerror or error}. Free some space there, or name another folder in TMPDIR."
            ) from error


def _ids_in(file: StoredFile, copy: IO[bytes]) -> Iterator[list[str]]:
    copy.seek(0)
    try:
        with pq.ParquetFile(copy) as parquet:
            if ID_COLUMN not in parquet.schema_arrow.names:
                raise UnreadableBatch(f"{file.name} has no column {ID_COLUMN}")
            for rows in parquet.iter_batches(_ROWS_AT_ONCE, columns=[ID_COLUMN]):
                yield [str(value) for value in rows[ID_COLUMN].to_pylist() if value is not None]
    except (pa.ArrowException, OSError) as error:
        raise UnreadableBatch(f"{file.name} is damaged ({_first_line(error)})") from None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120].rstrip(".")


def _default_reason(dataset: Mapping[str, Any]) -> Gone:
    """Return the reason why rows vanish from unchanged batches: they expire, or the reason is unknown."""
    lake = (dataset.get("extensions") or {}).get("adobe_lakeHouse") or {}
    return Gone.EXPIRED if (lake.get("rowExpiration") or {}).get("ttlValue") else Gone.UNKNOWN


def _reason(batch: Batch) -> str:
    """Return why a batch no longer has rows: reverting deactivates it (Batch ingestion: actions)."""
    return Gone.REVERTED if batch.status == "inactive" else f"batch_{batch.status}"


def _failures(connection: Connection, batch: Batch) -> Iterator[DeadLetter]:
    for row in connection.platform.data_access.failed_rows(batch.id):
        event_id = event_id_of(row)
        if event_id is not None:
            errors = row.get("_errors")
            answer = masked(orjson.dumps(errors).decode())
            yield DeadLetter(event_id, error_code(errors, batch), answer, _as_sent(row, event_id))


def _as_sent(row: Mapping[str, Any], event_id: str) -> bytes | None:
    """Return the record as it was sent, if the failed row holds it."""
    body = row.get("body")
    if isinstance(body, dict) and body.get("event_id") == event_id:
        return orjson.dumps(body)
    return None


def event_id_of(row: Mapping[str, Any]) -> str | None:
    """Return the event id of a failed row: from the record as it was sent, or as it was mapped."""
    for outer in (row.get("body"), row):
        if isinstance(outer, dict):
            for record in (outer, outer.get("xdmEntity"), outer.get("message")):
                if isinstance(record, dict):
                    event_id = record.get("event_id") or record.get(ID_COLUMN)
                    if isinstance(event_id, str):
                        return event_id
    return None


def error_code(errors: Any, batch: Batch) -> str:
    """Return the code of a failure: the row's own, else the batch's."""
    codes = [error["code"] for error in _objects_in(errors) if isinstance(error.get("code"), str)]
    codes += [str(error["code"]) for error in batch.errors if error.get("code")]
    return codes[0] if codes else "failed_after_acceptance"


def _objects_in(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, list):
        for item in value:
            yield from _objects_in(item)
    elif isinstance(value, dict):
        yield value
        for item in value.values():
            yield from _objects_in(item)
