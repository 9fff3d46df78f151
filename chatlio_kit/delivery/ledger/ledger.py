"""The ledger: each event's fate at each destination, on disk.

SQLite in WAL mode: a transaction reaches the operating system before the program relies on it, so a kill
loses nothing. A power failure may lose the last transactions; their events are then sent again under the same
ids. An event is ``pending`` from before its first request until the platform's verdict is recorded; then it
is ``delivered`` or ``dead_lettered``. ``landed``: the last read of the dataset found it; ``gone``: the reason
why it is no longer there. Rows are in the order of sending, so that one request's rows share pages.

Ids are random, so each insert touches another page of an index by id. The first run needs no look-up by id,
so the index is built after it, in one step.
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
from chatlio_kit.delivery.ledger.migrations import BY_ID, SchemaTooNew, migrate
from chatlio_kit.errors import LedgerBusy, LedgerError
from chatlio_kit.private_files import make_state

FILE = "ledger.db"
_LOCK = "ledger.lock"
_CHECKPOINT_PAGES = 16_000
"""Event ids are random, so pages are written again and again: a long journal merges these writes."""
_CACHE_KB = 16_384
_SIGNS_OF_DAMAGE = ("not a database", "malformed", "no such table", "no such column", "datatype mismatch")
_FRAME_COLUMNS = (
    *("platform", "sandbox", "dataset", "event_id", "kind", "fate", "landed", "run", "request"),
    *("attempts", "source_file", "source_record", "transaction_id", "reason", "answer", "settled_at", "gone"),
)


class Ledger:
    """The ledger of a state folder. It is thread-safe. Use it as a context manager.

    Raises:
        LedgerError: The file cannot be opened, written or understood.
    """

    def __init__(self, state: Path) -> None:
        self._state = state
        self._thread_lock = threading.RLock()
        self._is_indexed = False
        try:
            make_state(state)
            path = state / FILE
            _create_private(path)
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_PAGES}")
            self._db.execute(f"PRAGMA cache_size=-{_CACHE_KB}")
            migrate(self._db)
        except (OSError, sqlite3.Error, UnicodeError) as error:
            raise _unusable(state, error) from error
        except SchemaTooNew:
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
    def exclusive_lock(self) -> Iterator[None]:
        """Lock the state folder for one run that sends, or for ``forget``. The lock ends with the process.

        Raises:
            LedgerBusy: Another run holds the lock.
            LedgerError: The lock file cannot be opened; a symbolic link in its place is not followed.
        """
        lock = FileLock(self._state / _LOCK, mode=0o600, thread_local=False)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise LedgerBusy(
                f"Another run is sending from the state folder {str(self._state)!r}. "
                "Wait until it is done, or use another --state."
            ) from None
        except OSError as error:
            raise _unusable(self._state, error) from error
        try:
            yield
        finally:
            lock.release()

    def destinations(self) -> list[Destination]:
        """List the destinations that were ever sent to."""
        rows = self.fetch_all("SELECT platform, org, sandbox, dataset, name FROM destination ORDER BY id")
        return [Destination(*row) for row in rows]

    def as_frame(self) -> pd.DataFrame:
        """Return the whole ledger as a frame, a row for each event and destination.

        ``request`` is the number of the request, within the run, whose answer settled the event.
        """
        rows = self.fetch_all(
            f"SELECT {', '.join(_FRAME_COLUMNS)} FROM event JOIN destination ON destination.id = destination"  # noqa: S608 - names from above
            " ORDER BY source_file, source_record"
        )
        frame = pd.DataFrame(rows, columns=list(_FRAME_COLUMNS))
        return frame.assign(
            event_id=pd.Series([key.hex() for key in frame["event_id"]], dtype="str"),
            landed=frame["landed"].astype(bool),
            request=frame["request"].astype("Int64"),
            settled_at=pd.to_datetime(
                pd.to_numeric(frame["settled_at"], errors="coerce"), unit="ms", utc=True, errors="coerce"
            ),
        )

    def fetch_all(
        self,
        query: str,
        values: tuple[object, ...] | Mapping[str, object] = (),
        types: tuple[type | UnionType, ...] = (),
    ) -> list[tuple[Any, ...]]:
        """Return the rows of a query.

        Args:
            query: SQL.
            values: Its parameters.
            types: The type of each column, if callers depend on it; SQLite itself does not enforce types.

        Raises:
            LedgerError: The file cannot be read or understood.
        """
        try:
            with self._thread_lock:
                rows = self._db.execute(query, values).fetchall()
        except (sqlite3.Error, UnicodeError) as error:
            raise _unusable(self._state, error) from error
        if types and not all(all(map(isinstance, row, types)) for row in rows):
            raise self.damaged()
        return rows

    def damaged(self) -> LedgerError:
        """Return the error of a ledger with values that no version of chatlio-kit writes."""
        return _unusable(self._state, sqlite3.DatabaseError("it holds malformed values"))

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Open a transaction: all its changes are stored, or none.

        Raises:
            LedgerError: The file cannot be written, for instance because the disk is full.
        """
        with self._thread_lock:
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
        """Return whether the ledger holds no event."""
        return not self.fetch_all("SELECT 1 FROM event LIMIT 1")

    def ensure_index(self) -> None:
        """Create the index by id if it is missing. Every look-up by id needs it."""
        if not self._is_indexed:
            with self.transaction() as db:
                db.execute(BY_ID)
            self._is_indexed = True


def _create_private(path: Path) -> None:
    """Create the ledger's file for its owner alone.

    A file that exists is not opened here: closing any handle of a file drops the locks that SQLite holds on
    it in the same process, and another process may then remove the journal.
    """
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def _unusable(state: Path, error: Exception) -> LedgerError:
    cause = str(error)
    if isinstance(error, UnicodeError) or "decode" in cause:  # its message would quote the file
        cause = "it holds malformed text"
    if "full" in cause or "No space" in cause:
        advice = "Free some space on its disk"
    elif "readonly" in cause or "read-only" in cause or isinstance(error, PermissionError):
        advice = "Make the folder and its files writable"
    elif any(sign in cause for sign in _SIGNS_OF_DAMAGE):
        advice = "Restore a copy, or move it away: then everything is sent again, under the same ids"
    else:
        advice = "Correct that"
    return LedgerError(
        f"The ledger in {str(state)!r} cannot be used: {cause}. {advice}, or use another --state, and run it "
        "again: records without a verdict in the ledger are sent again."
    )
