"""Compare ledger, dataflow runs and dataset, and explain missing events.

An event that the edge acknowledged is in the dataset, in a failed batch, or in neither. If in neither, it is

- *under way*, because Experience Platform documents up to an hour until a row is visible;
- *lost* if the platform reports that it has finished: the hour is over, the runs of its dataflow are finished
  for the time of acceptance, no batch of the dataset is still being written, and there is no row. It becomes
  a dead letter, and after ``replay`` it can be sent again;
- *overdue* if the hour is over without such a report.

An event that landed once, or was loaded in a batch, and is no longer there is *gone*, with the reason if
known. It may have been removed on purpose, so only ``replay --gone`` requeues it.

Sources: Streaming ingestion overview (latency); Monitor streaming dataflows (hourly runs); Catalog (batches).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

import orjson

from chatlio_kit.aep import FlowRun, Platform
from chatlio_kit.connection import Connection
from chatlio_kit.counting import counted
from chatlio_kit.delivery.bulk.lots import drop_unfinished
from chatlio_kit.delivery.ledger.destination import DestinationLedger
from chatlio_kit.delivery.ledger.encoding import from_milliseconds
from chatlio_kit.delivery.ledger.ledger import Ledger
from chatlio_kit.delivery.ledger.models import EventRef, FateCounts, Gone, Readback
from chatlio_kit.delivery.readback import DatasetReader, read_back
from chatlio_kit.display import Sheet, SheetDisplay
from chatlio_kit.errors import DONE, FAILED, INCOMPLETE, UNCONFIRMED, NotFound

LOST = "lost_after_acceptance"
LISTED = 1000
"""Events of each sort that a page lists; the ledger has all of them."""
SHOWN = 20
VISIBLE_AFTER = timedelta(hours=1)
"""Streamed records are visible in the lake within an hour (streaming ingestion overview)."""
_REASONS: dict[str, str] = {
    Gone.ERASED: "erased by forget",
    Gone.REVERTED: "batch reverted",
    Gone.DELETED: "batch deleted",
    Gone.DATASET_DELETED: "dataset deleted",
    Gone.UNREADABLE: "batch unreadable",
    Gone.EXPIRED: "expired",
    Gone.UNKNOWN: "reason unknown",
}
_FINISHED = frozenset({"success", "completed", "failed", "partial_success", "partial_failure"})
_CLOCK_TOLERANCE = timedelta(minutes=5)
_RESOLUTION = timedelta(seconds=1)
"""The platform's time is known to the second."""
_ANSWER_CHARACTERS = 160
"""Characters of a platform's answer that a sentence quotes."""


@dataclass
class RunCounters:
    """The totals of the runs of one history dataflow.

    Attributes:
        received: Records received.
        ingested: Records written to the dataset.
        failed: Records that failed.
        warned: Records written with an attribute missing.
        since: Start of the first run; None without runs.
        until: Time up to which the platform has finished accepted records; None if no run is finished.
    """

    received: int = 0
    ingested: int = 0
    failed: int = 0
    warned: int = 0
    since: datetime | None = None
    until: datetime | None = None

    @classmethod
    def of(cls, runs: Sequence[FlowRun]) -> RunCounters:
        """Return the totals of runs; an unfinished run leaves everything since its start open."""
        finished = [run.completed_at for run in runs if _is_finished(run)]
        still_open = [run.started_at for run in runs if not _is_finished(run)]
        return cls(
            received=sum(run.received for run in runs),
            ingested=sum(run.ingested for run in runs),
            failed=sum(run.failed for run in runs),
            warned=sum(run.warned for run in runs),
            since=from_milliseconds(min(run.started_at for run in runs)) if runs else None,
            until=from_milliseconds(min([max(finished), *still_open])) if finished else None,
        )

    def __str__(self) -> str:
        counts = f"{self.received:,} received, {self.ingested:,} ingested, {self.failed:,} failed"
        return f"{counts}, {self.warned:,} with warnings" if self.warned else counts


@dataclass(repr=False)
class Reconciliation(SheetDisplay):
    """The events that were sent, those that landed, and the reasons why the rest are missing.

    Attributes:
        destination: The destination, e.g. ``local/prod/chatlio``.
        total: All events ever sent there, by their fate.
        by_kind: All events by kind and fate.
        runs: The platform's counters of each history dataflow, by kind.
        dead_by_reason: Dead letters by reason; ``lost_after_acceptance`` counts events that the platform
            lost.
        samples: A dead letter of each reason, with the platform's answer.
        dead: The first dead letters.
        missing: The first delivered events that were never read back.
        gone_by_reason: Events that landed once and are no longer in the dataset, by reason.
        gone: The first gone events.
        readback: The read that found the landed events.
        overdue: Number of missing events that were accepted more than an hour ago.
        lake_rows: Rows of this ledger's events that were read back, repeated ones included.
        sql: The Query Service query for the same counts.
    """

    destination: str
    total: FateCounts = field(default_factory=FateCounts)
    by_kind: dict[str, FateCounts] = field(default_factory=dict)
    runs: dict[str, RunCounters] = field(default_factory=dict)
    dead_by_reason: dict[str, int] = field(default_factory=dict)
    samples: dict[str, EventRef] = field(default_factory=dict)
    dead: list[EventRef] = field(default_factory=list)
    missing: list[EventRef] = field(default_factory=list)
    gone_by_reason: dict[str, int] = field(default_factory=dict)
    gone: list[EventRef] = field(default_factory=list)
    readback: Readback = field(default_factory=Readback)
    overdue: int = 0
    lake_rows: int = 0
    sql: str = ""

    @property
    def under_way(self) -> int:
        """Events that were delivered and neither landed, nor are gone, nor failed."""
        return self.total.under_way

    @property
    def lake_duplicates(self) -> int:
        """Rows that repeat an id."""
        return max(0, self.lake_rows - self.total.landed)

    @property
    def exit_code(self) -> int:
        """0 all landed; 3 some are dead letters, lost or gone; 4 some may still land; 1 some were not sent.

        Events erased by ``forget`` count as done.
        """
        if self.total.pending:
            return FAILED
        if self.under_way:
            return UNCONFIRMED
        return INCOMPLETE if self.total.dead_lettered or is_amiss(self.gone_by_reason) else DONE

    def received(self) -> dict[str, int]:
        """Return the totals of all history dataflows."""
        counters = self.runs.values()
        return {
            "received": sum(runs.received for runs in counters),
            "ingested": sum(runs.ingested for runs in counters),
            "failed": sum(runs.failed for runs in counters),
            "with warnings": sum(runs.warned for runs in counters),
        }

    def as_dict(self) -> dict[str, Any]:
        """Return the fields of ``reconcile --json``."""
        return {
            "destination": self.destination,
            "total": self.total.as_dict(),
            "by_kind": {kind: asdict(counts) for kind, counts in self.by_kind.items()},
            **self.readback.as_dict(),
            "gone": self.total.gone,
            "gone_by_reason": self.gone_by_reason,
            "under_way": self.under_way,
            "overdue": self.overdue,
            "lost": self.dead_by_reason.get(LOST, 0),
            "dead_by_reason": self.dead_by_reason,
            "runs": self.received(),
            "lake_rows": self.lake_rows,
            "lake_duplicates": self.lake_duplicates,
            "missing": [_as_dict(event, "transaction_id") for event in self.missing],
            "dead": [_as_dict(event, "reason", "answer") for event in self.dead],
            "gone_events": [_as_dict(event, "reason") for event in self.gone],
            "sql": self.sql,
        }

    def sheet(self) -> Sheet:
        """Return a table with a row for each kind: its fates, and the platform's own counters."""
        rows: list[tuple[str | int | None, ...]] = [
            (kind, *_fates(counts), *_counters(self.runs.get(kind))) for kind, counts in self.by_kind.items()
        ]
        sums = self.received()
        rows.append(("all", *_fates(self.total), sums["received"], sums["ingested"], sums["failed"]))
        headings = ("kind", "delivered", "landed", "gone", "under way", "dead-lettered", "pending")
        counter_headings = ("dataflow received", "ingested", "failed")
        notes = [*self.readback.sentences(), *explain(self), *self._events_listed()]
        if pending := self.total.pending:
            notes.append(
                f"{counted(pending, 'event has', 'events have')} no verdict yet. Run the backfill again."
            )
        if self.sql:
            notes.append(f"The same in Query Service: {self.sql}")
        return Sheet(f"Arrived at {self.destination}", (*headings, *counter_headings), rows, notes)

    def _events_listed(self) -> list[str]:
        lost = [event for event in self.dead if event.reason == LOST]
        listed = [("lost", event) for event in lost[:SHOWN]]
        listed += [("not landed yet", event) for event in self.missing[:SHOWN]]
        listed += [(f"gone, {event.reason}", event) for event in self.gone[:SHOWN]]
        lines = [f"{state}: {event.kind} {event.event_id} ({event.location})" for state, event in listed]
        counts = (self.dead_by_reason.get(LOST, 0), self.under_way, self.total.gone)
        further = sum(max(0, count - SHOWN) for count in counts)
        return [*lines, f"... and {further:,} more; --json names {LISTED:,}"] if further else lines


def reconcile(
    connection: Connection,
    ledger: DestinationLedger,
    *,
    wait: float = 0.0,
    again: bool = True,
    may_repeat: bool = False,
    quiet: bool = False,
) -> Reconciliation:
    """Read the dataset, and record which events landed, failed, are gone or are lost.

    Args:
        connection: The destination.
        ledger: The destination's part of the ledger.
        wait: Seconds to wait for rows that are still under way; 0 reads once.
        again: If true, read everything again; if not and many events have landed, the page counts those
            that only an earlier read found.
        may_repeat: True if rows may repeat an id; then reading ends when no more of them arrive.
        quiet: If true, show no progress.

    Raises:
        PlatformError: The platform cannot be reached or refuses; rows read until then are kept.
    """
    read_back(connection, ledger, wait=wait, again=again, may_repeat=may_repeat, quiet=quiet)
    runs = {
        str(kind): RunCounters.of(connection.platform.flows.runs(flow.flow_id))
        for kind, flow in connection.history.items()
    }
    overdue_since = connection.platform.now() - VISIBLE_AFTER
    # rows are read again after the runs, so that rows finished by these runs are not missed
    if ledger.count_missing_before(overdue_since) and DatasetReader(connection, ledger).read_new():
        for kind, counters in runs.items():
            _mark_lost(ledger, kind, counters, overdue_since)
    return _summarize(str(connection.destination), ledger, runs, overdue_since, count_sql(connection))


def reconcile_deleted(platform: Platform, ledger: Ledger, name: str) -> Reconciliation | None:
    """Mark the events of a deleted dataset as gone, and drop batches that were interrupted there.

    The connection may have another dataset by now, or none.

    Args:
        platform: The platform.
        ledger: The ledger.
        name: The connection's name.

    Returns:
        The state of the last deleted dataset's events; None if no dataset of the connection is deleted.

    Raises:
        PlatformError: The platform cannot be reached or refuses.
    """
    settings = platform.settings
    here = (settings.platform_name, settings.org_id, settings.sandbox, name)
    latest = None
    for destination in ledger.destinations():
        where = (destination.platform, destination.org, destination.sandbox, destination.name)
        if where != here:
            continue
        try:
            platform.catalog.dataset(destination.dataset)
        except NotFound:
            destination_ledger = DestinationLedger(ledger, destination, platform.now)
            landings = destination_ledger.landings
            number = landings.begin_read(platform.now())
            landings.mark_dataset_deleted(number)
            landings.finish_read(number, platform.now())
            drop_unfinished(destination_ledger, settings.state)
            overdue_since = platform.now() - VISIBLE_AFTER
            latest = _summarize(str(destination), destination_ledger, {}, overdue_since, "")
    return latest


def _summarize(
    destination: str,
    ledger: DestinationLedger,
    runs: dict[str, RunCounters],
    overdue_since: datetime,
    sql: str,
) -> Reconciliation:
    return Reconciliation(
        destination=destination,
        total=ledger.counts(),
        by_kind=ledger.counts_by_kind(),
        runs=runs,
        dead_by_reason=ledger.dead_by_reason(),
        samples=ledger.dead_letter_samples(),
        dead=ledger.dead_letters(LISTED),
        missing=ledger.missing(LISTED),
        gone_by_reason=ledger.landings.gone_by_reason(),
        gone=ledger.gone(LISTED),
        readback=ledger.landings.last_readback(),
        overdue=ledger.count_missing_before(overdue_since),
        lake_rows=ledger.landings.row_count(),
        sql=sql,
    )


def explain(result: Reconciliation) -> list[str]:
    """List missing events with reasons and next steps; empty if nothing is missing."""
    sentences = []
    if result.lake_duplicates > 0:
        sentences.append(
            f"{counted(result.lake_duplicates, 'row in the lake repeats', 'rows in the lake repeat')} an "
            "id; count distinct ids, Profile keeps one."
        )
    for reason, count in result.dead_by_reason.items():
        if reason != LOST:
            sentences.append(f"dead letters, {reason}: {count:,}{_sample(result.samples.get(reason))}.")
    if set(result.dead_by_reason) - {LOST}:
        sentences.append("Correct the causes, then send them again with replay, all or by --reason.")
    if lost := result.dead_by_reason.get(LOST):
        sentences.append(
            f"{counted(lost, 'event is', 'events are')} lost: acknowledged by the platform, which reports "
            f"that it has finished, but without a row in the dataset{_sample(result.samples.get(LOST))}. "
            "Run replay, then the same backfill or stream again: the ids stay the same."
        )
    if result.gone_by_reason:
        sentences += explain_gone(result.gone_by_reason)
    if result.under_way - result.overdue > 0:
        sentences.append(
            f"{counted(result.under_way - result.overdue, 'delivered event')} may still land: that can take "
            "an hour. Look again with reconcile."
        )
    if result.overdue:
        sentences.append(
            "Over an hour old, and covered by no finished run: "
            f"{counted(result.overdue, 'delivered event')}. Check the runs of the dataflows; Adobe's "
            "support can find a record by its transaction id, which --json lists."
        )
    return sentences


def explain_gone(gone_by_reason: dict[str, int]) -> list[str]:
    """List the numbers of gone events with reasons and next steps."""
    reasons = ", ".join(
        f"{_REASONS.get(reason, reason)} {count:,}" for reason, count in gone_by_reason.items()
    )
    gone = sum(gone_by_reason.values())
    sentences = [
        f"{counted(gone, 'event was in the dataset and is', 'events were in the dataset and are')} gone: "
        f"{reasons}."
    ]
    if is_amiss(gone_by_reason):
        sentences.append(
            "Gone events are not sent again automatically. To send them, run replay with --gone "
            "(gone=True), then the backfill or stream that sent them."
        )
    return sentences


def is_amiss(gone_by_reason: dict[str, int]) -> bool:
    """Return whether events are gone that ``forget`` did not erase."""
    return any(reason != Gone.ERASED for reason in gone_by_reason)


def count_sql(connection: Connection) -> str:
    """Return the Query Service query for the same counts: distinct ids, and rows that repeat an id.

    It is empty if the dataset is deleted.
    """
    try:
        dataset = connection.platform.catalog.dataset(connection.dataset_id)
    except NotFound:
        return ""
    named = (dataset.get("tags") or {}).get("adobe/pqs/table") or []
    table = str(named[0]) if named else re.sub(r"[^a-z0-9]+", "_", str(dataset.get("name", "")).lower())
    return f"SELECT COUNT(DISTINCT _id) AS events, COUNT(*) - COUNT(DISTINCT _id) AS repeated FROM {table};"  # noqa: S608 - shown, not run


def _mark_lost(ledger: DestinationLedger, kind: str, counters: RunCounters, overdue_since: datetime) -> None:
    if counters.since is None or counters.until is None:
        return
    until = min(counters.until - _RESOLUTION, overdue_since)
    answer = (
        f"acknowledged, but not in the dataset; its dataflow's runs are finished up to "
        f"{counters.until:%Y-%m-%d %H:%M} UTC: {counters}"
    )
    ledger.mark_lost(kind, counters.since - _CLOCK_TOLERANCE, until, LOST, answer)


def _is_finished(run: FlowRun) -> bool:
    return run.status in _FINISHED and run.completed_at > 0


def _sample(sample: EventRef | None) -> str:
    if sample is None or not sample.answer:
        return ""
    return f"; e.g. {sample.location}: {_message_of(sample.answer)}"


def _message_of(answer: str) -> str:
    """Return the message in an answer, else the answer, shortened."""
    try:
        message = next(_messages(orjson.loads(answer)), answer)
    except orjson.JSONDecodeError:
        message = answer
    if len(message) > _ANSWER_CHARACTERS:
        return f"{message[:_ANSWER_CHARACTERS]}..."
    return message.rstrip(".")


def _messages(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("message"), str):
            yield value["message"]
        for item in value.values():
            yield from _messages(item)
    elif isinstance(value, list):
        for item in value:
            yield from _messages(item)


def _as_dict(event: EventRef, *more: str) -> dict[str, Any]:
    return {key: getattr(event, key) for key in ("event_id", "kind", "file", "record", *more)}


def _fates(counts: FateCounts) -> tuple[int, ...]:
    return (
        *(counts.delivered, counts.landed, counts.gone),
        *(counts.under_way, counts.dead_lettered, counts.pending),
    )


def _counters(runs: RunCounters | None) -> tuple[int | None, int | None, int | None]:
    """Return a dataflow's counters; None if the dataflow is missing or incorrect."""
    return (None, None, None) if runs is None else (runs.received, runs.ingested, runs.failed)
