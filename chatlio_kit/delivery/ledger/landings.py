"""Results of dataset reads: events that are there now, and events that are gone.

Each read has a number, and each event stores the number of the last read that found it. A full read therefore
detects missing events without holding ids in memory. A landed event without a number forces a full read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import UnionType
from typing import Any

from chatlio_kit.delivery.ledger.encoding import (
    ID_IN_KEYS,
    from_milliseconds,
    key_parameters,
    to_milliseconds,
)
from chatlio_kit.delivery.ledger.ledger import Ledger
from chatlio_kit.delivery.ledger.models import FORGOTTEN_SOURCE, Gone, Readback

_MARK_LANDED = f"""
UPDATE event SET landed = 1, gone = NULL, readback = :readback, batch = :batch, fate = 'delivered',
    reason = NULL, answer = NULL
WHERE destination = :destination AND {ID_IN_KEYS}
"""  # noqa: S608 - a constant
_COUNT_ROWS = """
SELECT count(*) FROM json_each(:indexes) CROSS JOIN event
WHERE destination = :destination AND event_id = substr(:keys, value * 32 + 1, 32)
"""
_DELETE_LANDED_BODIES = """
DELETE FROM kept_body WHERE destination = ? AND event_id IN (SELECT event.event_id FROM event
WHERE event.destination = kept_body.destination AND event.event_id = kept_body.event_id AND landed)
"""
_MARK_GONE = """
UPDATE event SET landed = 0, gone = CASE WHEN source_file = :forgotten THEN :erased
    ELSE coalesce(
        (SELECT state FROM batch_read WHERE number = event.batch AND state NOT IN ('read', 'moved')), :reason
    ) END
WHERE destination = :destination AND readback IS NOT :readback AND (
    landed OR gone IS NOT NULL
    OR fate = 'delivered' AND (
        source_file = :forgotten OR :reason = :dataset_deleted
        OR batch IN (SELECT number FROM batch_read WHERE state NOT IN ('loaded', :unreadable))
    )
)
"""
_LARGEST_CLOCK_ERROR = timedelta(minutes=5)
"""An event accepted further than this in the future was recorded with a wrong clock."""


@dataclass(frozen=True)
class KnownBatch:
    """A batch that an earlier read has processed.

    Attributes:
        number: Its number in the ledger.
        rows: Number of rows of this ledger's events that it holds.
        state: ``loaded`` if it was ingested and not read yet, ``read``, ``moved`` if another batch took its
            rows over, ``failed``, or the reason why it is gone.
        readback: The last read that read it.
    """

    number: int
    rows: int
    state: str
    readback: int | None

    @property
    def is_read(self) -> bool:
        """True if its rows were read and count."""
        return self.state == "read"

    @property
    def holds_events(self) -> bool:
        """True if events of this ledger are in it, or may be."""
        return bool(self.rows) or self.state in {"loaded", Gone.UNREADABLE}


class Landings:
    """The part of a destination's ledger that dataset reads write."""

    def __init__(self, ledger: Ledger, destination: int) -> None:
        self._ledger = ledger
        self._destination = destination

    def begin_read(self, now: datetime) -> int:
        """Begin a read of the dataset and return its number.

        Args:
            now: The platform's time.
        """
        with self._ledger.transaction() as db:
            db.execute(
                "INSERT INTO readback (destination, number, began_at)"
                " SELECT :key, coalesce(max(number), 0) + 1, :now FROM readback WHERE destination = :key",
                {"key": self._destination, "now": to_milliseconds(now)},
            )
            # an acceptance in the future was written with a wrong clock: its hour begins now
            db.execute(
                "UPDATE event SET settled_at = ? WHERE destination = ? AND settled_at > ?",
                (to_milliseconds(now), self._destination, to_milliseconds(now + _LARGEST_CLOCK_ERROR)),
            )
        return int(self._fetch("SELECT max(number) FROM readback WHERE destination = ?")[0][0])

    def finish_read(self, readback: int, now: datetime) -> None:
        """Record the end of a read; a read with several passes records several ends."""
        with self._ledger.transaction() as db:
            db.execute(
                "UPDATE readback SET at = ? WHERE destination = ? AND number = ?",
                (to_milliseconds(now), self._destination, readback),
            )

    def needs_full_read(self) -> bool:
        """Return whether no read accounts for some landed events, e.g. because rows were erased."""
        query = "SELECT 1 FROM event WHERE destination = ? AND landed AND readback IS NULL LIMIT 1"
        return bool(self._fetch(query))

    def batch(self, batch_id: str) -> KnownBatch | None:
        """Return the state of a batch; None if no read has processed it."""
        rows = self._ledger.fetch_all(
            "SELECT number, rows, state, readback FROM batch_read WHERE destination = ? AND batch_id = ?",
            (self._destination, batch_id),
            (int, int, str, int | None),
        )
        return KnownBatch(*rows[0]) if rows else None

    def batches_with_events(self) -> list[str]:
        """Return the ids of the batches that hold events of this ledger, or may hold some."""
        rows = self._ledger.fetch_all(
            "SELECT batch_id FROM batch_read WHERE destination = ? AND (rows > 0 OR state IN ('loaded', ?))",
            (self._destination, Gone.UNREADABLE),
        )
        return [batch_id for (batch_id,) in rows]

    def mark_batch(self, batch_id: str, state: str, problem: str | None = None) -> None:
        """Record the state of a batch whose rows do not count from now on."""
        with self._ledger.transaction() as db:
            db.execute(
                "INSERT INTO batch_read (destination, batch_id, rows, state, problem) VALUES (?, ?, 0, ?, ?)"
                " ON CONFLICT (destination, batch_id) DO UPDATE SET rows = 0, state = excluded.state,"
                " readback = NULL, problem = excluded.problem",
                (self._destination, batch_id, state, problem),
            )

    def number_of(self, batch_id: str, state: str) -> int:
        """Return the number of a batch, which is recorded with this state if it is new."""
        with self._ledger.transaction() as db:
            db.execute(
                "INSERT INTO batch_read (destination, batch_id, rows, state) VALUES (?, ?, 0, ?)"
                " ON CONFLICT (destination, batch_id) DO NOTHING",
                (self._destination, batch_id, state),
            )
        known = self.batch(batch_id)
        return known.number if known else 0

    def supersede_batch(self, batch_id: str) -> None:
        """Record that another batch took a batch's rows over."""
        self.mark_batch(batch_id, "moved")

    def mark_landed(self, readback: int, batch_id: str, chunks: Iterable[list[str]]) -> int:
        """Record the events in a batch, and return the number of its rows that are events of this ledger.

        Args:
            readback: The read that found them.
            batch_id: The batch.
            chunks: The ids of its rows, in chunks.
        """
        self._ledger.ensure_index()
        number = self.number_of(batch_id, Gone.UNREADABLE)  # until it is read to its end
        rows = 0
        for event_ids in chunks:
            values = {"destination": self._destination, **key_parameters(event_ids)}
            with self._ledger.transaction() as db:
                count = db.execute(_MARK_LANDED, {"readback": readback, "batch": number, **values}).rowcount
                if len(set(event_ids)) < len(event_ids):  # a row that repeats an id counts too
                    (count,) = db.execute(_COUNT_ROWS, values).fetchone()
                rows += count
        with self._ledger.transaction() as db:
            db.execute(
                "UPDATE batch_read SET rows = ?, state = 'read', readback = ?, problem = NULL"
                " WHERE number = ?",
                (rows, readback, number),
            )
            db.execute(_DELETE_LANDED_BODIES, (self._destination,))
        return rows

    def mark_gone(self, readback: int, default: Gone) -> None:
        """Mark events that a full read did not find as gone, each with its reason.

        Args:
            readback: The full read.
            default: The reason if nothing more precise is known.
        """
        with self._ledger.transaction() as db:
            db.execute(
                _MARK_GONE,
                {
                    "destination": self._destination,
                    "readback": readback,
                    "forgotten": FORGOTTEN_SOURCE,
                    "erased": Gone.ERASED,
                    "unreadable": Gone.UNREADABLE,
                    "dataset_deleted": Gone.DATASET_DELETED,
                    "reason": default,
                },
            )

    def mark_dataset_deleted(self, readback: int) -> None:
        """Record that the dataset is deleted, and every row with it."""
        with self._ledger.transaction() as db:
            db.execute(
                "UPDATE batch_read SET rows = 0, state = ?, problem = NULL WHERE destination = ?"
                " AND state != 'failed'",
                (Gone.DATASET_DELETED, self._destination),
            )
        self.mark_gone(readback, Gone.DATASET_DELETED)

    def last_readback(self) -> Readback:
        """Return the latest read, and the number of landed events that only an older read found."""
        finished = self._fetch(
            "SELECT number, at FROM readback WHERE destination = ? AND at IS NOT NULL"
            " ORDER BY number DESC LIMIT 1",
            (int, int),
        )
        number, at = finished[0] if finished else (0, None)
        ((older, since),) = self._ledger.fetch_all(
            "SELECT count(*), min(coalesce(readback.at, readback.began_at, -1)) FROM event LEFT JOIN readback"
            " ON readback.destination = event.destination AND readback.number = event.readback"
            " WHERE event.destination = ? AND landed AND (event.readback IS NULL OR event.readback < ?)",
            (self._destination, number),
            (int, int | None),
        )
        problems = self._fetch(
            "SELECT batch_id, problem FROM batch_read WHERE destination = ? AND problem IS NOT NULL"
            " ORDER BY batch_id",
            (str, str),
        )
        return Readback(from_milliseconds(at), older, from_milliseconds(since), dict(problems))

    def gone_by_reason(self, run: int | None = None) -> dict[str, int]:
        """Count events that are gone by reason, of one run or of all."""
        rows = self._ledger.fetch_all(
            "SELECT gone, count(*) FROM event WHERE destination = :destination AND gone IS NOT NULL"
            " AND (:run IS NULL OR run = :run) GROUP BY gone ORDER BY gone",
            {"destination": self._destination, "run": run},
        )
        return dict(rows)

    def row_count(self) -> int:
        """Count the rows of this ledger's events in the dataset, repeated ones included."""
        return int(self._fetch("SELECT sum(rows) FROM batch_read WHERE destination = ?")[0][0] or 0)

    def _fetch(self, query: str, types: tuple[type | UnionType, ...] = ()) -> list[tuple[Any, ...]]:
        return self._ledger.fetch_all(query, (self._destination,), types)
