"""Load lots: create a batch, upload its files, complete it, and wait for the platform's verdict.

Every step can be repeated after a kill: a batch is looked up by its external id before it is created, an
upload replaces a file of the same name, and completing twice does no harm. If an answer is lost and a batch
is created twice, the second one holds no rows until it is completed.

Source: Batch ingestion: API guide, troubleshooting, partial ingestion, error diagnostics.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from chatlio_kit.aep import Batch, FileBody, masked, to_int
from chatlio_kit.connection import Connection
from chatlio_kit.counting import counted
from chatlio_kit.delivery.bulk.files import BatchFiles, digest_of, paths_in, remove_files, rows_in
from chatlio_kit.delivery.bulk.lots import Lot, Lots, LotState, has_unfinished
from chatlio_kit.delivery.bulk.xdm import wire_bodies
from chatlio_kit.delivery.ledger.destination import DestinationLedger
from chatlio_kit.delivery.ledger.models import DeadLetter
from chatlio_kit.delivery.readback import (
    FAILED,
    ID_COLUMN,
    LANDED,
    WITHOUT_ROWS,
    DatasetReader,
    UnreadableBatch,
    error_code,
    event_id_of,
    is_without_rows,
    was_ingested,
)
from chatlio_kit.errors import NotFound, PlatformError, Unavailable, Unreachable

PATIENCE = 7_200.0
"""Seconds to wait for the verdict about one batch; the platform names no time."""
BYTES_PER_SECOND = 20e9 / 3600
"""Limit of batch ingestion through its API: 20 GB an hour (guardrails)."""
MOST_FAILED_PERCENT = 5
"""Up to this share of refused records, a batch is ingested without them."""

OPEN = "loading"
_TRIES = 5
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 30.0


class Loader:
    """Loads the lots of one destination.

    Args:
        connection: The destination.
        ledger: The destination's part of the ledger.
        lots: The destination's lots.
        patience: Seconds to wait for the verdict about one batch.
        is_stopped: If true, stop waiting; the next run resumes lots without a verdict.
    """

    def __init__(
        self,
        connection: Connection,
        ledger: DestinationLedger,
        lots: Lots,
        *,
        patience: float = PATIENCE,
        is_stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._connection = connection
        self._platform = connection.platform
        self._ledger = ledger
        self._lots = lots
        self._patience = patience
        self._is_stopped = is_stopped
        self._next_upload = 0.0

    def load(self, lot: Lot) -> Lot:
        """Load a lot, wait for its verdict, and record the fate of its events.

        Returns:
            The lot: loaded, or failed if a killed run left no files.

        Raises:
            PlatformError: The platform refused the batch as a whole, or gave no verdict. The events are
                pending.
            OutputError: Files without the refused records could not be written.
        """
        while True:
            folder = self._lots.folder_of(lot)
            batch = self.find(lot)
            if batch is not None and lot.batch_id is None and is_without_rows(batch):
                # another ledger created it, and external ids are never given twice
                lot = self._lots.set_external_id(lot, f"{lot.external_id}/{uuid4().hex[:8]}")
                batch = None
            if batch is None or batch.status == OPEN:
                if not paths_in(folder):
                    return self._give_up(lot, batch)
                batch = batch or self._create(lot)
                lot = self._lots.set_batch(lot, batch.id)
                self._upload(batch.id, folder)
                self.change(self._platform.batches.complete, batch)
            lot = self._lots.set_batch(lot, batch.id)
            batch = self._wait_for_verdict(batch.id)
            refused = self._refused(batch, folder)
            if was_ingested(batch):
                lot = self._lots.settle(lot, refused)
                remove_files(folder)
                return lot
            self._ledger.landings.mark_batch(batch.id, "failed")
            if not refused or batch.status not in FAILED or not paths_in(folder):
                self._lots.give_up(lot)
                raise _refusal(batch)
            lot = self._without(lot, refused)
            remove_files(folder)
            if lot.state != LotState.WRITTEN:
                return lot

    def find(self, lot: Lot) -> Batch | None:
        """Return a lot's batch, None if the platform has none.

        If lost answers led to several batches, return the one that advanced furthest.

        Raises:
            PlatformError: Catalog cannot be read.
        """
        if lot.batch_id is not None:
            try:
                return self._platform.catalog.batch(lot.batch_id)
            except NotFound:
                return None
        batches = self._platform.catalog.batches(self._connection.dataset_id, external_id=lot.external_id)
        return min(batches, key=lambda batch: (is_without_rows(batch), batch.status == OPEN), default=None)

    def change(self, act: Callable[[str], None], batch: Batch) -> None:
        """Change a batch's status; after a lost answer, it may have changed already.

        Raises:
            PlatformError: The platform refuses.
        """
        try:
            act(batch.id)
        except PlatformError:
            if self._platform.catalog.batch(batch.id).status == batch.status:
                raise

    def _create(self, lot: Lot) -> Batch:
        """Create the batch once, even if an answer is lost."""
        for attempt in range(1, _TRIES + 1):
            try:
                batch_id = self._platform.batches.create(
                    self._connection.dataset_id, lot.external_id, most_failed_percent=MOST_FAILED_PERCENT
                )
                return self._platform.catalog.batch(batch_id)
            except (Unreachable, Unavailable):
                if attempt == _TRIES:
                    raise
                self._platform.sleep(_FIRST_PAUSE * 2**attempt)
                if (batch := self.find(lot)) is not None:
                    return batch
        raise AssertionError

    def _upload(self, batch_id: str, folder: Path) -> None:
        """Upload the files, at the pace of the API's guardrail."""
        for path in paths_in(folder):
            if not self._platform.settings.is_local:
                self._platform.sleep(max(0.0, self._next_upload - time.monotonic()))
                self._next_upload = time.monotonic() + path.stat().st_size / BYTES_PER_SECOND
            self._platform.batches.upload(batch_id, self._connection.dataset_id, path.name, FileBody(path))

    def _wait_for_verdict(self, batch_id: str) -> Batch:
        pause, deadline = _FIRST_PAUSE, time.monotonic() + self._patience
        while True:
            batch = self._platform.catalog.batch(batch_id)
            if batch.status in LANDED | FAILED | WITHOUT_ROWS:
                return batch
            if self._is_stopped() or time.monotonic() >= deadline:
                raise PlatformError(
                    self._platform.batches.service,
                    f"ingest the batch {batch_id} yet",
                    f"it is still {batch.status}",
                    advice="Its events are pending. Run it again later: it checks the same batch first.",
                )
            self._platform.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE)

    def _refused(self, batch: Batch, folder: Path) -> list[DeadLetter]:
        """Return the records that a batch refused, from its diagnostics.

        If these list fewer than the batch counts, records missing from its rows are refused too.
        """
        count = to_int(batch.metrics.get("failedRecordCount"))
        if is_without_rows(batch) or (was_ingested(batch) and not count and not batch.errors):
            return []
        reasons: dict[str, tuple[str, str]] = {}
        access = self._platform.data_access
        for rows in (access.row_errors(batch.id), access.failed_rows(batch.id)):
            for row in rows:
                corrupt = row.get("_corrupt_record")
                event_id = event_id_of(row) or (event_id_of(corrupt) if isinstance(corrupt, dict) else None)
                if event_id is not None and row.get("_errors"):
                    errors = row["_errors"]
                    answer = masked(orjson.dumps(errors).decode())
                    reasons.setdefault(event_id, (error_code(errors, batch), answer))
        if was_ingested(batch) and len(reasons) < count:
            missing = self._missing(batch, folder) - set(reasons)
            if len(missing) + len(reasons) == count:
                answer = masked(orjson.dumps(batch.errors).decode())
                reasons |= dict.fromkeys(missing, (error_code(None, batch), answer))
        bodies = dict(_bodies(folder, set(reasons)))
        return [
            DeadLetter(event_id, reason, answer, bodies.get(event_id))
            for event_id, (reason, answer) in reasons.items()
        ]

    def _missing(self, batch: Batch, folder: Path) -> set[str]:
        """Return the ids in a batch's files that are missing from its rows."""
        sent = {event_id for rows in rows_in(folder, [ID_COLUMN]) for event_id in rows[ID_COLUMN].to_pylist()}
        try:
            for stored in DatasetReader(self._connection, self._ledger).ids(batch):
                sent.difference_update(stored)
        except (NotFound, UnreadableBatch):
            return set()
        return sent

    def _without(self, lot: Lot, refused: list[DeadLetter]) -> Lot:
        """Write a failed lot's files again without the refused records."""
        before, after = self._lots.folder_of(lot), self._lots.folder(lot.run, lot.number, lot.attempt + 1)
        ids = pa.array([letter.event_id for letter in refused], pa.string())
        tables = rows_in(before)
        first = next(tables)
        files = BatchFiles(after, first.schema)
        try:
            for table in (first, *tables):
                files.write(table.filter(pc.invert(pc.is_in(table[ID_COLUMN], ids))))
            files.close()
        except BaseException:
            files.discard()
            raise
        if not files.rows:
            files.discard()
            return self._lots.settle(lot, refused)
        return self._lots.retry(lot, external_id(self._connection, lot.run, lot.number, after), refused)

    def _give_up(self, lot: Lot, batch: Batch | None) -> Lot:
        """Drop a lot that lost its files before its batch was completed: its events are sent again."""
        if batch is not None:
            self.change(self._platform.batches.abort, batch)
        return self._lots.give_up(lot)


def finish_lots(
    connection: Connection, ledger: DestinationLedger, state: Path, patience: float = PATIENCE
) -> list[str]:
    """Finish the lots of killed runs, and return sentences about them.

    Until their verdict, nothing else may send their events, or the dataset would have them twice.

    Raises:
        PlatformError: As for :meth:`Loader.load`.
    """
    if not has_unfinished(ledger.ledger):
        return []
    lots = Lots(ledger, state)
    loader, notes = Loader(connection, ledger, lots, patience=patience), []
    for lot in lots.unfinished():
        batch = loader.find(lot)
        if batch is not None and is_without_rows(batch):
            lots.give_up(lot)
            notes.append(
                f"The interrupted batch {lot.number} of run {lot.run} is {batch.status} on the platform, so "
                "it has no rows: its events are pending."
            )
            continue
        counts = lots.counts(loader.load(lot))
        notes.append(
            f"The interrupted batch {lot.number} of run {lot.run} is finished: "
            f"{counted(counts.delivered, 'event')} delivered, {counts.dead_lettered:,} dead-lettered."
        )
    return notes


def external_id(connection: Connection, run: int, number: int, folder: Path) -> str:
    """Return the external id of a batch: it names destination, dataset, run, part and content."""
    where = f"{connection.destination}/{connection.dataset_id}"
    return f"chatlio-kit/{where}/run-{run}/part-{number}/{digest_of(folder)[:16]}"


def _bodies(folder: Path, event_ids: set[str]) -> Iterator[tuple[str, bytes]]:
    """Yield the records of these ids as streaming would send them."""
    if event_ids:
        ids = pa.array(sorted(event_ids), pa.string())
        for rows in rows_in(folder):
            yield from wire_bodies(rows.filter(pc.is_in(rows[ID_COLUMN], ids)))


def _refusal(batch: Batch) -> PlatformError:
    """Return the error for a batch that was not ingested and names no record to leave out."""
    error = batch.errors[0] if batch.errors else {}
    reason = str(error.get("description") or error.get("message") or f"its status is {batch.status}")
    return PlatformError(
        "Batch ingestion",
        f"ingest the batch {batch.id}",
        masked(reason),
        code=masked(str(error["code"])) if error.get("code") else None,
        advice="Its events are pending. Correct the cause, then run it again: it sends them in a new batch.",
    )
