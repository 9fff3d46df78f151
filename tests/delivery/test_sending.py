"""Sending, with possible answers of a platform, to a function in place of an inlet."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable

import pytest

from chatlio_kit.aep import Reply
from chatlio_kit.delivery.requests import sending
from chatlio_kit.delivery.requests.pacing import Pace
from chatlio_kit.delivery.requests.packing import RequestBody, pack
from chatlio_kit.delivery.requests.sending import Outcome, Sender
from chatlio_kit.delivery.requests.wire import WireRecord
from chatlio_kit.errors import LedgerError, Unreachable

RECORDS = [WireRecord(f"e{number}", json.dumps({"n": number}).encode()) for number in range(40)]


class Inlet:
    """An inlet that counts accepted records; ``answer`` decides its answers."""

    def __init__(self, answer: Callable[[int, list[int]], Reply | Exception | None]) -> None:
        self._answer = answer
        self.lock = threading.Lock()
        self._asked = 0
        self.accepted: Counter[str] = Counter()
        self.singles = 0

    def post_batch(self, body: bytes) -> Reply:
        """Accept a batch, or return what ``answer`` decides."""
        numbers = [message["n"] for message in json.loads(body)["messages"]]
        with self.lock:
            self._asked += 1
            said = self._answer(self._asked, numbers)
            if said is None:
                self.accept(numbers)
                return taken(numbers)
        if isinstance(said, Exception):
            raise said
        return said

    def post_single(self, body: bytes) -> Reply:
        """Take one record."""
        number = json.loads(body)["n"]
        with self.lock:
            self.singles += 1
            self.accept([number])
        return _reply(200, {"inletId": "i", "xactionId": f"1:2:{number}"})

    def accept(self, numbers: Iterable[int]) -> None:
        """Remember that these were accepted."""
        self.accepted.update(f"e{number}" for number in numbers)


def taken(numbers: list[int]) -> Reply:
    """A full success."""
    return _reply(207, {"responses": [{"xactionId": f"1:2:3:{place}"} for place in range(len(numbers))]})


def _reply(status: int, body: object, **headers: str) -> Reply:
    return Reply(status, json.dumps(body).encode(), headers)


def _silence() -> Unreachable:
    return Unreachable("Streaming ingestion", "take the batch", "the connection was reset")


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between tries are kept out of these tests."""
    monkeypatch.setattr(sending, "pause_before", lambda tries, retry_after: 0.0)


def _send(inlet: Inlet, packets: list[RequestBody] | None = None) -> Outcome:
    outcomes: list[Outcome] = []
    with Sender(Pace(1e9, 1e9), outcomes.append) as sender:
        sender.send(inlet, packets or list(pack(RECORDS, 120)))
        sender.finish()
    total = Outcome.sum(outcomes)
    reported = [*_delivered(total), *(each.row for each in total.refused), *total.pending]
    assert sorted(reported) == list(range(len(RECORDS)))
    numbers = {each.request for each in (*total.delivered, *total.refused)}
    assert numbers <= set(range(1, total.requests + 1))
    return total


def _delivered(total: Outcome) -> list[int]:
    return [row for each in total.delivered for row in each.transactions]


def test_every_record_is_delivered_once() -> None:
    """Every record is delivered once and carries its transaction id."""
    inlet = Inlet(lambda asked, numbers: None)
    total = _send(inlet)
    assert set(inlet.accepted.values()) == {1}
    assert len(_delivered(total)) == 40
    assert (total.retries, total.pending, total.refused) == (0, [], [])


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_temporary_failure_is_retried(status: int) -> None:
    """Every third request fails temporarily; everything arrives, once."""
    inlet = Inlet(lambda asked, numbers: _reply(status, {}) if asked % 3 == 0 else None)
    total = _send(inlet)
    assert set(inlet.accepted.values()) == {1}
    assert len(_delivered(total)) == 40
    assert total.retries > 0


@pytest.mark.parametrize("status", [429, 503])
def test_throttling_cuts_the_pace_of_all(status: int) -> None:
    """The workers share one pace, and the outcome counts the answer."""
    inlet = Inlet(lambda asked, numbers: _reply(status, {}) if asked == 1 else None)
    outcomes: list[Outcome] = []
    pace = Pace(1e9, 1e9)
    with Sender(pace, outcomes.append) as sender:
        sender.send(inlet, pack(RECORDS))
        sender.finish()
    assert pace.share < 1
    assert Outcome.sum(outcomes).throttled == 1


def test_a_lost_answer_is_requested_again() -> None:
    """A connection that breaks after acceptance duplicates records with the same ids, and loses none."""

    def answer(asked: int, numbers: list[int]) -> Exception | None:
        if asked % 4:
            return None
        inlet.accept(numbers)
        return _silence()

    inlet = Inlet(answer)
    total = _send(inlet)
    assert len(_delivered(total)) == 40
    assert set(inlet.accepted.values()) == {1, 2}


def test_records_without_an_answer_are_counted() -> None:
    """Every attempt counts: each may have put the records into the lake."""

    def answer(asked: int, numbers: list[int]) -> Reply | None:
        if asked > 2:
            return None
        return _reply(207, {"responses": [{"xactionId": "1:2:3:0"}]})

    total = _send(Inlet(answer), list(pack(RECORDS)))
    assert len(_delivered(total)) == 40
    assert total.unanswered == 39 + 38  # an answer holds one verdict each time


def test_records_that_are_refused_for_now_are_not_unanswered() -> None:
    """The platform did not accept them, so the lake cannot hold them twice."""
    total = _send(
        Inlet(
            lambda asked, numbers: (
                _reply(207, {"responses": [{"status": 503} for _ in numbers]}) if asked < 3 else None
            )
        ),
        list(pack(RECORDS)),
    )
    assert len(_delivered(total)) == 40
    assert (total.retries, total.unanswered) == (2, 0)


def test_pauses_grow_with_each_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failures and throttling answers count together, and at most eight."""
    counts: list[int] = []
    monkeypatch.setattr(sending, "pause_before", lambda tries, retry_after: counts.append(tries) or 0.0)
    _send(Inlet(lambda asked, numbers: _reply(429 if asked % 2 else 500, {})), list(pack(RECORDS)))
    assert counts[:10] == [1, 2, 3, 4, 5, 6, 7, 8, 8, 8]


def test_a_sum_loses_nothing() -> None:
    """The numbers and lists of several outcomes are added, and the first reason to stop is kept."""
    singles = list(pack(RECORDS, most=20))
    one = Outcome(pending=[1], singles=singles[:1], requests=2, retries=3, unanswered=4, throttled=5)
    other = Outcome(
        pending=[2], singles=singles[1:], requests=20, retries=30, unanswered=40, throttled=50, stopped_by="1"
    )
    assert Outcome.sum([one, other, Outcome(stopped_by="2")]) == Outcome(
        pending=[1, 2], singles=singles, requests=22, retries=33, unanswered=44, throttled=55, stopped_by="1"
    )


def test_an_unreachable_platform_leaves_records_pending() -> None:
    """If no attempt succeeds, the records are reported as pending, not as lost or delivered."""
    total = _send(Inlet(lambda asked, numbers: _silence()))
    assert len(total.pending) == 40
    assert _delivered(total) == []


def test_only_the_bad_record_is_rejected() -> None:
    """A request refused with 400 is split until the faulty record is alone."""
    inlet = Inlet(lambda asked, numbers: _reply(400, {"title": "no"}) if 17 in numbers else None)
    total = _send(inlet, list(pack(RECORDS)))
    assert [(each.letter.event_id, each.letter.reason) for each in total.refused] == [("e17", "refused_400")]
    assert set(inlet.accepted.values()) == {1}
    assert len(_delivered(total)) == 39


def test_a_request_that_is_too_large_is_split() -> None:
    """A 413 halves the request; a record that is too large by itself is a dead letter."""

    def answer(asked: int, numbers: list[int]) -> Reply | None:
        return _reply(413, {}) if len(numbers) > 5 or 3 in numbers else None

    total = _send(Inlet(answer), list(pack(RECORDS)))
    assert [(each.letter.event_id, each.letter.reason) for each in total.refused] == [("e3", "too_large")]
    assert len(_delivered(total)) == 39


def test_a_refused_element_is_a_dead_letter_and_its_neighbours_are_not_sent_again() -> None:
    """A 207 that refuses some records delivers the others, and nothing is sent again."""

    def answer(asked: int, numbers: list[int]) -> Reply:
        good = [number for number in numbers if number % 10]
        inlet.accept(good)
        elements = [
            {"xactionId": f"1:2:3:{place}"} if number % 10 else {"statusCode": 400, "message": f"no {number}"}
            for place, number in enumerate(numbers)
        ]
        return _reply(207, {"responses": elements})

    inlet = Inlet(answer)
    total = _send(inlet)
    assert sorted(each.letter.event_id for each in total.refused) == ["e0", "e10", "e20", "e30"]
    assert all("no " in each.letter.answer for each in total.refused)
    assert set(inlet.accepted.values()) == {1}


def test_a_refused_credential_stops_sending() -> None:
    """A 401 ends the run immediately; the rest is pending, and the message names no inlet."""
    body = {"status": "401", "report": {"message": f"inletId: [{'9f' * 32}] Ims service token is empty"}}
    total = _send(Inlet(lambda asked, numbers: _reply(401, body) if asked > 2 else None))
    assert total.pending
    assert total.stopped_by is not None
    assert "9f9f" not in total.stopped_by


def test_sending_waits_until_the_inlet_exists() -> None:
    """A new inlet may be unknown for a while; nothing is lost in the meantime."""
    inlet = Inlet(
        lambda asked, numbers: (
            _reply(404, {"title": "Inlet does not exist (Reference id: 1)"}) if asked < 30 else None
        )
    )
    total = _send(inlet)
    assert len(_delivered(total)) == 40


def test_a_batch_path_that_accepts_no_raw_records() -> None:
    """If all elements ask for the header, all records are posted one by one, each once."""
    said = "The 'header' field is mandatory. Provide a valid 'header' value and try again."

    def answer(asked: int, numbers: list[int]) -> Reply:
        return _reply(207, {"responses": [{"status": 400, "message": said} for _ in numbers]})

    inlet = Inlet(answer)
    total = _send(inlet)
    assert len(_delivered(total)) == inlet.singles == 40
    assert set(inlet.accepted.values()) == {1}


def test_a_redirect_is_not_a_verdict() -> None:
    """A proxy may redirect for a while; no record becomes a dead letter because of that."""
    inlet = Inlet(lambda asked, numbers: _reply(302, {}) if asked % 2 else None)
    assert len(_delivered(_send(inlet))) == 40


def test_an_outcome_that_cannot_be_recorded_ends_sending() -> None:
    """An outcome that cannot be recorded is raised, and nothing more is posted."""
    inlet = Inlet(lambda asked, numbers: None)

    def settle(outcome: Outcome) -> None:
        raise LedgerError("the disk is full")

    packets = [packet for _ in range(20) for packet in pack(RECORDS, 40)]
    with Sender(Pace(1e9, 1e9), settle) as sender, pytest.raises(LedgerError, match="full"):
        sender.send(inlet, packets)
    assert sum(inlet.accepted.values()) < 20 * 40


def test_an_interruption_ends_sending() -> None:
    """An error in the caller stops the workers."""
    pace = Pace(1e9, 1e9)
    with pytest.raises(KeyboardInterrupt), Sender(pace, lambda outcome: None):
        raise KeyboardInterrupt
    assert pace.is_stopped


def test_the_end_waits_for_answers_under_way() -> None:
    """What was posted is recorded, though nothing asked for it to be finished."""

    def answer(asked: int, numbers: list[int]) -> None:
        time.sleep(0.2)

    outcomes: list[Outcome] = []
    with Sender(Pace(1e9, 1e9), outcomes.append) as sender:
        sender.send(Inlet(answer), pack(RECORDS))
    assert len(_delivered(Outcome.sum(outcomes))) == 40


def test_outcomes_are_settled_immediately() -> None:
    """Answers are recorded immediately, not when the next body is sent."""
    settled = threading.Event()
    with Sender(Pace(1e9, 1e9), lambda outcome: settled.set()) as sender:
        sender.send(Inlet(lambda asked, numbers: None), pack(RECORDS))
        assert settled.wait(30)


@pytest.mark.parametrize(
    "said", [_reply(503, {}), _reply(500, {"title": "down"}), _silence(), _reply(404, {})]
)
def test_a_dead_platform_ends_sending(said: Reply | Exception) -> None:
    """Without a verdict for the given time, sending stops: the rest is pending, the reason is reported."""
    inlet = Inlet(lambda asked, numbers: said)
    outcomes: list[Outcome] = []
    pace = Pace(1e9, 1e9)
    with Sender(pace, outcomes.append, patience=0.0) as sender:
        sender.send(inlet, list(pack(RECORDS, 120)))
        sender.finish()
    total = Outcome.sum(outcomes)
    assert pace.is_stopped
    assert sorted(total.pending) == list(range(len(RECORDS)))
    assert "no verdict on any record for 0 seconds" in str(total.stopped_by)


def test_a_platform_is_dead_after_five_attempts_at_least() -> None:
    """A single failure does not end sending, whatever the patience."""
    outcomes: list[Outcome] = []
    with Sender(Pace(1e9, 1e9), outcomes.append, patience=0.0) as sender:
        sender.send(Inlet(lambda asked, numbers: _silence()), pack(RECORDS))
        sender.finish()
    assert Outcome.sum(outcomes).requests == 5


@pytest.mark.parametrize("verdicts", [40, 1], ids=["all", "one"])
def test_a_platform_that_answers_now_and_then_is_not_dead(verdicts: int) -> None:
    """Each verdict resets the patience, even if many requests fail in between."""
    inlet = Inlet(lambda asked, numbers: taken(numbers[:verdicts]) if asked % 4 == 0 else _reply(500, {}))
    outcomes: list[Outcome] = []
    pace = Pace(1e9, 1e9)
    with Sender(pace, outcomes.append, patience=0.0) as sender:
        sender.send(inlet, list(pack(RECORDS)))
        sender.finish()
    assert not pace.is_stopped
    assert len(_delivered(Outcome.sum(outcomes))) == 40
