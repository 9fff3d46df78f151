"""One destination's part of the ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson
import pandas as pd

from chatlio_kit.captures import archives_of
from chatlio_kit.delivery.fates import DeadLetter, Fate, KeptLetter, Named, ReadFile, Tally
from chatlio_kit.tables import Sighting

if TYPE_CHECKING:
    from chatlio_kit.delivery.ledger import Ledger

_EXPECT = """
INSERT INTO event (destination, event_id, kind, fate, run, payload_digest, source_file, source_record)
SELECT :destination, CAST(substr(:ids, key * 64 + 1, 64) AS TEXT), :kind, 'pending', :run,
    CAST(substr(:digests, key * 64 + 1, 64) AS TEXT), :file, value
FROM json_each(:records) WHERE true
ON CONFLICT DO UPDATE SET run = excluded.run, payload_digest = excluded.payload_digest,
    source_file = excluded.source_file, source_record = excluded.source_record
    WHERE fate = 'pending'
"""
"""Ids and digests are 64 characters each, so they travel in a row."""
_DELIVERED = """
UPDATE event SET fate = 'delivered', attempts = attempts + 1, settled_at = ?, reason = NULL, answer = NULL,
    transaction_id = verdict.value
FROM json_each(?) AS verdict WHERE event.rowid = verdict.key
"""
_KEEP_BODY = "INSERT OR REPLACE INTO kept_body (destination, event_id, body) VALUES (?, ?, ?)"


class Book:
    """One destination's events. Every method raises LedgerError when the file cannot be used."""

    def __init__(self, ledger: Ledger, destination: int) -> None:
        self._ledger = ledger
        self._key = destination
        self._is_first_run = False
        self._rows: dict[str, int] = {}
        """In the first run, the row of each event that has no verdict yet; later the index tells."""

    def begin_run(self, now: datetime) -> int:
        """Start a run and give its number."""
        self._is_first_run = self._ledger.is_empty()
        if not self._is_first_run:
            self._ledger.index()
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
        """Say which of these events were settled before this run, and where they were read."""
        if self._is_first_run:
            return {}
        self._ledger.index()
        rows = self._ledger.read(
            "SELECT event_id, payload_digest, source_file, source_record FROM event"
            " WHERE destination = ? AND fate != 'pending' AND event_id IN (SELECT value FROM json_each(?))",
            (self._key, _json(event_ids)),
        )
        return {event_id: Sighting(*place) for event_id, *place in rows}

    def expect(self, run: int, events: pd.DataFrame) -> None:
        """Write down that these events are about to be sent.

        Args:
            run: the run's number.
            events: accepted events, none of them settled before or expected in this run.
        """
        needed = events[["event_id", "kind", "payload_digest", "source_file", "source_record"]]
        with self._ledger.change() as db:
            (last,) = db.execute("SELECT coalesce(max(rowid), 0) FROM event").fetchone()
            for (kind, file), theirs in needed.groupby(["kind", "source_file"], sort=False):
                ids, digests = theirs["event_id"].tolist(), theirs["payload_digest"].tolist()
                # one statement for all of them, since Python's own loop over rows is several times slower
                db.execute(
                    _EXPECT,
                    {
                        "destination": self._key,
                        "run": run,
                        "kind": kind,
                        "file": file,
                        "ids": "".join(ids).encode(),
                        "digests": "".join(digests).encode(),
                        "records": _json(theirs["source_record"].tolist()),
                    },
                )
                if self._is_first_run:
                    self._rows.update(zip(ids, range(last + 1, last + 1 + len(ids)), strict=True))
                    last += len(ids)

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
        tried = list(tried)
        rows = self._rows_of([*delivered, *(each.event_id for each in letters), *tried])
        transactions = {rows[event_id]: each for event_id, each in delivered.items() if event_id in rows}
        with self._ledger.change() as db:
            db.execute(_DELIVERED, (now, _json(transactions)))
            db.executemany(
                "UPDATE event SET fate = 'dead_lettered', attempts = attempts + 1, reason = ?, answer = ?,"
                " settled_at = ? WHERE rowid = ?",
                ((each.reason, each.answer, now, rows.get(each.event_id)) for each in letters),
            )
            db.executemany(_KEEP_BODY, self._bodies(letters))
            db.executemany(
                "UPDATE event SET attempts = attempts + 1 WHERE rowid = ?",
                ((rows.get(event_id),) for event_id in tried),
            )
        for each in (delivered, (letter.event_id for letter in letters)):
            for event_id in each:
                self._rows.pop(event_id, None)

    def _rows_of(self, event_ids: list[str]) -> dict[str, int]:
        """Find the rows of events."""
        known = {event_id: self._rows[event_id] for event_id in event_ids if event_id in self._rows}
        if len(known) < len(event_ids):
            self._ledger.index()
            known |= self._ledger.read(
                "SELECT event_id, rowid FROM event WHERE destination = ?"
                " AND event_id IN (SELECT value FROM json_each(?))",
                (self._key, _json([each for each in event_ids if each not in known])),
            )
        return known

    def rows_in(self, batch_id: str) -> int | None:
        """Say how many rows of ours a batch holds; None when it was not read back yet."""
        query = "SELECT rows FROM batch_read WHERE destination = ? AND batch_id = ?"
        found = self._ledger.read(query, (self._key, batch_id))
        return int(found[0][0]) if found else None

    def land(self, batch_id: str, event_ids: Iterable[str]) -> int:
        """Write down that a batch was read back and these rows stand in it; give how many are ours."""
        self._ledger.index()
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

    def move(self, batch_id: str) -> None:
        """Write down that a batch holds nothing to count any more: another one took its rows over."""
        with self._ledger.change() as db:
            db.execute("INSERT OR REPLACE INTO batch_read VALUES (?, ?, 0)", (self._key, batch_id))

    def bury(self, batch_id: str, dead: Iterable[DeadLetter]) -> None:
        """Write down what the platform failed after accepting it; what landed otherwise stays landed.

        The record as it was sent is taken from the failed batch and kept: the platform keeps it for 30 days
        only, and a copy of every delivered record until it lands would double the ledger.
        """
        self._ledger.index()
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

    def letters(self, reason: str | None = None, piece: int = 5_000) -> Iterator[list[KeptLetter]]:
        """Give what can be sent again as it was, piece by piece.

        It is dead letters, and those that a broken-off replay left pending.
        """
        query = (
            "SELECT event.rowid, event_id, kind, body FROM event JOIN kept_body USING (destination, event_id)"
            " WHERE destination = ? AND fate != 'delivered' AND (? IS NULL OR reason = ?)"
            " AND event.rowid > ? ORDER BY event.rowid LIMIT ?"
        )
        last = 0
        while rows := self._ledger.read(query, (self._key, reason, reason, last, piece)):
            yield [KeptLetter(*letter) for _, *letter in rows]
            last = rows[-1][0]

    def without_body(self, reason: str | None = None) -> list[Named]:
        """Name the dead letters whose record was not kept."""
        return self._named(
            "fate = 'dead_lettered' AND (? IS NULL OR reason = ?) AND NOT EXISTS (SELECT 1 FROM kept_body"
            " WHERE kept_body.destination = event.destination AND kept_body.event_id = event.event_id)"
            " ORDER BY source_file, source_record",
            reason,
            reason,
        )

    def revive(self, run: int, event_ids: Iterable[str]) -> None:
        """Write down that these dead letters are about to be sent again."""
        self._ledger.index()
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
        return self._count_among(event_ids, "landed")

    def open_among(self, event_ids: Iterable[str]) -> int:
        """Count which of these events were delivered and neither read back nor failed."""
        return self._count_among(event_ids, "fate = 'delivered' AND NOT landed")

    def files_read(self) -> dict[str, ReadFile]:
        """Give the files that were read to their end without a reject and hold nothing pending, by name."""
        rows = self._ledger.read(
            "SELECT name, mark, records FROM file_read WHERE destination = ?", (self._key,)
        )
        places = self._ledger.read(
            "SELECT DISTINCT source_file FROM event WHERE destination = ? AND fate = 'pending'", (self._key,)
        )
        # a zip's member is known by the zip's name and its own, and the zip is read again whole
        unsettled = {name for (place,) in places for name in archives_of(place)}
        return {name: ReadFile(name, mark, records) for name, mark, records in rows if name not in unsettled}

    def remember_files(self, files: Iterable[ReadFile]) -> None:
        """Write down which files were read to their end without a reject."""
        with self._ledger.change() as db:
            db.executemany(
                "INSERT OR REPLACE INTO file_read VALUES (?, ?, ?, ?)",
                ((self._key, each.name, each.mark, each.records) for each in files),
            )

    def missing(self, limit: int) -> list[Named]:
        """Name delivered events that were not read back, in the order of their places."""
        condition = "fate = 'delivered' AND NOT landed ORDER BY source_file, source_record LIMIT ?"
        return self._named(condition, limit)

    def dead(self, limit: int) -> list[Named]:
        """Name dead letters, each with the platform's answer, by reason and place."""
        condition = "fate = 'dead_lettered' ORDER BY reason, source_file, source_record LIMIT ?"
        return self._named(condition, limit)

    def dead_samples(self) -> dict[str, Named]:
        """Name one dead letter of each reason."""
        found = self._named("fate = 'dead_lettered' GROUP BY reason ORDER BY reason")
        return {str(each.reason): each for each in found}

    def missing_since(self, until: datetime) -> int:
        """Count delivered events that were accepted before a moment and not read back."""
        query = (
            "SELECT count(*) FROM event WHERE destination = ? AND fate = 'delivered' AND NOT landed"
            " AND settled_at < ?"
        )
        return int(self._ledger.read(query, (self._key, _text(until)))[0][0])

    def lose(self, kind: str, since: datetime, until: datetime, reason: str, answer: str) -> None:
        """Write down that what was accepted between two moments and not read back will not land any more."""
        with self._ledger.change() as db:
            db.execute(
                "UPDATE event SET fate = 'dead_lettered', reason = ?, answer = ? WHERE destination = ?"
                " AND kind = ? AND fate = 'delivered' AND NOT landed AND settled_at >= ? AND settled_at < ?",
                (reason, answer, self._key, kind, _text(since), _text(until)),
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

    def _named(self, condition: str, *values: object) -> list[Named]:
        columns = "event_id, kind, source_file, source_record, transaction_id, reason, answer"
        query = f"SELECT {columns} FROM event WHERE destination = ? AND {condition}"  # noqa: S608 - from above
        return [Named(*row) for row in self._ledger.read(query, (self._key, *values))]

    def _count_among(self, event_ids: Iterable[str], condition: str) -> int:
        self._ledger.index()
        query = (
            f"SELECT count(*) FROM event WHERE destination = ? AND {condition}"  # noqa: S608 - from above
            " AND event_id IN (SELECT value FROM json_each(?))"
        )
        return int(self._ledger.read(query, (self._key, _json(list(event_ids))))[0][0])

    def _one(self, query: str) -> Any:
        return self._ledger.read(query, (self._key,))[0][0]

    def _select(self, query: str, run: int | None, ending: str) -> list[tuple[Any, ...]]:
        if run is None:
            return self._ledger.read(query + ending, (self._key,))
        return self._ledger.read(f"{query} AND run = ?{ending}", (self._key, run))


def _json(value: object) -> str:
    return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()


def _now() -> str:
    return _text(datetime.now(UTC))


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")
