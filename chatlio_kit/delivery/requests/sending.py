"""Post request bodies until each record has a verdict: delivered, refused, or pending."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import count
from types import TracebackType
from typing import Protocol

from chatlio_kit.aep.http import Reply, asked_pause, pause_before, retry_after
from chatlio_kit.delivery.ledger.models import DeadLetter, Delivered, Refused
from chatlio_kit.delivery.requests.pacing import Pace
from chatlio_kit.delivery.requests.packing import RequestBody
from chatlio_kit.delivery.requests.responses import (
    NextAction,
    Refusal,
    Response,
    next_action,
    read_verdicts,
    refusal_of,
    requires_envelopes,
)
from chatlio_kit.errors import Unreachable

WORKERS = 16
"""Maximum number of concurrent requests; the same number is packed in advance."""
SINGLE_WORKERS = 32
"""The same for requests with one record, because latency then limits the rate."""
MAX_TRIES = 12
"""Consecutive attempts without a verdict, a few minutes in total; then the records stay pending."""
MAX_THROTTLED = 60
"""Consecutive throttling answers, counted separately because they show that the platform is alive."""
INLET_PATIENCE = 600.0
"""Seconds that a new inlet may be unknown before sending stops."""
PATIENCE = 600.0
"""Seconds without any verdict, over all requests, after which the platform counts as down."""
LEAST_TRIES = 5
"""Minimum number of attempts before the platform counts as down."""
BACK_OFF = frozenset({429, 503})

SINGLE_POSTS = (
    "The batch path accepted no raw records (it asks for the 'header' field), so records were posted one by "
    "one; that is slower, at most 1,000 a second."
)


@dataclass
class Outcome:
    """The result of sending one request body's records.

    Attributes:
        delivered: Records that the platform accepted, request by request.
        refused: Records that it refused for good.
        pending: The ledger rows of records whose requests brought no verdict.
        singles: Records that have to be posted one by one.
        requests: Requests posted, including ``retries``.
        unanswered: Records in requests whose answer was lost or incomplete: the lake may hold them twice.
        throttled: Number of answers 429 or 503.
        stopped_by: Reason for ending, if sending ends.
    """

    delivered: list[Delivered] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    pending: list[int] = field(default_factory=list)
    singles: list[RequestBody] = field(default_factory=list)
    requests: int = 0
    retries: int = 0
    unanswered: int = 0
    throttled: int = 0
    stopped_by: str | None = None

    @classmethod
    def sum(cls, outcomes: Iterable[Outcome]) -> Outcome:
        """Return the sum of outcomes, so that the ledger can record them in one transaction."""
        total = cls()
        for outcome in outcomes:
            total.delivered += outcome.delivered
            total.refused += outcome.refused
            total.pending += outcome.pending
            total.singles += outcome.singles
            total.requests += outcome.requests
            total.retries += outcome.retries
            total.unanswered += outcome.unanswered
            total.throttled += outcome.throttled
            total.stopped_by = total.stopped_by or outcome.stopped_by
        return total

    @property
    def settled(self) -> int:
        """Number of records with a verdict."""
        return sum(len(request.transactions) for request in self.delivered) + len(self.refused)


class RecordInlet(Protocol):
    """The endpoint of one dataflow, e.g. an :class:`~chatlio_kit.aep.Inlet`."""

    def post_batch(self, body: bytes) -> Reply:
        """Post a body to the batch endpoint."""

    def post_single(self, body: bytes) -> Reply:
        """Post one record to the single endpoint."""


class Sender:
    """Posts request bodies concurrently, to one or several dataflows. Use it as a context manager.

    Args:
        pace: The rate limiter.
        record: Records an outcome; called immediately, in the worker thread that has it.
        patience: Seconds without any verdict after which sending ends.

    Attributes:
        is_single: True if the batch endpoint refuses raw records, so that they are posted one by one.
    """

    def __init__(self, pace: Pace, record: Callable[[Outcome], None], patience: float = PATIENCE) -> None:
        self._pace = pace
        self._record = record
        self._patience = patience
        self._silent_since: float | None = None
        self._silent_answers = 0
        self._under_way: set[Future[_Queue]] = set()
        self._waiting: _Queue = deque()
        self._numbers = count(1)
        self.is_single = False
        self._open_pool()

    def __enter__(self) -> Sender:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._pace.stop()
        self._pool.shutdown()

    def send(self, inlet: RecordInlet, bodies: Iterable[RequestBody]) -> None:
        """Send request bodies to one dataflow; the last ones are still under way on return.

        After an answer that ends sending, the remaining records are recorded as pending.
        """
        for body in bodies:
            self._waiting.append((inlet, body))
            self._drain(self._workers * 2)

    def finish(self) -> None:
        """Wait until everything that was sent is recorded."""
        self._drain(1)

    def _drain(self, limit: int) -> None:
        """Send waiting bodies until fewer than ``limit`` are under way."""
        while self._waiting or len(self._under_way) >= limit:
            while self._waiting and len(self._under_way) < self._workers * 2:
                inlet, body = self._waiting.popleft()
                if self.is_single and len(body) > 1:
                    self._waiting.extendleft((inlet, single) for single in reversed(body.singles()))
                else:
                    self._under_way.add(self._pool.submit(self._deliver_and_record, inlet, body))
            if len(self._under_way) >= limit:
                self._wait_for_one()

    def _wait_for_one(self) -> None:
        """Wait for a body under way, and queue records that have to be posted one by one."""
        done, self._under_way = wait(self._under_way, return_when=FIRST_COMPLETED)
        for future in done:
            self._waiting.extend(future.result())
        if self._waiting and not self.is_single:
            self.is_single = True
            self._pool.shutdown(wait=False)
            self._open_pool()

    def _open_pool(self) -> None:
        self._workers = SINGLE_WORKERS if self.is_single else WORKERS
        self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="chatlio-kit-send")

    def _deliver_and_record(self, inlet: RecordInlet, body: RequestBody) -> _Queue:
        try:
            outcome = self._deliver(inlet, body)
            self._record(outcome)
        except BaseException:
            self._pace.stop()
            raise
        return deque((inlet, single) for single in outcome.singles)

    def _deliver(self, inlet: RecordInlet, body: RequestBody) -> Outcome:
        outcome = Outcome()
        todo = deque([body])
        tries = throttled = 0
        started = time.monotonic()
        while todo:
            part = todo.popleft()
            if self._pace.is_stopped or not self._pace.wait_for(len(part)):
                outcome.pending += part.records.rows.tolist()
                continue
            number = next(self._numbers)
            answer = self._post(inlet, part)
            outcome.requests += 1
            step = next_action(answer)
            if step is NextAction.READ:
                if requires_envelopes(answer):
                    outcome.singles += part.singles()
                    continue
                unknown = self._read(part, number, answer, outcome)
                if unknown is None or len(unknown) < len(part):
                    self._silent_since = None
                if unknown is None:
                    tries = throttled = 0
                    continue
                tries = 0 if len(unknown) < len(part) else tries
                part = unknown
            elif step is NextAction.SPLIT:
                self._silent_since = None
                if len(part) > 1:
                    todo.extendleft(reversed(part.halves()))
                else:
                    outcome.refused.append(refuse(part, 0, number, refusal_of(answer)))
                continue
            elif step is NextAction.STOP or (
                step is NextAction.WAIT and time.monotonic() - started > INLET_PATIENCE
            ):
                self._stop(part, answer, outcome)
                continue
            if answer.status in BACK_OFF:
                throttled += 1
                outcome.throttled += 1
                self._pace.slow_down(asked_pause(answer.retry_after))
            elif step is not NextAction.WAIT:
                tries += 1
            if answer.status == 0:
                outcome.unanswered += len(part)
            if self._is_out_of_patience():
                self._give_up(part, answer, outcome)
                continue
            if tries >= MAX_TRIES or throttled >= MAX_THROTTLED:
                outcome.pending += part.records.rows.tolist()
                tries = throttled = 0
                continue
            outcome.retries += 1
            self._pace.pause(pause_before(min(tries + throttled, 8), answer.retry_after))
            todo.appendleft(part)
        return outcome

    def _is_out_of_patience(self) -> bool:
        """Record a request without a verdict, and return whether patience is exhausted."""
        now = time.monotonic()
        if self._silent_since is None:
            self._silent_since, self._silent_answers = now, 0
        self._silent_answers += 1
        return self._silent_answers >= LEAST_TRIES and now - self._silent_since >= self._patience

    def _give_up(self, part: RequestBody, answer: Response, outcome: Outcome) -> None:
        outcome.pending += part.records.rows.tolist()
        last = f"HTTP {answer.status}: {answer.text[:200]}" if answer.status else "none at all"
        outcome.stopped_by = (
            f"the platform gave no verdict on any record for {self._patience:,.0f} seconds "
            f"(its last answer: {last})"
        )
        self._pace.stop()

    def _post(self, inlet: RecordInlet, part: RequestBody) -> Response:
        try:
            if self.is_single and len(part) == 1:
                reply = inlet.post_single(part.records[0].body)
            else:
                reply = inlet.post_batch(part.body)
        except Unreachable:
            return Response(0)
        return Response(reply.status_code, reply.content, retry_after(reply.headers))

    def _read(self, part: RequestBody, number: int, answer: Response, outcome: Outcome) -> RequestBody | None:
        """Add the verdicts to the outcome, and return the records without one, which are sent again."""
        verdicts = read_verdicts(answer, len(part))
        rows = part.records.rows[list(verdicts.delivered)].tolist()
        outcome.delivered.append(Delivered(number, dict(zip(rows, verdicts.delivered.values(), strict=True))))
        for index, refusal in verdicts.refused.items():
            outcome.refused.append(refuse(part, index, number, refusal))
        outcome.unanswered += len(verdicts.unknown) - len(verdicts.transient)
        return part.only(verdicts.unknown) if verdicts.unknown else None

    def _stop(self, part: RequestBody, answer: Response, outcome: Outcome) -> None:
        outcome.pending += part.records.rows.tolist()
        outcome.stopped_by = f"HTTP {answer.status}: {answer.text[:300]}"
        self._pace.stop()


def refuse(body: RequestBody, index: int, request: int | None, refusal: Refusal) -> Refused:
    """Return a record as a dead letter, with its body for sending it again."""
    record = body.records[index]
    letter = DeadLetter(record.event_id, refusal.reason, refusal.answer, record.body)
    return Refused(int(body.records.rows[index]), request, letter)


_Queue = deque[tuple[RecordInlet, RequestBody]]
"""Request bodies, each with its endpoint."""
