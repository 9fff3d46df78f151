"""One destination's part of the ledger: status transitions and queries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

import numpy as np
import orjson
import pandas as pd
from numpy.typing import NDArray

from chatlio_kit.captures import archives_of
from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.connection import Destination
from chatlio_kit.delivery.ledger.encoding import (
    ID_IN_KEYS,
    Clock,
    key_array,
    key_of,
    key_parameters,
    machine_time,
    to_milliseconds,
)
from chatlio_kit.delivery.ledger.landings import Landings
from chatlio_kit.delivery.ledger.ledger import Ledger
from chatlio_kit.delivery.ledger.models import (
    FORGOTTEN_SOURCE,
    DeadLetter,
    Delivered,
    EventRef,
    Fate,
    FateCounts,
    ProcessedFile,
    Refused,
    RetryableRecord,
)
from chatlio_kit.tables import FirstOccurrence

_INSERT_PENDING = """
INSERT INTO event (rowid, destination, event_id, kind, fate, run, request, payload_digest, source_file,
    source_record)
SELECT :first + key, :destination, substr(:ids, key * 32 + 1, 32), :kind, 'pending', :run, :request,
    substr(:digests, key * 32 + 1, 32), :file, value
FROM json_each(:records)
"""
_UPDATE_PENDING = """
UPDATE event SET run = ?, request = ?, payload_digest = ?, source_file = ?, source_record = ?
WHERE rowid = ?
"""
_MARK_DELIVERED = """
UPDATE event SET fate = 'delivered', attempts = attempts + 1, request = ?, settled_at = ?, reason = NULL,
    answer = NULL, transaction_id = verdict.value
FROM json_each(?) AS verdict WHERE event.rowid = verdict.key
"""
_MARK_REFUSED = """
UPDATE event SET fate = 'dead_lettered', attempts = attempts + 1, request = ?, settled_at = ?, reason = ?,
    answer = ?
WHERE rowid = ?
"""
_COUNT_ATTEMPT = "UPDATE event SET attempts = attempts + 1 WHERE rowid = ?"
_KEEP_BODY = "INSERT OR REPLACE INTO kept_body (destination, event_id, body) VALUES (?, ?, ?)"
_NOT_LANDED = "destination = :destination AND event_id = :key AND NOT landed AND gone IS NULL"
_MARK_FAILED = f"""
UPDATE event SET fate = 'dead_lettered', reason = :reason, settled_at = :now,
    answer = iif(source_file = :forgotten, NULL, :answer)
WHERE {_NOT_LANDED}
"""  # noqa: S608 - a constant
_KEEP_FAILED_BODY = f"""
INSERT OR REPLACE INTO kept_body (destination, event_id, body) SELECT destination, event_id, :body FROM event
WHERE :body IS NOT NULL AND source_file != :forgotten AND {_NOT_LANDED}
"""  # noqa: S608 - a constant
_UNDER_WAY = "fate = 'delivered' AND NOT landed AND gone IS NULL"
_MARK_LOST = f"""
UPDATE event SET fate = 'dead_lettered', reason = ?, answer = ?
WHERE destination = ? AND kind = ? AND {_UNDER_WAY} AND settled_at >= ? AND settled_at < ?
"""  # noqa: S608 - a constant
_GONE_BUT_NOT_ERASED = """
WHERE destination = :destination AND gone IS NOT NULL AND gone != 'erased' AND source_file != :forgotten
    AND (:reason IS NULL OR gone = :reason)
"""
_COUNT_GONE = (
    f"SELECT kind, source_file, count(*) FROM event {_GONE_BUT_NOT_ERASED} GROUP BY kind, source_file"  # noqa: S608 - a constant
)
_REQUEUE_GONE = f"""
UPDATE event SET fate = 'pending', run = :run, request = NULL, gone = NULL, readback = NULL, batch = NULL
{_GONE_BUT_NOT_ERASED}
"""  # noqa: S608 - a constant
_CHUNK_ROWS = 5_000


class DestinationLedger:
    """The ledger's events of one destination. Every method raises LedgerError if the file cannot be used.

    Args:
        ledger: The open ledger.
        destination: The destination of the events; a new one is registered.
        clock: Returns the time to record: the platform's, if known.

    Attributes:
        ledger: The open ledger.
        id: The destination's number in the ledger.
        landings: Results of dataset reads.
    """

    def __init__(self, ledger: Ledger, destination: Destination, clock: Clock = machine_time) -> None:
        where = (destination.platform, destination.org, destination.sandbox, destination.dataset)
        with ledger.transaction() as db:
            db.execute(
                "INSERT OR IGNORE INTO destination (platform, org, sandbox, dataset, name)"
                " VALUES (?, ?, ?, ?, ?)",
                (*where, destination.name),
            )
        query = "SELECT id FROM destination WHERE platform = ? AND org = ? AND sandbox = ? AND dataset = ?"
        self.ledger = ledger
        self.id = int(ledger.fetch_all(query, where)[0][0])
        self.landings = Landings(ledger, self.id)
        self._clock = clock
        self._is_first_run = False

    def now(self) -> int:
        """Return the time that is recorded, milliseconds since 1970."""
        return to_milliseconds(self._clock())

    def begin_run(self, now: datetime, *, is_platform_time: bool = False) -> int:
        """Start a run and return its number.

        Args:
            now: The time.
            is_platform_time: True if it is the platform's. Only then may reads leave out older batches.
        """
        self._is_first_run = self.ledger.is_empty()
        if not self._is_first_run:
            self.ledger.ensure_index()
        with self.ledger.transaction() as db:
            db.execute(
                "UPDATE destination SET runs = runs + 1, first_sent_at = coalesce(first_sent_at, :now),"
                " sent_since = iif(first_sent_at IS NULL AND :is_platform_time, :now, sent_since)"
                " WHERE id = :id",
                {"now": to_milliseconds(now), "is_platform_time": is_platform_time, "id": self.id},
            )
        return self.last_run()

    def last_run(self) -> int:
        """Return the number of the latest run; 0 if there was none."""
        return self._of_destination("runs") or 0

    def first_sent_at(self) -> int | None:
        """Return the start of the first run in milliseconds since 1970."""
        return self._of_destination("first_sent_at")

    def sent_since(self) -> int:
        """Return the start of the first run by the platform's clock, in milliseconds; 0 if unknown."""
        return self._of_destination("sent_since") or 0

    def settled(self, event_ids: list[str]) -> Mapping[str, FirstOccurrence]:
        """Return the events that were settled before this run, with file and record."""
        if self._is_first_run:
            return {}
        rows = self._fetch_events(
            event_ids,
            "event_id, payload_digest, source_file, source_record",
            "fate != 'pending'",
            (bytes, bytes, str, int),
        )
        return {key.hex(): FirstOccurrence(digest.hex(), file, record) for key, digest, file, record in rows}

    def insert_pending(self, run: int, events: pd.DataFrame, request: int | None = None) -> NDArray[np.int64]:
        """Record that these events are about to be sent, and return the ledger row of each.

        Args:
            run: The run's number.
            events: Accepted events, none of them settled before or inserted in this run.
            request: The number of the request or batch that will hold them, if known in advance.
        """
        ids, digests = key_array(events["event_id"]), key_array(events["payload_digest"])
        rows = self._rows_of(ids)
        is_new = rows == 0
        with self.ledger.transaction() as db:
            (last,) = db.execute("SELECT coalesce(max(rowid), 0) FROM event").fetchone()
            origins = events.loc[is_new, ["kind", "source_file"]].reset_index(drop=True)
            new = np.flatnonzero(is_new)
            for (kind, file), members in origins.groupby(["kind", "source_file"], sort=False).indices.items():
                indexes = new[members]
                # one statement for all of them, because a loop over rows in Python is several times slower
                db.execute(
                    _INSERT_PENDING,
                    {
                        "first": last + 1,
                        "destination": self.id,
                        "run": run,
                        "request": request,
                        "kind": kind,
                        "file": file,
                        "ids": ids[indexes].tobytes(),
                        "digests": digests[indexes].tobytes(),
                        "records": _json(events["source_record"].iloc[indexes].tolist()),
                    },
                )
                rows[indexes] = np.arange(last + 1, last + 1 + len(indexes))
                last += len(indexes)
            known = np.flatnonzero(~is_new)
            files, records = events["source_file"].iloc[known], events["source_record"].iloc[known]
            db.executemany(
                _UPDATE_PENDING,
                (
                    (run, request, digests[index].tobytes(), file, int(record), int(rows[index]))
                    for index, file, record in zip(known, files, records, strict=True)
                ),
            )
        return rows

    def _rows_of(self, keys: NDArray[np.void]) -> NDArray[np.int64]:
        """Return the ledger row of each key; 0 if it has none yet."""
        rows = np.zeros(len(keys), dtype=np.int64)
        if self._is_first_run:
            return rows
        self.ledger.ensure_index()
        query = f"SELECT event_id, rowid FROM event WHERE destination = :destination AND {ID_IN_KEYS}"  # noqa: S608 - a constant
        values = {"destination": self.id, **key_parameters(keys.tobytes())}
        known = dict(self.ledger.fetch_all(query, values))
        if known:
            rows[:] = [known.get(key.tobytes(), 0) for key in keys]
        return rows

    def record_answers(
        self, delivered: Iterable[Delivered], refused: Iterable[Refused] = (), unanswered: Iterable[int] = ()
    ) -> None:
        """Record the platform's verdicts.

        Args:
            delivered: Events that requests delivered.
            refused: Events that the platform refused for good.
            unanswered: Ledger rows of events whose requests brought no verdict; they stay pending.
        """
        now = self.now()
        refused = list(refused)
        bodies = (
            (self.id, key_of(refusal.letter.event_id), refusal.letter.body)
            for refusal in refused
            if refusal.letter.body is not None
        )
        with self.ledger.transaction() as db:
            for request in delivered:
                db.execute(_MARK_DELIVERED, (request.request, now, _json(request.transactions)))
            db.executemany(
                _MARK_REFUSED,
                (
                    (refusal.request, now, refusal.letter.reason, refusal.letter.answer, refusal.row)
                    for refusal in refused
                ),
            )
            db.executemany(_KEEP_BODY, bodies)
            db.executemany(_COUNT_ATTEMPT, ((row,) for row in unanswered))

    def mark_failed(self, batch_id: str, failures: Iterable[DeadLetter]) -> None:
        """Dead-letter events that the platform failed after accepting them, unless they landed another way.

        The record as it was sent is copied from the failed batch: the platform keeps it for 30 days only, and
        a copy of every delivered record until it lands would double the ledger. For a
        forgotten event, neither the record nor the answer is kept.
        """
        self.ledger.ensure_index()
        now = self.now()
        values = [
            {
                "destination": self.id,
                "key": key_of(letter.event_id),
                "reason": letter.reason,
                "answer": letter.answer,
                "body": letter.body,
                "now": now,
                "forgotten": FORGOTTEN_SOURCE,
            }
            for letter in failures
        ]
        with self.ledger.transaction() as db:
            db.executemany(_MARK_FAILED, values)
            db.executemany(_KEEP_FAILED_BODY, values)
        self.landings.mark_batch(batch_id, "failed")

    def mark_lost(self, kind: str, since: datetime, until: datetime, reason: str, answer: str) -> None:
        """Dead-letter events that were accepted between two times and will no longer land."""
        values = (reason, answer, self.id, kind, to_milliseconds(since), to_milliseconds(until))
        with self.ledger.transaction() as db:
            db.execute(_MARK_LOST, values)

    def requeue(self, run: int, event_ids: Iterable[str]) -> None:
        """Mark these dead letters as pending, because a run is about to send them."""
        self.ledger.ensure_index()
        with self.ledger.transaction() as db:
            db.executemany(
                "UPDATE event SET fate = 'pending', run = ?, request = NULL, batch = NULL"
                " WHERE destination = ? AND event_id = ? AND fate != 'delivered'",
                ((run, self.id, key_of(event_id)) for event_id in event_ids),
            )

    def requeue_gone(self, run: int, reason: str | None = None) -> dict[tuple[str, str], int]:
        """Mark gone events as pending until their source is read again. Erased events stay erased.

        Args:
            run: The run that requeues them.
            reason: Only events that are gone for this reason.

        Returns:
            The number of events of each kind and source file.
        """
        values = {"destination": self.id, "forgotten": FORGOTTEN_SOURCE, "reason": reason, "run": run}
        with self.ledger.transaction() as db:
            counts = db.execute(_COUNT_GONE, values).fetchall()
            db.execute(_REQUEUE_GONE, values)
        return {(kind, file): count for kind, file, count in counts}

    def retryable_records(
        self, reason: str | None = None, chunk_rows: int = _CHUNK_ROWS
    ) -> Iterator[list[RetryableRecord]]:
        """Yield records that can be sent again unchanged, in chunks.

        These are dead letters, and records that an interrupted replay left pending.
        """
        query = (
            "SELECT event.rowid, lower(hex(event_id)), kind, body FROM event"
            " JOIN kept_body USING (destination, event_id) WHERE destination = ? AND fate != 'delivered'"
            " AND (? IS NULL OR reason = ?) AND event.rowid > ? ORDER BY event.rowid LIMIT ?"
        )
        last = 0
        types = (int, str, str, bytes)
        while rows := self.ledger.fetch_all(query, (self.id, reason, reason, last, chunk_rows), types):
            if any(kind not in list(Kind) for _, _, kind, _ in rows):
                raise self.ledger.damaged()
            yield [RetryableRecord(*row) for row in rows]
            last = rows[-1][0]

    def dead_letters_without_body(self, reason: str | None = None) -> list[EventRef]:
        """List the dead letters without a stored record."""
        return self._fetch_refs(
            "fate = 'dead_lettered' AND (? IS NULL OR reason = ?) AND NOT EXISTS (SELECT 1 FROM kept_body"
            " WHERE kept_body.destination = event.destination AND kept_body.event_id = event.event_id)"
            " ORDER BY source_file, source_record",
            reason,
            reason,
        )

    def has_passed_canary(self, flow_id: str) -> bool:
        """Return whether the first records of a dataflow were read back before."""
        query = "SELECT 1 FROM canary WHERE destination = ? AND flow_id = ?"
        return bool(self.ledger.fetch_all(query, (self.id, flow_id)))

    def mark_canary_passed(self, flow_id: str) -> None:
        """Record that the first records of a dataflow were read back."""
        with self.ledger.transaction() as db:
            db.execute("INSERT OR IGNORE INTO canary VALUES (?, ?)", (self.id, flow_id))

    def count_landed(self, event_ids: list[str]) -> int:
        """Count which of these events were read back."""
        return int(self._fetch_events(event_ids, "count(*)", "landed")[0][0])

    def count_under_way(self, event_ids: list[str]) -> int:
        """Count which of these events were delivered and neither read back nor failed."""
        return int(self._fetch_events(event_ids, "count(*)", _UNDER_WAY)[0][0])

    def processed_files(self, names: Collection[str]) -> dict[str, ProcessedFile]:
        """Return, by name, the files that were read without a reject and have no pending events.

        Args:
            names: The files that are about to be read. If a pending event is from another file, any of
                these may hold it, under a new name or as a duplicate; then none is returned.
        """
        rows = self.ledger.fetch_all(
            "SELECT name, mark, records FROM file_read WHERE destination = ?", (self.id,), (str, str, int)
        )
        pending = self.ledger.fetch_all(
            "SELECT DISTINCT source_file FROM event WHERE destination = ? AND fate = 'pending'", (self.id,)
        )
        # the name of a zip's member starts with the zip's name, and the whole zip is read again
        unsettled = set[str]()
        for (file,) in pending:
            if (places := archives_of(file)).isdisjoint(names):
                return {}
            unsettled |= places
        return {row[0]: ProcessedFile(*row) for row in rows if row[0] not in unsettled}

    def record_processed_files(self, files: Iterable[ProcessedFile]) -> None:
        """Record the files that were read to their end without a reject."""
        with self.ledger.transaction() as db:
            db.executemany(
                "INSERT OR REPLACE INTO file_read VALUES (?, ?, ?, ?)",
                ((self.id, file.name, file.fingerprint, file.records) for file in files),
            )

    def missing(self, limit: int) -> list[EventRef]:
        """List delivered events that were never read back, by source."""
        return self._fetch_refs(f"{_UNDER_WAY} ORDER BY source_file, source_record LIMIT ?", limit)

    def gone(self, limit: int) -> list[EventRef]:
        """List events that were read back once and are gone, by reason and source."""
        return self._fetch_refs("gone IS NOT NULL ORDER BY gone, source_file, source_record LIMIT ?", limit)

    def dead_letters(self, limit: int) -> list[EventRef]:
        """List dead letters, each with the platform's answer, by reason and source."""
        condition = "fate = 'dead_lettered' ORDER BY reason, source_file, source_record LIMIT ?"
        return self._fetch_refs(condition, limit)

    def dead_letter_samples(self) -> dict[str, EventRef]:
        """Return one dead letter of each reason."""
        refs = self._fetch_refs("fate = 'dead_lettered' GROUP BY reason ORDER BY reason")
        return {str(ref.reason): ref for ref in refs}

    def count_missing_before(self, moment: datetime) -> int:
        """Count delivered events that were accepted before a time and never read back."""
        query = f"SELECT count(*) FROM event WHERE destination = ? AND {_UNDER_WAY} AND settled_at < ?"  # noqa: S608 - a constant
        return int(self.ledger.fetch_all(query, (self.id, to_milliseconds(moment)))[0][0])

    def counts(self, run: int | None = None) -> FateCounts:
        """Count events by fate, of one run or of all."""
        return self._count("NULL", run).get(None, FateCounts())

    def counts_by_kind(self) -> dict[str, FateCounts]:
        """Count all events by kind and fate."""
        return dict(sorted(self._count("kind", None).items()))

    def dead_by_reason(self, run: int | None = None) -> dict[str, int]:
        """Count dead letters by reason, of one run or of all."""
        return dict(
            self.ledger.fetch_all(
                "SELECT reason, count(*) FROM event WHERE destination = :destination"
                " AND fate = 'dead_lettered' AND (:run IS NULL OR run = :run)"
                " GROUP BY reason ORDER BY reason",
                {"destination": self.id, "run": run},
            )
        )

    def _count(self, group: str, run: int | None) -> dict[Any, FateCounts]:
        rows = self.ledger.fetch_all(
            f"SELECT {group}, fate, count(*), sum(landed), count(gone) FROM event"  # noqa: S608 - a constant
            " WHERE destination = :destination AND (:run IS NULL OR run = :run) GROUP BY 1, 2",
            {"destination": self.id, "run": run},
        )
        counts: dict[Any, Counter[str]] = {}
        for key, fate, count, landed, gone in rows:
            if fate not in list(Fate):
                raise self.ledger.damaged()
            counts.setdefault(key, Counter()).update({fate: count, "landed": landed, "gone": gone})
        return {key: FateCounts(**by_fate) for key, by_fate in counts.items()}

    def _fetch_refs(self, condition: str, *values: object) -> list[EventRef]:
        columns = (
            "lower(hex(event_id)), kind, source_file, source_record, transaction_id,"
            " coalesce(gone, reason), answer"
        )
        query = f"SELECT {columns} FROM event WHERE destination = ? AND {condition}"  # noqa: S608 - constants
        types = (str, str, str, int, str | None, str | None, str | None)
        return [EventRef(*row) for row in self.ledger.fetch_all(query, (self.id, *values), types)]

    def _fetch_events(
        self, event_ids: list[str], columns: str, condition: str, types: tuple[type, ...] = ()
    ) -> list[tuple[Any, ...]]:
        self.ledger.ensure_index()
        query = (
            f"SELECT {columns} FROM event WHERE destination = :destination AND {condition} AND {ID_IN_KEYS}"  # noqa: S608 - constants
        )
        return self.ledger.fetch_all(query, {"destination": self.id, **key_parameters(event_ids)}, types)

    def _of_destination(self, column: str) -> int | None:
        query = f"SELECT {column} FROM destination WHERE id = ?"  # noqa: S608 - a constant
        value: int | None = self.ledger.fetch_all(query, (self.id,), (int | None,))[0][0]
        return value


def _json(value: object) -> str:
    return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()
