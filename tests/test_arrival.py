"""Rows on the platform equal the frames, on every route."""

from __future__ import annotations

import time
from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import requests

import chatlio_kit as ck
from chatlio_kit.aep import Platform
from chatlio_kit.chatlio.catalogue import MESSAGES_KEY, Dtype, nested_fields, sent_fields
from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.connection import Connection
from chatlio_kit.tables import Tables, revalidate

Payload = dict[str, Any]
Lake = Callable[[Connection], list[Payload]]

TENANT = "_acmechat"


@pytest.fixture
def connection(local: Platform) -> Connection:
    """A connection, made."""
    return ck.plan_connection(local).apply()


@pytest.fixture
def tables(documented: Path) -> Tables:
    """The documented samples, one event of each kind, converted."""
    return ck.read_export(documented).to_tables(quiet=True)


def _plain(row: Any, fields: Any) -> Payload:
    """Return a frame's row as it should land: nulls left out, times truncated to the millisecond."""
    landed = {}
    for field in fields:
        value = row[field.name]
        if pd.isna(value) or (field.name == "origin" and value == "webhook"):  # expressed by its absence
            continue
        landed[field.name] = (
            value.floor("ms").to_pydatetime()
            if field.dtype is Dtype.TIME
            else getattr(value, "item", lambda v=value: v)()
        )
    return landed


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(inside) for key, inside in value.items() if inside is not None}
    if isinstance(value, list):
        return [_without_nulls(inside) for inside in value]
    return value


def _expected(tables: Tables) -> dict[str, Payload]:
    built = revalidate(tables.events, tables.messages)
    rows = {}
    for _, event in built.events.iterrows():
        plain = _plain(event, sent_fields())
        row = {"_id": plain.pop("event_id"), "timestamp": plain.pop("occurred_at")}
        row["eventType"] = f"chatlio.{plain.pop('kind')}"
        messages = built.messages[built.messages["event_id"] == event["event_id"]]
        if len(messages):
            plain[MESSAGES_KEY] = [_plain(message, nested_fields()) for _, message in messages.iterrows()]
        rows[row["_id"]] = {**row, TENANT: {"chatlio": plain}}
    return rows


def test_rows_read_back_equal_the_frames_field_by_field(
    connection: Connection, tables: Tables, lake: Lake
) -> None:
    """Every column of every accepted event is in its row, ``_id``, ``timestamp``, ``eventType`` too."""
    page = ck.stream(tables, connection, quiet=True).reconcile()
    assert page.exit_code == 0
    landed = {row["_id"]: _without_nulls(row) for row in lake(connection)}
    assert landed == _expected(tables)
    assert len(landed) == 5


def test_the_frames_are_sent_unchanged(connection: Connection, tables: Tables, lake: Lake) -> None:
    """The edited frames are sent, with a dropped visitor and masked columns, and nothing else."""
    other = tables.events[tables.events["kind"] == "offline_message"].assign(
        event_id=sha256(b"other").hexdigest(), visitor_id="00000000-0000-4000-4000-000000000001"
    )
    events = pd.concat([tables.events, other], ignore_index=True)
    kept = events[events["visitor_id"] != "5b0c7d1e-9a34-4e2f-6c18-b2f09d41a7e3"].copy()
    kept["contact_email"] = kept["contact_email"].where(kept["contact_email"].isna(), "masked@example.org")
    tables.events = kept
    tables.messages["text"] = "***"
    run = ck.stream(tables, connection, quiet=True)
    assert (run.page.counts.accepted, run.reconcile().run.landed) == (2, 2)
    landed = {row["_id"]: _without_nulls(row) for row in lake(connection)}
    assert landed == _expected(tables)
    inside = [row[TENANT]["chatlio"] for row in landed.values()]
    assert {each.get("contact_email") for each in inside} == {None, "masked@example.org"}
    assert {message["text"] for each in inside for message in each.get("chat_messages", [])} == {"***"}


def test_the_events_frame_by_itself_is_sent_unchanged(
    connection: Connection, tables: Tables, lake: Lake
) -> None:
    """The frame events alone is sent without messages, and the page says so."""
    run = ck.stream(tables.events, connection, quiet=True)
    assert run.reconcile().run.landed == 5
    assert "without 2 messages" in repr(run)
    assert all("chat_messages" not in _without_nulls(row)[TENANT]["chatlio"] for row in lake(connection))


def test_only_messages_of_sent_events_are_reported_missing(connection: Connection, tables: Tables) -> None:
    """A rejected transcript is not sent, so its messages are not reported as missing."""
    wrong = tables.events[tables.events["kind"] == "transcript"].assign(
        event_id=sha256(b"other").hexdigest(), ip_address="nowhere"
    )
    run = ck.stream(pd.concat([tables.events, wrong], ignore_index=True), connection, quiet=True)
    assert (run.page.counts.accepted, run.page.counts.rejected) == (5, 1)
    assert "without 2 messages" in repr(run)


def _post(connection: Connection, kind: Kind, payload: Payload) -> None:
    """Post a webhook as Chatlio does: JSON to the URL that was pasted into its field, no other headers."""
    reply = requests.post(connection.live[kind].webhook_url.reveal(), json=payload, timeout=10)
    assert reply.status_code == 200, reply.text


def _wait_for_rows(connection: Connection, lake: Lake, count: int) -> list[Payload]:
    deadline = time.monotonic() + 20
    while len(rows := lake(connection)) < count and time.monotonic() < deadline:
        time.sleep(0.05)
    return rows


def test_live_and_file_give_one_event(
    connection: Connection, tables: Tables, lake: Lake, transcript: Payload, conversation: Payload
) -> None:
    """A transcript and a conversation start land with the same ``_id`` live and from a file."""
    _post(connection, Kind.TRANSCRIPT, transcript)
    _post(connection, Kind.CONVERSATION_STARTED, conversation)
    live = {row["eventType"]: row for row in _wait_for_rows(connection, lake, 2)}
    by_kind = tables.events.set_index("kind")
    for kind in ("transcript", "conversation_started"):
        assert live[f"chatlio.{kind}"]["_id"] == by_kind.loc[kind, "event_id"]
    row = _without_nulls(live["chatlio.transcript"])
    assert row["timestamp"] == datetime(2024, 3, 11, 8, 3, 10, tzinfo=UTC)
    texts = [message["text"] for message in row[TENANT]["chatlio"]["chat_messages"]]
    assert texts == ["Is the beta open?", "Yes, since today."]
    ck.stream(tables, connection, quiet=True).reconcile()
    assert len({row["_id"] for row in lake(connection)}) == 5


def test_each_webhook_lands_as_its_own_kind(
    connection: Connection, lake: Lake, conversation: Payload, offline: Payload
) -> None:
    """Three similar payloads, and an offline message, are distinguished by their URLs."""
    before = datetime.now(UTC)
    _post(connection, Kind.UNANSWERED, conversation)
    _post(connection, Kind.FEEDBACK, {**deepcopy(conversation), "message": "Great!"})
    _post(connection, Kind.OFFLINE_MESSAGE, offline)
    rows = {row["eventType"]: _without_nulls(row) for row in _wait_for_rows(connection, lake, 3)}
    assert set(rows) == {"chatlio.unanswered", "chatlio.feedback", "chatlio.offline_message"}
    assert rows["chatlio.feedback"][TENANT]["chatlio"]["message"] == "Great!"
    assert rows["chatlio.offline_message"][TENANT]["chatlio"]["contact_email"] == "ana@example.org"
    assert all(abs((row["timestamp"] - before).total_seconds()) < 60 for row in rows.values())


@pytest.mark.parametrize(
    "ended_at", ["2024-03-11T09:03:10Z", "2024-03-11T09:03:10.5-08:00", "2024-03-11T09:03:10.000900030+01:00"]
)
def test_live_times_survive_any_decimals_and_offset(
    connection: Connection, lake: Lake, transcript: Payload, ended_at: str
) -> None:
    """The live timestamp is the second in which the chat ended, whatever form its time has."""
    _post(connection, Kind.TRANSCRIPT, {**transcript, "endedAt": ended_at})
    (row,) = _wait_for_rows(connection, lake, 1)
    assert row["timestamp"] == pd.Timestamp(ended_at).floor("s").tz_convert("UTC").to_pydatetime()
    expected = sha256(f"transcript|{transcript['conversationUUID']}|{ended_at}".encode()).hexdigest()
    assert row["_id"] == expected
