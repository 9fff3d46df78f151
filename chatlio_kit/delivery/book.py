"""One destination's part of the ledger."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from chatlio_kit.delivery.fates import Accepted, DeadLetter, Fate, KeptLetter, ReadFile, Tally
from chatlio_kit.tables import Sighting

if TYPE_CHECKING:
    from chatlio_kit.delivery.ledger import Ledger

_KEEP_BODY = "INSERT OR REPLACE INTO kept_body (destination, event_id, body) VALUES (?, ?, ?)"


class Book:
    """One destination's events. Every method raises LedgerError when the file cannot be used."""

    def __init__(self, ledger: Ledger, destination: int) -> None:
        self._ledger = ledger
        self._key = destination

    def begin_run(self, now: datetime) -> int:
        """Start a run and give its number."""
        with self._ledger.change() as db:
            db.execute(
                "UPDATE destination SET runs = runs + 1, first_sent_at = coalesce(first_sent_at, ?)"
                " WHERE id = ?",
                (int(now.timestamp() * 1000), self._key),
            )
        return self.last_run()

    def last_run(self) -> int:
        """Give the number of the latest run, 0 when there was none."""
        return int(self._one("SELECT runs FROM destination WHERE id = ?"))

    def first_sent_at(self) -> int | None:
        """When the first run began, milliseconds since 1970."""
        found = self._one("SELECT first_sent_at FROM destination WHERE id = ?")
        return None if found is None else int(found)

    def settled(self, event_ids: list[str]) -> Mapping[str, Sighting]:
        """Say which of these events were delivered or dead-lettered, and where they were read."""
        rows = self._ledger.read(
            "SELECT event_id, payload_digest, source_file, source_record FROM event"
            " WHERE destination = ? AND fate != 'pending' AND event_id IN (SELECT value FROM json_each(?))",
            (self._key, json.dumps(event_ids)),
        )
        return {event_id: Sighting(*place) for event_id, *place in rows}

    def expect(self, run: int, accepted: Iterable[Accepted]) -> None:
        """Write down that these events are about to be sent."""
        with self._ledger.change() as db:
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
        now = _now()
        letters = list(dead)
        with self._ledger.change() as db:
            db.executemany(
                "UPDATE event SET fate = 'delivered', attempts = attempts + 1, transaction_id = ?,"
                " settled_at = ?, reason = NULL, answer = NULL WHERE destination = ? AND event_id = ?",
                ((transaction, now, self._key, event_id) for event_id, transaction in delivered.items()),
            )
            db.executemany(
                "UPDATE event SET fate = 'dead_lettered', attempts = attempts + 1, reason = ?, answer = ?,"
                " settled_at = ? WHERE destination = ? AND event_id = ?",
                ((each.reason, each.answer, now, self._key, each.event_id) for each in letters),
            )
            db.executemany(_KEEP_BODY, self._bodies(letters))
            db.executemany(
                "UPDATE event SET attempts = attempts + 1 WHERE destination = ? AND event_id = ?",
                ((self._key, event_id) for event_id in tried),
            )

    def has_read(self, batch_id: str) -> bool:
        """Whether a batch of the dataset was read back before."""
        query = "SELECT 1 FROM batch_read WHERE destination = ? AND batch_id = ?"
        return bool(self._ledger.read(query, (self._key, batch_id)))

    def land(self, batch_id: str, event_ids: Iterable[str]) -> int:
        """Write down that a batch was read back and these rows stand in it; give how many are ours."""
        with self._ledger.change() as db:
            ours = 0
            for event_id in event_ids:
                cursor = db.execute(
                    "UPDATE event SET landed = 1, fate = 'delivered', reason = NULL, answer = NULL"
                    " WHERE destination = ? AND event_id = ?",
                    (self._key, event_id),
                )
                ours += cursor.rowcount
            db.execute("INSERT INTO batch_read VALUES (?, ?, ?)", (self._key, batch_id, ours))
            db.execute(
                "DELETE FROM kept_body WHERE destination = ? AND event_id IN (SELECT event_id FROM event"
                " WHERE event.destination = kept_body.destination AND event.event_id = kept_body.event_id"
                " AND landed)",
                (self._key,),
            )
        return ours

    def skip(self, batch_id: str) -> None:
        """Write down that a batch holds nothing to count: another one took its rows over."""
        with self._ledger.change() as db:
            db.execute("INSERT INTO batch_read VALUES (?, ?, 0)", (self._key, batch_id))

    def bury(self, batch_id: str, dead: Iterable[DeadLetter]) -> None:
        """Write down what the platform failed after accepting it; what landed otherwise stays landed.

        The record as it was sent is taken from the failed batch and kept: the platform keeps it for 30 days
        only, and a copy of every delivered record until it lands would double the ledger.
        """
        now = _now()
        letters = list(dead)
        with self._ledger.change() as db:
            db.executemany(
                "UPDATE event SET fate = 'dead_lettered', reason = ?, answer = ?, settled_at = ?"
                " WHERE destination = ? AND event_id = ? AND NOT landed",
                ((each.reason, each.answer, now, self._key, each.event_id) for each in letters),
            )
            db.executemany(
                "INSERT OR REPLACE INTO kept_body (destination, event_id, body) SELECT destination, event_id,"
                " ? FROM event WHERE destination = ? AND event_id = ? AND NOT landed",
                ((body, key, event_id) for key, event_id, body in self._bodies(letters)),
            )
            db.execute("INSERT INTO batch_read VALUES (?, ?, 0)", (self._key, batch_id))

    def letters(self, reason: str | None = None) -> Iterator[KeptLetter]:
        """Give what can be sent again as it was: dead letters, and those a broken-off replay left pending."""
        query = (
            "SELECT event_id, kind, body FROM event JOIN kept_body USING (destination, event_id)"
            " WHERE destination = ? AND fate != 'delivered' AND (? IS NULL OR reason = ?)"
            " ORDER BY event.rowid"
        )
        return (KeptLetter(*row) for row in self._ledger.read(query, (self._key, reason, reason)))

    def without_body(self, reason: str | None = None) -> dict[str, int]:
        """Count the dead letters whose record was not kept, by the file that holds it."""
        query = (
            "SELECT source_file, count(*) FROM event WHERE destination = ? AND fate = 'dead_lettered'"
            " AND (? IS NULL OR reason = ?) AND NOT EXISTS (SELECT 1 FROM kept_body WHERE"
            " kept_body.destination = event.destination AND kept_body.event_id = event.event_id)"
            " GROUP BY source_file ORDER BY source_file"
        )
        return dict(self._ledger.read(query, (self._key, reason, reason)))

    def revive(self, run: int, event_ids: Iterable[str]) -> None:
        """Write down that these dead letters are about to be sent again."""
        with self._ledger.change() as db:
            db.executemany(
                "UPDATE event SET fate = 'pending', run = ? WHERE destination = ? AND event_id = ?"
                " AND fate != 'delivered'",
                ((run, self._key, event_id) for event_id in event_ids),
            )

    def passed_canary(self, flow_id: str) -> bool:
        """Whether the first records of a dataflow were read back before."""
        query = "SELECT 1 FROM canary WHERE destination = ? AND flow_id = ?"
        return bool(self._ledger.read(query, (self._key, flow_id)))

    def pass_canary(self, flow_id: str) -> None:
        """Write down that the first records of a dataflow were read back."""
        with self._ledger.change() as db:
            db.execute("INSERT OR IGNORE INTO canary VALUES (?, ?)", (self._key, flow_id))

    def landed_among(self, event_ids: Iterable[str]) -> int:
        """Count which of these events were read back."""
        query = (
            "SELECT count(*) FROM event WHERE destination = ? AND landed"
            " AND event_id IN (SELECT value FROM json_each(?))"
        )
        return int(self._ledger.read(query, (self._key, json.dumps(list(event_ids))))[0][0])

    def open_among(self, event_ids: Iterable[str]) -> int:
        """Count which of these events were delivered and neither read back nor failed."""
        query = (
            "SELECT count(*) FROM event WHERE destination = ? AND fate = 'delivered' AND NOT landed"
            " AND event_id IN (SELECT value FROM json_each(?))"
        )
        return int(self._ledger.read(query, (self._key, json.dumps(list(event_ids))))[0][0])

    def files_read(self) -> dict[str, ReadFile]:
        """Give the files that were read to their end without a reject and hold nothing pending, by name."""
        rows = self._ledger.read(
            "SELECT name, mark, records FROM file_read WHERE destination = ? AND name NOT IN"
            " (SELECT source_file FROM event WHERE destination = ? AND fate = 'pending')",
            (self._key, self._key),
        )
        return {name: ReadFile(name, mark, records) for name, mark, records in rows}

    def remember_files(self, files: Iterable[ReadFile]) -> None:
        """Write down which files were read to their end without a reject."""
        with self._ledger.change() as db:
            db.executemany(
                "INSERT OR REPLACE INTO file_read VALUES (?, ?, ?, ?)",
                ((self._key, each.name, each.mark, each.records) for each in files),
            )

    def missing(self, limit: int) -> list[tuple[str, str, str, int]]:
        """Name delivered events that were not read back: id, kind, file and record."""
        return self._ledger.read(
            "SELECT event_id, kind, source_file, source_record FROM event WHERE destination = ?"
            " AND fate = 'delivered' AND NOT landed ORDER BY source_file, source_record LIMIT ?",
            (self._key, limit),
        )

    def rows_read(self) -> int:
        """How many rows of ours were read back in all, repeated ones included."""
        return int(self._one("SELECT sum(rows) FROM batch_read WHERE destination = ?") or 0)

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
        rows = self._ledger.read(
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

    def _bodies(self, letters: Iterable[DeadLetter]) -> Iterator[tuple[int, str, bytes]]:
        return ((self._key, each.event_id, each.body) for each in letters if each.body is not None)

    def _one(self, query: str) -> Any:
        return self._ledger.read(query, (self._key,))[0][0]

    def _select(self, query: str, run: int | None, ending: str) -> list[tuple[Any, ...]]:
        if run is None:
            return self._ledger.read(query + ending, (self._key,))
        return self._ledger.read(f"{query} AND run = ?{ending}", (self._key, run))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
