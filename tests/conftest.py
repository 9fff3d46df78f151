"""Shared fixtures: Chatlio's three documented shapes, with invented values."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import hypothesis
import pyarrow.parquet as pq
import pytest
from remapping import remap_ids

from chatlio_kit.aep import Platform
from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.connection import Connection
from chatlio_kit.jobs.platforms import settings_of
from chatlio_kit.local_platform import running

# The duration of an example does not matter: a busy machine must not fail a test.
hypothesis.settings.register_profile(
    "untimed", deadline=None, max_examples=50, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("untimed")

Payload = dict[str, Any]

CONVERSATION: Payload = {
    "visitor": {
        "email": "",
        "UUID": "5b0c7d1e-9a34-4e2f-6c18-b2f09d41a7e3",
        "name": "",
        "identUserId": "",
        "identTraits": "",
        "userAgent": "Mozilla/5.0 (X11; Linux x86_64)",
        "handle": "spain-12",
        "currentPage": "https://shop.example/pricing",
        "referrerURL": "",
        "createdAt": "2024-03-09T18:20:11.402118-08:00",
        "IPAddress": "203.0.113.7",
        "location": "Madrid, Madrid, Spain",
    },
    "message": "Is the beta open?",
    "conversationUUID": "7c1e9a52-3b6d-4f08-5a91-0d4e6b2f8c13",
    "channelId": "C06ABCDEF12",
    "slackChannelName": "live-chat",
    "slackChannelId": "C06LOBBY345",
}

OFFLINE: Payload = {
    "name": "Ana Ruiz",
    "email": "ana@example.org",
    "emailPretty": '"Ana Ruiz" <ana@example.org>',
    "subject": "Invoice",
    "message": "Please call me",
    "visitor": {
        "email": "ana@example.org",
        "UUID": "5b0c7d1e-9a34-4e2f-6c18-b2f09d41a7e3",
        "name": "Ana Ruiz",
        "identUserId": "cust-204",
        "identTraits": '{"plan":"gold","seat count":4}',
        "userAgent": "Mozilla/5.0",
        "handle": "spain-12",
        "currentPage": "https://shop.example/contact",
        "referrerURL": "https://search.example/",
        "createdAt": "2024-03-09T18:20:11.402118-08:00",
        "IPAddress": "203.0.113.7",
    },
}

TRANSCRIPT: Payload = {
    "conversationUUID": "7c1e9a52-3b6d-4f08-5a91-0d4e6b2f8c13",
    "channelId": "C06ABCDEF12",
    "channelName": "z-ana-ruiz-3",
    "slackTeamID": "T01ABCDEF",
    "startedAt": "2024-03-11T08:59:41.560106+01:00",
    "endedAt": "2024-03-11T09:03:10.000900030+01:00",
    "agentEmail": "sam@example.com",
    "agentName": "Sam Lee",
    "visitorEmail": "",
    "replyToEmail": "sales@example.com",
    "visitorName": "ana-ruiz-3",
    "visitorTraits": {"current_page": "https://shop.example/pricing"},
    "archiveUrl": "https://acme.slack.com/archives/C06ABCDEF12",
    "extraData": ["refund", "vip"],
    "messages": [
        {
            "text": "Is the beta open?",
            "ts": "1710144005.000200",
            "sentAt": "2024-03-11T09:00:05.000200033+01:00",
            "userId": "",
            "username": "ana-ruiz",
            "isVisitorMsg": True,
        },
        {
            "text": "Yes, since today.",
            "ts": "1710144061.448129",
            "sentAt": "2024-03-11T09:01:01.448128938+01:00",
            "userId": "U0AGENT77",
            "username": "Sam L.",
            "isVisitorMsg": False,
        },
    ],
    "textBody": "ana-ruiz: Is the beta open?\nSam L.: Yes, since today.",
    "htmlBody": "<p>...</p>",
}

RECEIVED_AT = "2024-03-11T08:59:43.250Z"


@pytest.fixture
def conversation() -> Payload:
    """A payload of the conversation shape."""
    return deepcopy(CONVERSATION)


@pytest.fixture
def offline() -> Payload:
    """A payload of the offline shape."""
    return deepcopy(OFFLINE)


@pytest.fixture
def transcript() -> Payload:
    """A payload of the transcript shape."""
    return deepcopy(TRANSCRIPT)


@pytest.fixture
def envelope() -> Callable[..., Payload]:
    """Put a payload into our capture envelope."""

    def wrap(payload: Payload, kind: str | None = None, received_at: str | None = RECEIVED_AT) -> Payload:
        around = {"receivedAt": received_at, "kind": kind, "widget": "w-1", "payload": payload}
        return {key: value for key, value in around.items() if value is not None}

    return wrap


@pytest.fixture
def ndjson() -> Callable[[Path, Iterable[Any]], Path]:
    """Write values as newline-delimited JSON; bytes are written as they are."""

    def write(path: Path, values: Iterable[Any]) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [
            value if isinstance(value, bytes) else json.dumps(value, ensure_ascii=False).encode()
            for value in values
        ]
        path.write_bytes(b"".join(line + b"\n" for line in lines))
        return path

    return write


@pytest.fixture
def documented(
    tmp_path: Path, envelope: Callable[..., Payload], ndjson: Callable[[Path, Iterable[Any]], Path]
) -> Path:
    """An export of one event of each kind, in the documented shapes."""
    started = deepcopy(CONVERSATION)
    values = [
        envelope(started, "conversation_started"),
        envelope({**CONVERSATION, "message": "Anyone there?"}, "unanswered", "2024-03-11T09:00:45.5Z"),
        envelope(deepcopy(TRANSCRIPT), "transcript", "2024-03-11T08:03:11Z"),
        envelope({**CONVERSATION, "message": "Great help!"}, "feedback", "2024-03-11T09:10:00+01:00"),
        envelope(deepcopy(OFFLINE), "offline_message", "2024-03-12T21:15:00.000001Z"),
    ]
    return ndjson(tmp_path / "documented" / "captures.ndjson", values).parent


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Platform]:
    """A local platform in this process, with its own state folder."""
    state = tmp_path / "state"
    with (
        running(state / "local", enabling_delay=0.05, processing_delay=0.02) as server,
        Platform(settings_of(server, state)) as platform,
    ):
        yield platform


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses before calls are repeated and while batches are waited for are short."""
    monkeypatch.setattr("chatlio_kit.aep.http.FIRST_PAUSE", 0.01)
    monkeypatch.setattr("chatlio_kit.delivery.bulk.loader._FIRST_PAUSE", 0.01)


@pytest.fixture
def lake() -> Callable[[Connection], list[Payload]]:
    """Read back every row of a connection's dataset, through the platform's own APIs."""

    def read(connection: Connection) -> list[Payload]:
        platform = connection.platform
        rows: list[Payload] = []
        for batch in platform.catalog.batches(connection.dataset_id, status="success"):
            for file in platform.data_access.files(batch.id):
                rows += pq.read_table(io.BytesIO(platform.data_access.download(file))).to_pylist()
        return rows

    return read


@pytest.fixture
def remap() -> Callable[[Connection, Kind, str], None]:
    """Make a history mapping compute ``_id`` from an expression, and wait until its dataflow is ready."""
    return remap_ids
