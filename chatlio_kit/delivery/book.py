"""One destination's part of the ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pandas as pd
from numpy.typing import NDArray

from chatlio_kit.captures import archives_of
from chatlio_kit.delivery.fates import DeadLetter, Fate, KeptLetter, Named, ReadFile, Refused, Taken, Tally
from chatlio_kit.delivery.keys import AMONG, asked, key_of, keys_in, keys_of
from chatlio_kit.tables import FirstOccurrence

if TYPE_CHECKING:
    from chatlio_kit.delivery.ledger import Ledger

_EXPECT = """
INSERT INTO event (rowid, destination, event_id, kind, fate, run, payload_digest, source_file, source_record)
SELECT :first + key, :destination, substr(:ids, key * 32 + 1, 32), :kind, 'pending', :run,
    substr(:digests, key * 32 + 1, 32), :file, value
FROM json_each(:records)
"""
_EXPECT_AGAIN = """
UPDATE event SET run = ?, request = NULL, payload_digest = ?, source_file = ?, source_record = ?
WHERE rowid = ?
"""
_DELIVERED = """
UPDATE event SET fate = 'delivered', attempts = attempts + 1, request = ?, settled_at = ?, reason = NULL,
    answer = NULL, transaction_id = verdict.value
FROM json_each(?) AS verdict WHERE event.rowid = verdict.key
"""
_REFUSED = """
UPDATE event SET fate = 'dead_lettered', attempts = attempts + 1, request = ?, settled_at = ?, reason = ?,
    answer = ?
WHERE rowid = ?
"""
_TRIED = "UPDATE event SET attempts = attempts + 1 WHERE rowid = ?"
_KEEP_BODY = "INSERT OR REPLACE INTO kept_body (destination, event_id, body) VALUES (?, ?, ?)"


class Book:
    """One destination's events. Every method raises LedgerError when the file cannot be used."""

    def __init__(self, ledger: Ledger, destination: int) -> None:
        self._ledger = ledger
        self._key = destination
        self._is_first_run = False

    def begin_run(self, now: datetime) -> int:
        """Start a run and give its number."""
        self._is_first_run = self._ledger.is_empty()
        if not self._is_first_run:
            self._ledger.index()
        with self._ledger.change() as db:
            db.execute(
                "UPDATE destination SET runs = runs + 1, first_sent_at = coalesce(first_sent_at, ?)"
                " WHERE id = ?",
                (_milliseconds(now), self._key),
            )
        return self.last_run()

    def last_run(self) -> int:
        """Give the number of the latest run, 0 when there was none."""
        return int(self._one("SELECT runs FROM destination WHERE id = ?"))

    def first_sent_at(self) -> int | None:
        """When the first run began, milliseconds since 1970."""
        found = self._one("SELECT first_sent_at FROM destination WHERE id = ?")
        return None if found is None else int(found)

    def settled(self, event_ids: list[str]) -> Mapping[str, FirstOccurrence]:
        """Say which of these events were settled before this run, and where they were read."""
        if self._is_first_run:
            return {}
        rows = self._among(
            event_ids, "event_id, payload_digest, source_file, source_record", "fate != 'pending'"
        )
        return {key.hex(): FirstOccurrence(digest.hex(), *place) for key, digest, *place in rows}

    def expect(self, run: int, events: pd.DataFrame) -> NDArray[np.int64]:
        """Write down that these events are about to be sent, and give the row of each.

        Args:
            run: the run's number.
            events: accepted events, none of them settled before or expected in this run.
        """
        ids, digests = keys_in(events["event_id"]), keys_in(events["payload_digest"])
        rows = self._rows_of(ids)
        is_new = rows == 0
        with self._ledger.change() as db:
            (last,) = db.execute("SELECT coalesce(max(rowid), 0) FROM event").fetchone()
            places = events.loc[is_new, ["kind", "source_file"]].reset_index(drop=True)
            new = np.flatnonzero(is_new)
            for (kind, file), within in places.groupby(["kind", "source_file"], sort=False).indices.items():
                mine = new[within]
                records = events["source_record"].iloc[mine].tolist()
                # one statement for all of them, since Python's own loop over rows is several times slower
                db.execute(
                    _EXPECT,
                    {
                        "first": last + 1,
                        "destination": self._key,
                        "run": run,
                        "kind": kind,
                        "file": file,
                        "ids": ids[mine].tobytes(),
                        "digests": digests[mine].tobytes(),
                        "records": _json(records),
                    },
                )
                rows[mine] = np.arange(last + 1, last + 1 + len(mine))
                last += len(mine)
            again = np.flatnonzero(~is_new)
            files, records = events["source_file"].iloc[again], events["source_record"].iloc[again]
            db.executemany(
                _EXPECT_AGAIN,
                (
                    (run, digests[place].tobytes(), file, int(record), int(rows[place]))
                    for place, file, record in zip(again, files, records, strict=True)
                ),
            )
        return rows

    def _rows_of(self, ids: NDArray[np.void]) -> NDArray[np.int64]:
        """Give the row of each key, 0 where it has none yet."""
        rows = np.zeros(len(ids), dtype=np.int64)
        if self._is_first_run:
            return rows
        self._ledger.index()
        query = f"SELECT event_id, rowid FROM event WHERE destination = :destination AND {AMONG}"  # noqa: S608 - from above
        known = dict(self._ledger.read(query, {"destination": self._key, **asked(ids.tobytes())}))
        if known:
            rows[:] = [known.get(each.tobytes(), 0) for each in ids]
        return rows

    def settle(
        self, taken: Iterable[Taken], refused: Iterable[Refused] = (), tried: Iterable[int] = ()
    ) -> None:
        """Write down the platform's verdicts.

        Args:
            taken: what requests delivered.
            refused: what the platform will not take.
            tried: rows of events whose requests brought no verdict; they stay pending.
        """
        now = _now()
        refused = list(refused)
        with self._ledger.change() as db:
            for each in taken:
                db.execute(_DELIVERED, (each.request, now, _json(each.transactions)))
            db.executemany(
                _REFUSED,
                ((each.request, now, each.letter.reason, each.letter.answer, each.row) for each in refused),
            )
            db.executemany(_KEEP_BODY, self._bodies(each.letter for each in refused))
            db.executemany(_TRIED, ((row,) for row in tried))

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
                    (self._key, key_of(event_id)),
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
                ((each.reason, each.answer, now, self._key, key_of(each.event_id)) for each in letters),
            )
            db.executemany(
                "INSERT OR REPLACE INTO kept_body (destination, event_id, body) SELECT destination, event_id,"
                " ? FROM event WHERE destination = ? AND event_id = ? AND NOT landed",
                ((body, destination, key) for destination, key, body in self._bodies(letters)),
            )
            db.execute("INSERT INTO batch_read VALUES (?, ?, 0)", (self._key, batch_id))

    def letters(self, reason: str | None = None, piece: int = 5_000) -> Iterator[list[KeptLetter]]:
        """Give what can be sent again as it was, piece by piece.

        It is dead letters, and those that a broken-off replay left pending.
        """
        query = (
            "SELECT event.rowid, lower(hex(event_id)), kind, body FROM event"
            " JOIN kept_body USING (destination, event_id) WHERE destination = ? AND fate != 'delivered'"
            " AND (? IS NULL OR reason = ?) AND event.rowid > ? ORDER BY event.rowid LIMIT ?"
        )
        last = 0
        while rows := self._ledger.read(query, (self._key, reason, reason, last, piece)):
            yield [KeptLetter(*letter) for letter in rows]
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
                "UPDATE event SET fate = 'pending', run = ?, request = NULL"
                " WHERE destination = ? AND event_id = ? AND fate != 'delivered'",
                ((run, self._key, key_of(event_id)) for event_id in event_ids),
            )

    def passed_canary(self, flow_id: str) -> bool:
        """Whether the first records of a dataflow were read back before."""
        query = "SELECT 1 FROM canary WHERE destination = ? AND flow_id = ?"
        return bool(self._ledger.read(query, (self._key, flow_id)))

    def pass_canary(self, flow_id: str) -> None:
        """Write down that the first records of a dataflow were read back."""
        with self._ledger.change() as db:
            db.execute("INSERT OR IGNORE INTO canary VALUES (?, ?)", (self._key, flow_id))

    def landed_among(self, event_ids: list[str]) -> int:
        """Count which of these events were read back."""
        return self._count_among(event_ids, "landed")

    def open_among(self, event_ids: list[str]) -> int:
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
        return int(self._ledger.read(query, (self._key, _milliseconds(until)))[0][0])

    def lose(self, kind: str, since: datetime, until: datetime, reason: str, answer: str) -> None:
        """Write down that what was accepted between two moments and not read back will not land any more."""
        with self._ledger.change() as db:
            db.execute(
                "UPDATE event SET fate = 'dead_lettered', reason = ?, answer = ? WHERE destination = ?"
                " AND kind = ? AND fate = 'delivered' AND NOT landed AND settled_at >= ? AND settled_at < ?",
                (reason, answer, self._key, kind, _milliseconds(since), _milliseconds(until)),
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

    def _bodies(self, letters: Iterable[DeadLetter]) -> Iterator[tuple[int, bytes, bytes]]:
        return ((self._key, key_of(each.event_id), each.body) for each in letters if each.body is not None)

    def _named(self, condition: str, *values: object) -> list[Named]:
        columns = "lower(hex(event_id)), kind, source_file, source_record, transaction_id, reason, answer"
        query = f"SELECT {columns} FROM event WHERE destination = ? AND {condition}"  # noqa: S608 - from above
        return [Named(*row) for row in self._ledger.read(query, (self._key, *values))]

    def _count_among(self, event_ids: list[str], condition: str) -> int:
        return int(self._among(event_ids, "count(*)", condition)[0][0])

    def _among(self, event_ids: list[str], columns: str, condition: str) -> list[tuple[Any, ...]]:
        """Ask for some events of ours by their ids."""
        self._ledger.index()
        query = f"SELECT {columns} FROM event WHERE destination = :destination AND {condition} AND {AMONG}"  # noqa: S608 - from above
        return self._ledger.read(query, {"destination": self._key, **asked(keys_of(event_ids))})

    def _one(self, query: str) -> Any:
        return self._ledger.read(query, (self._key,))[0][0]

    def _select(self, query: str, run: int | None, ending: str) -> list[tuple[Any, ...]]:
        if run is None:
            return self._ledger.read(query + ending, (self._key,))
        return self._ledger.read(f"{query} AND run = ?{ending}", (self._key, run))


def _json(value: object) -> str:
    return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()


def _now() -> int:
    return _milliseconds(datetime.now(UTC))


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
