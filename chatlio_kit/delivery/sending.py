"""Posting packets until each record has a verdict: delivered, refused, or told as pending."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from chatlio_kit.delivery.answers import Answer, Next, refusal, verdicts, wants_envelopes, what_next
from chatlio_kit.delivery.fates import DeadLetter
from chatlio_kit.delivery.pacing import Pace
from chatlio_kit.delivery.packing import Packet
from chatlio_kit.errors import Unreachable
from chatlio_kit.platform.wire import Reply, asked_pause, pause_before

WORKERS = 6
SINGLE_WORKERS = 32
"""Requests under way at once where a request holds one record: latency, not bytes, sets the rate there."""
MAX_TRIES = 12
"""Tries in a row that bring no verdict, some minutes in all; then the records are told as pending."""
MAX_THROTTLED = 60
"""Refusals in a row because of too much traffic, counted apart: they say that the platform is there."""
INLET_PATIENCE = 600.0
"""Seconds: how long a new inlet may be unknown before sending stops."""
BACK_OFF = frozenset({429, 503})

SINGLE_POSTS = (
    "The batch path took no raw record (it asks for the 'header' field), so records were posted one by one; "
    "that is slower, at most 1,000 a second."
)

Post = Callable[[bytes], Reply]


@dataclass
class Outcome:
    """What became of one packet's records.

    Attributes:
        delivered: transaction ids by event id.
        dead: records that the platform will not take.
        pending: records whose requests brought no verdict.
        again: records to be posted one by one.
        requests: requests posted, ``retries`` of them again.
        untold: records in requests whose answer was lost or incomplete: they may stand in the lake twice.
        throttled: answers 429 and 503.
        stopped_by: why sending ends, if it does.
    """

    delivered: dict[str, str] = field(default_factory=dict)
    dead: list[DeadLetter] = field(default_factory=list)
    pending: list[str] = field(default_factory=list)
    again: list[Packet] = field(default_factory=list)
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
            total.delivered |= each.delivered
            total.dead += each.dead
            total.pending += each.pending
            total.again += each.again
            total.requests += each.requests
            total.retries += each.retries
            total.untold += each.untold
            total.throttled += each.throttled
            total.stopped_by = total.stopped_by or each.stopped_by
        return total


class Sender:
    """Posts packets to one dataflow, several at a time.

    Args:
        post: posts a body to the batch endpoint.
        pace: the governor, shared by all senders of a run.
        post_single: posts one record to the single endpoint, for platforms whose batch path refuses raw ones.
        workers: how many requests may be under way at once.
    """

    def __init__(
        self, post: Post, pace: Pace, *, post_single: Post | None = None, workers: int = WORKERS
    ) -> None:
        self._post = post
        self._post_single = post_single
        self._pace = pace
        self._workers = workers
        self.is_single = False

    def send(self, packets: Iterable[Packet]) -> Iterator[Outcome]:
        """Send packets and give their outcomes as they come, those that came together as one.

        After an answer that ends sending, what is left comes back as pending.
        """
        with ThreadPoolExecutor(SINGLE_WORKERS, thread_name_prefix="chatlio-kit-send") as pool:
            under_way: set[Future[Outcome]] = set()
            waiting = deque[Packet]()
            source = iter(packets)
            try:
                while True:
                    packet = waiting.popleft() if waiting else next(source, None)
                    if packet is not None and self.is_single and len(packet.records) > 1:
                        waiting.extendleft(reversed(packet.singles()))
                        continue
                    if packet is not None:
                        under_way.add(pool.submit(self._deliver, packet))
                        if len(under_way) < self._room:
                            continue
                    if not under_way:
                        return
                    done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                    outcome = Outcome.sum(future.result() for future in done)
                    if outcome.again:
                        self.is_single = True
                        waiting.extend(outcome.again)
                    yield outcome
            finally:
                if under_way:
                    self._pace.stop()

    @property
    def _room(self) -> int:
        """How many requests may be under way or just ahead of it."""
        return SINGLE_WORKERS * 2 if self.is_single else self._workers

    def _deliver(self, packet: Packet) -> Outcome:
        outcome = Outcome()
        todo = deque([packet])
        tries = throttled = 0
        started = time.monotonic()
        while todo:
            part = todo.popleft()
            if self._pace.is_stopped or not self._pace.wait_for(len(part.records)):
                outcome.pending += _ids(part)
                continue
            answer = self._ask(part)
            outcome.requests += 1
            step = what_next(answer)
            if step is Next.READ:
                if self._post_single is not None and wants_envelopes(answer):
                    outcome.again += part.singles()
                    continue
                again = self._read(part, answer, outcome)
                if again is None:
                    tries = throttled = 0
                    continue
                tries = 0 if len(again.records) < len(part.records) else tries
                part = again
            elif step is Next.SPLIT:
                if len(part.records) > 1:
                    todo.extendleft(reversed(part.halves()))
                else:
                    why = refusal(answer)
                    outcome.dead.append(dead_letter(part, 0, why.reason, why.answer))
                continue
            elif step is Next.STOP or (step is Next.NOT_YET and time.monotonic() - started > INLET_PATIENCE):
                self._stop(part, answer, outcome)
                continue
            if answer.status in BACK_OFF:
                throttled += 1
                outcome.throttled += 1
                self._pace.slow_down(asked_pause(answer.retry_after))
            elif step is not Next.NOT_YET:
                tries += 1
            if answer.status == 0:
                outcome.untold += len(part.records)
            if tries >= MAX_TRIES or throttled >= MAX_THROTTLED:
                outcome.pending += _ids(part)
                tries = throttled = 0
                continue
            outcome.retries += 1
            self._pace.pause(pause_before(min(tries + throttled, 8), answer.retry_after))
            todo.appendleft(part)
        return outcome

    def _ask(self, part: Packet) -> Answer:
        single = self.is_single and self._post_single is not None and len(part.records) == 1
        try:
            if single and self._post_single is not None:
                reply = self._post_single(part.records[0].body)
            else:
                reply = self._post(part.body)
        except Unreachable:
            return Answer(0)
        return Answer(reply.status_code, reply.content, reply.headers.get("Retry-After"))

    def _read(self, part: Packet, answer: Answer, outcome: Outcome) -> Packet | None:
        """Take the verdicts over; give what has none, to be sent again."""
        found = verdicts(answer, len(part.records))
        for place, transaction in found.delivered.items():
            outcome.delivered[part.records[place].event_id] = transaction
        for place, why in found.refused.items():
            outcome.dead.append(dead_letter(part, place, why.reason, why.answer))
        outcome.untold += len(found.unknown) - len(found.passing)
        return part.only(found.unknown) if found.unknown else None

    def _stop(self, part: Packet, answer: Answer, outcome: Outcome) -> None:
        outcome.pending += _ids(part)
        outcome.stopped_by = f"HTTP {answer.status}: {answer.said[:300]}"
        self._pace.stop()


def dead_letter(packet: Packet, place: int, reason: str, answer: str) -> DeadLetter:
    """Make a dead letter of one record; its body is kept, so that it can be sent again."""
    record = packet.records[place]
    return DeadLetter(record.event_id, reason, answer, record.body)


def _ids(packet: Packet) -> list[str]:
    return [record.event_id for record in packet.records]
