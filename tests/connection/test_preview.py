"""The platform maps thousands of hostile events as Python expects, field by field.

Live: payloads as Chatlio posts them. History: the wire records that the same payloads become. What is
expected of a live payload is derived here from the payload alone, line by line of Chatlio's documentation.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from chatlio_kit.aep import Platform
from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.connection import plan_connection
from chatlio_kit.connection.resources.blueprint import Blueprint
from chatlio_kit.connection.resources.names import ResourceNames, Role
from chatlio_kit.delivery.requests.wire import wire_records
from chatlio_kit.samples.conversations import captures
from chatlio_kit.tables import read_export

Json = dict[str, Any]

OF_EACH_KIND = 1000
AT_ONCE = 250
LONG = 'Grüße "quoted" | piped\r\n🙂👩‍👩‍👧 ${x} \\ \'' * 2500  # more than 100 kB in UTF-8
HOSTILE = (
    '"',
    "'; DROP TABLE --",
    "|||",
    "a|b\nc\r\nd\te",
    "\u2028\u2029\u0000\u001f",
    "🙂👩‍👩‍👧‍👦🏳️‍🌈 é é",
    "\u202eright to left\u202c עברית العربية",
    "${visitor.email} concat(\"a\", 'b') now()",
    '{"json": ["in", "text"]}',
    "\\\\ \\n \\u0041 %s %d {0}",
    "<script>alert(1)</script>&amp;",
    "  blanks around  ",
    "null",
    "0123",
    "1e999",
    "true",
    "",
)
TOUCHED = {
    "message",
    "subject",
    "name",
    "visitorName",
    "agentName",
    "channelName",
    "slackChannelName",
    "archiveUrl",
    "handle",
    "userAgent",
    "currentPage",
    "referrerURL",
    "identTraits",
    "emailPretty",
    "text",
    "username",
}
NEVER = re.compile(r"0001-|$")
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@pytest.fixture(scope="module")
def events() -> dict[Kind, list[Json]]:
    """A thousand capture envelopes of each kind, with hostile text wherever text may occur."""
    found: dict[Kind, list[Json]] = {kind: [] for kind in Kind}
    noise = Random(20)
    for capture in captures(seed=11, events=100_000):
        mine = found[Kind(capture.kind)]
        if len(mine) < OF_EACH_KIND:
            envelope = deepcopy(capture.envelope)
            envelope["payload"] = spoiled(envelope["payload"], noise, len(mine))
            mine.append(envelope)
        elif all(len(value) == OF_EACH_KIND for value in found.values()):
            return found
    raise AssertionError({kind: len(value) for kind, value in found.items()})


def spoiled(payload: Json, noise: Random, number: int) -> Json:
    """A payload with hostile text, and its times in every format that Chatlio uses."""

    def walk(node: Any, key: str = "") -> Any:
        if isinstance(node, dict):
            return {name: walk(value, name) for name, value in node.items()}
        if isinstance(node, list):
            return [walk(entry, key) for entry in node]
        if key in TOUCHED and isinstance(node, str):
            odd = LONG if number % 50 == 0 and key in ("message", "text") else noise.choice(HOSTILE)
            return noise.choice((odd, node + odd, odd + node, node))
        if key in ("endedAt", "startedAt", "createdAt") and isinstance(node, str) and not NEVER.match(node):
            decimals = noise.randrange(10)
            cut = node[:19] + ("." + f"{noise.randrange(10**9):09d}"[:decimals] if decimals else "")
            return cut + noise.choice(("Z", "+00:00", "-08:00", "+05:45", "+13:00"))
        return node

    made: Json = walk(payload)
    return made


def in_batches(
    platform: Platform, records: list[Json], mapping_set: Json
) -> Iterator[tuple[Json, Json, Any]]:
    """Return each record, its mapped result, and the mapper's messages."""
    for start in range(0, len(records), AT_ONCE):
        batch = records[start : start + AT_ONCE]
        for record, made in zip(batch, platform.mapping_sets.preview(batch, mapping_set), strict=True):
            yield record, made["data"], made["errors"]


@pytest.fixture
def mapping_set(platform: Platform) -> Callable[[Role, Kind], Json]:
    """Return the body of a mapping set for a schema on the platform."""
    connection = plan_connection(platform, webhooks=[]).apply()
    design = Blueprint(ResourceNames("chatlio"), connection.tenant_id)
    return lambda role, kind: design.mapping_set(role, kind, connection.schema_id)


def to_the_second(text: str) -> datetime | None:
    """A time that Chatlio wrote, without its decimals; None if it means that there is none."""
    if NEVER.fullmatch(text) or text.startswith("0001-"):
        return None
    return datetime.fromisoformat(re.sub(r"\.\d+", "", text)).astimezone(UTC)


def visitor_fields(visitor: Json) -> Json:
    """The expected mapping of an offline message's visitor."""
    return {
        "visitor_id": visitor["UUID"],
        "visitor_email": visitor["email"],
        "visitor_name": visitor["name"],
        "user_id": visitor["identUserId"],
        "visitor_traits": visitor["identTraits"],
        "visitor_handle": visitor["handle"],
        "user_agent": visitor["userAgent"],
        "page_url": visitor["currentPage"],
        "referrer_url": visitor["referrerURL"],
        "visitor_created_at": to_the_second(visitor["createdAt"]),
        "ip_address": visitor["IPAddress"],
    }


def expected_live(kind: Kind, payload: Json) -> Json:
    """The tenant's fields from a payload, as Chatlio names them."""
    if kind is Kind.TRANSCRIPT:
        fields = {
            "conversation_id": payload["conversationUUID"],
            "visitor_email": payload["visitorEmail"],
            "visitor_name": payload["visitorName"],
            "channel_id": payload["channelId"],
            "channel_name": payload["channelName"],
            "started_at": to_the_second(payload["startedAt"]),
            "ended_at": to_the_second(payload["endedAt"]),
            "agent_email": payload["agentEmail"],
            "agent_name": payload["agentName"],
            "reply_to_email": payload["replyToEmail"],
            "archive_url": payload["archiveUrl"],
            "chat_messages": [
                {key: message[key] for key in ("text", "ts", "username") if key in message}
                for message in payload["messages"]
            ],
        }
    elif kind is Kind.OFFLINE_MESSAGE:
        fields = visitor_fields(payload["visitor"]) | {
            "message": payload["message"],
            "contact_name": payload["name"],
            "contact_email": payload["email"],
            "contact_mailbox": payload["emailPretty"],
        }
    else:
        fields = {
            "visitor_id": payload["visitor"]["UUID"],
            "visitor_email": payload["visitor"]["email"],
            "message": payload["message"],
            "channel_id": payload["channelId"],
            "slack_channel_id": payload["slackChannelId"],
            "slack_channel_name": payload["slackChannelName"],
        }
        if kind is Kind.CONVERSATION_STARTED:
            fields["conversation_id"] = payload.get("conversationUUID")
    return {name: value for name, value in fields.items() if value is not None}


def as_seen(fields: Json, expected: Json) -> Json:
    """The mapped result, with times parsed where times are expected."""
    return {
        name: datetime.fromisoformat(value) if isinstance(expected.get(name), datetime) else value
        for name, value in fields.items()
    }


def sha(text: str) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("kind", list(Kind))
def test_a_thousand_live_payloads_are_mapped_as_python_expects(
    platform: Platform, mapping_set: Any, events: dict[Kind, list[Json]], kind: Kind
) -> None:
    """Id, time, type and every field of each payload come out of the platform's preview as expected here."""
    payloads = [envelope["payload"] for envelope in events[kind]]
    seen = 0
    for payload, row, errors in in_batches(platform, payloads, mapping_set(Role.LIVE, kind)):
        expected = expected_live(kind, payload)
        chatlio = row["_acmechat"]["chatlio"]
        assert as_seen(chatlio, expected) == expected
        assert row["eventType"] == f"chatlio.{kind}"
        moment = datetime.fromisoformat(row["timestamp"])
        if kind is Kind.TRANSCRIPT:
            assert row["_id"] == sha(f"transcript|{payload['conversationUUID']}|{payload['endedAt']}")
            assert moment == to_the_second(payload["endedAt"])
        elif kind is Kind.CONVERSATION_STARTED and "conversationUUID" in payload:
            assert row["_id"] == sha(f"conversation_started|{payload['conversationUUID']}")
        elif kind is Kind.CONVERSATION_STARTED:  # Adobe's shorter sample: nothing to make the id of
            assert "_id" not in row
            assert errors
        else:
            assert UUID.fullmatch(row["_id"])
        if kind is not Kind.TRANSCRIPT:
            assert abs(datetime.now(UTC) - moment) < timedelta(minutes=10)
        seen += 1
    assert seen == OF_EACH_KIND


@pytest.mark.parametrize("kind", list(Kind))
def test_a_thousand_wire_records_are_mapped_as_python_expects(
    platform: Platform, mapping_set: Any, events: dict[Kind, list[Json]], kind: Kind, tmp_path: Path
) -> None:
    """Every column of each accepted event comes out of the platform's preview as it was sent."""
    folder = tmp_path / "captures"
    folder.mkdir()
    lines = [json.dumps(envelope, ensure_ascii=False) for envelope in events[kind]]
    (folder / "events.ndjson").write_text("\n".join(lines) + "\n", encoding="utf-8", newline="")
    records: list[Json] = []
    for batches in read_export(folder).batches():
        built = batches
        records += [json.loads(entry.body) for entry in wire_records(built.events, built.messages)]
    assert len(records) > 0.98 * OF_EACH_KIND
    for record, row, errors in in_batches(platform, records, mapping_set(Role.HISTORY, kind)):
        chatlio = row["_acmechat"]["chatlio"]
        expected = dict(record)
        assert row["_id"] == expected.pop("event_id")
        assert row["eventType"] == f"chatlio.{expected.pop('kind')}" == f"chatlio.{kind}"
        assert same_times(row["timestamp"], expected.pop("occurred_at"))
        assert same_times(chatlio, expected), errors


def same_times(got: Any, wanted: Any) -> bool:
    """Return whether two values are equal, comparing times regardless of their notation."""
    if isinstance(wanted, dict):
        return (
            isinstance(got, dict)
            and got.keys() == wanted.keys()
            and all(same_times(got[key], wanted[key]) for key in wanted)
        )
    if isinstance(wanted, list):
        return isinstance(got, list) and all(map(same_times, got, wanted)) and len(got) == len(wanted)
    if isinstance(wanted, str) and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", wanted):
        return datetime.fromisoformat(got) == datetime.fromisoformat(wanted)
    return type(got) is type(wanted) and got == wanted
