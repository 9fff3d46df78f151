"""One run of sending: frames in, fates in the ledger, a page at the end."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, fields
from pathlib import Path
from types import TracebackType

import numpy as np
import pandas as pd

from chatlio_kit.aep import Inlet
from chatlio_kit.arguments import SECONDS, checked
from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.chatlio.rejections import Rejection
from chatlio_kit.connection import Connection, Dataflow
from chatlio_kit.delivery.activation import keep_guard
from chatlio_kit.delivery.canary import CANARY_RECORDS, wait_for_canary
from chatlio_kit.delivery.ledger.destination import DestinationLedger
from chatlio_kit.delivery.ledger.ledger import Ledger
from chatlio_kit.delivery.ledger.models import Fate, FateCounts, RetryableRecord
from chatlio_kit.delivery.page import Page
from chatlio_kit.delivery.reconcile import reconcile, reconcile_deleted
from chatlio_kit.delivery.requests.pacing import (
    MESSAGES_PER_SECOND,
    MESSAGES_PER_SECOND_TO_PROFILE,
    Pace,
    most_in_a_request,
)
from chatlio_kit.delivery.requests.packing import ADVISED_RECORD, LIMIT, RequestBody, fitting, pack
from chatlio_kit.delivery.requests.sending import (
    PATIENCE,
    SINGLE_POSTS,
    SINGLE_WORKERS,
    Outcome,
    Sender,
    refused,
)
from chatlio_kit.delivery.requests.wire import WireRecord, WireRecords, wire_records
from chatlio_kit.display import Progress
from chatlio_kit.errors import PlatformError
from chatlio_kit.tables import RecordCounts

WAIT_SECONDS = 120.0


class Run:
    """A run that sends to one connection; it holds the ledger until it is closed.

    Args:
        connection: where to.
        state: the state folder with the ledger.
        skip_guard: whether to send into a dataflow that was just made or changed without waiting.
        production: whether dataflows may be made in a production sandbox.
        canary: whether, on Experience Platform, a dataflow's first records are read back before volume.
        pace: messages a second; by default what the platform's limits allow.
        expected: how many events will be sent, where that is known.
        stop_after: end sending after so many requests, repeats not counted; what is left stays pending.
        patience: seconds without a verdict of the platform, however often it is asked, after which sending
            ends; what is left stays pending.
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
        production: bool = False,
        canary: bool = True,
        pace: float | None = None,
        expected: int | None = None,
        stop_after: int | None = None,
        patience: float = PATIENCE,
        quiet: bool = False,
    ) -> None:
        self.connection = connection
        self.counts = RecordCounts()
        self.rejections: list[Rejection] = []
        self._state = state
        self._quiet = quiet
        self._skip_guard = skip_guard
        self._production = production
        self._page = Page(str(connection.destination), self.counts)
        self._started = time.monotonic()
        self._guarded: set[str] = set()
        self._stop_after = self._left = stop_after
        self._canary = canary and not connection.platform.settings.is_local
        pace = pace or pace_for(connection)
        self._pace, self._most = Pace(pace), most_in_a_request(pace)
        self._inlets: dict[str, Inlet] = {}
        self._answered = deque[Outcome]()
        self._settling = threading.Lock()
        with ExitStack() as opened:  # lets go of the ledger where a later step fails
            ledger = opened.enter_context(Ledger(state))
            opened.enter_context(ledger.alone())
            platform = connection.platform
            self.book = ledger.book(connection.destination, platform.now)
            self.number = self.book.begin_run(platform.now(), is_platform_time=platform.tells_time)
            self._progress = opened.enter_context(Progress("streaming", expected, "events", quiet=quiet))
            self._clerk = opened.enter_context(ThreadPoolExecutor(1, thread_name_prefix="chatlio-kit-expect"))
            self._sender = opened.enter_context(Sender(self._pace, self._settle, patience))
            self._open = opened.pop_all()

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._open:
            if error is not None:
                self._pace.stop()
            self._sender.finish()
            self._fill_page(self.book)

    def close(self) -> None:
        """End sending, after the answers to what is under way: let the ledger go."""
        self.__exit__(None, None, None)

    @property
    def is_stopped(self) -> bool:
        """Whether sending has ended early: by the platform's answers, or since enough was sent."""
        return self._pace.is_stopped or self._page.stopped_by is not None

    def prepare(self, kinds: Iterable[Kind]) -> None:
        """Make the history dataflows of these kinds now, so that their guards pass side by side."""
        for kind in kinds:
            self.connection.history_flow(kind, production=self._production)

    def send(self, events: pd.DataFrame, messages: pd.DataFrame) -> None:
        """Send accepted events, each to its kind's history dataflow, and write down every fate.

        Args:
            events: accepted events, none of them settled before.
            messages: their messages, a row for each message of each transcript.
        """
        # SQLite and Arrow both let go of the interpreter, so the two go on side by side
        expected = self._clerk.submit(self.book.expect, self.number, events)
        records = wire_records(events, messages)
        records = records.written_at(expected.result())
        for kind in events["kind"].unique():
            if self.is_stopped:
                return
            mine = np.flatnonzero(events["kind"] == kind)
            theirs = records if len(mine) == len(records) else records.take(mine)
            self._send_records(self._flow(Kind(kind)), self._sendable(theirs))

    def pass_over(self, events: int) -> None:
        """Let the bar count events that need no sending."""
        self._progress.advance(events)

    def resend(self, letters: list[RetryableRecord]) -> None:
        """Send dead letters again as they were, and write down every fate."""
        self.book.revive(self.number, (each.event_id for each in letters))
        for kind in sorted({each.kind for each in letters}):
            if self.is_stopped:
                return
            mine = [each for each in letters if each.kind == kind]
            records = WireRecords.of(
                (WireRecord(each.event_id, each.body) for each in mine), (each.row for each in mine)
            )
            self._send_records(self._flow(Kind(kind)), self._sendable(records))

    def _send_records(self, flow: Dataflow, records: WireRecords) -> None:
        if self._canary and not self.book.passed_canary(flow.flow_id):
            first, records = records[:CANARY_RECORDS], records[CANARY_RECORDS:]
            self._post(flow, pack(first))
            self._sender.finish()
            if self.is_stopped:
                return
            if not wait_for_canary(self.connection, self.book, flow, list(first), quiet=self._quiet):
                self._pace.stop()
                self._page.stopped_by = (
                    f"the first {len(first)} records of the {flow.kind} dataflow were not read back, so "
                    "nothing more was sent to it; reconcile says what became of them"
                )
                return
        self._post(flow, pack(records, most=self._most))

    @checked(wait=SECONDS)
    def reconcile(self, *, wait: float = WAIT_SECONDS, again: bool = True) -> Page:
        """Read back what is in the dataset now, and return the page.

        Args:
            wait: seconds to wait for rows that are still under way.
            again: whether everything that was read before is read again; without it, where many events have
                landed, the page says for how many an earlier read still speaks.
        """
        with Ledger(self._state) as ledger:
            platform = self.connection.platform
            book = ledger.book(self.connection.destination, platform.now)
            try:
                reconcile_deleted(platform, ledger, self.connection.name)
                self._page.arrived = reconcile(
                    self.connection,
                    book,
                    wait=wait,
                    again=again,
                    may_repeat=self._page.untold > 0,
                    quiet=self._quiet,
                )
            except PlatformError as error:
                self._page.notes.append(f"What landed could not be read back: {error}")
            self._fill_page(book)
        return self._page

    def ledger(self) -> pd.DataFrame:
        """Tell what the ledger on this machine says of the destination, all runs together.

        Returns:
            A row for each kind and a column for each fate. Of the delivered events, ``landed`` counts those
            that the last read found in the dataset, and ``gone`` those that it found there no more.
        """
        with Ledger(self._state) as ledger:
            tallies = ledger.book(self.connection.destination).by_kind()
        rows = {str(kind): asdict(tallies[kind]) for kind in Kind if kind in tallies}
        frame = pd.DataFrame.from_dict(
            rows, orient="index", columns=[each.name for each in fields(FateCounts)]
        )
        return frame.rename_axis("kind")

    def dead_letters(self) -> pd.DataFrame:
        """Tell which events the platform would not take, all runs together.

        Returns:
            A row for each: ``event_id``, ``kind``, ``reason``, the platform's ``answer``, and where the
            event was read: ``source_file`` and ``source_record``.
        """
        columns = ["event_id", "kind", "reason", "answer", "source_file", "source_record"]
        with Ledger(self._state) as ledger:
            every = ledger.as_frame()
        here = every["dataset"] == self.connection.dataset_id
        return every.loc[here & (every["fate"] == Fate.DEAD_LETTERED), columns].reset_index(drop=True)

    @property
    def page(self) -> Page:
        """What the run did so far."""
        return self._page

    def __repr__(self) -> str:
        return repr(self._page)

    def _repr_html_(self) -> str:
        return self._page._repr_html_()

    def _fill_page(self, book: DestinationLedger) -> None:
        page = self._page
        page.run = book.tally(self.number)
        # where there was one run only, all is its own, and the ledger need not be looked through again
        page.total = page.run if book.last_run() == self.number == 1 else book.tally()
        page.dead_by_reason = book.dead_by_reason(self.number)
        page.gone_by_reason = book.landings.gone_by_reason(self.number)
        page.total_gone_by_reason = book.landings.gone_by_reason()
        page.readback = book.landings.last()
        page.seconds = time.monotonic() - self._started

    def _flow(self, kind: Kind) -> Dataflow:
        flow = self.connection.history_flow(kind, production=self._production)
        if flow.flow_id not in self._guarded and not self._skip_guard:
            keep_guard(self.connection, flow, quiet=self._quiet)
        self._guarded.add(flow.flow_id)
        return flow

    def _sendable(self, records: WireRecords) -> WireRecords:
        self._page.heavy += int((records.sizes > ADVISED_RECORD).sum())
        sendable = fitting(records)
        if sendable.all():
            return records
        too_large = RequestBody(records.take(np.flatnonzero(~sendable)))
        for place, size in enumerate(too_large.records.sizes):
            answer = f"{size:,} bytes; a request holds at most {LIMIT:,}"
            self._settle(Outcome(refused=[refused(too_large, place, None, "too_large", answer)]))
        return records.take(np.flatnonzero(sendable))

    def _post(self, flow: Dataflow, packets: Iterable[RequestBody]) -> None:
        if flow.flow_id not in self._inlets:
            inlet = self.connection.platform.inlet(flow.inlet_url, flow.flow_id, connections=SINGLE_WORKERS)
            self._inlets[flow.flow_id] = self._open.enter_context(inlet)
        self._sender.send(self._inlets[flow.flow_id], self._allowed(packets))
        if self._sender.is_single and SINGLE_POSTS not in self._page.notes:
            self._page.notes.append(SINGLE_POSTS)

    def _allowed(self, packets: Iterable[RequestBody]) -> Iterator[RequestBody]:
        """Give packets until as many were given as were asked for; what is under way then ends well."""
        for packet in packets:
            if self._left == 0:
                self._page.stopped_by = f"{self._stop_after:,} requests were asked for"
                return
            if self._left is not None:
                self._left -= 1
            yield packet

    def _settle(self, outcome: Outcome) -> None:
        """Write an outcome down; those that came while the ledger was busy are written as one."""
        self._answered.append(outcome)
        with self._settling:
            if not self._answered:
                return
            together = Outcome.sum(self._answered.popleft() for _ in range(len(self._answered)))
            self.book.settle(together.taken, together.refused, together.pending)
            page = self._page
            page.requests += together.requests
            page.retries += together.retries
            page.untold += together.untold
            page.throttled += together.throttled
            page.stopped_by = page.stopped_by or together.stopped_by
            self._progress.advance(together.settled)
            self._progress.say(requests=page.requests, retries=page.retries)


def pace_for(connection: Connection) -> int:
    """Give the messages a second that the dataset takes; fewer when it feeds Profile."""
    tags = connection.platform.catalog.dataset(connection.dataset_id).get("tags") or {}
    # Samples write the value with and without a blank (Catalog: create a dataset).
    feeds_profile = any(
        str(tag).replace(" ", "") == "enabled:true" for tag in tags.get("unifiedProfile") or []
    )
    return MESSAGES_PER_SECOND_TO_PROFILE if feeds_profile else MESSAGES_PER_SECOND
