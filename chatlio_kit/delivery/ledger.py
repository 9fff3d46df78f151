"""The ledger: each event's fate at each destination, on disk.

SQLite in WAL mode, every change durable before it is relied on: a kill at any instant leaves the truth.
An event is ``pending`` from before its first request until the platform's verdict is written down; then it is
``delivered`` or ``dead_lettered``. ``landed`` says that it was read back from the dataset.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from types import TracebackType

from chatlio_kit.connection import Destination
from chatlio_kit.errors import LedgerBusy, LedgerError
from chatlio_kit.tables import Sighting

FILE = "ledger.db"
_LOCK = "ledger.lock"

_TABLES = """
CREATE TABLE IF NOT EXISTS destination (
    id INTEGER PRIMARY KEY,
    platform TEXT NOT NULL,
    org TEXT NOT NULL,
    sandbox TEXT NOT NULL,
    dataset TEXT NOT NULL,
    name TEXT NOT NULL,
    first_sent_at INTEGER,
    runs INTEGER NOT NULL DEFAULT 0,
    UNIQUE (platform, org, sandbox, dataset)
);
CREATE TABLE IF NOT EXISTS event (
    destination INTEGER NOT NULL REFERENCES destination,
    event_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    fate TEXT NOT NULL,
    landed INTEGER NOT NULL DEFAULT 0,
    run INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    payload_digest TEXT NOT NULL,
    source_file TEXT NOT NULL,
    source_record INTEGER NOT NULL,
    transaction_id TEXT,
    reason TEXT,
    answer TEXT,
    settled_at TEXT,
    PRIMARY KEY (destination, event_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS event_by_run ON event (destination, run, fate, landed);
CREATE TABLE IF NOT EXISTS batch_read (
    destination INTEGER NOT NULL REFERENCES destination,
    batch_id TEXT NOT NULL,
    rows INTEGER NOT NULL,
    PRIMARY KEY (destination, batch_id)
) WITHOUT ROWID;
"""


class Fate(StrEnum):
    """What became of an accepted event."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD_LETTERED = "dead_lettered"


@dataclass(frozen=True, slots=True)
class Accepted:
    """An event that is about to be sent."""

    event_id: str
    kind: str
    payload_digest: str
    source_file: str
    source_record: int

    @property
    def place(self) -> tuple[str, str, int]:
        """The digest of its payload and where it was read."""
        return self.payload_digest, self.source_file, self.source_record


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that the platform will not take, and its full answer."""

    event_id: str
    reason: str
    answer: str


@dataclass(frozen=True)
class Tally:
    """How many events have which fate."""

    delivered: int = 0
    dead_lettered: int = 0
    pending: int = 0
    landed: int = 0


class Ledger:
    """The ledger of a state folder. Use it as a context manager.

    Raises:
        LedgerError: when the file cannot be opened, written or understood.
    """

    def __init__(self, state: Path) -> None:
        self._state = state
        try:
            state.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._path = state / FILE
            os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
            self._db = sqlite3.connect(self._path, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(_TABLES)
        except (OSError, sqlite3.Error) as error:
            raise _unusable(state, error) from error

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
        with (self._state / _LOCK).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LedgerBusy(
                    f"Another run is sending from the state folder {str(self._state)!r}. "
                    "Wait until it is done, or use another --state."
                ) from None
            yield

    def destinations(self) -> list[Destination]:
        """List the destinations that were ever sent to."""
        rows = self._db.execute("SELECT platform, org, sandbox, dataset, name FROM destination ORDER BY id")
        return [Destination(*row) for row in rows]

    def book(self, destination: Destination) -> Book:
        """Open the part of the ledger that belongs to one destination."""
        key = (destination.platform, destination.org, destination.sandbox, destination.dataset)
        with self._change() as db:
            db.execute(
                "INSERT OR IGNORE INTO destination (platform, org, sandbox, dataset, name)"
                " VALUES (?, ?, ?, ?, ?)",
                (*key, destination.name),
            )
            found = db.execute(
                "SELECT id FROM destination WHERE platform=? AND org=? AND sandbox=? AND dataset=?", key
            ).fetchone()
        return Book(self, int(found[0]))

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield self._db
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise _unusable(self._state, error) from error


class Book:
    """One destination's events."""

    def __init__(self, ledger: Ledger, destination: int) -> None:
        self._ledger = ledger
        self._db = ledger._db
        self._key = destination

    def begin_run(self, now: datetime) -> int:
        """Start a run and give its number."""
        with self._ledger._change() as db:
            db.execute(
                "UPDATE destination SET runs = runs + 1, first_sent_at = coalesce(first_sent_at, ?)"
                " WHERE id = ?",
                (int(now.timestamp() * 1000), self._key),
            )
            found = db.execute("SELECT runs FROM destination WHERE id = ?", (self._key,)).fetchone()
        return int(found[0])

    def last_run(self) -> int:
        """Give the number of the latest run, 0 when there was none."""
        row = self._db.execute("SELECT runs FROM destination WHERE id = ?", (self._key,)).fetchone()
        return int(row[0])

    def first_sent_at(self) -> int | None:
        """When the first run began, milliseconds since 1970."""
        row = self._db.execute("SELECT first_sent_at FROM destination WHERE id = ?", (self._key,)).fetchone()
        return None if row[0] is None else int(row[0])

    def settled(self, event_ids: list[str]) -> Mapping[str, Sighting]:
        """Say which of these events were delivered or dead-lettered, and where they were read."""
        rows = self._db.execute(
            "SELECT event_id, payload_digest, source_file, source_record FROM event"
            " WHERE destination = ? AND fate != 'pending' AND event_id IN (SELECT value FROM json_each(?))",
            (self._key, json.dumps(event_ids)),
        )
        return {event_id: Sighting(*place) for event_id, *place in rows}

    def expect(self, run: int, accepted: Iterable[Accepted]) -> None:
        """Write down that these events are about to be sent."""
        with self._ledger._change() as db:
            db.executemany(
                "INSERT INTO event (destination, event_id, kind, fate, run, payload_digest, source_file,"
                " source_record) VALUES (?, ?, ?, 'pending', ?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET run = excluded.run, payload_digest = excluded.payload_digest,"
                " source_file = excluded.source_file, source_record = excluded.source_record"
                " WHERE fate = 'pending'",
                ((self._key, each.event_id, each.kind, run, *each.place) for each in accepted),
            )

    def settle(
        self, delivered: Mapping[str, str], dead: Iterable[DeadLetter] = (), tried: Iterable[str] = ()
    ) -> None:
        """Write down the platform's verdicts.

        Args:
            delivered: transaction ids by event id.
            dead: what the platform will not take.
            tried: events whose requests brought no verdict; they stay pending.
        """
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        with self._ledger._change() as db:
            db.executemany(
                "UPDATE event SET fate = 'delivered', attempts = attempts + 1, transaction_id = ?,"
                " settled_at = ?, reason = NULL, answer = NULL WHERE destination = ? AND event_id = ?",
                ((transaction, now, self._key, event_id) for event_id, transaction in delivered.items()),
            )
            db.executemany(
                "UPDATE event SET fate = 'dead_lettered', attempts = attempts + 1, reason = ?, answer = ?,"
                " settled_at = ? WHERE destination = ? AND event_id = ?",
                ((each.reason, each.answer, now, self._key, each.event_id) for each in dead),
            )
            db.executemany(
                "UPDATE event SET attempts = attempts + 1 WHERE destination = ? AND event_id = ?",
                ((self._key, event_id) for event_id in tried),
            )

    def has_read(self, batch_id: str) -> bool:
        """Whether a batch of the dataset was read back before."""
        row = self._db.execute(
            "SELECT 1 FROM batch_read WHERE destination = ? AND batch_id = ?", (self._key, batch_id)
        ).fetchone()
        return row is not None

    def land(self, batch_id: str, event_ids: Iterable[str]) -> int:
        """Write down that a batch was read back and these rows stand in it; give how many are ours."""
        with self._ledger._change() as db:
            ours = 0
            for event_id in event_ids:
                cursor = db.execute(
                    "UPDATE event SET landed = 1, fate = 'delivered', reason = NULL, answer = NULL"
                    " WHERE destination = ? AND event_id = ?",
                    (self._key, event_id),
                )
                ours += cursor.rowcount
            db.execute("INSERT INTO batch_read VALUES (?, ?, ?)", (self._key, batch_id, ours))
        return ours

    def bury(self, batch_id: str, dead: Iterable[DeadLetter]) -> None:
        """Write down what the platform failed after accepting it; what landed otherwise stays landed."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        with self._ledger._change() as db:
            db.executemany(
                "UPDATE event SET fate = 'dead_lettered', reason = ?, answer = ?, settled_at = ?"
                " WHERE destination = ? AND event_id = ? AND NOT landed",
                ((each.reason, each.answer, now, self._key, each.event_id) for each in dead),
            )
            db.execute("INSERT INTO batch_read VALUES (?, ?, 0)", (self._key, batch_id))

    def rows_read(self) -> int:
        """How many rows of ours were read back in all, repeated ones included."""
        row = self._db.execute("SELECT sum(rows) FROM batch_read WHERE destination = ?", (self._key,))
        return int(row.fetchone()[0] or 0)

    def tally(self, run: int | None = None) -> Tally:
        """Count events by fate, of one run or of all."""
        query = "SELECT fate, count(*), sum(landed) FROM event WHERE destination = ?"
        rows = self._select(query, run, " GROUP BY fate")
        counts = {fate: (count, landed) for fate, count, landed in rows}
        return Tally(
            **{fate.value: counts.get(fate, (0, 0))[0] for fate in Fate},
            landed=sum(landed for _, landed in counts.values()),
        )

    def by_kind(self) -> dict[str, Tally]:
        """Count all events by kind and fate."""
        rows = self._db.execute(
            "SELECT kind, fate, count(*), sum(landed) FROM event WHERE destination = ? GROUP BY kind, fate",
            (self._key,),
        )
        counts: dict[str, Counter[str]] = {}
        for kind, fate, count, landed in rows:
            counts.setdefault(kind, Counter()).update({fate: count, "landed": landed})
        return {kind: Tally(**count) for kind, count in sorted(counts.items())}

    def dead_by_reason(self, run: int | None = None) -> dict[str, int]:
        """Count dead letters by reason, of one run or of all."""
        query = "SELECT reason, count(*) FROM event WHERE destination = ? AND fate = 'dead_lettered'"
        return dict(self._select(query, run, " GROUP BY reason ORDER BY reason"))

    def dead_letters(self, run: int | None = None) -> Iterator[tuple[str, str, str, int, str, str]]:
        """Give dead letters: event id, kind, file, record, reason and the platform's answer."""
        query = (
            "SELECT event_id, kind, source_file, source_record, reason, answer FROM event"
            " WHERE destination = ? AND fate = 'dead_lettered'"
        )
        return iter(self._select(query, run, " ORDER BY source_file, source_record"))

    def _select(self, query: str, run: int | None, ending: str) -> sqlite3.Cursor:
        if run is None:
            return self._db.execute(query + ending, (self._key,))
        return self._db.execute(f"{query} AND run = ?{ending}", (self._key, run))


def _unusable(state: Path, error: Exception) -> LedgerError:
    return LedgerError(
        f"The ledger in {str(state)!r} cannot be used: {error}. "
        "Free the disk, correct the folder's rights, or use another --state; nothing was lost."
    )
