"""Posting packets until each record has a verdict: delivered, refused, or told as pending."""

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
    NextStep,
    Response,
    refusal,
    verdicts,
    wants_envelopes,
    what_next,
)
from chatlio_kit.errors import Unreachable

WORKERS = 16
"""Requests under way at once; as many again are packed ahead of them."""
SINGLE_WORKERS = 32
"""The same where a request holds one record: latency, not bytes, sets the rate there."""
MAX_TRIES = 12
"""Tries in a row that bring no verdict, some minutes in all; then the records are told as pending."""
MAX_THROTTLED = 60
"""Refusals in a row because of too much traffic, counted apart: they say that the platform is there."""
INLET_PATIENCE = 600.0
"""Seconds: how long a new inlet may be unknown before sending stops."""
PATIENCE = 600.0
"""Seconds without any verdict, over all requests together, after which a platform counts as dead."""
LEAST_TRIES = 5
"""So often a platform is asked at least before it counts as dead."""
BACK_OFF = frozenset({429, 503})

SINGLE_POSTS = (
    "The batch path took no raw record (it asks for the 'header' field), so records were posted one by one; "
    "that is slower, at most 1,000 a second."
)


@dataclass
class Outcome:
    """What became of one packet's records.

    Attributes:
        taken: what the platform took, request by request.
        refused: what it will not take.
        pending: the ledger's rows of those whose requests brought no verdict.
        again: records to be posted one by one.
        requests: requests posted, ``retries`` of them again.
        untold: records in requests whose answer was lost or incomplete: they may stand in the lake twice.
        throttled: answers 429 and 503.
        stopped_by: why sending ends, if it does.
    """

    taken: list[Delivered] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    pending: list[int] = field(default_factory=list)
    again: list[RequestBody] = field(default_factory=list)
    requests: int = 0
    retries: int = 0
    untold: int = 0
    throttled: int = 0
    stopped_by: str | None = None

    @classmethod
    def sum(cls, outcomes: Iterable[Outcome]) -> Outcome:
        """Add outcomes up, so that the ledger takes them at once."""
        total = cls()
        for each in outcomes:
            total.taken += each.taken
            total.refused += each.refused
            total.pending += each.pending
            total.again += each.again
            total.requests += each.requests
            total.retries += each.retries
            total.untold += each.untold
            total.throttled += each.throttled
            total.stopped_by = total.stopped_by or each.stopped_by
        return total

    @property
    def settled(self) -> int:
        """How many records have their verdict."""
        return sum(len(each.transactions) for each in self.taken) + len(self.refused)


Again = deque[tuple["Takes", RequestBody]]
"""Packets that have to be posted one by one, each with where it goes."""


class Takes(Protocol):
    """What takes one dataflow's records: an :class:`~chatlio_kit.aep.Inlet`."""

    def post_batch(self, body: bytes) -> Reply:
        """Post a body to the batch endpoint."""

    def post_single(self, body: bytes) -> Reply:
        """Post one record to the single endpoint."""


class Sender:
    """Posts packets, several at a time, whatever dataflows they are for. Use it as a context manager.

    Args:
        pace: the governor.
        settle: writes an outcome down; called from the worker that has it, at once.
        patience: seconds without any verdict after which sending ends.

    Attributes:
        is_single: whether the batch path refuses raw records, so that they are posted one by one.
    """

    def __init__(self, pace: Pace, settle: Callable[[Outcome], None], patience: float = PATIENCE) -> None:
        self._pace = pace
        self._settle = settle
        self._patience = patience
        self._silent_since: float | None = None
        self._silent_answers = 0
        self._under_way: set[Future[Again]] = set()
        self._waiting: Again = deque()
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

    def send(self, inlet: Takes, packets: Iterable[RequestBody]) -> None:
        """Send packets to one dataflow; wait for room only, so that the last ones are still under way.

        After an answer that ends sending, what is left is settled as pending.
        """
        for packet in packets:
            self._waiting.append((inlet, packet))
            self._go_on(self._workers * 2)

    def finish(self) -> None:
        """Wait until everything that was sent is settled."""
        self._go_on(1)

    def _go_on(self, room: int) -> None:
        """Send what waits, until fewer packets than ``room`` are under way."""
        while self._waiting or len(self._under_way) >= room:
            while self._waiting and len(self._under_way) < self._workers * 2:
                inlet, packet = self._waiting.popleft()
                if self.is_single and len(packet) > 1:
                    self._waiting.extendleft((inlet, each) for each in reversed(packet.singles()))
                else:
                    self._under_way.add(self._pool.submit(self._deliver_and_settle, inlet, packet))
            if len(self._under_way) >= room:
                self._take_back()

    def _take_back(self) -> None:
        """Wait for one that is under way, and take back what has to be posted one by one."""
        done, self._under_way = wait(self._under_way, return_when=FIRST_COMPLETED)
        for each in done:
            if again := each.result():
                self._waiting.extend(again)
        if self._waiting and not self.is_single:
            self.is_single = True
            self._pool.shutdown(wait=False)
            self._open_pool()

    def _open_pool(self) -> None:
        self._workers = SINGLE_WORKERS if self.is_single else WORKERS
        self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="chatlio-kit-send")

    def _deliver_and_settle(self, inlet: Takes, packet: RequestBody) -> Again:
        try:
            outcome = self._deliver(inlet, packet)
            self._settle(outcome)
        except BaseException:
            self._pace.stop()
            raise
        return deque((inlet, each) for each in outcome.again)

    def _deliver(self, inlet: Takes, packet: RequestBody) -> Outcome:
        outcome = Outcome()
        todo = deque([packet])
        tries = throttled = 0
        started = time.monotonic()
        while todo:
            part = todo.popleft()
            if self._pace.is_stopped or not self._pace.wait_for(len(part)):
                outcome.pending += part.records.rows.tolist()
                continue
            number = next(self._numbers)
            answer = self._ask(inlet, part)
            outcome.requests += 1
            step = what_next(answer)
            if step is NextStep.READ:
                if wants_envelopes(answer):
                    outcome.again += part.singles()
                    continue
                again = self._read(part, number, answer, outcome)
                if again is None or len(again) < len(part):
                    self._silent_since = None
                if again is None:
                    tries = throttled = 0
                    continue
                tries = 0 if len(again) < len(part) else tries
                part = again
            elif step is NextStep.SPLIT:
                self._silent_since = None
                if len(part) > 1:
                    todo.extendleft(reversed(part.halves()))
                else:
                    why = refusal(answer)
                    outcome.refused.append(refused(part, 0, number, why.reason, why.answer))
                continue
            elif step is NextStep.STOP or (
                step is NextStep.NOT_YET and time.monotonic() - started > INLET_PATIENCE
            ):
                self._stop(part, answer, outcome)
                continue
            if answer.status in BACK_OFF:
                throttled += 1
                outcome.throttled += 1
                self._pace.slow_down(asked_pause(answer.retry_after))
            elif step is not NextStep.NOT_YET:
                tries += 1
            if answer.status == 0:
                outcome.untold += len(part)
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
        """Note that a request brought no verdict; say whether none came for too long."""
        now = time.monotonic()
        if self._silent_since is None:
            self._silent_since, self._silent_answers = now, 0
        self._silent_answers += 1
        return self._silent_answers >= LEAST_TRIES and now - self._silent_since >= self._patience

    def _give_up(self, part: RequestBody, answer: Response, outcome: Outcome) -> None:
        outcome.pending += part.records.rows.tolist()
        last = f"HTTP {answer.status}: {answer.said[:200]}" if answer.status else "none at all"
        outcome.stopped_by = (
            f"the platform gave no verdict on any record for {self._patience:,.0f} seconds "
            f"(its last answer: {last})"
        )
        self._pace.stop()

    def _ask(self, inlet: Takes, part: RequestBody) -> Response:
        try:
            if self.is_single and len(part) == 1:
                reply = inlet.post_single(part.records[0].body)
            else:
                reply = inlet.post_batch(part.body)
        except Unreachable:
            return Response(0)
        return Response(reply.status_code, reply.content, retry_after(reply.headers))

    def _read(self, part: RequestBody, number: int, answer: Response, outcome: Outcome) -> RequestBody | None:
        """Take the verdicts over; give what has none, to be sent again."""
        found = verdicts(answer, len(part))
        rows = part.records.rows[list(found.delivered)].tolist()
        outcome.taken.append(Delivered(number, dict(zip(rows, found.delivered.values(), strict=True))))
        for place, why in found.refused.items():
            outcome.refused.append(refused(part, place, number, why.reason, why.answer))
        outcome.untold += len(found.unknown) - len(found.passing)
        return part.only(found.unknown) if found.unknown else None

    def _stop(self, part: RequestBody, answer: Response, outcome: Outcome) -> None:
        outcome.pending += part.records.rows.tolist()
        outcome.stopped_by = f"HTTP {answer.status}: {answer.said[:300]}"
        self._pace.stop()


def refused(packet: RequestBody, place: int, request: int | None, reason: str, answer: str) -> Refused:
    """Make a dead letter of one record; its body is kept, so that it can be sent again."""
    record = packet.records[place]
    letter = DeadLetter(record.event_id, reason, answer, record.body)
    return Refused(int(packet.records.rows[place]), request, letter)
