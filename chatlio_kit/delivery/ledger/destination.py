"""One destination's part of the ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pandas as pd
from numpy.typing import NDArray

from chatlio_kit.captures import archives_of
from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.delivery.ledger.keys import AMONG, asked, key_of, keys_in, keys_of
from chatlio_kit.delivery.ledger.landings import Clock, Landings, own_clock
from chatlio_kit.delivery.ledger.models import (
    FORGOTTEN_PLACE,
    DeadLetter,
    Delivered,
    EventRef,
    Fate,
    FateCounts,
    ReadFile,
    Refused,
    RetryableRecord,
)
from chatlio_kit.tables import FirstOccurrence

if TYPE_CHECKING:
    from chatlio_kit.delivery.ledger.ledger import Ledger

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
_UNDER_WAY = "fate = 'delivered' AND NOT landed AND gone IS NULL"
_GONE_BUT_NOT_ERASED = """
WHERE destination = :destination AND gone IS NOT NULL AND gone != 'erased' AND source_file != :forgotten
    AND (:reason IS NULL OR gone = :reason)
"""
_COUNT_GONE = (
    f"SELECT kind, source_file, count(*) FROM event {_GONE_BUT_NOT_ERASED} GROUP BY kind, source_file"  # noqa: S608 - from above
)
_REVIVE_GONE = f"""
UPDATE event SET fate = 'pending', run = :run, request = NULL, gone = NULL, readback = NULL, batch = NULL
{_GONE_BUT_NOT_ERASED}
"""  # noqa: S608 - from above
_LOSE = f"""
UPDATE event SET fate = 'dead_lettered', reason = ?, answer = ?
WHERE destination = ? AND kind = ? AND {_UNDER_WAY} AND settled_at >= ? AND settled_at < ?
"""  # noqa: S608 - from above
_KEEP_BODY = "INSERT OR REPLACE INTO kept_body (destination, event_id, body) VALUES (?, ?, ?)"


class DestinationLedger:
    """One destination's events. Every method raises LedgerError when the file cannot be used.

    Attributes:
        landings: what reads of the dataset found.
    """

    def __init__(self, ledger: Ledger, destination: int, clock: Clock = own_clock) -> None:
        self._ledger = ledger
        self._key = destination
        self._clock = clock
        self._is_first_run = False
        self.landings = Landings(ledger, destination)

    def begin_run(self, now: datetime, *, is_platform_time: bool = False) -> int:
        """Start a run and return its number.

        Args:
            now: the time.
            is_platform_time: whether the platform told it. Only then may reads leave out older batches.
        """
        self._is_first_run = self._ledger.is_empty()
        if not self._is_first_run:
            self._ledger.index()
        with self._ledger.change() as db:
            db.execute(
                "UPDATE destination SET runs = runs + 1, first_sent_at = coalesce(first_sent_at, :now),"
                " sent_since = iif(first_sent_at IS NULL AND :is_platform_time, :now, sent_since)"
                " WHERE id = :id",
                {"now": _milliseconds(now), "is_platform_time": is_platform_time, "id": self._key},
            )
        return self.last_run()

    def last_run(self) -> int:
        """Give the number of the latest run, 0 when there was none."""
        return int(self._one("SELECT runs FROM destination WHERE id = ?") or 0)

    def first_sent_at(self) -> int | None:
        """When the first run began, milliseconds since 1970."""
        found = self._one("SELECT first_sent_at FROM destination WHERE id = ?")
        return None if found is None else int(found)

    def sent_since(self) -> int:
        """When the first run began by the platform's clock, milliseconds since 1970; 0 when not known."""
        return int(self._one("SELECT sent_since FROM destination WHERE id = ?") or 0)

    def settled(self, event_ids: list[str]) -> Mapping[str, FirstOccurrence]:
        """Say which of these events were settled before this run, and where they were read."""
        if self._is_first_run:
            return {}
        rows = self._among(
            event_ids,
            "event_id, payload_digest, source_file, source_record",
            "fate != 'pending'",
            (bytes, bytes, str, int),
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
        self, taken: Iterable[Delivered], refused: Iterable[Refused] = (), tried: Iterable[int] = ()
    ) -> None:
        """Write down the platform's verdicts.

        Args:
            taken: what requests delivered.
            refused: what the platform will not take.
            tried: rows of events whose requests brought no verdict; they stay pending.
        """
        now = self._now()
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

    def bury(self, batch_id: str, dead: Iterable[DeadLetter]) -> None:
        """Write down what the platform failed after accepting it; what landed some other way stays as it is.

        The record as it was sent is taken from the failed batch and kept: the platform keeps it for 30 days
        only, and a copy of every delivered record until it lands would double the ledger.
        """
        self._ledger.index()
        now = self._now()
        letters = list(dead)
        with self._ledger.change() as db:
            db.executemany(
                "UPDATE event SET fate = 'dead_lettered', reason = ?, answer = ?, settled_at = ?"
                " WHERE destination = ? AND event_id = ? AND NOT landed AND gone IS NULL",
                ((each.reason, each.answer, now, self._key, key_of(each.event_id)) for each in letters),
            )
            db.executemany(
                "INSERT OR REPLACE INTO kept_body (destination, event_id, body) SELECT destination, event_id,"
                " ? FROM event WHERE destination = ? AND event_id = ? AND NOT landed AND gone IS NULL",
                ((body, destination, key) for destination, key, body in self._bodies(letters)),
            )
        self.landings.note(batch_id, "failed")

    def letters(self, reason: str | None = None, piece: int = 5_000) -> Iterator[list[RetryableRecord]]:
        """Give what can be sent again as it was, piece by piece.

        It is dead letters, and those that a broken-off replay left pending.
        """
        query = (
            "SELECT event.rowid, lower(hex(event_id)), kind, body FROM event"
            " JOIN kept_body USING (destination, event_id) WHERE destination = ? AND fate != 'delivered'"
            " AND (? IS NULL OR reason = ?) AND event.rowid > ? ORDER BY event.rowid LIMIT ?"
        )
        last = 0
        types = (int, str, str, bytes)
        while rows := self._ledger.read(query, (self._key, reason, reason, last, piece), types):
            if any(kind not in list(Kind) for _, _, kind, _ in rows):
                raise self._ledger.damaged()
            yield [RetryableRecord(*letter) for letter in rows]
            last = rows[-1][0]

    def without_body(self, reason: str | None = None) -> list[EventRef]:
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

    def revive_gone(self, run: int, reason: str | None = None) -> dict[tuple[str, str], int]:
        """Write down that what is gone is to be sent again: it is pending until its source is read again.

        What was erased stays erased.

        Args:
            run: the run that decides it.
            reason: only what is gone for this reason.

        Returns:
            How many events of each kind and source file.
        """
        values = {"destination": self._key, "forgotten": FORGOTTEN_PLACE, "reason": reason, "run": run}
        with self._ledger.change() as db:
            found = db.execute(_COUNT_GONE, values).fetchall()
            db.execute(_REVIVE_GONE, values)
        return {(kind, file): count for kind, file, count in found}

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
        return self._count_among(event_ids, _UNDER_WAY)

    def files_read(self) -> dict[str, ReadFile]:
        """Give the files that were read to their end without a reject and hold nothing pending, by name."""
        rows = self._ledger.read(
            "SELECT name, mark, records FROM file_read WHERE destination = ?", (self._key,), (str, str, int)
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

    def missing(self, limit: int) -> list[EventRef]:
        """Name delivered events that were never read back, in the order of their places."""
        return self._named(f"{_UNDER_WAY} ORDER BY source_file, source_record LIMIT ?", limit)

    def gone(self, limit: int) -> list[EventRef]:
        """Name events that were read back once and are gone, by reason and place."""
        return self._named("gone IS NOT NULL ORDER BY gone, source_file, source_record LIMIT ?", limit)

    def dead(self, limit: int) -> list[EventRef]:
        """Name dead letters, each with the platform's answer, by reason and place."""
        condition = "fate = 'dead_lettered' ORDER BY reason, source_file, source_record LIMIT ?"
        return self._named(condition, limit)

    def dead_samples(self) -> dict[str, EventRef]:
        """Name one dead letter of each reason."""
        found = self._named("fate = 'dead_lettered' GROUP BY reason ORDER BY reason")
        return {str(each.reason): each for each in found}

    def missing_since(self, until: datetime) -> int:
        """Count delivered events that were accepted before a moment and never read back."""
        query = f"SELECT count(*) FROM event WHERE destination = ? AND {_UNDER_WAY} AND settled_at < ?"  # noqa: S608 - from above
        return int(self._ledger.read(query, (self._key, _milliseconds(until)))[0][0])

    def lose(self, kind: str, since: datetime, until: datetime, reason: str, answer: str) -> None:
        """Write down that what was accepted between two moments and not read back will not land any more."""
        with self._ledger.change() as db:
            db.execute(_LOSE, (reason, answer, self._key, kind, _milliseconds(since), _milliseconds(until)))

    def tally(self, run: int | None = None) -> FateCounts:
        """Count events by fate, of one run or of all."""
        query = "SELECT fate, count(*), sum(landed), count(gone) FROM event WHERE destination = ?"
        counts = Counter[str]()
        for fate, count, landed, gone in self._select(query, run, " GROUP BY fate"):
            self._require_fate(fate)
            counts.update({fate: count, "landed": landed, "gone": gone})
        return FateCounts(**counts)

    def by_kind(self) -> dict[str, FateCounts]:
        """Count all events by kind and fate."""
        rows = self._ledger.read(
            "SELECT kind, fate, count(*), sum(landed), count(gone) FROM event WHERE destination = ?"
            " GROUP BY kind, fate",
            (self._key,),
        )
        counts: dict[str, Counter[str]] = {}
        for kind, fate, count, landed, gone in rows:
            self._require_fate(fate)
            counts.setdefault(kind, Counter()).update({fate: count, "landed": landed, "gone": gone})
        return {kind: FateCounts(**count) for kind, count in sorted(counts.items())}

    def dead_by_reason(self, run: int | None = None) -> dict[str, int]:
        """Count dead letters by reason, of one run or of all."""
        query = "SELECT reason, count(*) FROM event WHERE destination = ? AND fate = 'dead_lettered'"
        return dict(self._select(query, run, " GROUP BY reason ORDER BY reason"))

    def _require_fate(self, fate: object) -> None:
        if fate not in list(Fate):
            raise self._ledger.damaged()

    def _bodies(self, letters: Iterable[DeadLetter]) -> Iterator[tuple[int, bytes, bytes]]:
        return ((self._key, key_of(each.event_id), each.body) for each in letters if each.body is not None)

    def _named(self, condition: str, *values: object) -> list[EventRef]:
        columns = (
            "lower(hex(event_id)), kind, source_file, source_record, transaction_id,"
            " coalesce(gone, reason), answer"
        )
        query = f"SELECT {columns} FROM event WHERE destination = ? AND {condition}"  # noqa: S608 - from above
        types = (str, str, str, int, str | None, str | None, str | None)
        return [EventRef(*row) for row in self._ledger.read(query, (self._key, *values), types)]

    def _count_among(self, event_ids: list[str], condition: str) -> int:
        return int(self._among(event_ids, "count(*)", condition)[0][0])

    def _among(
        self, event_ids: list[str], columns: str, condition: str, types: tuple[type, ...] = ()
    ) -> list[tuple[Any, ...]]:
        """Ask for some events of ours by their ids."""
        self._ledger.index()
        query = f"SELECT {columns} FROM event WHERE destination = :destination AND {condition} AND {AMONG}"  # noqa: S608 - from above
        return self._ledger.read(query, {"destination": self._key, **asked(keys_of(event_ids))}, types)

    def _now(self) -> int:
        return _milliseconds(self._clock())

    def _one(self, query: str) -> int | None:
        found: int | None = self._ledger.read(query, (self._key,), (int | None,))[0][0]
        return found

    def _select(self, query: str, run: int | None, ending: str) -> list[tuple[Any, ...]]:
        if run is None:
            return self._ledger.read(query + ending, (self._key,))
        return self._ledger.read(f"{query} AND run = ?{ending}", (self._key, run))


def _json(value: object) -> str:
    return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
