"""The reckoning: ledger, dataflow runs and dataset side by side, and what became of whatever is missing.

An event that the edge acknowledged is in the dataset, in a failed batch, or in neither. In neither it is

- *under way*, since Experience Platform names an hour until a row is visible;
- *lost* when the platform itself says that it is done: the hour is over, the runs of its dataflow are
  finished for the time at which it was accepted, no batch of the dataset is still being written, and no row
  is there. It becomes a dead letter, and ``replay`` lets it be sent again;
- *overdue* when the hour is over without such word of the platform.

An event that was read back once and is not there any more is *gone*, with the reason where it is known. It is
not sent again unless ``replay`` is asked to: somebody may have meant it to go.

Sources: Streaming ingestion overview (latency); Monitor streaming dataflows (hourly runs); Catalog (batches).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from chatlio_kit.aep import FlowRun, Platform
from chatlio_kit.connection import Connection
from chatlio_kit.delivery.ledger.destination import DestinationLedger
from chatlio_kit.delivery.ledger.ledger import Ledger
from chatlio_kit.delivery.ledger.models import EventRef, FateCounts, Gone, Readback
from chatlio_kit.delivery.readback import Reader, read_back
from chatlio_kit.display import Sheet
from chatlio_kit.errors import DONE, FAILED, INCOMPLETE, UNCONFIRMED, NotFound

LOST = "lost_after_acceptance"
NAMED = 1000
"""How many events are named of each sort; the ledger has all of them."""
SHOWN = 20
VISIBLE_AFTER = timedelta(hours=1)
"""Streamed records are visible in the lake within an hour (streaming ingestion overview)."""
_IN_WORDS: dict[str, str] = {
    Gone.ERASED: "erased by forget",
    Gone.REVERTED: "batch reverted",
    Gone.DELETED: "batch deleted",
    Gone.DATASET_DELETED: "dataset deleted",
    Gone.UNREADABLE: "batch unreadable",
    Gone.EXPIRED: "expired",
    Gone.UNKNOWN: "reason unknown",
}
_FINISHED = frozenset({"success", "completed", "failed", "partial_success", "partial_failure"})
_SLACK = timedelta(minutes=5)
_CUT = timedelta(seconds=1)
"""The platform's time is known to the second."""
_SAID = 160
"""Characters of a platform's answer that are shown."""


@dataclass
class RunCounters:
    """What the runs of one history dataflow add up to.

    Attributes:
        received: records that came in.
        ingested: records that went to the dataset.
        failed: records that did not.
        warned: records that went to the dataset with an attribute missing.
        since: when the first run began; None when there was none.
        until: the platform is done with what was accepted before; None when no run is finished.
    """

    received: int = 0
    ingested: int = 0
    failed: int = 0
    warned: int = 0
    since: datetime | None = None
    until: datetime | None = None

    @classmethod
    def of(cls, runs: Sequence[FlowRun]) -> RunCounters:
        """Add runs up; a run that is not finished leaves everything since its start open."""
        finished = [run.completed_at for run in runs if _is_finished(run)]
        still_open = [run.started_at for run in runs if not _is_finished(run)]
        return cls(
            received=sum(run.received for run in runs),
            ingested=sum(run.ingested for run in runs),
            failed=sum(run.failed for run in runs),
            warned=sum(run.warned for run in runs),
            since=_moment(min(run.started_at for run in runs)) if runs else None,
            until=_moment(min([max(finished), *still_open])) if finished else None,
        )

    def __str__(self) -> str:
        counts = f"{self.received:,} received, {self.ingested:,} ingested, {self.failed:,} failed"
        return f"{counts}, {self.warned:,} with warnings" if self.warned else counts


@dataclass
class Reconciliation:
    """What was sent, what arrived, and what became of the rest.

    Attributes:
        destination: where it went, e.g. ``local/prod/chatlio``.
        total: all events ever sent there, by their fate.
        by_kind: the same by kind.
        runs: what the platform says of each history dataflow, by kind.
        dead_by_reason: dead letters by reason; ``lost_after_acceptance`` are those that the platform lost.
        samples: a dead letter of each reason, with the platform's answer.
        dead: dead letters by name, the first of them.
        missing: delivered events that were never read back, by name, the first of them.
        gone_by_reason: events that were read back once and are not in the dataset any more, by reason.
        gone: the same by name, the first of them.
        readback: the read that found what landed.
        overdue: how many of the missing were accepted longer ago than the hour that the platform names.
        lake_rows: rows of ours that were read back, repeated ones included.
        sql: the query with which Query Service counts the same.
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

        What ``forget`` erased was meant to go and counts as done.
        """
        if self.total.pending:
            return FAILED
        if self.under_way:
            return UNCONFIRMED
        return INCOMPLETE if self.total.dead_lettered or is_amiss(self.gone_by_reason) else DONE

    def received(self) -> dict[str, int]:
        """Add up what the platform says of all history dataflows."""
        accounts = self.runs.values()
        return {
            "received": sum(each.received for each in accounts),
            "ingested": sum(each.ingested for each in accounts),
            "failed": sum(each.failed for each in accounts),
            "with warnings": sum(each.warned for each in accounts),
        }

    def as_dict(self) -> dict[str, Any]:
        """Give it as ``reconcile --json`` prints it."""
        return {
            "destination": self.destination,
            "total": self.total.as_dict(),
            "by_kind": {kind: asdict(tally) for kind, tally in self.by_kind.items()},
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
            "missing": [_as_dict(each, "transaction_id") for each in self.missing],
            "dead": [_as_dict(each, "reason", "answer") for each in self.dead],
            "gone_events": [_as_dict(each, "reason") for each in self.gone],
            "sql": self.sql,
        }

    def sheet(self) -> Sheet:
        """Show it: kinds in columns of fates, and what the platform's own counters say."""
        rows: list[tuple[str | int | None, ...]] = [
            (kind, *_fates(tally), *_counters(self.runs.get(kind))) for kind, tally in self.by_kind.items()
        ]
        sums = self.received()
        rows.append(("all", *_fates(self.total), sums["received"], sums["ingested"], sums["failed"]))
        headings = ("kind", "delivered", "landed", "gone", "under way", "dead-lettered", "pending")
        told = ("dataflow received", "ingested", "failed")
        notes = [*self.readback.sentences(), *sentences(self), *self._names()]
        if pending := self.total.pending:
            notes.append(f"{pending:,} events have no verdict yet. Run the backfill again to send them.")
        if self.sql:
            notes.append(f"The same in Query Service: {self.sql}")
        return Sheet(f"Arrived at {self.destination}", (*headings, *told), rows, notes)

    def _names(self) -> list[str]:
        lost = [each for each in self.dead if each.reason == LOST]
        named = [f"lost: {each.kind} {each.event_id} ({each.place})" for each in lost[:SHOWN]]
        named += [
            f"not landed yet: {each.kind} {each.event_id} ({each.place})" for each in self.missing[:SHOWN]
        ]
        named += [
            f"gone, {each.reason}: {each.kind} {each.event_id} ({each.place})" for each in self.gone[:SHOWN]
        ]
        counts = (self.dead_by_reason.get(LOST, 0), self.under_way, self.total.gone)
        further = sum(max(0, count - SHOWN) for count in counts)
        return [*named, f"... and {further:,} more; --json names {NAMED:,}"] if further else named

    def __repr__(self) -> str:
        return str(self.sheet())

    def _repr_html_(self) -> str:
        return self.sheet()._repr_html_()


def reconcile(
    connection: Connection,
    book: DestinationLedger,
    *,
    wait: float = 0.0,
    again: bool = True,
    may_repeat: bool = False,
    quiet: bool = False,
) -> Reconciliation:
    """Read back what is there, take over what failed, and settle what is gone or lost.

    Args:
        connection: whose dataset.
        book: the destination's part of the ledger.
        wait: seconds to wait for rows that are still under way; 0 looks once.
        again: whether everything that was read before is read again; without it, where many events have
            landed, the page says for how many an earlier read still speaks.
        may_repeat: whether rows may land that repeat an id; then looking ends when no more of them come.
        quiet: whether to show no progress.

    Raises:
        PlatformError: the platform cannot be reached or refuses; what was read until then stands.
    """
    read_back(connection, book, wait=wait, again=again, may_repeat=may_repeat, quiet=quiet)
    runs = {
        str(kind): RunCounters.of(connection.platform.flows.runs(flow.flow_id))
        for kind, flow in connection.history.items()
    }
    overdue_since = connection.platform.now() - VISIBLE_AFTER
    # read again after the runs were: what they finished has to have been looked for
    if book.missing_since(overdue_since) and Reader(connection, book).read_new():
        for kind, account in runs.items():
            _lose(book, kind, account, overdue_since)
    return _found(str(connection.destination), book, runs, overdue_since, count_sql(connection))


def reconcile_deleted(platform: Platform, ledger: Ledger, name: str) -> Reconciliation | None:
    """Settle the events whose dataset was deleted; the connection may have another one by now, or none.

    Args:
        platform: the platform.
        ledger: the ledger.
        name: the connection's name.

    Returns:
        What became of the events of the last such dataset; None where no dataset of the connection is gone.

    Raises:
        PlatformError: the platform cannot be reached or refuses.
    """
    settings = platform.settings
    here = (settings.platform_name, settings.org_id, settings.sandbox, name)
    found = None
    for each in ledger.destinations():
        if (each.platform, each.org, each.sandbox, each.name) != here:
            continue
        book = ledger.book(each, platform.now)
        try:
            platform.catalog.dataset(each.dataset)
        except NotFound:
            number = book.landings.begin(platform.now())
            book.landings.lose_dataset(number)
            book.landings.finish(number, platform.now())
            found = _found(str(each), book, {}, platform.now() - VISIBLE_AFTER, "")
    return found


def _found(
    destination: str, book: DestinationLedger, runs: dict[str, RunCounters], overdue_since: datetime, sql: str
) -> Reconciliation:
    return Reconciliation(
        destination=destination,
        total=book.tally(),
        by_kind=book.by_kind(),
        runs=runs,
        dead_by_reason=book.dead_by_reason(),
        samples=book.dead_samples(),
        dead=book.dead(NAMED),
        missing=book.missing(NAMED),
        gone_by_reason=book.landings.gone_by_reason(),
        gone=book.gone(NAMED),
        readback=book.landings.last(),
        overdue=book.missing_since(overdue_since),
        lake_rows=book.landings.rows(),
        sql=sql,
    )


def sentences(found: Reconciliation) -> list[str]:
    """Say what is missing and why, and what to do next; nothing when all is well."""
    said = []
    if found.lake_duplicates > 0:
        said.append(
            f"{found.lake_duplicates:,} rows in the lake repeat an id; count distinct ids, Profile keeps one."
        )
    for reason, count in found.dead_by_reason.items():
        if reason != LOST:
            said.append(f"dead letters, {reason}: {count:,}{_sample(found.samples.get(reason))}.")
    if set(found.dead_by_reason) - {LOST}:
        said.append("Put right what they name, then send them again with replay, all or by --reason.")
    if lost := found.dead_by_reason.get(LOST):
        said.append(
            f"{lost:,} events are lost: the platform acknowledged them, says that it is done, and no row is "
            f"there{_sample(found.samples.get(LOST))}. Run replay, then the backfill or stream that sent "
            "them: they go out again under the same ids."
        )
    if found.gone_by_reason:
        said += gone_sentences(found.gone_by_reason)
    if found.under_way - found.overdue > 0:
        said.append(
            f"{found.under_way - found.overdue:,} delivered events may still land: the platform names an "
            "hour. Look again with reconcile."
        )
    if found.overdue:
        said.append(
            f"{found.overdue:,} delivered events are over an hour old, and no finished run speaks for them. "
            "Look at the runs of their dataflows; Adobe's support finds a record by its transaction id, "
            "which --json gives."
        )
    return said


def gone_sentences(gone_by_reason: dict[str, int]) -> list[str]:
    """Say how many events are gone and why, and what can be done."""
    counted = ", ".join(
        f"{_IN_WORDS.get(reason, reason)} {count:,}" for reason, count in gone_by_reason.items()
    )
    said = [f"{sum(gone_by_reason.values()):,} events were in the dataset and are gone: {counted}."]
    if is_amiss(gone_by_reason):
        said.append(
            "They are not sent again by themselves. If they should be there, run replay with --gone "
            "(gone=True), then the backfill or stream that sent them."
        )
    return said


def is_amiss(gone_by_reason: dict[str, int]) -> bool:
    """Whether events are gone that nobody asked us to erase."""
    return any(reason != Gone.ERASED for reason in gone_by_reason)


def count_sql(connection: Connection) -> str:
    """Return the query with which Query Service counts the same: distinct ids, and rows that repeat one.

    It is empty where the dataset is deleted.
    """
    try:
        dataset = connection.platform.catalog.dataset(connection.dataset_id)
    except NotFound:
        return ""
    named = (dataset.get("tags") or {}).get("adobe/pqs/table") or []
    table = str(named[0]) if named else re.sub(r"[^a-z0-9]+", "_", str(dataset.get("name", "")).lower())
    return f"SELECT COUNT(DISTINCT _id) AS events, COUNT(*) - COUNT(DISTINCT _id) AS repeated FROM {table};"  # noqa: S608 - shown, not run


def _lose(book: DestinationLedger, kind: str, account: RunCounters, overdue_since: datetime) -> None:
    if account.since is None or account.until is None:
        return
    until = min(account.until - _CUT, overdue_since)
    answer = (
        f"acknowledged, but not in the dataset; its dataflow's runs are finished up to "
        f"{account.until:%Y-%m-%d %H:%M} UTC: {account}"
    )
    book.lose(kind, account.since - _SLACK, until, LOST, answer)


def _is_finished(run: FlowRun) -> bool:
    return run.status in _FINISHED and run.completed_at > 0


def _sample(sample: EventRef | None) -> str:
    if sample is None or not sample.answer:
        return ""
    return f"; e.g. {sample.place}: {_words(sample.answer)}"


def _words(answer: str) -> str:
    """Take the sentence out of an answer; one that has none is cut short."""
    try:
        told = next(_messages(orjson.loads(answer)), answer)
    except orjson.JSONDecodeError:
        told = answer
    return told.rstrip(".") if len(told) <= _SAID else f"{told[:_SAID]}..."


def _messages(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("message"), str):
            yield value["message"]
        for inside in value.values():
            yield from _messages(inside)
    elif isinstance(value, list):
        for inside in value:
            yield from _messages(inside)


def _as_dict(named: EventRef, *more: str) -> dict[str, Any]:
    keys = ("event_id", "kind", "file", "record", *more)
    return {key: getattr(named, key) for key in keys}


def _fates(tally: FateCounts) -> tuple[int, int, int, int, int, int]:
    return (
        tally.delivered,
        tally.landed,
        tally.gone,
        tally.under_way,
        tally.dead_lettered,
        tally.pending,
    )


def _counters(account: RunCounters | None) -> tuple[int | None, int | None, int | None]:
    """Give what a dataflow's runs count; nothing for a dataflow that is not there, or not as it should be."""
    return (None, None, None) if account is None else (account.received, account.ingested, account.failed)


def _moment(milliseconds: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
