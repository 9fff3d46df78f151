"""Revert the batches of a bulk run.

Source: Batch ingestion: actions. A reverted batch becomes inactive, and is deleted later.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from chatlio_kit.arguments import SECONDS, checked, whole_number
from chatlio_kit.connection import Connection, a_connection, require_leave
from chatlio_kit.delivery.bulk.loader import OPEN, Loader
from chatlio_kit.delivery.bulk.lots import Lot, Lots, LotState
from chatlio_kit.delivery.ledger.destination import DestinationLedger
from chatlio_kit.delivery.ledger.ledger import Ledger
from chatlio_kit.delivery.readback import (
    FAILED,
    LANDED,
    WITHOUT_ROWS,
    DatasetReader,
    is_without_rows,
    last_successor,
)
from chatlio_kit.display import Progress, Sheet, SheetDisplay
from chatlio_kit.errors import DONE, UNCONFIRMED, NotFound, PlatformError, UsageError, in_words
from chatlio_kit.errors import FAILED as DID_FAIL

WAIT_SECONDS = 600.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 30.0
_MERGED = (
    "the platform merged its rows into the batch {}, which may hold others too. If all of these may go, "
    "revert that batch on the platform"
)


@dataclass
class RevertedBatch:
    """One batch that was to be reverted.

    Attributes:
        batch_id: The batch; None where none was created.
        events: Number of its events.
        gone: Number of events that were read back as gone.
        left: Number of events that are still in the dataset.
        status: Its status on the platform.
        refusal: The reason if it cannot be reverted.
    """

    batch_id: str | None
    events: int
    gone: int = 0
    left: int = 0
    status: str = ""
    refusal: str = ""


@dataclass(repr=False)
class Reversion(SheetDisplay):
    """The result of reverting a bulk run.

    Attributes:
        destination: The destination.
        run: The run's number.
        batches: Each batch.
        notes: Further sentences.
    """

    destination: str
    run: int
    batches: list[RevertedBatch] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 all rows are gone; 1 a batch cannot be reverted; 4 rows are still there."""
        if any(batch.refusal for batch in self.batches):
            return DID_FAIL
        return UNCONFIRMED if any(batch.gone < batch.events for batch in self.batches) else DONE

    def as_dict(self) -> dict[str, Any]:
        """Return the fields of ``revert --json``."""
        return {
            "destination": self.destination,
            "run": self.run,
            "events": sum(batch.events for batch in self.batches),
            "gone": sum(batch.gone for batch in self.batches),
            "left": sum(batch.left for batch in self.batches),
            "batches": [vars(batch) for batch in self.batches],
        }

    def sheet(self) -> Sheet:
        """Return a row for each batch, and sentences."""
        rows = [
            (batch.batch_id or "not created", batch.status, batch.events, batch.gone, batch.left)
            for batch in self.batches
        ]
        notes = [f"{batch.batch_id}: {batch.refusal}" for batch in self.batches if batch.refusal]
        if self.exit_code == UNCONFIRMED:
            notes.append("Not all rows are gone yet. Run it again: it continues where it stopped.")
        headings = ("batch", "status", "events", "gone", "still there")
        return Sheet(f"Run {self.run} reverted at {self.destination}", headings, rows, [*notes, *self.notes])


@checked(connection=a_connection, run=whole_number(1), wait=SECONDS)
def revert(
    connection: Connection,
    run: int,
    *,
    production: bool = False,
    wait: float = WAIT_SECONDS,
    quiet: bool = False,
) -> Reversion:
    """Revert the batches of a bulk run, and read back that their rows are gone.

    The ledger marks the events as gone because their batch was reverted; only ``replay(connection,
    gone=True)`` requeues them. To resume after an interruption, call it again.

    Args:
        connection: The destination.
        run: The run's number, from the page of ``backfill(via="batch")``.
        production: True if a production sandbox may be changed.
        wait: Seconds to wait until the platform has reverted the batches.
        quiet: If true, show no progress.

    Raises:
        UsageError: The run was streamed, or does not exist; the message lists those that can be reverted.
        ProductionSandbox: The sandbox is of the type production, or of a type that cannot be read.
        LedgerBusy: Another run is sending from the same state folder.
        PlatformError: The platform cannot be reached.
    """
    require_leave(connection.platform, production)
    state = connection.platform.settings.state
    with Ledger(state) as ledger, ledger.exclusive_lock():
        destination = DestinationLedger(ledger, connection.destination, connection.platform.now)
        lots = Lots(destination, state)
        found = lots.of_run(run)
        if not found:
            raise _no_batches(run, destination, lots)
        reverter = _Reverter(connection, destination, lots, wait)
        result = Reversion(str(connection.destination), run)
        with Progress("reverting", len(found), "batches", quiet=quiet) as progress:
            for lot in found:
                result.batches.append(reverter.take_back(lot))
                progress.advance(1)
        reader = DatasetReader(connection, destination)
        reader.read_all()
        for lot, batch in zip(found, result.batches, strict=True):
            counts = lots.counts(lot)
            batch.gone, batch.left = counts.gone, counts.landed
            if batch.status in WITHOUT_ROWS and not batch.refusal and not batch.left:
                lots.set_state(lot, LotState.REVERTED)
    if not any(batch.events for batch in result.batches):
        return result
    if connection.people.profile:
        result.notes.append(
            "The lake no longer has them. Profile may keep data from these batches: a system job for the "
            "batch, POST /data/core/ups/system/jobs, removes it there."
        )
    again = in_words(
        "replay --gone --reason batch_reverted", 'replay(connection, gone=True, reason="batch_reverted")'
    )
    result.notes.append(f"They are not sent again unless {again} requeues them before the next backfill.")
    return result


class _Reverter:
    """Reverts the batches of lots.

    Args:
        connection: The destination.
        ledger: The destination's part of the ledger.
        lots: The destination's lots.
        wait: Seconds to wait for the platform.
    """

    def __init__(self, connection: Connection, ledger: DestinationLedger, lots: Lots, wait: float) -> None:
        self._platform = connection.platform
        self._lots = lots
        self._loader = Loader(connection, ledger, lots, patience=wait)
        self._deadline = time.monotonic() + wait

    def take_back(self, lot: Lot) -> RevertedBatch:
        """Revert a lot's batch, or abort one that was not completed, and wait for it."""
        batch = self._loader.find(lot)
        status = batch.status if batch is not None else ""
        if lot.state == LotState.WRITTEN and (batch is None or status == OPEN or is_without_rows(batch)):
            if batch is not None and status == OPEN:
                self._loader.change(self._platform.batches.abort, batch)
                status = "aborted"
            self._lots.give_up(lot)
            return RevertedBatch(batch.id if batch else None, 0, status=status)
        if lot.state == LotState.WRITTEN:  # it was completed, so wait for its verdict first
            try:
                lot = self._loader.load(lot)
            except PlatformError as error:
                return RevertedBatch(lot.batch_id, 0, status=status, refusal=str(error))
        counts = self._lots.counts(lot)
        result = RevertedBatch(lot.batch_id, counts.delivered)
        if lot.batch_id is None or (batch is not None and batch.status in FAILED):
            result.status = batch.status if batch is not None else "deleted"
            return result
        try:
            batch = self._platform.catalog.batch(lot.batch_id)
            last = last_successor(self._platform, batch)
            if last is None or last.id == batch.id:
                if batch.status in LANDED:
                    self._loader.change(self._platform.batches.revert, batch)
                result.status = self._wait(lot.batch_id)
            else:
                result.status = last.status
                if last.status in LANDED:
                    result.refusal = _MERGED.format(last.id)
        except NotFound:
            result.status = "deleted"
        except PlatformError as error:
            result.refusal, result.status = str(error), batch.status if batch is not None else ""
        return result

    def _wait(self, batch_id: str) -> str:
        pause = _FIRST_PAUSE
        while True:
            status = self._platform.catalog.batch(batch_id).status
            if status in WITHOUT_ROWS or time.monotonic() >= self._deadline:
                return status
            self._platform.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE)


def _no_batches(run: int, ledger: DestinationLedger, lots: Lots) -> UsageError:
    """Return the error for a run that has no batches."""
    runs = sorted({lot.run for lot in lots.revertible()})
    if run <= ledger.last_run():
        what = f"Run {run} loaded no batches, and only batches can be reverted."
    else:
        what = f"There is no run {run} at this destination; the last one is {ledger.last_run()}."
    if not runs:
        return UsageError(f"{what} No run has batches to revert.")
    return UsageError(f"{what} These runs can be reverted: {', '.join(map(str, runs))}.")
