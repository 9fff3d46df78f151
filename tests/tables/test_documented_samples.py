"""Chatlio's documented shapes become the right tables, to the microsecond."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from chatlio_kit.tables import Export, ReadOptions, Tables

CONVERSATION_ID = "7c1e9a52-3b6d-4f08-5a91-0d4e6b2f8c13"
VISITOR_ID = "5b0c7d1e-9a34-4e2f-6c18-b2f09d41a7e3"


@pytest.fixture
def tables(documented: Path) -> Tables:
    """The documented samples, converted."""
    return Export([documented], ReadOptions()).to_tables(quiet=True)


def _time(text: str) -> pd.Timestamp:
    return pd.Timestamp(text, tz="UTC")


def test_every_record_is_an_event(tables: Tables) -> None:
    """Five captures become five events, in order, and nothing is rejected."""
    assert tables.events["kind"].tolist() == [
        "conversation_started", "unanswered", "transcript", "feedback", "offline_message",
    ]  # fmt: skip
    assert tables.counts.as_dict()["accepted"] == 5
    assert tables.rejected.empty


def test_a_transcript_event(tables: Tables) -> None:
    """A transcript's fields are in their columns; it happened when it ended."""
    row = tables.events.set_index("kind").loc["transcript"].dropna().to_dict()
    del row["event_id"], row["payload_digest"]
    assert row == {
        "occurred_at": _time("2024-03-11T08:03:10.000900"),
        "occurred_at_source": "ended_at",
        "received_at": _time("2024-03-11T08:03:11"),
        "widget_id": "w-1",
        "conversation_id": CONVERSATION_ID,
        "visitor_name": "ana-ruiz-3",
        "visitor_traits": '{"current_page":"https://shop.example/pricing"}',
        "channel_id": "C06ABCDEF12",
        "channel_name": "z-ana-ruiz-3",
        "slack_team_id": "T01ABCDEF",
        "started_at": _time("2024-03-11T07:59:41.560106"),
        "ended_at": _time("2024-03-11T08:03:10.000900"),
        "agent_email": "sam@example.com",
        "agent_name": "Sam Lee",
        "reply_to_email": "sales@example.com",
        "archive_url": "https://acme.slack.com/archives/C06ABCDEF12",
        "command_words": '["refund","vip"]',
        "message_count": 2,
        "message_ts": "1710144005.000200 1710144061.448129",
        "origin": "webhook",
        "source_file": "documented/captures.ndjson",
        "source_record": 3,
    }


def test_a_conversation_event(tables: Tables) -> None:
    """A conversation's start happened when it was captured; empty strings are missing."""
    row = tables.events.set_index("kind").loc["conversation_started"].dropna().to_dict()
    del row["event_id"], row["payload_digest"]
    assert row == {
        "occurred_at": _time("2024-03-11T08:59:43.250"),
        "occurred_at_source": "received_at",
        "received_at": _time("2024-03-11T08:59:43.250"),
        "widget_id": "w-1",
        "conversation_id": CONVERSATION_ID,
        "visitor_id": VISITOR_ID,
        "visitor_handle": "spain-12",
        "user_agent": "Mozilla/5.0 (X11; Linux x86_64)",
        "page_url": "https://shop.example/pricing",
        "visitor_created_at": _time("2024-03-10T02:20:11.402118"),
        "ip_address": "203.0.113.7",
        "location": "Madrid, Madrid, Spain",
        "message": "Is the beta open?",
        "channel_id": "C06ABCDEF12",
        "slack_channel_id": "C06LOBBY345",
        "slack_channel_name": "live-chat",
        "origin": "webhook",
        "source_file": "documented/captures.ndjson",
        "source_record": 1,
    }


def test_an_offline_message(tables: Tables) -> None:
    """An offline message is in events and in its own table, with traits kept as their JSON."""
    event = tables.events.set_index("kind").loc["offline_message"]
    assert event["visitor_traits"] == '{"plan":"gold","seat count":4}'
    assert event["contact_mailbox"] == '"Ana Ruiz" <ana@example.org>'
    (row,) = tables.offline_messages.to_dict("records")
    assert row == {
        "event_id": event["event_id"],
        "occurred_at": _time("2024-03-12T21:15:00.000001"),
        "visitor_id": VISITOR_ID,
        "contact_name": "Ana Ruiz",
        "contact_email": "ana@example.org",
        "subject": "Invoice",
        "message": "Please call me",
        "page_url": "https://shop.example/contact",
    }


def test_messages_take_their_time_from_ts(tables: Tables) -> None:
    """Message times are those of ts, not of sentAt, which is one microsecond off in the second message."""
    messages = tables.messages.drop(columns="event_id").astype(object)
    assert messages.where(messages.notna(), None).to_dict("records") == [
        {
            "conversation_id": CONVERSATION_ID,
            "ts": "1710144005.000200",
            "sent_at": _time("2024-03-11T08:00:05.000200"),
            "author": "visitor",
            "username": "ana-ruiz",
            "slack_user_id": None,
            "text": "Is the beta open?",
            "slack_text": None,
            "position": 1,
            "origin": "webhook",
        },
        {
            "conversation_id": CONVERSATION_ID,
            "ts": "1710144061.448129",
            "sent_at": _time("2024-03-11T08:01:01.448129"),
            "author": "agent",
            "username": "Sam L.",
            "slack_user_id": "U0AGENT77",
            "text": "Yes, since today.",
            "slack_text": None,
            "position": 2,
            "origin": "webhook",
        },
    ]


def test_the_conversation_is_one_row(tables: Tables) -> None:
    """The conversation combines its start, its transcript, and the reports about it."""
    (row,) = tables.conversations.drop(columns=["ended_by", "start_is_whole"]).to_dict("records")
    assert tables.conversations[["ended_by", "start_is_whole"]].isna().all(axis=None)
    assert row == {
        "conversation_id": CONVERSATION_ID,
        "started_at": _time("2024-03-11T07:59:41.560106"),
        "ended_at": _time("2024-03-11T08:03:10.000900"),
        "duration_seconds": 208.440794,
        "first_response_seconds": 56.447929,
        "visitor_id": VISITOR_ID,
        "page_url": "https://shop.example/pricing",
        "channel_id": "C06ABCDEF12",
        "agent_name": "Sam Lee",
        "agent_email": "sam@example.com",
        "answered_by": "Sam L.",
        "visitor_messages": 1,
        "agent_messages": 1,
        "unknown_messages": 0,
        "transcripts": 1,
        "origin": "webhook",
        "was_unanswered": True,
        "has_feedback": True,
    }


def test_the_visitor_has_the_latest_facts(tables: Tables) -> None:
    """A visitor's row has the latest known value of each fact, not the latest empty one."""
    (row,) = tables.visitors.to_dict("records")
    assert row["visitor_id"] == VISITOR_ID
    assert (row["visitor_email"], row["visitor_name"], row["user_id"]) == (
        "ana@example.org", "Ana Ruiz", "cust-204",
    )  # fmt: skip
    assert row["location"] == "Madrid, Madrid, Spain"
    assert row["user_agent"] == "Mozilla/5.0"
    assert (row["first_seen_at"], row["last_seen_at"]) == (
        _time("2024-03-11T08:10:00"),
        _time("2024-03-12T21:15:00.000001"),
    )
    assert (row["conversations"], row["events"]) == (1, 4)
