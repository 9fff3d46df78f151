"""What reads of the dataset found: which events are there now, and which were there and are gone.

Every read has a number, and each event carries the number of the last read that found it. So a full read
knows what it missed without holding an id in memory. A read without a number is void: the next one is full.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import UnionType
from typing import TYPE_CHECKING, Any

from chatlio_kit.delivery.ledger.keys import AMONG, asked, ours_in
from chatlio_kit.delivery.ledger.models import FORGOTTEN_PLACE, Gone, Readback

if TYPE_CHECKING:
    from chatlio_kit.delivery.ledger.ledger import Ledger

_LAND = f"""
UPDATE event SET landed = 1, gone = NULL, readback = :readback, batch = :batch, fate = 'delivered',
    reason = NULL, answer = NULL
WHERE destination = :destination AND {AMONG}
"""  # noqa: S608 - from the ledger's own words
_COUNT_ROWS = """
SELECT count(*) FROM json_each(:places) CROSS JOIN event
WHERE destination = :destination AND event_id = substr(:keys, value * 32 + 1, 32)
"""
_DROP_BODIES = """
DELETE FROM kept_body WHERE destination = ? AND event_id IN (SELECT event.event_id FROM event
WHERE event.destination = kept_body.destination AND event.event_id = kept_body.event_id AND landed)
"""
_GONE = """
UPDATE event SET landed = 0, gone = CASE WHEN source_file = :forgotten THEN :erased
    ELSE coalesce(
        (SELECT state FROM batch_read WHERE number = event.batch AND state NOT IN ('read', 'moved')), :why
    ) END
WHERE destination = :destination AND readback IS NOT :readback
    AND (landed OR gone IS NOT NULL OR (fate = 'delivered' AND source_file = :forgotten))
"""
_SELECT_BATCH = "SELECT number, rows, state, readback FROM batch_read WHERE destination = ? AND batch_id = ?"
_READ, _MOVED = "read", "moved"
_LATEST = 253_402_300_800_000
"""The year 10000, which no time of ours reaches."""
_IMPOSSIBLE = timedelta(minutes=5)
"""An event cannot have been accepted so much later than now; a clock was wrong when that was written."""


@dataclass(frozen=True)
class KnownBatch:
    """A batch that an earlier look has dealt with.

    Attributes:
        number: its number in the ledger.
        rows: how many rows of ours it holds.
        state: ``read``, ``moved`` when another batch took its rows over, ``failed``, or why it is gone.
        readback: the last read that read it.
    """

    number: int
    rows: int
    state: str
    readback: int | None

    @property
    def is_read(self) -> bool:
        """Whether its rows were read and count."""
        return self.state == _READ


class Landings:
    """The part of a destination's book that reads of the dataset write."""

    def __init__(self, ledger: Ledger, destination: int) -> None:
        self._ledger = ledger
        self._key = destination

    def begin(self, now: datetime) -> int:
        """Begin a read of the dataset and return its number.

        Args:
            now: the platform's time.
        """
        with self._ledger.change() as db:
            db.execute(
                "INSERT INTO readback (destination, number, began_at)"
                " SELECT :key, coalesce(max(number), 0) + 1, :now FROM readback WHERE destination = :key",
                {"key": self._key, "now": _milliseconds(now)},
            )
            # an acceptance in the future was written by a clock that was wrong: its hour begins now
            db.execute(
                "UPDATE event SET settled_at = ? WHERE destination = ? AND settled_at > ?",
                (_milliseconds(now), self._key, _milliseconds(now + _IMPOSSIBLE)),
            )
        return int(self._read("SELECT max(number) FROM readback WHERE destination = ?")[0][0])

    def finish(self, readback: int, now: datetime) -> None:
        """Write down that a read has come to its end, perhaps once more."""
        with self._ledger.change() as db:
            db.execute(
                "UPDATE readback SET at = ? WHERE destination = ? AND number = ?",
                (_milliseconds(now), self._key, readback),
            )

    def needs_full_read(self) -> bool:
        """Whether landed events are not vouched for by any read, e.g. since rows were erased."""
        query = "SELECT 1 FROM event WHERE destination = ? AND landed AND readback IS NULL LIMIT 1"
        return bool(self._read(query))

    def batch(self, batch_id: str) -> KnownBatch | None:
        """Return what is known of a batch; None when it was never dealt with."""
        found = self._ledger.read(_SELECT_BATCH, (self._key, batch_id), (int, int, str, int | None))
        return KnownBatch(*found[0]) if found else None

    def read_batches(self) -> list[str]:
        """Return the ids of the batches whose rows count."""
        query = "SELECT batch_id FROM batch_read WHERE destination = ? AND state = 'read' AND rows > 0"
        return [batch_id for (batch_id,) in self._read(query)]

    def note(self, batch_id: str, state: str, problem: str | None = None) -> None:
        """Write down what became of a batch; none of its rows counts from then on."""
        with self._ledger.change() as db:
            db.execute(
                "INSERT INTO batch_read (destination, batch_id, rows, state, problem) VALUES (?, ?, 0, ?, ?)"
                " ON CONFLICT (destination, batch_id) DO UPDATE SET rows = 0, state = excluded.state,"
                " readback = NULL, problem = excluded.problem",
                (self._key, batch_id, state, problem),
            )

    def move(self, batch_id: str) -> None:
        """Write down that another batch took a batch's rows over."""
        self.note(batch_id, _MOVED)

    def land(self, readback: int, batch_id: str, parts: Iterable[list[str]]) -> int:
        """Write down which rows a batch holds, and return how many are of this ledger.

        Args:
            readback: the read that found them.
            batch_id: the batch.
            parts: the ids of its rows, part by part.
        """
        self._ledger.index()
        if self.batch(batch_id) is None:
            self.note(batch_id, Gone.UNREADABLE)  # until it was read to its end
        known = self.batch(batch_id)
        number = known.number if known else 0
        rows = 0
        for part in parts:
            values = {"destination": self._key, **asked(ours_in(part))}
            with self._ledger.change() as db:
                found = db.execute(_LAND, {"readback": readback, "batch": number, **values}).rowcount
                if len(set(part)) < len(part):  # a row that repeats an id counts too
                    (found,) = db.execute(_COUNT_ROWS, values).fetchone()
                rows += found
        with self._ledger.change() as db:
            db.execute(
                "UPDATE batch_read SET rows = ?, state = 'read', readback = ?, problem = NULL"
                " WHERE number = ?",
                (rows, readback, number),
            )
            db.execute(_DROP_BODIES, (self._key,))
        return rows

    def settle_gone(self, readback: int, otherwise: Gone) -> None:
        """Write down that whatever a full read did not find is gone, each event with its reason.

        Args:
            readback: the full read.
            otherwise: the reason of those for which nothing else is known.
        """
        with self._ledger.change() as db:
            db.execute(
                _GONE,
                {
                    "destination": self._key,
                    "readback": readback,
                    "forgotten": FORGOTTEN_PLACE,
                    "erased": Gone.ERASED,
                    "why": otherwise,
                },
            )

    def lose_dataset(self, readback: int) -> None:
        """Write down that the dataset is deleted, and every row with it."""
        with self._ledger.change() as db:
            db.execute(
                "UPDATE batch_read SET rows = 0, state = ?, problem = NULL WHERE destination = ?"
                " AND state != 'failed'",
                (Gone.DATASET_DELETED, self._key),
            )
        self.settle_gone(readback, Gone.DATASET_DELETED)

    def last(self) -> Readback:
        """Return the latest read, and for how many landed events an older one still speaks."""
        finished = self._read(
            "SELECT number, at FROM readback WHERE destination = ? AND at IS NOT NULL"
            " ORDER BY number DESC LIMIT 1",
            (int, int),
        )
        number, at = finished[0] if finished else (0, None)
        ((older, since),) = self._ledger.read(
            "SELECT count(*), min(coalesce(readback.at, readback.began_at, -1)) FROM event LEFT JOIN readback"
            " ON readback.destination = event.destination AND readback.number = event.readback"
            " WHERE event.destination = ? AND landed AND (event.readback IS NULL OR event.readback < ?)",
            (self._key, number),
            (int, int | None),
        )
        problems = self._read(
            "SELECT batch_id, problem FROM batch_read WHERE destination = ? AND problem IS NOT NULL"
            " ORDER BY batch_id",
            (str, str),
        )
        return Readback(_moment(at), older, _moment(since), dict(problems))

    def gone_by_reason(self, run: int | None = None) -> dict[str, int]:
        """Count events that are gone by reason, of one run or of all."""
        query = "SELECT gone, count(*) FROM event WHERE destination = ? AND gone IS NOT NULL"
        values: tuple[object, ...] = (self._key,)
        if run is not None:
            query, values = f"{query} AND run = ?", (self._key, run)
        return dict(self._ledger.read(f"{query} GROUP BY gone ORDER BY gone", values))

    def rows(self) -> int:
        """Return how many rows of ours were read back in all, repeated ones included."""
        return int(self._read("SELECT sum(rows) FROM batch_read WHERE destination = ?")[0][0] or 0)

    def _read(self, query: str, types: tuple[type | UnionType, ...] = ()) -> list[tuple[Any, ...]]:
        return self._ledger.read(query, (self._key,), types)


Clock = Callable[[], datetime]


def own_clock() -> datetime:
    """Return this machine's time."""
    return datetime.now(UTC)


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _moment(milliseconds: int | None) -> datetime | None:
    if milliseconds is None or not 0 <= milliseconds < _LATEST:
        return None
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
