"""One run of sending: frames in, fates in the ledger, a page at the end."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

import pandas as pd

from chatlio_kit.connection import Connection, Dataflow
from chatlio_kit.delivery.guard import keep_guard
from chatlio_kit.delivery.ledger import Accepted, Book, DeadLetter, Ledger
from chatlio_kit.delivery.pacing import Pace
from chatlio_kit.delivery.packing import LIMIT, Packet, fits, pack
from chatlio_kit.delivery.page import Page
from chatlio_kit.delivery.reconcile import ingested, read_back
from chatlio_kit.delivery.sending import Outcome, Sender
from chatlio_kit.delivery.wire import WireRecord, wire_records
from chatlio_kit.display import Progress
from chatlio_kit.events.kinds import Kind
from chatlio_kit.events.rejection import Rejection
from chatlio_kit.tables import Counts

WAIT_SECONDS = 120.0


class Run:
    """A run that sends to one connection; it holds the ledger until it is closed.

    Args:
        connection: where to.
        state: the state folder with the ledger.
        skip_guard: whether to send into a dataflow that was just made or changed without waiting.
        quiet: whether to show no progress.

    Attributes:
        counts: records read in this run, by what became of them.
        rejections: what this run rejected, where it keeps it.
        number: the run's number at its destination, from 1.

    Raises:
        LedgerBusy: when another run is sending from this state folder.
    """

    def __init__(
        self, connection: Connection, state: Path, *, skip_guard: bool = False, quiet: bool = False
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
        self._pace = Pace()
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
            packets = pack(self._sendable(wire_records(theirs, mine)))
            self._post(flow, packets)

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
        page.seconds = time.monotonic() - self._started

    def _flow(self, kind: Kind) -> Dataflow:
        flow = self.connection.history_flow(kind)
        if flow.flow_id not in self._guarded and not self._skip_guard:
            keep_guard(self.connection, flow, quiet=self._quiet)
        self._guarded.add(flow.flow_id)
        return flow

    def _sendable(self, records: Iterable[WireRecord]) -> Iterator[WireRecord]:
        for record in records:
            if fits(record):
                yield record
            else:
                answer = f"{len(record.body):,} bytes; a request holds at most {LIMIT:,}"
                self._settle(Outcome(dead=[DeadLetter(record.event_id, "too_large", answer)]))

    def _post(self, flow: Dataflow, packets: Iterable[Packet]) -> None:
        with flow.inlet() as inlet:
            for outcome in Sender(inlet.post_batch, self._pace).send(packets):
                self._settle(outcome)

    def _settle(self, outcome: Outcome) -> None:
        self.book.settle(outcome.delivered, outcome.dead, outcome.pending)
        page = self._page
        page.requests += outcome.requests
        page.retries += outcome.retries
        page.stopped_by = page.stopped_by or outcome.stopped_by
        self._progress.advance(len(outcome.delivered) + len(outcome.dead))
        self._progress.say(requests=page.requests, retries=page.retries)


def _accepted(events: pd.DataFrame) -> Iterator[Accepted]:
    names = ("event_id", "kind", "payload_digest", "source_file", "source_record")
    columns = (events[name].tolist() for name in names)
    return (Accepted(*values) for values in zip(*columns, strict=True))
