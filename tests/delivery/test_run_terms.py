"""A run with other options than earlier runs explains the effect on existing rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

import chatlio_kit as ck
from chatlio_kit.aep import Platform
from chatlio_kit.connection import Connection
from chatlio_kit.delivery import Ledger, Page
from chatlio_kit.delivery.ledger.erasure import erase_events
from chatlio_kit.jobs.backfill import backfill
from chatlio_kit.jobs.platforms import settings_of
from chatlio_kit.local_platform import running

Payload = dict[str, Any]
KEYS = ("a key that nobody guesses", "another key that nobody guesses")


@pytest.fixture
def captures(
    tmp_path: Path,
    conversation: Payload,
    ndjson: Callable[[Path, Iterable[Any]], Path],
    envelope: Callable[..., Payload],
) -> Path:
    """Three events whose kind only an option names."""
    records = [envelope({**deepcopy(conversation), "message": f"question {number}"}) for number in range(3)]
    return ndjson(tmp_path / "captures" / "x.ndjson", records)


def _sent(captures: Path, local: Platform, kind: str = "feedback", **terms: str) -> Page:
    return backfill(ck.read_export(captures, kind=kind, **terms), local, quiet=True)


def _notes(page: Page) -> list[str]:
    return [note for note in page.notes if "sent" in note.lower()]


def test_unredacted_events_of_earlier_runs_are_reported(captures: Path, local: Platform) -> None:
    """The page counts events that earlier runs sent with other options, and sends nothing again."""
    assert _notes(_sent(captures, local)) == []
    assert _notes(_sent(captures, local)) == []
    page = _sent(captures, local, redact="mask")
    assert page.counts.duplicates == 3
    (note,) = _notes(page)
    assert "dead letter" not in note
    assert note.startswith(
        "3 events of runs 1 to 2 were sent unredacted; this run's, redacted (pseudonym=mask,"
    )
    (report,) = (local.settings.state / "reports").glob("*-0003")
    assert "were sent unredacted" in (report / "report.html").read_text(encoding="utf-8")
    assert _notes(_sent(captures, local)) == []
    (note,) = _notes(_sent(captures, local, redact="mask"))
    assert note.startswith("3 events of runs 1, 2, 4 were sent unredacted")


def test_dead_letters_are_reported_too(captures: Path, tmp_path: Path) -> None:
    """A replay sends them as they were refused."""
    refusal = {"fault": "partial", "status": 400, "share": 1.0, "dialect": "status", "rate": 1.0}
    faults, state = {"faults": [refusal]}, tmp_path / "state"
    with (
        running(state / "local", enabling_delay=0.02, processing_delay=0.02, faults=faults) as server,
        Platform(settings_of(server, state)) as platform,
    ):
        assert _sent(captures, platform).run.dead_lettered == 3
        (note,) = _notes(_sent(captures, platform, redact="mask"))
    assert note.startswith("3 events of run 1 were sent unredacted")
    assert note.endswith(" 3 dead letters stay unchanged too, also in a replay.")


def test_forgotten_events_are_not_reported(captures: Path, local: Platform) -> None:
    """Nothing of a forgotten event is left to be redacted."""
    _sent(captures, local)
    with Ledger(local.settings.state) as ledger:
        erase_events(ledger, ledger.as_frame()["event_id"][:1])
    (note,) = _notes(_sent(captures, local, redact="mask"))
    assert note.startswith("2 events of run 1 were sent unredacted")


def test_another_key_is_reported(captures: Path, local: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes of two keys do not join; neither key is kept."""
    for key in KEYS:
        monkeypatch.setenv("CHATLIO_KIT_REDACTION_KEY", key)
        page = _sent(captures, local, redact="hash:keyed")
    (note,) = _notes(page)
    assert "with another key" in note
    kept = b"".join(each.read_bytes() for each in local.settings.state.glob("ledger.db*"))
    assert not any(key.encode() in kept for key in KEYS)


def test_frames_bring_no_key(captures: Path, local: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables do not hold the key of their hashes, so nothing is claimed about it."""
    monkeypatch.setenv("CHATLIO_KIT_REDACTION_KEY", KEYS[0])
    _sent(captures, local, redact="hash:keyed")
    tables = ck.read_export(captures, kind="feedback", redact="hash:keyed").to_tables(quiet=True)
    run = ck.stream(tables, ck.open_connection(local), skip_guard=True, quiet=True)
    assert run.counts.duplicates == 3
    assert _notes(run.page) == []


def test_an_older_ledger_has_no_record_of_its_redaction(captures: Path, local: Platform) -> None:
    """Events sent by an earlier version are counted, without a claim about their redaction."""
    _sent(captures, local)
    with Ledger(local.settings.state) as ledger, ledger.transaction() as db:
        db.execute("DELETE FROM run_terms")
    (note,) = _notes(_sent(captures, local, redact="drop"))
    assert "3 events of run 1 were sent in an unrecorded way" in note


def test_another_kind_makes_other_events(captures: Path, local: Platform) -> None:
    """The kind is part of an event's id: under another option, the same records are reported twice."""
    _sent(captures, local)
    page = _sent(captures, local, kind="unanswered")
    assert page.counts.accepted == 3
    (note,) = _notes(page)
    assert "Sent before as other events: 3 records." in note
    assert "--kind feedback" in note
    assert "--kind unanswered" in note


def test_frames_are_reported_too(captures: Path, local: Platform) -> None:
    """Streaming redacted tables reports events that were backfilled unredacted."""
    _sent(captures, local)
    tables = ck.read_export(captures, kind="feedback", redact="mask").to_tables(quiet=True)
    connection: Connection = ck.open_connection(local)
    run = ck.stream(tables, connection, skip_guard=True, quiet=True)
    assert any("3 events of run 1 were sent unredacted" in note for note in run.page.notes)


@pytest.mark.parametrize(
    ("page", "sentence"),
    [
        (Page("d", throttled=1), "The platform throttled requests once; sending slowed down."),
        (Page("d", throttled=3), "The platform throttled requests 3 times; sending slowed down."),
        (
            Page("d", people={"for Profile": 5, "no identity": 2, "too large for Profile": 1}),
            "In the lake but not in Profile: 2 without an identity, 1 too large for Profile.",
        ),
        (
            Page("d", people={"with an identity": 5, "no identity": 2}),
            "A record delete cannot find 2 without an identity.",
        ),
    ],
)
def test_a_page_says_it_in_plain_words(page: Page, sentence: str) -> None:
    """How often the platform slowed a run down, and which events are of no use for identities."""
    assert sentence in page.sheet().notes


def test_a_page_without_anything_to_say_has_two_equations() -> None:
    """Nothing is reported that did not happen."""
    assert Page("d").sheet().notes == [
        "read 0 = accepted 0 + rejected 0 + duplicates 0",
        "accepted 0 = delivered 0 + dead-lettered 0 + pending 0",
    ]


def test_a_corrected_time_does_not_replace_the_earlier_one(
    tmp_path: Path, local: Platform, conversation: Payload, ndjson: Callable[[Path, Iterable[Any]], Path]
) -> None:
    """A conversation's start has the same id whatever its time, so the page says that it stays as it was."""
    row = {"at": 1_710_144_000_000, "body": conversation}
    captures = ndjson(tmp_path / "captures" / "x.ndjson", [row])
    kind = "conversation_started"
    _sent(captures, local, kind, fields="payload=body", undated_as="2024-03-01T00:00:00Z")
    page = _sent(captures, local, kind, fields="payload=body,received-milliseconds=at")
    assert page.counts.duplicates == 1
    (note,) = _notes(page)
    assert note.startswith("Unchanged: 1 event of these files, sent by earlier runs.")
    assert "--undated-as 2024-03-01T00:00:00+00:00 --fields payload=body," in note
    assert "--fields payload=body,received-milliseconds=at. An event is sent once" in note
