"""Posting packets until each record has a verdict: delivered, refused, or told as pending."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from chatlio_kit.delivery.answers import Answer, Next, refusal, verdicts, what_next
from chatlio_kit.delivery.ledger import DeadLetter
from chatlio_kit.delivery.pacing import Pace
from chatlio_kit.delivery.packing import Packet
from chatlio_kit.errors import Unreachable
from chatlio_kit.platform.wire import Reply, pause_before

WORKERS = 4
MAX_TRIES = 8
INLET_PATIENCE = 600.0
"""Seconds: how long a new inlet may be unknown before sending stops."""

Post = Callable[[bytes], Reply]


@dataclass
class Outcome:
    """What became of one packet's records."""

    delivered: dict[str, str] = field(default_factory=dict)
    dead: list[DeadLetter] = field(default_factory=list)
    pending: list[str] = field(default_factory=list)
    requests: int = 0
    retries: int = 0
    stopped_by: str | None = None


class Sender:
    """Posts packets to one dataflow, several at a time.

    Args:
        post: posts a body to the batch endpoint.
        pace: the governor, shared by all senders of a run.
        workers: how many requests may be under way at once.
    """

    def __init__(self, post: Post, pace: Pace, *, workers: int = WORKERS) -> None:
        self._post = post
        self._pace = pace
        self._workers = workers

    def send(self, packets: Iterable[Packet]) -> Iterator[Outcome]:
        """Send packets and give each one's outcome as it comes; order is not kept.

        After an answer that ends sending, what is left comes back as pending.
        """
        with ThreadPoolExecutor(self._workers, thread_name_prefix="chatlio-kit-send") as pool:
            under_way: set[Future[Outcome]] = set()
            try:
                for packet in packets:
                    under_way.add(pool.submit(self._deliver, packet))
                    if len(under_way) >= self._workers * 2:
                        done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                        yield from (future.result() for future in done)
                done, under_way = wait(under_way)
                yield from (future.result() for future in done)
            finally:
                if under_way:
                    self._pace.stop()

    def _deliver(self, packet: Packet) -> Outcome:
        outcome = Outcome()
        todo = deque([packet])
        tries, started = 0, time.monotonic()
        while todo:
            part = todo.popleft()
            if self._pace.is_stopped:
                outcome.pending += _ids(part)
                continue
            self._pace.wait_for(len(part.records))
            answer = self._ask(part)
            outcome.requests += 1
            step = what_next(answer)
            if step is Next.READ:
                again = self._read(part, answer, outcome)
                if again is None:
                    tries = 0
                    continue
                part = again
            elif step is Next.SPLIT:
                if len(part.records) > 1:
                    todo.extendleft(reversed(part.halves()))
                else:
                    why = refusal(answer)
                    outcome.dead.append(DeadLetter(part.records[0].event_id, why.reason, why.answer))
                continue
            elif step is Next.STOP or (step is Next.NOT_YET and time.monotonic() - started > INLET_PATIENCE):
                self._stop(part, answer, outcome)
                continue
            tries += 1
            if tries >= MAX_TRIES and step is not Next.NOT_YET:
                outcome.pending += _ids(part)
                tries = 0
                continue
            outcome.retries += 1
            self._pace.pause(pause_before(tries, answer.retry_after))
            todo.appendleft(part)
        return outcome

    def _ask(self, part: Packet) -> Answer:
        try:
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
            outcome.dead.append(DeadLetter(part.records[place].event_id, why.reason, why.answer))
        return part.only(found.unknown) if found.unknown else None

    def _stop(self, part: Packet, answer: Answer, outcome: Outcome) -> None:
        outcome.pending += _ids(part)
        outcome.stopped_by = f"HTTP {answer.status}: {answer.said[:300]}"
        self._pace.stop()


def _ids(packet: Packet) -> list[str]:
    return [record.event_id for record in packet.records]
