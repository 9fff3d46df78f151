"""The batches of bulk runs in the ledger.

A lot is the events of one batch. From the completion of its files to the platform's verdict, its events are
pending, and nothing else sends them. Its external id is written before the batch is created, so that after a
kill the batch is found, not created again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from chatlio_kit.delivery.bulk.files import FOLDER, remove_files
from chatlio_kit.delivery.ledger.destination import DestinationLedger
from chatlio_kit.delivery.ledger.encoding import key_of
from chatlio_kit.delivery.ledger.ledger import Ledger
from chatlio_kit.delivery.ledger.models import DeadLetter
from chatlio_kit.errors import LedgerBusy, in_words

_TABLE = """
CREATE TABLE IF NOT EXISTS lot (
    destination INTEGER NOT NULL REFERENCES destination,
    run INTEGER NOT NULL,
    number INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    external_id TEXT NOT NULL,
    batch_id TEXT,
    state TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    first_row INTEGER NOT NULL,
    last_row INTEGER NOT NULL,
    PRIMARY KEY (destination, run, number)
) WITHOUT ROWID"""
_COLUMNS = "run, number, attempt, external_id, batch_id, state, bytes, first_row, last_row"
_ADD = f"INSERT INTO lot (destination, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - constants
_OF_LOT = """
destination = :destination AND run = :run AND request = :number
    AND event.rowid BETWEEN :first_row AND :last_row
"""
_REFUSE = """
UPDATE event SET fate = 'dead_lettered', attempts = attempts + 1, settled_at = :now, reason = :reason,
    answer = :answer
WHERE destination = :destination AND event_id = :key AND fate = 'pending'
"""
_KEEP_BODY = """
INSERT OR REPLACE INTO kept_body (destination, event_id, body)
SELECT destination, event_id, :body FROM event
WHERE :body IS NOT NULL AND destination = :destination AND event_id = :key AND fate = 'dead_lettered'
    AND settled_at = :now
"""
_DELIVER = f"""
UPDATE event SET fate = 'delivered', attempts = attempts + 1, settled_at = :now, reason = NULL, answer = NULL,
    batch = :batch
WHERE {_OF_LOT} AND fate = 'pending'
"""  # noqa: S608 - constants
_COUNT = f"""
SELECT coalesce(sum(fate = 'delivered'), 0), coalesce(sum(fate = 'dead_lettered'), 0),
    coalesce(sum(landed), 0), count(gone)
FROM event WHERE {_OF_LOT}
"""  # noqa: S608 - constants


class LotState(StrEnum):
    """The state of a lot."""

    WRITTEN = "written"  # its files are complete, and the platform's verdict is not known
    LOADED = "loaded"
    FAILED = "failed"  # refused as a whole; its events are pending and are sent again
    REVERTED = "reverted"


@dataclass(frozen=True)
class Lot:
    """The events of one batch.

    Attributes:
        run: The run that wrote it.
        number: Its number in the run, from 1; the ledger stores it as its events' request.
        attempt: Number of batches created for it, each without the records refused before.
        external_id: The external id of the batch.
        batch_id: The batch; None until it is known.
        state: Its state.
        bytes: The size of its files.
        first_row: The ledger row of its first event.
        last_row: The ledger row of its last event.
    """

    run: int
    number: int
    attempt: int
    external_id: str
    batch_id: str | None
    state: str
    bytes: int
    first_row: int
    last_row: int


@dataclass(frozen=True)
class LotCounts:
    """A lot's events by fate."""

    delivered: int
    dead_lettered: int
    landed: int
    gone: int


class Lots:
    """The lots of one destination.

    Args:
        ledger: The destination's part of the ledger.
        state: The state folder.
    """

    def __init__(self, ledger: DestinationLedger, state: Path) -> None:
        self._ledger = ledger
        self._state = state
        with ledger.ledger.transaction() as db:
            db.execute(_TABLE)

    def folder(self, run: int, number: int, attempt: int = 1) -> Path:
        """Return where the files of a lot are."""
        return self._state / FOLDER / f"{self._ledger.id}-{run}-{number}-{attempt}"

    def folder_of(self, lot: Lot) -> Path:
        """Return where the files of a lot are."""
        return self.folder(lot.run, lot.number, lot.attempt)

    def left_over(self) -> list[Path]:
        """Return the folders of killed runs that belong to no lot: their events were not sent."""
        kept = {self.folder_of(lot) for lot in self.unfinished()}
        mine = (self._state / FOLDER).glob(f"{self._ledger.id}-*")
        return [folder for folder in mine if folder not in kept]

    def add(self, lot: Lot) -> None:
        """Record a lot whose files are complete."""
        with self._ledger.ledger.transaction() as db:
            db.execute(_ADD, (self._ledger.id, *vars(lot).values()))

    def unfinished(self) -> list[Lot]:
        """Return the lots without a verdict, oldest first."""
        return self._select("state = 'written'")

    def of_run(self, run: int) -> list[Lot]:
        """Return the lots of a run."""
        return self._select("run = ?", run)

    def revertible(self) -> list[Lot]:
        """Return all lots whose rows may be in the dataset."""
        return self._select("state IN ('loaded', 'written')")

    def counts(self, lot: Lot) -> LotCounts:
        """Count a lot's events by fate."""
        return LotCounts(*self._ledger.ledger.fetch_all(_COUNT, self._values(lot))[0])

    def set_batch(self, lot: Lot, batch_id: str) -> Lot:
        """Record the batch that was created for a lot."""
        return self._update(lot, batch_id=batch_id)

    def set_external_id(self, lot: Lot, external_id: str) -> Lot:
        """Record another external id for a lot without a batch."""
        return self._update(lot, external_id=external_id)

    def set_state(self, lot: Lot, state: LotState) -> Lot:
        """Record the state of a lot."""
        return self._update(lot, state=str(state))

    def retry(self, lot: Lot, external_id: str, refused: Iterable[DeadLetter]) -> Lot:
        """Record that a lot is sent again without the records that made its batch fail."""
        changed = replace(lot, attempt=lot.attempt + 1, external_id=external_id, batch_id=None)
        return self._settle(lot, changed, refused, delivers=False)

    def settle(self, lot: Lot, refused: Iterable[DeadLetter]) -> Lot:
        """Record that a lot's batch was ingested without the refused records."""
        return self._settle(lot, replace(lot, state=str(LotState.LOADED)), refused, delivers=True)

    def give_up(self, lot: Lot) -> Lot:
        """Record that a lot has no rows on the platform, and remove its files; its events are pending."""
        failed = self.set_state(lot, LotState.FAILED)
        remove_files(self.folder_of(lot))
        return failed

    def refused_rows(self, lot: Lot) -> list[int]:
        """Return the ledger rows of a lot's dead letters."""
        query = f"SELECT rowid FROM event WHERE {_OF_LOT} AND fate = 'dead_lettered'"  # noqa: S608 - a constant
        return [row for (row,) in self._ledger.ledger.fetch_all(query, self._values(lot))]

    def _settle(self, lot: Lot, changed: Lot, refused: Iterable[DeadLetter], *, delivers: bool) -> Lot:
        letters = list(refused)
        if letters:
            self._ledger.ledger.ensure_index()
        now = {"now": self._ledger.now(), "destination": self._ledger.id}
        values = [
            {**now, "key": key_of(one.event_id), "reason": one.reason, "answer": one.answer, "body": one.body}
            for one in letters
        ]
        batch = self._ledger.landings.number_of(lot.batch_id, "loaded") if delivers and lot.batch_id else None
        with self._ledger.ledger.transaction() as db:
            db.executemany(_REFUSE, values)
            db.executemany(_KEEP_BODY, values)
            if delivers:
                db.execute(_DELIVER, {**self._values(lot), **now, "batch": batch})
            return self._update(lot, **_changes(lot, changed))

    def _update(self, lot: Lot, **changes: object) -> Lot:
        names = ", ".join(f"{name} = :{name}_new" for name in changes)
        values = {**self._values(lot), **{f"{name}_new": value for name, value in changes.items()}}
        query = f"UPDATE lot SET {names} WHERE destination = :destination AND run = :run AND number = :number"  # noqa: S608 - names of columns
        self._ledger.ledger.fetch_all(query, values)  # inside a transaction, it is part of that transaction
        return replace(lot, **changes)  # type: ignore[arg-type]

    def _values(self, lot: Lot) -> Mapping[str, object]:
        return {"destination": self._ledger.id, **vars(lot)}

    def _select(self, condition: str, *values: object) -> list[Lot]:
        query = f"SELECT {_COLUMNS} FROM lot WHERE destination = ? AND {condition} ORDER BY run, number"  # noqa: S608 - constants
        types = (int, int, int, str, str | None, str, int, int, int)
        return [Lot(*row) for row in self._ledger.ledger.fetch_all(query, (self._ledger.id, *values), types)]


def _changes(before: Lot, after: Lot) -> dict[str, object]:
    return {name: value for name, value in vars(after).items() if value != getattr(before, name)}


def require_finished(ledger: Ledger, state: Path) -> None:
    """Refuse to continue while files of a killed run wait for a verdict; remove files that were never sent.

    Raises:
        LedgerBusy: Files wait for a verdict.
    """
    folder = state / FOLDER
    if has_unfinished(ledger):
        query = (
            "SELECT run, name FROM lot JOIN destination ON id = destination WHERE state = 'written' LIMIT 1"
        )
        ((run, name),) = ledger.fetch_all(query)
        undo = in_words(f"chatlio-kit revert {run} --name {name}", f"revert(connection, {run})")
        raise LedgerBusy(
            f"Run {run} to the connection {name!r} was interrupted while it loaded batches. Its files in "
            f"{str(folder)!r} may hold the data to be erased. Run the backfill again to finish it, or revert "
            f"it with {undo}; then try again."
        )
    remove_files(folder)


def drop_unfinished(ledger: DestinationLedger, state: Path) -> None:
    """Give up the lots of a deleted dataset that have no verdict."""
    if has_unfinished(ledger.ledger):
        lots = Lots(ledger, state)
        for lot in lots.unfinished():
            lots.give_up(lot)


def has_unfinished(ledger: Ledger) -> bool:
    """Return whether files of any destination wait for a verdict."""
    if not ledger.fetch_all("SELECT 1 FROM sqlite_master WHERE name = 'lot'"):
        return False
    return bool(ledger.fetch_all("SELECT 1 FROM lot WHERE state = 'written' LIMIT 1"))
