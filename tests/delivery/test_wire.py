"""Wire records."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from chatlio_kit.delivery.wire import wire_records
from chatlio_kit.tables import Export, Settling, Tables, check_again


@pytest.fixture
def tables(documented: Path) -> Tables:
    """The documented samples, converted."""
    return Export([documented], Settling()).to_tables(quiet=True)


def _sent(tables: Tables) -> dict[str, dict[str, object]]:
    built = check_again(tables.events, tables.messages)
    return {each.kind: orjson.loads(each.body) for each in wire_records(built.events, built.messages)}


def test_a_transcripts_wire_record(tables: Tables) -> None:
    """Column names as keys, messages nested, nulls left out, times UTC cut to milliseconds, ids as text."""
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


def test_what_the_frames_say_is_what_is_sent(tables: Tables) -> None:
    """A masked column and a dropped message go out as the frames have them."""
    tables.events["visitor_name"] = "***"
    tables.messages = tables.messages.iloc[1:]
    sent = _sent(tables)["transcript"]
    assert sent["visitor_name"] == "***"
    assert [message["text"] for message in sent["chat_messages"]] == ["Yes, since today."]  # type: ignore[attr-defined]


def test_no_reserved_key_is_used(tables: Tables) -> None:
    """Raw records avoid the names by which the service knows an envelope."""
    for record in _sent(tables).values():
        assert not {"header", "body", "messages"} & record.keys()
