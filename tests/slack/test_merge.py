"""A Slack export merged with captured webhooks: no message twice, and the webhook's facts win."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from slack_exports import CHANNEL, SETTINGS, Json, by_visitor, event, said, write_export

import chatlio_kit as ck
from chatlio_kit.slack import SlackCounts
from chatlio_kit.tables import Tables

Payload = dict[str, Any]
LINES = [
    event("1710144000.000100", "channel_join"),
    by_visitor("1710144005.000200", "Is the beta open?"),
    said("1710144061.448129", "Yes, since today."),
]
MORE = said("1710144101.000100", "It needs a key.")
ARCHIVED = event("1710144200.000900", "channel_archive")
OTHER = "11111111-2222-4333-4444-555555555555"


@pytest.fixture
def webhook(transcript: Payload) -> Payload:
    """A transcript with the first two messages of the export."""
    return {**transcript, "channelId": CHANNEL}


def _read(tmp_path: Path, lines: list[Json], payloads: list[Payload]) -> tuple[Tables, SlackCounts]:
    captures = tmp_path / "captures.ndjson"
    captures.write_text("".join(f"{json.dumps(payload)}\n" for payload in payloads), encoding="utf-8")
    export = ck.read_slack(write_export(tmp_path, lines), captures=captures, **SETTINGS)
    tables = export.to_tables(quiet=True)
    assert export.slack is not None
    return tables, export.slack.counts


def test_conversations_covered_by_webhooks_send_nothing(tmp_path: Path, webhook: Payload) -> None:
    """A conversation that webhooks cover sends nothing."""
    tables, counts = _read(tmp_path, [*LINES, ARCHIVED], [webhook])
    assert list(tables.events["origin"]) == ["webhook"]
    assert (counts.covered, counts.accepted, counts.left_out["in_webhook"]) == (1, 0, 2)


def test_slack_adds_messages_that_webhooks_lack_to_their_conversation(
    tmp_path: Path, webhook: Payload
) -> None:
    """Slack adds messages that webhooks lack to their conversation."""
    edited = {
        **LINES[2],
        "text": "Yes, since yesterday.",
        "edited": {"user": "U1", "ts": "1710144070.000000"},
    }
    tables, counts = _read(tmp_path, [*LINES[:2], edited, MORE, ARCHIVED], [webhook])
    assert (counts.merged, counts.accepted, counts.edited) == (1, 1, 1)
    assert set(tables.events["conversation_id"]) == {webhook["conversationUUID"]}
    added = tables.events[tables.events["origin"] == "slack_export"]
    assert list(added["message_ts"]) == [MORE["ts"]]
    messages = tables.messages[["text", "origin", "username"]].itertuples(index=False, name=None)
    assert list(messages) == [
        ("Is the beta open?", "webhook", "ana-ruiz"),
        ("Yes, since today.", "webhook", "Sam L."),
        ("It needs a key.", "slack_export", "Sam Lee"),
    ]
    (row,) = tables.conversations.to_dict("records")
    assert (row["origin"], row["agent_messages"], row["agent_email"]) == ("webhook", 2, "sam@example.com")
    assert str(row["ended_at"]) == "2024-03-11 08:03:10.000900+00:00"


def test_a_webhook_s_facts_win_over_slack(tmp_path: Path, webhook: Payload) -> None:
    """Its end and its agent, although the Slack event has more messages."""
    more = [said(f"171014411{number}.000100", "More") for number in range(5)]
    tables, _ = _read(tmp_path, [*LINES, *more, ARCHIVED], [webhook])
    (row,) = tables.conversations.to_dict("records")
    assert (row["origin"], row["agent_messages"], row["agent_email"]) == ("webhook", 6, "sam@example.com")
    assert str(row["ended_at"]) == "2024-03-11 08:03:10.000900+00:00"


def test_several_transcripts_of_one_conversation_count_once(tmp_path: Path, webhook: Payload) -> None:
    """Several transcripts of one conversation count once."""
    again = {**deepcopy(webhook), "endedAt": "2024-03-11T09:05:10.0009+01:00"}
    _, counts = _read(tmp_path, [*LINES, MORE, ARCHIVED], [webhook, again])
    assert (counts.conversations, counts.merged, counts.divided) == (1, 1, 0)


def test_two_conversations_in_one_stretch_are_split_at_the_second_s_first_message(
    tmp_path: Path, webhook: Payload
) -> None:
    """Two conversations in one stretch are split at the second's first message."""
    second = deepcopy(webhook) | {"conversationUUID": OTHER}
    second["messages"] = [{**second["messages"][1], "ts": "1710144150.000100"}]
    lines = [
        *LINES[1:],
        MORE,
        said("1710144150.000100", "second"),
        said("1710144151.000100", "late"),
        ARCHIVED,
    ]
    tables, counts = _read(tmp_path, lines, [webhook, second])
    assert (counts.conversations, counts.divided, counts.merged) == (2, 1, 2)
    added = tables.events[tables.events["origin"] == "slack_export"].sort_values("ended_at")
    columns = ["conversation_id", "message_ts", "ended_by", "start_is_whole"]
    assert list(added[columns].itertuples(index=False, name=None)) == [
        (webhook["conversationUUID"], MORE["ts"], "next_conversation", False),
        (OTHER, "1710144151.000100", "channel_archive", True),
    ]


def test_a_start_gives_its_conversation_s_id_to_the_only_match(tmp_path: Path, conversation: Payload) -> None:
    """A start passes its conversation's id to the one stretch that fits."""
    start = {"kind": "conversation_started", "receivedAt": "2024-03-11T08:00:07Z"}
    start["payload"] = {**conversation, "channelId": CHANNEL}
    tables, counts = _read(tmp_path, LINES, [start])
    assert (counts.joined, counts.accepted) == (1, 1)
    assert set(tables.events["conversation_id"]) == {conversation["conversationUUID"]}
    assert list(tables.conversations["visitor_id"]) == [conversation["visitor"]["UUID"]]
    assert len(tables.visitors) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"receivedAt": "2024-03-15T08:00:07Z"},
        {"message": "Another question"},
        {"channelId": "C0OTHER"},
    ],
)
def test_a_start_that_does_not_fit_is_not_joined(
    tmp_path: Path, conversation: Payload, change: dict[str, str]
) -> None:
    """A start that does not fit is not joined."""
    start = {"kind": "conversation_started", "receivedAt": "2024-03-11T08:00:07Z"}
    start |= {"receivedAt": change.get("receivedAt", start["receivedAt"])}
    payload = {**conversation, "channelId": CHANNEL, **change}
    payload.pop("receivedAt", None)
    tables, counts = _read(tmp_path, LINES, [start | {"payload": payload}])
    assert (counts.joined, len(tables.conversations)) == (0, 2)
    assert counts.unclear_starts == ("channelId" not in change)


def test_two_stretches_that_fit_one_start_are_not_joined(tmp_path: Path, conversation: Payload) -> None:
    """Two stretches that fit one start are not joined."""
    start = {"kind": "conversation_started", "receivedAt": "2024-03-11T08:00:07Z"}
    start["payload"] = {**conversation, "channelId": CHANNEL}
    again = [
        event("1710144300.000100", "channel_unarchive"),
        by_visitor("1710144301.000100", "Is the beta open?"),
    ]
    _, counts = _read(tmp_path, [*LINES, ARCHIVED, *again], [start])
    assert (counts.joined, counts.unclear_starts) == (0, 1)


def test_no_common_message_in_a_common_time_is_refused(tmp_path: Path, webhook: Payload) -> None:
    """No common message at the same time is refused."""
    shifted = [{**line, "ts": line["ts"][:-6] + "777777"} for line in LINES]
    shifted.append(by_visitor("1710144030.000100", "between"))
    tables, counts = _read(tmp_path, shifted, [webhook])
    (rejected,) = tables.rejections
    assert (rejected.reason, rejected.file) == ("no_overlap", f"export.zip!{CHANNEL}")
    assert "share no message" in rejected.detail
    assert any(note.startswith("1 channel shares no message with the webhooks") for note in tables.notes)
    assert (counts.rejected_conversations, counts.rejected) == (1, 3)
    assert list(tables.events["origin"]) == ["webhook"]


def test_events_rejected_by_the_contract_cover_nothing(tmp_path: Path, webhook: Payload) -> None:
    """Otherwise its messages would be lost."""
    captures = tmp_path / "captures.json"
    captures.write_text(json.dumps({**webhook, "brandNew": 1}), encoding="utf-8")
    export = ck.read_slack(write_export(tmp_path, LINES), captures=captures, contract="freeze", **SETTINGS)
    tables = export.to_tables(quiet=True)
    assert [rejection.reason for rejection in tables.rejections] == ["unknown_field"]
    assert list(tables.events["origin"]) == ["slack_export"]


def test_another_time_is_not_a_contradiction(tmp_path: Path, webhook: Payload) -> None:
    """Another time is not a contradiction."""
    later = [by_visitor("1720000000.000100", "much later")]
    tables, counts = _read(tmp_path, later, [webhook])
    assert (counts.accepted, len(tables.conversations)) == (1, 2)


def test_what_slack_does_not_record_is_unknown_and_not_false(tmp_path: Path, webhook: Payload) -> None:
    """Without a webhook, feedback and reports of unanswered chats are missing, on every way to read them."""
    tables, _ = _read(tmp_path, [*LINES, ARCHIVED], [])
    assert tables.conversations[["was_unanswered", "has_feedback"]].isna().all(axis=None)
    (entry,) = tables.explore()._entries
    assert entry.unknown_flags == ["unanswered", "feedback"]
    assert "unanswered" not in repr(tables.read_conversation())
    measured = ck.measure(tables)
    assert {name: len(measured.rows(name)) for name in ("unanswered", "abandoned", "feedback", "missed")} == {
        "unanswered": 0,
        "abandoned": 0,
        "feedback": 0,
        "missed": 1,
    }
    assert "1 conversation is known only from Slack" in repr(measured)

    merged, _ = _read(tmp_path, [*LINES, MORE, ARCHIVED], [webhook])
    assert not merged.conversations[["was_unanswered", "has_feedback"]].any(axis=None)
    assert merged.conversations[["was_unanswered", "has_feedback"]].notna().all(axis=None)
    assert [entry.unknown_flags for entry in merged.explore()._entries] == [[]]
