"""One run of sending: frames in, fates in the ledger, a page at the end."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, fields
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from chatlio_kit.aep import Inlet
from chatlio_kit.arguments import SECONDS, checked
from chatlio_kit.chatlio.identities import ConversationVisitors
from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.chatlio.rejections import Rejection
from chatlio_kit.connection import Connection, Dataflow, feeds_profile
from chatlio_kit.delivery.activation import wait_for_canary, wait_until_active
from chatlio_kit.delivery.bulk.loader import finish_lots
from chatlio_kit.delivery.canary import Canary, count_lost_identities
from chatlio_kit.delivery.ledger.destination import DestinationLedger
from chatlio_kit.delivery.ledger.ledger import Ledger
from chatlio_kit.delivery.ledger.lookup import LedgerStatuses
from chatlio_kit.delivery.ledger.models import Fate, FateCounts, RetryableRecord
from chatlio_kit.delivery.page import Page
from chatlio_kit.delivery.people import PeopleCounter
from chatlio_kit.delivery.reconcile import reconcile, reconcile_deleted
from chatlio_kit.delivery.requests.pacing import (
    MESSAGES_PER_SECOND,
    MESSAGES_PER_SECOND_TO_PROFILE,
    Pace,
    largest_request,
)
from chatlio_kit.delivery.requests.packing import ADVISED_RECORD, LIMIT, RequestBody, fitting, pack
from chatlio_kit.delivery.requests.responses import Refusal
from chatlio_kit.delivery.requests.sending import (
    PATIENCE,
    SINGLE_POSTS,
    SINGLE_WORKERS,
    Outcome,
    Sender,
    refuse,
)
from chatlio_kit.delivery.requests.wire import WireRecord, WireRecords, wire_records
from chatlio_kit.display import Progress
from chatlio_kit.errors import PlatformError
from chatlio_kit.tables import RecordCounts
from chatlio_kit.tables.explorer import Status

if TYPE_CHECKING:
    from chatlio_kit.display.figure import Picture

WAIT_SECONDS = 120.0
_IN_PROGRESS = {"stream": "streaming", "batch": "loading"}


class Run:
    """A run that sends to one connection. It locks the ledger until it is closed.

    Args:
        connection: The destination.
        state: The state folder with the ledger.
        skip_guard: If true, send into a new or changed dataflow without waiting.
        production: True if dataflows may be created in a production sandbox.
        canary: True if, on Experience Platform, a dataflow's first records are read back before the rest.
        pace: Messages a second; by default the most that the platform's limits allow.
        expected: Number of events that will be sent, if known.
        stop_after: Number of requests after which sending ends, without retries; the rest stays pending.
        patience: Seconds without a verdict after which sending ends, by default 600, or 7,200 for a batch;
            the rest stays pending.
        quiet: If true, show no progress.
        visitors: The visitor of each conversation, if the connection has identities.

    Attributes:
        counts: Records read in this run, by outcome.
        rejections: The records that this run rejected, if it keeps them.
        number: The run's number at its destination, from 1.
        route: ``stream``, or ``batch`` for a run of batches.

    Raises:
        LedgerBusy: Another run is sending from this state folder.
        PlatformError: A batch of an interrupted run has no verdict yet.
    """

    route = "stream"
    default_patience = PATIENCE

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
        patience: float | None = None,
        quiet: bool = False,
        visitors: ConversationVisitors | None = None,
    ) -> None:
        self.connection = connection
        counts_people = connection.people.identities and not connection.is_for_turns
        self._people = PeopleCounter(connection, visitors) if counts_people else None
        self.counts = RecordCounts()
        self.rejections: list[Rejection] = []
        self._state = state
        self._patience = self.default_patience if patience is None else patience
        self._quiet = quiet
        self._skip_guard = skip_guard
        self._production = production
        self._page = Page(str(connection.destination), self.counts, via=self.route)
        self._started = time.monotonic()
        self._active_flows: set[str] = set()
        self._canaries: dict[str, Canary] = {}
        self._stop_after = self._requests_left = stop_after
        self._canary = canary and not connection.platform.settings.is_local
        pace = pace or pace_for(connection)
        self._pace, self._largest_request = Pace(pace), largest_request(pace)
        self._inlets: dict[str, Inlet] = {}
        self._is_finished = False
        self._unwritten = deque[Outcome]()
        self._write_lock = threading.Lock()
        with ExitStack() as opened:  # closes what was opened if a later step fails
            ledger = opened.enter_context(Ledger(state))
            opened.enter_context(ledger.exclusive_lock())
            platform = connection.platform
            self.destination_ledger = DestinationLedger(ledger, connection.destination, platform.now)
            self.number = self.destination_ledger.begin_run(
                platform.now(), is_platform_time=platform.tells_time
            )
            self._page.run_number = self.number
            self._page.notes += finish_lots(connection, self.destination_ledger, state, self._patience)
            self._sending = opened.enter_context(ExitStack())
            self._progress = self._sending.enter_context(
                Progress(_IN_PROGRESS[self.route], expected, "events", quiet=quiet)
            )
            self._inserter = self._sending.enter_context(
                ThreadPoolExecutor(1, thread_name_prefix="chatlio-kit-insert")
            )
            self._sender = self._sending.enter_context(Sender(self._pace, self._record, self._patience))
            self._open_route()
            self._opened = opened.pop_all()

    def _open_route(self) -> None:
        """Open the resources of this route; on failure, the ledger is unlocked."""

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._opened:
            if error is not None:
                self._pace.stop()
            self.finish()

    def finish(self) -> None:
        """Wait for the answers to requests under way and end sending; the ledger stays locked."""
        if not self._is_finished:
            self._is_finished = True
            with self._sending:
                self._sender.finish()
            if self._sender.is_single:
                self._page.notes.append(SINGLE_POSTS)
            self._fill_page(self.destination_ledger)

    def close(self) -> None:
        """End sending and unlock the ledger."""
        self.__exit__(None, None, None)

    @property
    def is_stopped(self) -> bool:
        """True if sending ended early, because of the platform's answers or of ``stop_after``."""
        return self._pace.is_stopped or self._page.stopped_by is not None

    def prepare(self, kinds: Iterable[Kind]) -> None:
        """Create the history dataflows of these kinds now, so that they become active at the same time.

        Raises:
            UsageError: The connection takes conversation turns, not events.
        """
        self.connection.require_events()
        for kind in kinds:
            self.connection.history_flow(kind, production=self._production)

    def send(self, events: pd.DataFrame, messages: pd.DataFrame) -> None:
        """Send accepted events, each to its kind's history dataflow, and record every fate.

        Args:
            events: Accepted events, none of them settled before.
            messages: Their messages, a row for each message of each transcript.
        """
        # SQLite and Arrow both release the GIL, so the two run in parallel
        rows = self._inserter.submit(self.destination_ledger.insert_pending, self.number, events)
        columns = self._people.columns(events) if self._people else []
        records = wire_records(events, messages[:0] if self.connection.people.slim else messages, columns)
        records = records.with_rows(rows.result())
        if self._people:
            self._people.expect(records.rows, events, records.sizes, columns)
        self._send_by_kind(events, records)

    def send_rows(self, rows: pd.DataFrame, records: WireRecords) -> None:
        """Send rows of conversation turns or feedback, and record every fate.

        Args:
            rows: ``event_id``, ``kind``, ``payload_digest``, ``source_file`` and ``source_record`` of each;
                none of them settled before.
            records: The same rows as they are sent.
        """
        self._send_by_kind(rows, records.with_rows(self.destination_ledger.insert_pending(self.number, rows)))

    def _send_by_kind(self, events: pd.DataFrame, records: WireRecords) -> None:
        kinds = [] if self.is_stopped else [Kind(kind) for kind in events["kind"].unique()]
        for kind in kinds:  # all before the first is sent, so that they become active at the same time
            self.connection.history_flow(kind, production=self._production)
        for kind in kinds:
            if self.is_stopped:
                return
            indexes = np.flatnonzero(events["kind"] == kind)
            of_kind = records if len(indexes) == len(records) else records.take(indexes)
            self._send_records(self._flow(kind), self._sendable(of_kind))

    def pass_over(self, events: int) -> None:
        """Count events that need no sending in the progress bar."""
        self._progress.advance(events)

    def resend(self, letters: list[RetryableRecord]) -> None:
        """Send dead letters again unchanged, and record every fate."""
        self.destination_ledger.requeue(self.number, (letter.event_id for letter in letters))
        for kind in sorted({letter.kind for letter in letters}):
            if self.is_stopped:
                return
            of_kind = [letter for letter in letters if letter.kind == kind]
            records = WireRecords.of(
                (WireRecord(letter.event_id, letter.body) for letter in of_kind),
                (letter.row for letter in of_kind),
            )
            self._send_records(self._flow(Kind(kind)), self._sendable(records))

    def _send_records(self, flow: Dataflow, records: WireRecords) -> None:
        if self._canary and not self.destination_ledger.has_passed_canary(flow.flow_id):
            self._canaries.setdefault(flow.flow_id, Canary())
        if (canary := self._canaries.get(flow.flow_id)) is not None:
            indexes = canary.choose(records)
            others = np.setdiff1d(np.arange(len(records)), indexes)
            if len(indexes) and not self._has_passed(flow, records.take(indexes)):
                return
            records = records.take(others) if len(indexes) else records
        self._post(flow, pack(records, most=self._largest_request))

    def _has_passed(self, flow: Dataflow, records: WireRecords) -> bool:
        """Send a dataflow's canary, and return whether the rest may follow; if not, end sending."""
        ledger, since = self.destination_ledger, self.connection.platform.now()
        self._post(flow, pack(records))
        self._sender.finish()
        if self.is_stopped:
            return False
        event_ids = [record.event_id for record in records]
        problem = ""
        if not wait_for_canary(self.connection, ledger, flow, event_ids, quiet=self._quiet):
            problem = f"the first {len(records)} records of the {flow.kind} dataflow were not read back"
        elif self.connection.people.identities and (
            lost := count_lost_identities(self.connection, records, since)
        ):
            problem = (
                f"{lost} of the first {len(records)} records of the {flow.kind} dataflow were read back "
                "without the identities that they were sent with"
            )
        if problem:
            self._pace.stop()
            self._page.stopped_by = f"{problem}, so nothing more was sent to it; reconcile shows their status"
            return False
        ledger.mark_canary_passed(flow.flow_id)
        return True

    @checked(wait=SECONDS)
    def reconcile(self, *, wait: float = WAIT_SECONDS, again: bool = True) -> Page:
        """Read back the dataset, and return the page.

        Args:
            wait: Seconds to wait for rows that are still under way.
            again: If true, read everything again; if not and many events have landed, the page counts
                those that only an earlier read found.
        """
        with Ledger(self._state) as ledger:
            platform = self.connection.platform
            destination_ledger = DestinationLedger(ledger, self.connection.destination, platform.now)
            try:
                reconcile_deleted(platform, ledger, self.connection.name)
                self._page.arrived = reconcile(
                    self.connection,
                    destination_ledger,
                    wait=wait,
                    again=again,
                    may_repeat=self._page.unanswered > 0,
                    quiet=self._quiet,
                )
            except PlatformError as error:
                self._page.notes.append(f"The dataset could not be read back: {error}")
            self._fill_page(destination_ledger)
        return self._page

    def ledger(self) -> pd.DataFrame:
        """Return the ledger's counts for the destination, over all runs.

        Returns:
            A row for each kind and a column for each fate. ``landed`` counts delivered events that the last
            read found in the dataset, and ``gone`` those that are no longer there.
        """
        with Ledger(self._state) as ledger:
            counts = DestinationLedger(ledger, self.connection.destination).counts_by_kind()
        rows = {str(kind): asdict(counts[kind]) for kind in Kind if kind in counts}
        fates = [fate.name for fate in fields(FateCounts)]
        frame = pd.DataFrame.from_dict(rows, orient="index", columns=fates)
        return frame.rename_axis("kind")

    def dead_letters(self) -> pd.DataFrame:
        """Return the events that the platform refused, over all runs.

        Returns:
            A row for each: ``event_id``, ``kind``, ``reason``, the platform's ``answer``, and where the
            event was read: ``source_file`` and ``source_record``.
        """
        columns = ["event_id", "kind", "reason", "answer", "source_file", "source_record"]
        with Ledger(self._state) as ledger:
            events = ledger.as_frame()
        is_here = events["dataset"] == self.connection.dataset_id
        return events.loc[is_here & (events["fate"] == Fate.DEAD_LETTERED), columns].reset_index(drop=True)

    def statuses(self, event_ids: Sequence[str]) -> Mapping[str, tuple[Status, str]]:
        """Return the status of each event at the destination, with a sentence about it.

        ``tables.explore(run)`` shows it.
        """
        with Ledger(self._state) as ledger:
            return LedgerStatuses(ledger, self.connection.destination).statuses(event_ids)

    @property
    def page(self) -> Page:
        """The run's results so far."""
        return self._page

    def picture(self) -> Picture:
        """Draw the fates of the events at the destination, over all runs."""
        from chatlio_kit.delivery.diagram import draw  # noqa: PLC0415 - matplotlib takes half a second to load

        return draw(self._page.total, str(self.connection.destination))

    def __repr__(self) -> str:
        return repr(self._page)

    def _repr_html_(self) -> str:
        return self._page._repr_html_()

    def _fill_page(self, ledger: DestinationLedger) -> None:
        page = self._page
        page.run = ledger.counts(self.number)
        # after a single run, all events are its own, and a second scan of the ledger is needless
        page.total = page.run if ledger.last_run() == self.number == 1 else ledger.counts()
        page.dead_by_reason = ledger.dead_by_reason(self.number)
        page.gone_by_reason = ledger.landings.gone_by_reason(self.number)
        page.total_gone_by_reason = ledger.landings.gone_by_reason()
        page.readback = ledger.landings.last_readback()
        page.seconds = time.monotonic() - self._started
        page.people = dict(self._people.rows()) if self._people else {}

    def _flow(self, kind: Kind) -> Dataflow:
        flow = self.connection.history_flow(kind, production=self._production)
        if flow.flow_id not in self._active_flows and not self._skip_guard:
            wait_until_active(self.connection, flow, quiet=self._quiet)
        self._active_flows.add(flow.flow_id)
        return flow

    def _sendable(self, records: WireRecords) -> WireRecords:
        self._page.heavy += int((records.sizes > ADVISED_RECORD).sum())
        is_sendable = fitting(records)
        if is_sendable.all():
            return records
        too_large = RequestBody(records.take(np.flatnonzero(~is_sendable)))
        for index, size in enumerate(too_large.records.sizes):
            refusal = Refusal("too_large", f"{size:,} bytes; a request holds at most {LIMIT:,}")
            self._record(Outcome(refused=[refuse(too_large, index, None, refusal)]))
        return records.take(np.flatnonzero(is_sendable))

    def _post(self, flow: Dataflow, bodies: Iterable[RequestBody]) -> None:
        if flow.flow_id not in self._inlets:
            inlet = self.connection.platform.inlet(flow.inlet_url, flow.flow_id, connections=SINGLE_WORKERS)
            self._inlets[flow.flow_id] = self._sending.enter_context(inlet)
        self._sender.send(self._inlets[flow.flow_id], self._until_stopped(bodies))

    def _until_stopped(self, bodies: Iterable[RequestBody]) -> Iterator[RequestBody]:
        """Yield request bodies until ``stop_after`` is reached; requests under way then end as usual."""
        for body in bodies:
            if self._requests_left == 0:
                noun = "request" if self._stop_after == 1 else "requests"
                self._page.stopped_by = f"the limit of {self._stop_after:,} {noun} was reached"
                return
            if self._requests_left is not None:
                self._requests_left -= 1
            yield body

    def _record(self, outcome: Outcome) -> None:
        """Write an outcome to the ledger; outcomes that arrive during another write are written together."""
        self._unwritten.append(outcome)
        with self._write_lock:
            if not self._unwritten:
                return
            total = Outcome.sum(self._unwritten.popleft() for _ in range(len(self._unwritten)))
            self.destination_ledger.record_answers(total.delivered, total.refused, total.pending)
            page = self._page
            if self._people:
                self._people.delivered(row for request in total.delivered for row in request.transactions)
                self._people.refused([letter.row for letter in total.refused] + total.pending)
            page.requests += total.requests
            page.retries += total.retries
            page.unanswered += total.unanswered
            page.throttled += total.throttled
            page.stopped_by = page.stopped_by or total.stopped_by
            self._progress.advance(total.settled)
            self._progress.say(requests=page.requests, retries=page.retries)


def wait_seconds(connection: Connection, wait: float | None) -> float:
    """Return the seconds to wait for rows; by default 0 on Experience Platform, where it takes an hour."""
    if wait is not None:
        return wait
    return WAIT_SECONDS if connection.platform.settings.is_local else 0.0


def pace_for(connection: Connection) -> int:
    """Return the messages per second that the dataset accepts: fewer if it feeds Profile."""
    tags = connection.platform.catalog.dataset(connection.dataset_id).get("tags") or {}
    return MESSAGES_PER_SECOND_TO_PROFILE if feeds_profile(tags) else MESSAGES_PER_SECOND
