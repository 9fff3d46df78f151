"""The ledger's lists and counts: each change affects only its own events at its own destination."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pandas as pd
import pytest

from chatlio_kit.connection import Destination
from chatlio_kit.delivery import DestinationLedger, Ledger
from chatlio_kit.delivery.bulk.lots import Lot, Lots
from chatlio_kit.delivery.ledger import erasure, lookup
from chatlio_kit.delivery.ledger.encoding import from_milliseconds, key_parameters, to_milliseconds
from chatlio_kit.delivery.ledger.models import (
    FORGOTTEN_SOURCE,
    DeadLetter,
    Delivered,
    EventRef,
    FateCounts,
    Gone,
    ProcessedFile,
    Readback,
    Refused,
)
from chatlio_kit.delivery.ledger.slack import SlackConversations
from chatlio_kit.slack import Sent, conversation_id
from chatlio_kit.tables.explorer import Status

HERE = Destination("local", "org", "prod", "dataset", "name")
THERE = Destination("aep", "org", "dev", "dataset", "other")
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.time = NOW

    def __call__(self) -> datetime:
        """Return the time."""
        return self.time


class Two:
    """A ledger with the same six events at two destinations; a test changes the first one only.

    Events 0 and 1 are delivered, 2 and 3 dead letters (only 2 with its record), 4 and 5 pending.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.ledger, self.clock = ledger, Clock()
        self.here, self.there = (DestinationLedger(ledger, where, self.clock) for where in (HERE, THERE))
        for destination in (self.there, self.here):
            run = destination.begin_run(NOW)
            rows = destination.insert_pending(run, _events()).tolist()
            destination.record_answers(
                [Delivered(3, {rows[0]: "x:0", rows[1]: "x:1"})],
                [
                    Refused(rows[2], 4, DeadLetter(_id(2), "refused_400", "no", b'{"n":2}')),
                    Refused(rows[3], 4, DeadLetter(_id(3), "refused_422", "never")),
                ],
                [rows[4]],
            )
        self.before = self.rows(self.there)

    def rows(self, destination: DestinationLedger) -> list[tuple[object, ...]]:
        """Return all data about a destination's events, and its stored records."""
        query = (
            "SELECT event.*, body FROM event LEFT JOIN kept_body USING (destination, event_id)"
            " WHERE destination = ? ORDER BY event_id"
        )
        return self.ledger.fetch_all(query, (destination.id,))

    def land(self, numbers: list[int], batch: str = "batch", *, read: int | None = None) -> int:
        """Read a batch with these events; return the read's number."""
        landings = self.here.landings
        read = landings.begin_read(self.clock.time) if read is None else read
        landings.mark_landed(read, batch, [[_id(number) for number in numbers]])
        return read


def _id(number: int) -> str:
    return sha256(str(number).encode()).hexdigest()


def _events() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "event_id": [_id(number) for number in range(6)],
            "kind": ["feedback", "transcript"] * 3,
            "payload_digest": [_id(-number) for number in range(6)],
            "source_file": ["b.json", "a.json", "b.json", "a.json", "c.zip!d.json", "a.json"],
            "source_record": [9, 8, 7, 6, 5, 4],
        }
    ).astype(dict.fromkeys(("event_id", "kind", "payload_digest", "source_file"), "str"))


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Two]:
    """Open a ledger of two destinations; the other destination stays unchanged."""
    with Ledger(tmp_path) as ledger:
        both = Two(ledger)
        yield both
        assert both.rows(both.there) == both.before


def _numbers(refs: list[EventRef]) -> list[int]:
    names = {_id(number): number for number in range(6)}
    return [names[ref.event_id] for ref in refs]


def test_events_are_listed_and_counted_by_their_fates(two: Two) -> None:
    """Lists are ordered and limited; counts are those of the fates."""
    here = two.here
    assert here.counts() == FateCounts(2, 2, 2)
    assert here.counts_by_kind() == {"feedback": FateCounts(1, 1, 1), "transcript": FateCounts(1, 1, 1)}
    assert here.counts(1) == here.counts()
    assert here.counts(2) == FateCounts()
    assert here.counts().as_dict() == {"delivered": 2, "dead_lettered": 2, "pending": 2, "landed": 0}
    assert here.dead_by_reason() == here.dead_by_reason(1) == {"refused_400": 1, "refused_422": 1}
    assert here.dead_by_reason(2) == {}
    assert _numbers(here.missing(9)) == [1, 0]
    assert _numbers(here.missing(1)) == [1]
    assert _numbers(here.dead_letters(9)) == [2, 3]
    assert _numbers(here.dead_letters(1)) == [2]
    (letter, other) = here.dead_letters(2)
    assert letter == EventRef(_id(2), "feedback", "b.json", 7, None, "refused_400", "no")
    assert letter.location == "b.json record 7"
    assert here.dead_letter_samples() == {"refused_400": letter, "refused_422": other}
    assert _numbers(here.dead_letters_without_body()) == [3]
    assert here.dead_letters_without_body("refused_400") == []
    assert _numbers(here.dead_letters_without_body("refused_422")) == [3]
    every = [_id(number) for number in range(6)]
    assert (here.count_landed(every), here.count_under_way(every), here.count_under_way(every[1:])) == (
        0,
        2,
        1,
    )
    two.land([0])
    assert (here.count_landed(every), here.count_under_way(every), here.count_landed(every[1:])) == (1, 1, 0)
    assert _numbers(here.missing(9)) == [1]
    assert here.counts().under_way == 1
    assert set(here.settled(every)) == set(every[:4])
    assert (here.settled(every)[_id(2)].file, here.settled(every)[_id(2)].record) == ("b.json", 7)


def test_missing_events_accepted_within_a_period_are_lost(two: Two) -> None:
    """The time includes its beginning and not its end; what landed, or is of another kind, stays."""
    here = two.here
    assert here.count_missing_before(NOW) == 0
    assert here.count_missing_before(NOW + timedelta(milliseconds=1)) == 2
    here.mark_lost("feedback", NOW - HOUR, NOW, "lost", "why")
    here.mark_lost("feedback", NOW + timedelta(milliseconds=1), NOW + HOUR, "lost", "why")
    here.mark_lost("offline_message", NOW, NOW + HOUR, "lost", "why")
    assert here.counts().dead_lettered == 2
    two.land([1])
    here.mark_lost("transcript", NOW, NOW + HOUR, "lost", "why")
    assert here.counts().dead_lettered == 2
    here.mark_lost("feedback", NOW, NOW + HOUR, "lost", "why")
    assert here.dead_by_reason() == {"lost": 1, "refused_400": 1, "refused_422": 1}
    assert here.dead_letter_samples()["lost"].answer == "why"


def test_records_are_sent_again_as_they_were(two: Two) -> None:
    """Dead letters and records that a replay left pending, in chunks; never delivered events."""
    here = two.here
    here.mark_failed("failed", [DeadLetter(_id(0), "failed", "why", b'{"n":0}')])
    assert [[one.body for one in chunk] for chunk in here.retryable_records(chunk_rows=1)] == [
        [b'{"n":0}'],
        [b'{"n":2}'],
    ]
    assert [len(chunk) for chunk in here.retryable_records()] == [2]
    assert [one.event_id for chunk in here.retryable_records("failed") for one in chunk] == [_id(0)]
    run = here.begin_run(NOW + HOUR)
    assert (run, here.last_run(), here.first_sent_at()) == (2, 2, to_milliseconds(NOW))
    here.requeue(run, [_id(1), _id(2)])
    assert here.counts() == FateCounts(1, 2, 3)
    assert here.counts(2) == FateCounts(pending=1)
    assert len([one for chunk in here.retryable_records() for one in chunk]) == 2
    two.land([2])
    assert [one.event_id for chunk in here.retryable_records() for one in chunk] == [_id(0)]
    assert here.counts() == FateCounts(2, 2, 2, 1)


def test_landed_events_cannot_fail_and_forgotten_ones_keep_no_answer(two: Two) -> None:
    """Neither the record nor the answer of a forgotten event is kept again."""
    here = two.here
    erasure.erase_events(two.ledger, [_id(1)])
    two.before = two.rows(two.there)
    two.land([0])
    here.mark_failed("failed", [DeadLetter(_id(number), "failed", "why", b"{}") for number in (0, 1)])
    refs = {ref.event_id: ref for ref in here.dead_letters(9)}
    assert _id(0) not in refs
    assert (refs[_id(1)].reason, refs[_id(1)].answer, refs[_id(1)].file) == ("failed", None, FORGOTTEN_SOURCE)
    assert [one.event_id for chunk in here.retryable_records() for one in chunk] == [_id(2)]
    known = here.landings.batch("failed")
    assert known is not None
    assert (known.state, known.rows, known.is_read) == ("failed", 0, False)


def test_events_missing_in_a_full_read_are_gone_with_a_reason(two: Two) -> None:
    """Rows of a reverted batch, of no batch, and of a forgotten person; only some are requeued."""
    here, landings = two.here, two.here.landings
    first = two.land([0, 0, 2], "reverted")
    two.land([1], "kept", read=first)
    landings.finish_read(first, NOW)
    assert (landings.row_count(), set(landings.batches_with_events())) == (4, {"reverted", "kept"})
    assert landings.last_readback() == Readback(NOW)
    assert not landings.needs_full_read()
    landings.mark_batch("reverted", Gone.REVERTED, "it was reverted")
    assert landings.batches_with_events() == ["kept"]
    assert landings.last_readback().unreadable == {"reverted": "it was reverted"}
    second = landings.begin_read(NOW + HOUR)
    assert second == first + 1
    landings.mark_gone(second, Gone.UNKNOWN)
    assert landings.gone_by_reason() == landings.gone_by_reason(1) == {"batch_reverted": 2, "unknown": 1}
    assert landings.gone_by_reason(2) == {}
    assert _numbers(here.gone(9)) == [2, 0, 1]
    assert _numbers(here.gone(1)) == [2]
    assert here.counts() == FateCounts(3, 1, 2, 0, 3)
    run = here.begin_run(NOW)
    assert here.requeue_gone(run, "batch_reverted") == {("feedback", "b.json"): 2}
    assert here.counts() == FateCounts(1, 1, 4, 0, 1)
    assert here.counts(run) == FateCounts(pending=2)
    assert here.requeue_gone(run) == {("transcript", "a.json"): 1}


def test_erased_events_are_not_requeued(two: Two) -> None:
    """A person's rows are gone because they were erased, whatever the batch's state."""
    here, landings = two.here, two.here.landings
    two.land([0, 1])
    erasure.erase_events(two.ledger, [_id(0)])
    two.before = two.rows(two.there)
    assert landings.needs_full_read()
    second = two.land([1])
    landings.mark_gone(second, Gone.UNKNOWN)
    assert landings.gone_by_reason() == {"erased": 1}
    assert here.requeue_gone(here.begin_run(NOW)) == {}
    assert here.counts() == FateCounts(2, 2, 2, 1, 1)


def test_deleting_a_dataset_deletes_every_row(two: Two) -> None:
    """Batches that failed have failed still."""
    here, landings = two.here, two.here.landings
    two.land([0])
    landings.mark_batch("failed", "failed", "why")
    landings.mark_dataset_deleted(landings.begin_read(NOW))
    assert landings.gone_by_reason() == {"dataset_deleted": 2}
    assert landings.row_count() == 0
    known = [landings.batch(name) for name in ("batch", "failed")]
    assert [one.state for one in known if one] == ["dataset_deleted", "failed"]
    assert landings.last_readback().unreadable == {"failed": "why"}
    assert (here.counts().gone, here.counts().under_way) == (2, 0)


def test_an_event_that_is_sent_again_has_left_its_first_batch(two: Two, tmp_path: Path) -> None:
    """When that batch is reverted, the event is under way in another one."""
    here, landings, lots = two.here, two.here.landings, Lots(two.here, tmp_path)
    run = here.begin_run(NOW)
    rows = here.insert_pending(run, _events().iloc[4:].reset_index(drop=True), 1).tolist()
    lot = Lot(run, 1, 1, "external", "loaded", "written", 1, min(rows), max(rows))
    lots.add(lot)
    lots.settle(lot, [])
    here.mark_lost("feedback", NOW - HOUR, NOW + HOUR, "lost_after_acceptance", "no row")
    here.requeue(here.begin_run(NOW), [_id(4)])
    here.record_answers([Delivered(1, {rows[0]: "x:4"})])
    landings.mark_batch("loaded", Gone.REVERTED)
    landings.mark_gone(landings.begin_read(NOW), Gone.UNKNOWN)
    assert [event.event_id for event in here.gone(9)] == [_id(5)]


def test_a_later_read_that_does_not_look_again_is_reported(two: Two) -> None:
    """Landed events that only an older read found, and when that was."""
    landings = two.here.landings
    assert landings.last_readback() == Readback()
    first = two.land([0, 1])
    landings.finish_read(first, NOW)
    two.clock.time = NOW + HOUR
    second = two.land([1], "other")
    landings.finish_read(second, NOW + HOUR)
    found = landings.last_readback()
    assert found == Readback(NOW + HOUR, 1, NOW)
    assert found.as_dict() == {
        "read_back_at": "2026-01-01T13:00:00.000Z",
        "not_read_again": 1,
        "not_read_again_since": "2026-01-01T12:00:00.000Z",
        "unreadable_batches": [],
    }
    assert len(found.sentences()) == 2
    assert Readback().sentences() == []
    problems = {f"batch-{number}": "it is damaged" for number in range(6)}
    assert len(Readback(unreadable=dict(list(problems.items())[:5])).sentences()) == 5
    assert Readback(unreadable=problems).sentences()[5:] == ["1 more batch cannot be read; --json lists all."]


def test_an_acceptance_in_the_future_is_now(two: Two) -> None:
    """A clock that is wrong by five minutes is accepted, one that is wrong by more is not."""
    query = "SELECT max(settled_at) FROM event WHERE destination = ?"
    for ahead, written in ((timedelta(minutes=5), NOW - timedelta(minutes=5)), (timedelta(minutes=6), None)):
        two.here.landings.begin_read(NOW - ahead)
        expected = NOW if written else NOW - ahead
        assert two.ledger.fetch_all(query, (two.here.id,)) == [(to_milliseconds(expected),)]


def test_transcripts_of_other_files_are_counted(two: Two) -> None:
    """Of this destination, and not those of the export itself or of a file inside it."""
    slack = SlackConversations(two.here)
    assert [slack.from_other_files(name) for name in ("b.json", "a.json", "c.zip")] == [3, 0, 3]


def test_slack_conversations_are_known_by_destination_and_channel(two: Two) -> None:
    """A shorter export does not shorten one; a webhook that names one gives it a second id."""
    here, there = SlackConversations(two.here), SlackConversations(two.there)
    one, other = (Sent(channel, "1.0", "2.0", conversation_id(channel, "1.0")) for channel in ("C1", "C2"))
    named, sent_as_named = replace(one, webhook_id="w", has_event=False), replace(other, webhook_id="w")
    for last_ts in ("2.0", "4.0", "3.0"):
        assert here.record([replace(one, last_ts=last_ts)]) == []
    assert here.record([sent_as_named]) == there.record([sent_as_named]) == there.record([named]) == []
    assert here.known("C1") == [replace(one, last_ts="4.0")]
    assert (here.known("C2"), here.known("C3"), there.known("C1")) == ([other], [], [one])
    for _ in range(2):
        assert here.record([named, sent_as_named]) == [named]


def test_a_file_with_pending_events_is_read_again(two: Two) -> None:
    """So is the whole archive of a member, and only at this destination."""
    here = two.here
    files = [ProcessedFile(name, f"mark-{name}", 3) for name in ("a.json", "b.json", "c.zip", "d.json")]
    here.record_processed_files(files)
    names = [file.name for file in files]
    assert here.processed_files(names) == {"b.json": files[1], "d.json": files[3]}
    assert here.processed_files(["b.json"]) == {}  # it may hold what is pending, under a new name
    assert two.there.processed_files(names) == {}


def test_the_canary_is_remembered_for_its_flow(two: Two) -> None:
    """At its own destination."""
    two.here.mark_canary_passed("flow")
    passed = [one.has_passed_canary(flow) for one in (two.here, two.there) for flow in ("flow", "other")]
    assert passed == [True, False, False, False]


def test_an_event_is_found_at_every_destination(two: Two) -> None:
    """With its batch and the reads; the explorer shows the one that needs attention most."""
    first = two.land([0])
    two.here.landings.finish_read(first, NOW)
    there, here = sorted(lookup.find_events(two.ledger, [_id(0)]), key=lambda entry: entry.landed)
    assert (here.destination, there.destination) == (HERE, THERE)
    assert (here.status, there.status) == (Status.LANDED, Status.SENT)
    assert (here.batch_id, here.batch_state, here.found_at, here.read_at) == ("batch", "read", NOW, NOW)
    assert (there.batch_id, there.batch_state, there.found_at, there.read_at) == (None,) * 4
    assert (here.run, here.request, here.attempts, here.file, here.record) == (1, 3, 1, "b.json", 9)
    assert (here.transaction_id, here.reason, here.answer, here.settled_at) == ("x:0", None, None, NOW)
    assert not here.is_forgotten
    both, mine = lookup.LedgerStatuses(two.ledger), lookup.LedgerStatuses(two.ledger, HERE)
    order = list(Status)
    shown = min((here, there), key=lambda entry: order.index(entry.status))
    assert both.statuses([_id(0)])[_id(0)][0] == shown.status
    assert mine.statuses([_id(0), _id(2)]) == {
        _id(0): (Status.LANDED, f"{HERE}: batch batch"),
        _id(2): (Status.DEAD_LETTERED, f"{HERE}: refused_400"),
    }
    assert lookup.find_ids_at(two.ledger, "b.json", 9) == lookup.find_ids_at(two.ledger, "x/b.json", 9)
    assert lookup.find_ids_at(two.ledger, "b.json", 8) == []


def test_a_person_is_erased_at_every_destination(two: Two) -> None:
    """Pending events become dead letters; other people's events do not change."""
    ids = [_id(0), _id(2), _id(4)]
    assert erasure.count_rows(two.ledger, ids) == 6
    assert erasure.sent_elsewhere(two.ledger, ids) == {THERE: 1}
    assert erasure.answers_to(two.ledger, ids) == {"no"}
    erasure.erase_events(two.ledger, ids)
    for destination in (two.here, two.there):
        assert destination.counts() == FateCounts(2, 3, 1)
        assert destination.dead_by_reason() == {"forgotten": 1, "refused_400": 1, "refused_422": 1}
        assert [ref.file for ref in destination.dead_letters(9)][:2] == [FORGOTTEN_SOURCE] * 2
        assert list(destination.retryable_records()) == []
        assert two.ledger.fetch_all(
            "SELECT count(*) FROM event WHERE destination = ? AND source_file = ? AND source_record = 0"
            " AND answer IS NULL AND transaction_id IS NULL AND readback IS NULL",
            (destination.id, FORGOTTEN_SOURCE),
        ) == [(3,)]
    two.before = two.rows(two.there)


def test_invalid_times_and_ids_match_nothing() -> None:
    """An id in another form is not an event; a time before any read is missing."""
    assert from_milliseconds(None) is None
    assert from_milliseconds(-1) is None
    assert from_milliseconds(to_milliseconds(NOW)) == NOW
    assert key_parameters([_id(1), "x"])["keys"] == bytes.fromhex(_id(1))
