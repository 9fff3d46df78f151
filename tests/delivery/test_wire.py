"""Wire records."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatlio_kit.delivery.requests.wire import WireRecord, wire_records
from chatlio_kit.tables import Export, ReadOptions, Tables, revalidate


@pytest.fixture
def tables(documented: Path) -> Tables:
    """The documented samples, converted."""
    return Export([documented], ReadOptions()).to_tables(quiet=True)


def _sent(tables: Tables) -> dict[str, dict[str, object]]:
    built = revalidate(tables.events, tables.messages)
    return _by_kind(wire_records(built.events, built.messages))


def _by_kind(records: Iterable[WireRecord]) -> dict[str, dict[str, Any]]:
    return {body["kind"]: body for body in (orjson.loads(each.body) for each in records)}


def test_a_transcripts_wire_record(tables: Tables) -> None:
    """Column names as keys, messages nested, nulls left out, UTC times in milliseconds, ids as strings."""
    sent = _sent(tables)["transcript"]
    assert sent.pop("event_id") == tables.events.set_index("kind").loc["transcript", "event_id"]
    assert sent == {
        "kind": "transcript",
        "occurred_at": "2024-03-11T08:03:10.000Z",
        "occurred_at_source": "ended_at",
        "received_at": "2024-03-11T08:03:11.000Z",
        "widget_id": "w-1",
        "conversation_id": "7c1e9a52-3b6d-4f08-5a91-0d4e6b2f8c13",
        "visitor_name": "ana-ruiz-3",
        "visitor_traits": '{"current_page":"https://shop.example/pricing"}',
        "channel_id": "C06ABCDEF12",
        "channel_name": "z-ana-ruiz-3",
        "slack_team_id": "T01ABCDEF",
        "started_at": "2024-03-11T07:59:41.560Z",
        "ended_at": "2024-03-11T08:03:10.000Z",
        "agent_email": "sam@example.com",
        "agent_name": "Sam Lee",
        "reply_to_email": "sales@example.com",
        "archive_url": "https://acme.slack.com/archives/C06ABCDEF12",
        "command_words": '["refund","vip"]',
        "message_count": 2,
        "chat_messages": [
            {
                "ts": "1710144005.000200",
                "sent_at": "2024-03-11T08:00:05.000Z",
                "author": "visitor",
                "username": "ana-ruiz",
                "text": "Is the beta open?",
            },
            {
                "ts": "1710144061.448129",
                "sent_at": "2024-03-11T08:01:01.448Z",
                "author": "agent",
                "username": "Sam L.",
                "slack_user_id": "U0AGENT77",
                "text": "Yes, since today.",
            },
        ],
    }


def test_times_are_truncated_to_milliseconds(tables: Tables) -> None:
    """Times are sent as UTC with three decimals, truncated and not rounded; missing times are left out."""
    tables.events["occurred_at"] = pd.Timestamp("2024-01-01T00:00:00.123999Z").as_unit("us")
    tables.events["ended_at"] = pd.Series(pd.NaT, tables.events.index, tables.events["ended_at"].dtype)
    sent = _sent(tables)["transcript"]
    assert sent["occurred_at"] == "2024-01-01T00:00:00.123Z"
    assert "ended_at" not in sent


def test_the_frames_are_sent_unchanged(tables: Tables) -> None:
    """A masked column and a dropped message go out as the frames have them."""
    tables.events["visitor_name"] = "***"
    tables.messages = tables.messages.iloc[1:]
    sent = _sent(tables)["transcript"]
    assert sent["visitor_name"] == "***"
    assert [message["text"] for message in sent["chat_messages"]] == ["Yes, since today."]  # type: ignore[attr-defined]


def test_no_reserved_key_is_used(tables: Tables) -> None:
    """Raw records avoid the keys that mark an envelope for the service."""
    for record in _sent(tables).values():
        assert not {"header", "body", "messages"} & record.keys()


@given(names=st.lists(st.none() | st.text(st.characters(codec="utf-8"), min_size=1), min_size=5, max_size=5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
def test_any_text_travels_as_it_is(tables: Tables, names: list[str | None]) -> None:
    """Quotes, backslashes, control characters and foreign scripts are JSON that reads back the same."""
    events = tables.events.assign(visitor_name=pd.Series(names, dtype="str"))
    sent = [orjson.loads(each.body).get("visitor_name") for each in wire_records(events, tables.messages)]
    assert sent == names


def test_times_are_truncated_not_rounded(tables: Tables) -> None:
    """Milliseconds are what the microseconds begin with, before 1970 too."""
    moments = ["2024-03-11T08:03:10.999999Z", "1969-12-31T23:59:59.000001Z", "2024-01-01T00:00:00Z"]
    events = tables.events.iloc[:3].assign(
        received_at=pd.to_datetime(moments, format="ISO8601").as_unit("us")
    )
    sent = [orjson.loads(each.body)["received_at"] for each in wire_records(events, tables.messages)]
    assert sent == ["2024-03-11T08:03:10.999Z", "1969-12-31T23:59:59.000Z", "2024-01-01T00:00:00.000Z"]


def test_messages_find_their_transcript_in_any_order(tables: Tables) -> None:
    """Rows of other events between them, or a missing event, change only the given order."""
    built = revalidate(tables.events, tables.messages)
    mine = built.messages
    strange = mine.assign(event_id="0" * 64)
    mixed = pd.concat([strange, mine.iloc[1:], strange, mine.iloc[:1]], ignore_index=True)
    transcript = _by_kind(wire_records(built.events, mixed))["transcript"]
    texts = [message["text"] for message in transcript["chat_messages"]]
    assert texts == [*mine["text"].tolist()[1:], mine["text"].tolist()[0]]
    after = _by_kind(wire_records(built.events, pd.concat([strange, mine], ignore_index=True)))["transcript"]
    assert [message["text"] for message in after["chat_messages"]] == mine["text"].tolist()
    transcripts = built.events[built.events["kind"] == "transcript"]
    events = pd.concat([transcripts.assign(event_id="0" * 64), transcripts], ignore_index=True)
    other = strange.assign(text="other")
    first, second = wire_records(events, pd.concat([mine, other], ignore_index=True))
    assert {message["text"] for message in orjson.loads(first.body)["chat_messages"]} == {"other"}
    assert (
        orjson.loads(second.body)["chat_messages"]
        == orjson.loads(wire_records(transcripts, mine)[0].body)["chat_messages"]
    )
    assert all(b"chat_messages" not in each.body for each in wire_records(built.events.iloc[:1], strange))
