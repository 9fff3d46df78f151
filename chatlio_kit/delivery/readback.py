"""What the dataset's batches hold: the rows that landed, and what the platform failed after accepting it.

A full read looks into every batch again, and whatever it does not find is gone. A quick read looks into new
batches only; of those that were read before it asks the catalogue alone, and when one of them is no longer
as it was, everything is read again.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from typing import IO, Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from chatlio_kit.aep import Batch, StoredFile, masked
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
"""So many landed events are read again after every run; of more, only ``reconcile`` reads all again."""
_LANDED = frozenset({"success", "active"})
_FAILED = frozenset({"failed", "failure"})
_WITHOUT_ROWS = frozenset({"aborted", "abandoned", "inactive", "deleted", "archived", "retained"})
"""Batches that will not bring rows any more (Batch ingestion: statuses)."""
_CLOCK_SKEW_MS = 5 * 60 * 1000
_QUIET_SECONDS = 1.0
"""When no row came for so long, no more of them are expected."""
_IN_MEMORY = 16_000_000
_ROWS_AT_ONCE = 50_000
_NO_ANSWER = (Unreachable, AuthenticationFailed, PermissionMissing, RateLimited)
"""Errors that say nothing of one batch."""


class Unreadable(Exception):
    """A batch whose rows cannot be had, with the reason in words."""


def read_back(
    connection: Connection,
    book: DestinationLedger,
    *,
    wait: float,
    again: bool = True,
    may_repeat: bool = False,
    quiet: bool = False,
) -> None:
    """Compare the ledger with the dataset until every delivered event has its place, or time is up.

    Only batches since the first send are read; of their files only the ids.

    Args:
        connection: whose dataset.
        book: the destination's part of the ledger.
        wait: seconds to wait for rows that are still under way; 0 looks once.
        again: whether batches that were read before are read again. Where few events have landed, or rows
            are known to have changed, they are in any case.
        may_repeat: whether rows may land that repeat an id; then looking ends when no more of them come.
        quiet: whether to show no progress.
    """
    started = time.monotonic()
    pause, rows = 0.2, None
    before = book.tally()
    reader = Reader(connection, book)
    is_full = again or before.landed <= READ_AGAIN_UP_TO or book.landings.needs_full_read()
    with Progress("reading back", before.delivered, "events", quiet=quiet) as progress:
        progress.advance(before.landed)
        while True:
            reader.read_all() if is_full else reader.read_new()
            is_full = False
            now = book.tally()
            progress.advance(max(0, now.landed - before.landed))
            before = now
            left = wait - (time.monotonic() - started)
            if left <= 0 or (not now.under_way and (not may_repeat or rows == book.landings.rows())):
                return
            rows = book.landings.rows()
            time.sleep(min(pause if now.under_way else max(pause, _QUIET_SECONDS), left))
            pause = min(pause * 1.5, 30.0)


class Reader:
    """One read of the dataset; it may look several times.

    Args:
        connection: whose dataset.
        book: the destination's part of the ledger.
    """

    def __init__(self, connection: Connection, book: DestinationLedger) -> None:
        self._connection = connection
        self._platform = connection.platform
        self._book = book
        self._landings = book.landings
        self._number = 0
        self._is_full = False
        self._has_changed = False

    def read_new(self) -> bool:
        """Take over what batches say that were not read before; consolidated ones are followed.

        Returns:
            Whether the platform is done with all of them.
        """
        return self._read(is_full=False)

    def read_all(self) -> bool:
        """Read every batch again, and write down what is gone.

        Returns:
            Whether the platform is done with all of them.
        """
        return self._read(is_full=True)

    def _read(self, *, is_full: bool) -> bool:
        if self._book.first_sent_at() is None:
            return True
        # asked before the number is given: after it the platform's time is known
        dataset = self._dataset()
        if is_full or not self._number:
            self._number = self._landings.begin(self._platform.now())
        if dataset is None:
            self._landings.lose_dataset(self._number)
        else:
            self._is_full, self._has_changed = is_full, False
            is_done = self._visit_all()
            if self._has_changed and not is_full:
                return self._read(is_full=True)
            if is_full:
                self._landings.settle_gone(self._number, _otherwise(dataset))
        self._landings.finish(self._number, self._platform.now())
        return dataset is None or is_done

    def _dataset(self) -> Mapping[str, Any] | None:
        try:
            return self._platform.catalog.dataset(self._connection.dataset_id)
        except NotFound:
            return None

    def _visit_all(self) -> bool:
        catalog = self._platform.catalog
        since = max(0, self._book.sent_since() - _CLOCK_SKEW_MS)
        listed: set[str] = set()
        is_done = True
        for batch in catalog.batches(self._connection.dataset_id, created_after=since):
            listed.add(batch.id)
            is_done &= self._visit(batch)
        for batch_id in self._landings.read_batches():
            if batch_id not in listed:
                try:
                    is_done &= self._visit(catalog.batch(batch_id))
                except NotFound:
                    self._lose(batch_id, Gone.DELETED)
        return is_done

    def _visit(self, batch: Batch) -> bool:
        """Take over what one batch says; say whether the platform is done with it."""
        known = self._landings.batch(batch.id)
        if batch.successor_id is not None:
            return self._follow(batch)
        if batch.status in _LANDED:
            if known and known.is_read and (not self._is_full or known.readback == self._number):
                return True
            return self._read_rows(batch)
        if known and known.is_read and known.rows:
            self._lose(batch.id, _reason(batch))
        if batch.status in _FAILED:
            if known is None:
                return self._bury(batch)
            return True
        return batch.status in _WITHOUT_ROWS

    def _follow(self, batch: Batch) -> bool:
        """Count a consolidated batch's rows where they went, once, and not here.

        The catalogue keeps the way in the tag ``acp_successor``; one may follow another.
        """
        seen = {batch.id}
        current = batch
        while current.successor_id is not None and current.successor_id not in seen:
            seen.add(current.successor_id)
            current = self._platform.catalog.batch(current.successor_id)
        if current.successor_id is not None:
            return False
        is_done = self._visit(current)
        if current.status in _LANDED:
            if is_done:
                self._landings.move(batch.id)
        else:
            self._lose(batch.id, _reason(current))
        return is_done

    def _read_rows(self, batch: Batch) -> bool:
        try:
            self._landings.land(self._number, batch.id, self._ids(batch))
        except NotFound:
            return self._look_again(batch)
        except Unreadable as error:
            self._miss(batch.id, str(error))
            return False
        return True

    def _look_again(self, batch: Batch) -> bool:
        """Find out why a batch has no files: another one took its rows over, or it or they are deleted."""
        try:
            now = self._platform.catalog.batch(batch.id)
        except NotFound:
            self._lose(batch.id, Gone.DELETED)
            return True
        if (now.status, now.successor_id) != (batch.status, batch.successor_id):
            return self._visit(now)
        self._miss(batch.id, "it has rows, but its files are not there")
        return False

    def _miss(self, batch_id: str, why: str) -> None:
        known = self._landings.batch(batch_id)
        self._has_changed |= bool(known and known.rows)
        self._landings.note(batch_id, Gone.UNREADABLE, why)

    def _lose(self, batch_id: str, reason: str) -> None:
        self._has_changed = True
        self._landings.note(batch_id, reason)

    def _bury(self, batch: Batch) -> bool:
        try:
            self._book.bury(batch.id, _failures(self._connection, batch))
        except NotFound:
            return False  # its files are not there yet: the next look tells
        return True

    def _ids(self, batch: Batch) -> Iterator[list[str]]:
        """Give the ids of a batch's rows, part by part.

        A file is read to its end before its first id is given, so that a damaged one brings none.

        Raises:
            NotFound: its files are not there.
            Unreadable: a file cannot be downloaded or understood.
        """
        access = self._platform.data_access
        try:
            files = access.files(batch.id)
        except NotFound:
            raise
        except _NO_ANSWER:
            raise
        except PlatformError as error:
            raise Unreadable(error.reason) from None
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
        except _NO_ANSWER:
            raise
        except PlatformError as error:
            raise Unreadable(f"{file.name} cannot be downloaded: {error.reason}") from None
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
                raise Unreadable(f"{file.name} has no column {ID_COLUMN}")
            for rows in parquet.iter_batches(_ROWS_AT_ONCE, columns=[ID_COLUMN]):
                yield [str(value) for value in rows[ID_COLUMN].to_pylist() if value is not None]
    except (pa.ArrowException, OSError) as error:
        raise Unreadable(f"{file.name} is damaged ({_first_line(error)})") from None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120].rstrip(".")


def _otherwise(dataset: Mapping[str, Any]) -> Gone:
    """Say why rows vanish from batches that are as they were: the dataset's rows expire, or nobody knows."""
    lake = (dataset.get("extensions") or {}).get("adobe_lakeHouse") or {}
    return Gone.EXPIRED if (lake.get("rowExpiration") or {}).get("ttlValue") else Gone.UNKNOWN


def _reason(batch: Batch) -> str:
    """Say why a batch has no rows any more: reverting one leaves it inactive (Batch ingestion: actions)."""
    return Gone.REVERTED if batch.status == "inactive" else f"batch_{batch.status}"


def _failures(connection: Connection, batch: Batch) -> Iterator[DeadLetter]:
    for row in connection.platform.data_access.failed_rows(batch.id):
        event_id = _event_id(row)
        if event_id is not None:
            errors = row.get("_errors")
            said = masked(orjson.dumps(errors).decode())
            yield DeadLetter(event_id, _code(errors, batch), said, _as_sent(row, event_id))


def _as_sent(row: Mapping[str, Any], event_id: str) -> bytes | None:
    """Give the record as it was sent, if the failed row holds it."""
    body = row.get("body")
    if isinstance(body, dict) and body.get("event_id") == event_id:
        return orjson.dumps(body)
    return None


def _event_id(row: Mapping[str, Any]) -> str | None:
    """Find our id in a failed row: in the record as it was sent, or in what the mapping made of it."""
    for place in (row.get("body"), row):
        if isinstance(place, dict):
            for inside in (place, place.get("xdmEntity"), place.get("message")):
                if isinstance(inside, dict):
                    found = inside.get("event_id") or inside.get(ID_COLUMN)
                    if isinstance(found, str):
                        return found
    return None


def _code(errors: Any, batch: Batch) -> str:
    """Name the sort of failure: the row's own code, else the batch's."""
    for error in _entries(errors):
        if isinstance(error.get("code"), str):
            return str(error["code"])
    return str(
        next((each.get("code") for each in batch.errors if each.get("code")), "failed_after_acceptance")
    )


def _entries(errors: Any) -> Iterator[dict[str, Any]]:
    if isinstance(errors, list):
        for each in errors:
            yield from _entries(each)
    elif isinstance(errors, dict):
        yield errors
        for each in errors.values():
            yield from _entries(each)
