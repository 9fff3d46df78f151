"""The second confirmation: what the dataset holds, and what the platform failed after accepting it."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

import orjson
import pyarrow.parquet as pq

from chatlio_kit.connection import Connection
from chatlio_kit.delivery.book import Book
from chatlio_kit.delivery.fates import DeadLetter
from chatlio_kit.display import Progress
from chatlio_kit.platform import Batch, masked

ID_COLUMN = "_id"
_LANDED = frozenset({"success", "active"})
_FAILED = frozenset({"failed", "failure"})
_CLOCK_SKEW_MS = 5 * 60 * 1000


def read_back(connection: Connection, book: Book, *, wait: float, quiet: bool = False) -> None:
    """Compare the ledger with the dataset until every delivered event has landed or failed, or time is up.

    Only batches since the first send are read, each once; of their files only the ids.

    Args:
        connection: whose dataset.
        book: the destination's part of the ledger.
        wait: seconds to wait for rows that are still under way; 0 looks once.
        quiet: whether to show no progress.
    """
    started = time.monotonic()
    pause = 0.2
    before = book.tally()
    with Progress("reading back", before.delivered, "events", quiet=quiet) as progress:
        progress.advance(before.landed)
        while True:
            read_new_batches(connection, book)
            now = book.tally()
            progress.advance(now.landed - before.landed)
            before = now
            left = wait - (time.monotonic() - started)
            if now.landed >= now.delivered or left <= 0:
                return
            time.sleep(min(pause, left))
            pause = min(pause * 1.5, 30.0)


def count_sql(table: str) -> str:
    """Give the query with which Query Service counts the same: distinct ids, and rows that repeat one."""
    name = re.sub(r"[^a-z0-9]+", "_", table.lower()).strip("_")
    return f"SELECT COUNT(DISTINCT _id) AS events, COUNT(*) - COUNT(DISTINCT _id) AS repeated FROM {name};"  # noqa: S608 - shown, not run


def ingested(connection: Connection) -> dict[str, int]:
    """Sum what the runs of the history dataflows say."""
    sums = {"received": 0, "ingested": 0, "failed": 0, "with warnings": 0}
    for flow in connection.history.values():
        for run in connection.platform.flows.runs(flow.flow_id):
            sums["received"] += run.received
            sums["ingested"] += run.ingested
            sums["failed"] += run.failed
            sums["with warnings"] += run.warned
    return sums


def read_new_batches(connection: Connection, book: Book) -> None:
    """Take over what batches say that were not read before; consolidated ones are followed."""
    first = book.first_sent_at()
    if first is None:
        return
    batches = connection.platform.catalog.batches(connection.dataset_id, created_after=first - _CLOCK_SKEW_MS)
    for batch in batches:
        if book.has_read(batch.id):
            continue
        if batch.successor_id is not None:
            _follow(connection, book, batch)
            continue
        if batch.status not in _LANDED | _FAILED:
            continue
        if batch.status in _LANDED:
            book.land(batch.id, _ids(connection, batch))
        else:
            book.bury(batch.id, _failures(connection, batch))


def _follow(connection: Connection, book: Book, batch: Batch) -> None:
    """Count a consolidated batch's rows where they went, once, and not here."""
    seen = {batch.id}
    current = batch
    while current.successor_id is not None and current.successor_id not in seen:
        seen.add(current.successor_id)
        current = connection.platform.catalog.batch(current.successor_id)
    if current.status in _LANDED:
        if not book.has_read(current.id):
            book.land(current.id, _ids(connection, current))
        book.skip(batch.id)


def _ids(connection: Connection, batch: Batch) -> Iterator[str]:
    access = connection.platform.data_access
    for file in access.files(batch.id):
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
