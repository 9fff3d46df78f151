"""The ledger: each event's fate at each destination, on disk.

SQLite in WAL mode: a change is in the system's hands before it is relied on, so a kill at any instant leaves
the truth. Power that fails may take the last changes along; then their events are sent again, under the same
ids, and none is lost. An event is ``pending`` from before its first request until the platform's verdict is
written down; then it is ``delivered`` or ``dead_lettered``. ``landed`` says that the last read of the dataset
found it; ``gone`` says why it is no longer there. Rows stand in the order of sending, so that one request's
rows share pages.

Ids are random, so an index by id is touched in another page for each event. While the first run fills the
ledger nobody looks up an id, and it is made afterwards, in one go.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType, UnionType
from typing import Any

import pandas as pd
from filelock import FileLock, Timeout

from chatlio_kit.connection import Destination
from chatlio_kit.delivery.ledger.destination import DestinationLedger
from chatlio_kit.delivery.ledger.landings import Clock, own_clock
from chatlio_kit.delivery.ledger.migrations import BY_ID, TooNew, lay_out
from chatlio_kit.errors import LedgerBusy, LedgerError
from chatlio_kit.private_files import make_state

FILE = "ledger.db"
_LOCK = "ledger.lock"
_CHECKPOINT_PAGES = 16_000
"""Event ids are random, so a page is written again and again: a long journal folds these writes."""
_CACHE_KB = 16_384
_SIGNS_OF_DAMAGE = ("not a database", "malformed", "no such table", "no such column", "datatype mismatch")


class Ledger:
    """The ledger of a state folder; safe for threads. Use it as a context manager.

    Raises:
        LedgerError: when the file cannot be opened, written or understood.
    """

    def __init__(self, state: Path) -> None:
        self._state = state
        self._lock = threading.RLock()
        self._is_indexed = False
        try:
            make_state(state)
            self._path = state / FILE
            _make_private(self._path)
            self._db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_PAGES}")
            self._db.execute(f"PRAGMA cache_size=-{_CACHE_KB}")
            lay_out(self._db)
        except (OSError, sqlite3.Error, UnicodeError) as error:
            raise _unusable(state, error) from error
        except TooNew:
            raise LedgerError(
                f"The ledger in {str(state)!r} was written by a later version of chatlio-kit. "
                "Install that version, or use another --state."
            ) from None

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the ledger for one run that sends.

        Raises:
            LedgerBusy: when another run holds it.
        """
        try:
            lock = FileLock(self._state / _LOCK, mode=0o600).acquire(timeout=0)
        except Timeout:
            raise LedgerBusy(
                f"Another run is sending from the state folder {str(self._state)!r}. "
                "Wait until it is done, or use another --state."
            ) from None
        with lock:
            yield

    def destinations(self) -> list[Destination]:
        """List the destinations that were ever sent to."""
        rows = self.read("SELECT platform, org, sandbox, dataset, name FROM destination ORDER BY id")
        return [Destination(*row) for row in rows]

    def book(self, destination: Destination, clock: Clock = own_clock) -> DestinationLedger:
        """Open the part of the ledger that belongs to one destination.

        Args:
            destination: where the events go.
            clock: returns the time that is written down; the platform's, where it is known.
        """
        key = (destination.platform, destination.org, destination.sandbox, destination.dataset)
        with self.change() as db:
            db.execute(
                "INSERT OR IGNORE INTO destination (platform, org, sandbox, dataset, name)"
                " VALUES (?, ?, ?, ?, ?)",
                (*key, destination.name),
            )
        query = "SELECT id FROM destination WHERE platform=? AND org=? AND sandbox=? AND dataset=?"
        return DestinationLedger(self, int(self.read(query, key)[0][0]), clock)

    def as_frame(self) -> pd.DataFrame:
        """Give the whole ledger as a frame, a row for each event and destination.

        ``request`` is the number of the request, within the run, whose answer settled the event.
        """
        columns = [
            *("platform", "sandbox", "dataset", "event_id", "kind", "fate", "landed", "run", "request"),
            *("attempts", "source_file", "source_record", "transaction_id", "reason", "answer", "settled_at"),
            "gone",
        ]
        rows = self.read(
            f"SELECT {', '.join(columns)} FROM event JOIN destination ON destination.id = destination"  # noqa: S608 - names from above
            " ORDER BY source_file, source_record"
        )
        frame = pd.DataFrame(rows, columns=columns)
        return frame.assign(
            event_id=pd.Series([each.hex() for each in frame["event_id"]], dtype="str"),
            landed=frame["landed"].astype(bool),
            request=frame["request"].astype("Int64"),
            settled_at=pd.to_datetime(
                pd.to_numeric(frame["settled_at"], errors="coerce"), unit="ms", utc=True, errors="coerce"
            ),
        )

    def read(
        self,
        query: str,
        values: tuple[object, ...] | Mapping[str, object] = (),
        types: tuple[type | UnionType, ...] = (),
    ) -> list[tuple[Any, ...]]:
        """Ask for rows.

        Args:
            query: SQL.
            values: its parameters.
            types: what each column holds, where that is relied on; SQLite itself keeps to no types.

        Raises:
            LedgerError: the file cannot be read or understood.
        """
        try:
            with self._lock:
                rows = self._db.execute(query, values).fetchall()
        except (sqlite3.Error, UnicodeError) as error:
            raise _unusable(self._state, error) from error
        if types and not all(all(map(isinstance, row, types)) for row in rows):
            raise self.damaged()
        return rows

    def damaged(self) -> LedgerError:
        """Make the error of a ledger that holds what no version of chatlio-kit writes."""
        return _unusable(self._state, sqlite3.DatabaseError("it holds malformed values"))

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """Change several things as one: all of it lasts, or none.

        Raises:
            LedgerError: the file cannot be written, for instance since the disk is full.
        """
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                self._db.execute("COMMIT")
            except BaseException as error:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                if isinstance(error, sqlite3.Error | UnicodeError):
                    raise _unusable(self._state, error) from error
                raise

    def is_empty(self) -> bool:
        """Whether no event was ever written down."""
        return not self.read("SELECT 1 FROM event LIMIT 1")

    def index(self) -> None:
        """Make the index by id unless it is there: whoever looks up an id needs it."""
        if not self._is_indexed:
            with self.change() as db:
                db.execute(BY_ID)
            self._is_indexed = True


def _make_private(path: Path) -> None:
    """Make the ledger's file, for its owner only, unless it is there.

    One that is there is not opened: when a process closes any handle of a file, the locks fall that SQLite
    holds on it in the same process, and another process may then take the journal away.
    """
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def _unusable(state: Path, error: Exception) -> LedgerError:
    said = str(error)
    if isinstance(error, UnicodeError) or "decode" in said:  # its words would show a piece of the file
        said = "it holds malformed text"
    if "full" in said or "No space" in said:
        advice = "Free some space on its disk"
    elif "readonly" in said or "read-only" in said or isinstance(error, PermissionError):
        advice = "Make the folder and its files writable"
    elif any(each in said for each in _SIGNS_OF_DAMAGE):
        advice = "Put a copy of it back, or move it away: then everything is sent again, under the same ids"
    else:
        advice = "Correct that"
    return LedgerError(
        f"The ledger in {str(state)!r} cannot be used: {said}. {advice}, or use another --state, and run it "
        "again: what has no verdict in the ledger is sent again."
    )
