"""One run of sending: frames in, fates in the ledger, a page at the end."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from types import TracebackType

import pandas as pd

from chatlio_kit.connection import Connection, Dataflow
from chatlio_kit.delivery.book import Book
from chatlio_kit.delivery.canary import CANARY_RECORDS, wait_for_canary
from chatlio_kit.delivery.fates import Accepted, DeadLetter, KeptLetter
from chatlio_kit.delivery.guard import keep_guard
from chatlio_kit.delivery.ledger import Ledger
from chatlio_kit.delivery.pacing import MESSAGES_PER_SECOND, MESSAGES_PER_SECOND_TO_PROFILE, Pace
from chatlio_kit.delivery.packing import ADVISED_RECORD, LIMIT, Packet, fits, pack
from chatlio_kit.delivery.page import Page
from chatlio_kit.delivery.reconcile import ingested, read_back
from chatlio_kit.delivery.sending import SINGLE_POSTS, SINGLE_WORKERS, Outcome, Sender
from chatlio_kit.delivery.wire import WireRecord, wire_records
from chatlio_kit.display import Progress
from chatlio_kit.events.kinds import Kind
from chatlio_kit.events.rejection import Rejection
from chatlio_kit.tables import Counts

WAIT_SECONDS = 120.0
NAMED = 1000
"""How many missing events a page names."""


class Run:
    """A run that sends to one connection; it holds the ledger until it is closed.

    Args:
        connection: where to.
        state: the state folder with the ledger.
        skip_guard: whether to send into a dataflow that was just made or changed without waiting.
        canary: whether, on Experience Platform, a dataflow's first records are read back before volume.
        quiet: whether to show no progress.

    Attributes:
        counts: records read in this run, by what became of them.
        rejections: what this run rejected, where it keeps it.
        number: the run's number at its destination, from 1.

    Raises:
        LedgerBusy: when another run is sending from this state folder.
    """

    def __init__(
        self,
        connection: Connection,
        state: Path,
        *,
        skip_guard: bool = False,
        canary: bool = True,
        quiet: bool = False,
    ) -> None:
        self.connection = connection
        self.counts = Counts()
        self.rejections: list[Rejection] = []
        self._state = state
        self._quiet = quiet
        self._skip_guard = skip_guard
        self._page = Page(str(connection.destination), self.counts)
        self._started = time.monotonic()
        self._guarded: set[str] = set()
        self._is_single = False
        self._canary = canary and not connection.platform.settings.is_local
        self._pace = Pace(pace_for(connection))
        self._open = ExitStack()
        ledger = self._open.enter_context(Ledger(state))
        self._open.enter_context(ledger.alone())
        self.book = ledger.book(connection.destination)
        self.number = self.book.begin_run(datetime.now(UTC))
        self._progress = self._open.enter_context(Progress("streaming", None, "events", quiet=quiet))

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End sending: let the ledger go."""
        self._fill_page(self.book)
        self._open.close()

    @property
    def is_stopped(self) -> bool:
        """Whether the platform's answers ended sending."""
        return self._pace.is_stopped

    def prepare(self, kinds: Iterable[Kind]) -> None:
        """Make the history dataflows of these kinds now, so that their guards pass side by side."""
        for kind in kinds:
            self.connection.history_flow(kind)

    def send(self, events: pd.DataFrame, messages: pd.DataFrame) -> None:
        """Send accepted events, each to its kind's history dataflow, and write down every fate.

        Args:
            events: accepted events, none of them settled before.
            messages: their messages, a row for each message of each transcript.
        """
        self.book.expect(self.number, _accepted(events))
        for kind, theirs in events.groupby("kind", sort=False):
            if self.is_stopped:
                return
            flow = self._flow(Kind(str(kind)))
            mine = messages[messages["event_id"].isin(theirs["event_id"])]
            self._send_records(flow, self._sendable(wire_records(theirs, mine)))

    def resend(self, letters: list[KeptLetter]) -> None:
        """Send dead letters again as they were, and write down every fate."""
        self.book.revive(self.number, (each.event_id for each in letters))
        for kind in sorted({each.kind for each in letters}):
            if self.is_stopped:
                return
            mine = (WireRecord(each.event_id, kind, each.body) for each in letters if each.kind == kind)
            self._send_records(self._flow(Kind(kind)), self._sendable(mine))

    def _send_records(self, flow: Dataflow, records: Iterator[WireRecord]) -> None:
        if self._canary and not self.book.passed_canary(flow.flow_id):
            first = list(islice(records, CANARY_RECORDS))
            self._post(flow, pack(first))
            if self.is_stopped:
                return
            if not wait_for_canary(self.connection, self.book, flow, first, quiet=self._quiet):
                self._pace.stop()
                self._page.stopped_by = (
                    f"the first {len(first)} records of the {flow.kind} dataflow were not read back, so "
                    "nothing more was sent to it; reconcile says what became of them"
                )
                return
        self._post(flow, pack(records))

    def reconcile(self, *, wait: float = WAIT_SECONDS) -> Page:
        """Read back what landed, and give the page.

        Args:
            wait: seconds to wait for rows that are still under way.
        """
        with Ledger(self._state) as ledger:
            book = ledger.book(self.connection.destination)
            read_back(self.connection, book, wait=wait, quiet=self._quiet)
            self._page.ingested = ingested(self.connection)
            self._fill_page(book)
        return self._page

    @property
    def page(self) -> Page:
        """What the run did so far."""
        return self._page

    def __repr__(self) -> str:
        return repr(self._page)

    def _repr_html_(self) -> str:
        return self._page._repr_html_()

    def _fill_page(self, book: Book) -> None:
        page = self._page
        page.run, page.total = book.tally(self.number), book.tally()
        page.dead_by_reason = book.dead_by_reason(self.number)
        page.lake_rows = book.rows_read()
        page.missing = book.missing(NAMED)
        page.seconds = time.monotonic() - self._started

    def _flow(self, kind: Kind) -> Dataflow:
        flow = self.connection.history_flow(kind)
        if flow.flow_id not in self._guarded and not self._skip_guard:
            keep_guard(self.connection, flow, quiet=self._quiet)
        self._guarded.add(flow.flow_id)
        return flow

    def _sendable(self, records: Iterable[WireRecord]) -> Iterator[WireRecord]:
        for record in records:
            self._page.heavy += len(record.body) > ADVISED_RECORD
            if fits(record):
                yield record
            else:
                answer = f"{len(record.body):,} bytes; a request holds at most {LIMIT:,}"
                self._settle(Outcome(dead=[DeadLetter(record.event_id, "too_large", answer, record.body)]))

    def _post(self, flow: Dataflow, packets: Iterable[Packet]) -> None:
        with flow.inlet(connections=SINGLE_WORKERS) as inlet:
            sender = Sender(inlet.post_batch, self._pace, post_single=inlet.post_single)
            sender.is_single = self._is_single
            for outcome in sender.send(packets):
                self._settle(outcome)
            if sender.is_single and not self._is_single:
                self._is_single = True
                self._page.notes.append(SINGLE_POSTS)

    def _settle(self, outcome: Outcome) -> None:
        self.book.settle(outcome.delivered, outcome.dead, outcome.pending)
        page = self._page
        page.requests += outcome.requests
        page.retries += outcome.retries
        page.untold += outcome.untold
        page.throttled += outcome.throttled
        page.stopped_by = page.stopped_by or outcome.stopped_by
        self._progress.advance(len(outcome.delivered) + len(outcome.dead))
        self._progress.say(requests=page.requests, retries=page.retries)


def pace_for(connection: Connection) -> int:
    """Give the messages a second that the dataset takes; fewer when it feeds Profile."""
    tags = connection.platform.catalog.dataset(connection.dataset_id).get("tags") or {}
    # Samples write the value with and without a blank (Catalog: create a dataset).
    feeds_profile = any(
        str(tag).replace(" ", "") == "enabled:true" for tag in tags.get("unifiedProfile") or []
    )
    return MESSAGES_PER_SECOND_TO_PROFILE if feeds_profile else MESSAGES_PER_SECOND


def _accepted(events: pd.DataFrame) -> Iterator[Accepted]:
    names = ("event_id", "kind", "payload_digest", "source_file", "source_record")
    columns = (events[name].tolist() for name in names)
    return (Accepted(*values) for values in zip(*columns, strict=True))
