"""Bugs injected into the delivery, and a short history that exposes each.

The histories here were written by hand. ``soak_histories.py --bugs`` looks for each bug at random and prints
what it shrinks to; docs/evidence.md lists those that were found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from history_machine import Histories

from chatlio_kit.aep.http import Reply
from chatlio_kit.delivery.ledger import erasure, landings
from chatlio_kit.delivery.ledger.ledger import Ledger
from chatlio_kit.delivery.ledger.models import Delivered
from chatlio_kit.delivery.requests.sending import Outcome, Sender
from chatlio_kit.local_platform.ingestion.routes import Inbox

History = Callable[[Histories], None]


@contextmanager
def _answered_before_sent() -> Iterator[None]:
    deliver = Sender._deliver_and_record

    def early(self: Sender, inlet: Any, body: Any) -> Any:
        rows = dict.fromkeys(body.records.rows.tolist(), "early")
        self._record(Outcome(delivered=[Delivered(0, rows)]))
        return deliver(self, inlet, body)

    with patch.object(Sender, "_deliver_and_record", early):
        yield


@contextmanager
def _acknowledged_before_commit() -> Iterator[None]:
    accept = Inbox.accept

    async def late(self: Inbox, messages: Any, note: Any) -> None:
        """Answer now, and write with the next request."""
        before = vars(self).get("held")
        vars(self)["held"] = (messages, note)
        if before is not None:
            await accept(self, *before)

    with patch.object(Inbox, "accept", late):
        yield


@contextmanager
def _sql(*changes: tuple[str, str]) -> Iterator[None]:
    """Change the ledger's queries."""
    fetch_all = Ledger.fetch_all

    def changed(self: Ledger, query: str, *rest: Any, **options: Any) -> Any:
        for old, new in changes:
            query = query.replace(old, new)
        return fetch_all(self, query, *rest, **options)

    with patch.object(Ledger, "fetch_all", changed):
        yield


@contextmanager
def _pending_counts_as_settled() -> Iterator[None]:
    with _sql(("AND fate != 'pending' AND event_id IN", "AND event_id IN")):
        yield


@contextmanager
def _forget_leaves_what_is_pending() -> Iterator[None]:
    changed = erasure._ERASE.replace("CASE fate WHEN 'pending' THEN 'dead_lettered' ELSE fate END", "fate")
    with patch.object(erasure, "_ERASE", changed):
        yield


@contextmanager
def _replay_sends_what_is_delivered() -> Iterator[None]:
    kept = patch.object(landings, "_DELETE_LANDED_BODIES", "SELECT ?")
    with _sql(("WHERE destination = ? AND fate != 'delivered'", "WHERE destination = ?")), kept:
        yield


@contextmanager
def _a_repeated_row_counts_once() -> Iterator[None]:
    once = landings._COUNT_ROWS.replace("count(*)", "count(DISTINCT event_id)")
    with patch.object(landings, "_COUNT_ROWS", once):
        yield


@contextmanager
def _replay_does_not_look_first() -> Iterator[None]:
    class Blind:
        def __init__(self, *_: Any) -> None:
            pass

        def read_all(self) -> bool:
            return True

        read_new = read_all

    with patch("chatlio_kit.delivery.replay.DatasetReader", Blind):
        yield


@contextmanager
def _a_lost_answer_counts_as_delivered() -> Iterator[None]:
    post = Sender._post

    def trusting(self: Sender, inlet: Any, part: Any) -> Any:
        answer = post(self, inlet, part)
        if answer.status:
            return answer
        items = ",".join(f'{{"xactionId":"0:0:0:{index}"}}' for index in range(len(part)))
        reply = Reply(207, f'{{"responses":[{items}]}}'.encode(), {})
        return type(answer)(reply.status_code, reply.content)

    with patch.object(Sender, "_post", trusting):
        yield


@dataclass(frozen=True)
class Bug:
    """A bug, and a short history in which it shows.

    Attributes:
        put_in: a context in which the package has the bug.
        history: the history.
        shows: the judge's finding.
    """

    put_in: Callable[[], Any]
    history: History
    shows: str


def _killed_before_a_request(machine: Histories) -> None:
    machine.begin(1)
    machine.stream(("client: before a request", 0))


def _streamed(machine: Histories) -> None:
    machine.begin(1)
    machine.stream()


def _killed_then_forgotten(machine: Histories) -> None:
    machine.begin(1)
    machine.stream(("client: before a request", 0))
    machine.forget(0)


def _killed_then_resumed(machine: Histories) -> None:
    machine.begin(1)
    machine.stream(("client: before a request", 0))


def _replayed_twice(machine: Histories) -> None:
    machine.begin(1)
    machine.fault("refused")
    machine.stream()
    machine.heal()
    machine.replay()
    machine.reconcile()
    machine.replay()


def _doubled_in_one_batch(machine: Histories) -> None:
    machine.begin(1)
    machine.slow()
    machine.fault("the answer is lost")
    machine.stream()
    machine.reconcile()


def _unreadable_for_a_while(machine: Histories) -> None:
    machine.begin(1)
    machine.stream()
    machine.reconcile()
    machine.hide(0)
    machine.reconcile()
    machine.unhide()
    machine.replay_gone(("client: after a commit", 4))
    machine.stream()


def _broken_before(machine: Histories) -> None:
    machine.begin(1)
    machine.fault("the connection breaks before")
    machine.stream()


BUGS: dict[str, Bug] = {
    "an event counts as delivered before it is sent": Bug(
        _answered_before_sent, _killed_before_a_request, "never accepted"
    ),
    "the platform acknowledges before it commits": Bug(
        _acknowledged_before_commit, _streamed, "acknowledged and is not on disk"
    ),
    "forget leaves what is pending": Bug(
        _forget_leaves_what_is_pending, _killed_then_forgotten, "forgotten was sent"
    ),
    "a resumed run takes pending for settled": Bug(_pending_counts_as_settled, _killed_then_resumed, "lost"),
    "replay sends what is delivered": Bug(_replay_sends_what_is_delivered, _replayed_twice, "do not add up"),
    "a repeated row counts once": Bug(_a_repeated_row_counts_once, _doubled_in_one_batch, "rows reported"),
    "replay does not look first": Bug(
        _replay_does_not_look_first, _unreadable_for_a_while, "its acceptance was known"
    ),
    "a lost answer counts as an acceptance": Bug(
        _a_lost_answer_counts_as_delivered, _broken_before, "never accepted"
    ),
}
"""The bugs that the judge must name."""


def play(history: History) -> None:
    """Play one history to its end, with the judge after it."""
    machine = Histories()
    try:
        history(machine)
        machine.nothing_forbidden_was_seen()
    except BaseException:
        machine.abandon()
        raise
    machine.teardown()
