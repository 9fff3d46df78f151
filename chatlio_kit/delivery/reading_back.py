"""What the dataset's batches hold: the rows that landed, and what the platform failed after accepting it."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Mapping
from typing import Any

import orjson
import pyarrow.parquet as pq

from chatlio_kit.connection import Connection
from chatlio_kit.delivery.book import Book
from chatlio_kit.delivery.fates import DeadLetter
from chatlio_kit.display import Progress
from chatlio_kit.errors import NotFound
from chatlio_kit.platform import Batch, masked

ID_COLUMN = "_id"
_LANDED = frozenset({"success", "active"})
_FAILED = frozenset({"failed", "failure"})
_WITHOUT_ROWS = frozenset({"aborted", "abandoned", "inactive", "deleted", "archived", "retained"})
"""Batches that will not bring rows any more (Batch ingestion: statuses)."""
_CLOCK_SKEW_MS = 5 * 60 * 1000
_QUIET_SECONDS = 1.0
"""When no row came for so long, no more of them are expected."""


def read_back(
    connection: Connection, book: Book, *, wait: float, may_repeat: bool = False, quiet: bool = False
) -> None:
    """Compare the ledger with the dataset until every delivered event has landed or failed, or time is up.

    Only batches since the first send are read, each once; of their files only the ids.

    Args:
        connection: whose dataset.
        book: the destination's part of the ledger.
        wait: seconds to wait for rows that are still under way; 0 looks once.
        may_repeat: whether rows may land that repeat an id; then looking ends when no more of them come.
        quiet: whether to show no progress.
    """
    started = time.monotonic()
    pause, rows = 0.2, None
    before = book.tally()
    with Progress("reading back", before.delivered, "events", quiet=quiet) as progress:
        progress.advance(before.landed)
        while True:
            read_new_batches(connection, book)
            now = book.tally()
            progress.advance(now.landed - before.landed)
            before = now
            left = wait - (time.monotonic() - started)
            has_landed = now.landed >= now.delivered
            if left <= 0 or (has_landed and (not may_repeat or rows == book.rows_read())):
                return
            rows = book.rows_read()
            time.sleep(min(max(pause, _QUIET_SECONDS) if has_landed else pause, left))
            pause = min(pause * 1.5, 30.0)


def read_new_batches(connection: Connection, book: Book) -> bool:
    """Take over what batches say that were not read before; consolidated ones are followed.

    Returns:
        Whether the platform is done with all of them.
    """
    first = book.first_sent_at()
    if first is None:
        return True
    is_done = True
    batches = connection.platform.catalog.batches(connection.dataset_id, created_after=first - _CLOCK_SKEW_MS)
    for batch in batches:
        ours = book.rows_in(batch.id)
        if batch.successor_id is not None and ours != 0:
            is_done &= _follow(connection, book, batch)
        elif ours is None:
            is_done &= _read(connection, book, batch)
    return is_done


def _follow(connection: Connection, book: Book, batch: Batch) -> bool:
    """Count a consolidated batch's rows where they went, once, and not here.

    The catalogue keeps the way in the tag ``acp_successor``; one may follow another.
    """
    seen = {batch.id}
    current = batch
    while current.successor_id is not None and current.successor_id not in seen:
        seen.add(current.successor_id)
        current = connection.platform.catalog.batch(current.successor_id)
    is_done = book.rows_in(current.id) is not None or _read(connection, book, current)
    if is_done:
        book.move(batch.id)
    return is_done


def _read(connection: Connection, book: Book, batch: Batch) -> bool:
    """Take over what one batch says, all of it or nothing; say whether the platform is done with it."""
    try:
        if batch.status in _LANDED:
            book.land(batch.id, _ids(connection, batch))
        elif batch.status in _FAILED:
            book.bury(batch.id, _failures(connection, batch))
        else:
            return batch.status in _WITHOUT_ROWS
    except NotFound:
        return False  # its files are not there yet, or went to another batch meanwhile: the next look tells
    return True


def _ids(connection: Connection, batch: Batch) -> Iterator[str]:
    access = connection.platform.data_access
    files = access.files(batch.id)
    if not files and batch.metrics.get("outputRecordCount"):
        raise NotFound(access.service, "list the batch's files", "there are none, although it has rows")
    for file in files:
        column = pq.read_table(io.BytesIO(access.download(file)), columns=[ID_COLUMN])[ID_COLUMN]
        yield from (str(value) for value in column.to_pylist() if value is not None)


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
