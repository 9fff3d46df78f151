"""A connection from nothing to nothing, on the local platform over HTTP."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from chatlio_kit.aep import Platform
from chatlio_kit.chatlio.kinds import SHAPE_OF, Kind
from chatlio_kit.connection import (
    Connection,
    Plan,
    disconnect,
    list_removals,
    open_connection,
    plan_connection,
)
from chatlio_kit.connection import provision as building_module
from chatlio_kit.connection.mapping_check import PAYLOADS, wire_sample
from chatlio_kit.errors import ConnectionIncomplete, OutputError, UsageError
from chatlio_kit.settings import Settings

Census = Callable[[], dict[str, list[str]]]
Landed = Callable[[Connection, int], list[dict[str, Any]]]
NOTHING = {
    "field group": 0,
    "schema": 0,
    "dataset": 0,
    "mapping set": 0,
    "source": 0,
    "target": 0,
    "dataflow": 0,
}
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def sizes(census: Census) -> dict[str, int]:
    """The number of objects of each type."""
    return {thing: len(ids) for thing, ids in census().items()}


def actions(plan: Plan) -> list[str]:
    """The actions of a plan, object by object."""
    return [entry.action.value for entry in plan.objects]


def test_a_plan_only_reads(platform: Platform, census: Census) -> None:
    """Planning on an empty sandbox lists every object as to be created, and creates none."""
    plan = plan_connection(platform)
    assert actions(plan) == ["create"] * 23
    assert plan.changes == 23
    assert [entry.object for entry in plan.objects[:7]] == [
        "field group",
        "schema",
        "dataset",
        "mapping set",
        "source connection",
        "target connection",
        "dataflow",
    ]
    assert sizes(census) == NOTHING


def test_connecting_twice_creates_nothing_new(platform: Platform, census: Census) -> None:
    """After a connect, the plan consists of reuse, and another connect changes no object."""
    first = plan_connection(platform).apply()
    before = census()
    assert {thing: len(ids) for thing, ids in before.items()} == {
        "field group": 1,
        "schema": 1,
        "dataset": 1,
        "mapping set": 5,
        "source": 5,
        "target": 5,
        "dataflow": 5,
    }
    again = plan_connection(platform)
    assert actions(again) == ["reuse"] * 23
    assert again.changes == 0
    assert "Nothing to do" in repr(again)
    second = again.apply()
    assert census() == before
    assert second == first
    assert open_connection(platform) == first


def test_plans_show_themselves(platform: Platform) -> None:
    """A plan is a table in a terminal, an HTML table in a notebook, and plain data for JSON."""
    plan = plan_connection(platform, webhooks=["feedback"])
    assert "chatlio live feedback dataflow" in repr(plan)
    assert plan._repr_html_().startswith("<table>")
    content = json.loads(json.dumps(plan.as_dict()))
    assert content["name"] == "chatlio"
    assert set(content["objects"][0]) == {"object", "name", "action", "reason", "id"}
    assert content["objects"][0]["action"] == "create"


def test_only_the_chosen_webhooks_are_connected(platform: Platform, census: Census) -> None:
    """Only the named kinds get a dataflow; others can join later."""
    connection = plan_connection(platform, webhooks=["feedback", "transcript"]).apply()
    assert list(connection.live) == [Kind.TRANSCRIPT, Kind.FEEDBACK]
    assert sizes(census)["dataflow"] == 2
    assert list(open_connection(platform).live) == [Kind.TRANSCRIPT, Kind.FEEDBACK]
    joined = plan_connection(platform, webhooks=["unanswered"]).apply()
    assert list(joined.live) == [Kind.UNANSWERED]
    assert list(open_connection(platform).live) == [Kind.TRANSCRIPT, Kind.UNANSWERED, Kind.FEEDBACK]


def test_a_connection_without_webhooks_takes_history(platform: Platform) -> None:
    """Files can be streamed although no webhook is connected."""
    plan_connection(platform, webhooks=[]).apply()
    connection = open_connection(platform)
    assert connection.live == {}
    assert connection.history_flow(Kind.FEEDBACK).kind is Kind.FEEDBACK


def test_unknown_webhooks_are_refused(platform: Platform) -> None:
    """An unknown kind is a usage error, and the valid ones are named."""
    with pytest.raises(UsageError, match=r"called chat, nope.*offline_message"):
        plan_connection(platform, webhooks=["chat", "feedback", "nope"])


def test_progress_is_reported_in_sentences(platform: Platform) -> None:
    """Each step is reported; a connect with nothing to do reports nothing."""
    reported: list[str] = []
    plan_connection(platform, webhooks=["feedback"]).apply(progress=reported.append)
    assert reported[0] == "Creating the field group 'chatlio field group'"
    assert any("Trying the live mapping for feedback" in sentence for sentence in reported)
    reported.clear()
    plan_connection(platform, webhooks=["feedback"]).apply(progress=reported.append)
    assert reported == []


def test_a_live_transcript_lands_with_the_id_that_python_computes(
    platform: Platform, landed: Landed, transcript: dict[str, Any]
) -> None:
    """A transcript posted to its webhook URL lands under Python's SHA-256, with its times and messages."""
    connection = plan_connection(platform, webhooks=["transcript"]).apply()
    url = connection.live[Kind.TRANSCRIPT].webhook_url.reveal()
    assert requests.post(url, json=transcript, timeout=10).status_code == 200
    (row,) = landed(connection, 1)
    text = f"transcript|{transcript['conversationUUID']}|{transcript['endedAt']}"
    assert row["_id"] == hashlib.sha256(text.encode()).hexdigest()
    assert row["eventType"] == "chatlio.transcript"
    ended = datetime(2024, 3, 11, 8, 3, 10, tzinfo=UTC)
    assert row["timestamp"] == ended
    chatlio = row["_acmechat"]["chatlio"]
    assert chatlio["ended_at"] == ended
    assert chatlio["started_at"] == datetime(2024, 3, 11, 7, 59, 41, tzinfo=UTC)
    assert chatlio["agent_name"] == "Sam Lee"
    assert [message["text"] for message in chatlio["chat_messages"]] == [
        "Is the beta open?",
        "Yes, since today.",
    ]
    assert chatlio["chat_messages"][0]["ts"] == "1710144005.000200"
    assert chatlio["chat_messages"][1]["username"] == "Sam L."


def test_every_webhook_lands_as_its_own_kind(
    platform: Platform, landed: Landed, conversation: dict[str, Any], offline: dict[str, Any]
) -> None:
    """Payloads of one shape become events of the kind whose URL they were posted to, none lost."""
    connection = plan_connection(platform).apply()
    for kind in Kind:
        payload = {"offline_message": offline, "transcript": PAYLOADS[SHAPE_OF[Kind.TRANSCRIPT]]}.get(
            kind, conversation
        )
        url = connection.live[kind].webhook_url.reveal()
        assert requests.post(url, json=payload, timeout=10).status_code == 200
    rows = {row["eventType"]: row for row in landed(connection, 5)}
    assert set(rows) == {f"chatlio.{kind}" for kind in Kind}
    started = rows["chatlio.conversation_started"]
    text = f"conversation_started|{conversation['conversationUUID']}"
    assert started["_id"] == hashlib.sha256(text.encode()).hexdigest()
    for kind in ("offline_message", "unanswered", "feedback"):
        assert UUID.fullmatch(rows[f"chatlio.{kind}"]["_id"])
    for kind in ("offline_message", "unanswered", "feedback", "conversation_started"):
        assert abs(rows[f"chatlio.{kind}"]["timestamp"] - datetime.now(UTC)) < timedelta(minutes=5)
    asked = rows["chatlio.feedback"]["_acmechat"]["chatlio"]
    assert asked["message"] == conversation["message"]
    assert asked["visitor_id"] == conversation["visitor"]["UUID"]
    left = rows["chatlio.offline_message"]["_acmechat"]["chatlio"]
    assert left["contact_mailbox"] == offline["emailPretty"]
    assert left["visitor_traits"] == offline["visitor"]["identTraits"]


@pytest.mark.parametrize("kind", list(Kind))
def test_history_flows_carry_every_column(platform: Platform, landed: Landed, kind: Kind) -> None:
    """A wire record with every key, and one with the fewest, land whole through the history dataflow."""
    connection = plan_connection(platform, webhooks=[]).apply()
    flow = connection.history_flow(kind)
    full = wire_sample(kind)
    least = {"event_id": "0" * 64, "occurred_at": "2024-01-01T00:00:00.123Z"}
    with flow.inlet() as inlet:
        reply = inlet.post_batch(json.dumps({"messages": [full, least]}).encode())
    assert reply.status_code == 207
    assert all("xactionId" in response for response in reply.json()["responses"])
    rows = {row["_id"]: row for row in landed(connection, 2)}
    assert rows[full["event_id"]]["eventType"] == f"chatlio.{kind}"
    chatlio = rows[full["event_id"]]["_acmechat"]["chatlio"]
    for name in set(full) - {"event_id", "occurred_at", "chat_messages"}:
        assert chatlio[name] is not None, name
    if "chat_messages" in full:
        assert set(full["chat_messages"][0]) <= set(chatlio["chat_messages"][0])
    assert rows[least["event_id"]]["timestamp"] == datetime(2024, 1, 1, 0, 0, 0, 123000, tzinfo=UTC)


def test_history_flows_are_made_once(platform: Platform, census: Census) -> None:
    """The history dataflow of a kind is created at the first call, kept, and found again."""
    connection = plan_connection(platform, webhooks=["feedback"]).apply()
    assert connection.history == {}
    flow = connection.history_flow(Kind.FEEDBACK)
    before = census()
    assert len(before["dataflow"]) == 2
    assert connection.history_flow(Kind.FEEDBACK) is flow
    reopened = open_connection(platform)
    assert reopened.history == {Kind.FEEDBACK: flow}
    assert reopened.history_flow(Kind.FEEDBACK) == flow
    assert census() == before


def test_secrets_show_nowhere(
    platform: Platform, account_settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """No table, repr, masked URL or log line shows an inlet, a token or the client secret."""
    caplog.set_level(logging.DEBUG, logger="urllib3")
    connection = plan_connection(platform).apply()
    flow = connection.history_flow(Kind.TRANSCRIPT)
    with flow.inlet() as inlet:
        inlet.post_batch(b'{"messages":[]}')
        shown = [repr(inlet), str(vars(inlet))]
    shown += [
        repr(connection),
        connection._repr_html_(),
        str(connection.live),
        str(connection.history),
        json.dumps(connection.webhook_urls),
        str(connection.destination),
        repr(platform),
        str(vars(platform)),
        str(account_settings),
        caplog.text,
        repr(list_removals(platform)),
    ]
    hidden = [value.inlet_url.reveal().rpartition("/")[2] for value in (*connection.live.values(), flow)]
    hidden.append(account_settings.client_secret.reveal())
    for text in shown:
        assert not any(secret in text for secret in hidden)
    masked = connection.webhook_urls[Kind.FEEDBACK]
    assert masked.endswith(f"/collection/***?x-adobe-flow-id={connection.live[Kind.FEEDBACK].flow_id}")
    assert "/collection/***" in repr(connection)


def test_webhook_urls_are_readable_only_by_the_owner(platform: Platform, tmp_path: Path) -> None:
    """The file has mode 0600 although an older one was open to all, and holds the URLs unmasked."""
    connection = plan_connection(platform, webhooks=["feedback"]).apply()
    target = tmp_path / "urls.json"
    target.write_text("old")
    target.chmod(0o644)
    assert connection.write_webhook_urls(target) == target
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    flow = connection.live[Kind.FEEDBACK]
    assert json.loads(target.read_text()) == {"feedback": flow.webhook_url.reveal()}
    assert os.listdir(tmp_path).count("urls.json") == 1
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".urls")]
    with pytest.raises(OutputError, match="could not be written"):
        connection.write_webhook_urls(tmp_path / "nowhere" / "urls.json")


def test_destinations_distinguish_platforms(platform: Platform) -> None:
    """A destination gives platform, organisation, sandbox and dataset, and reads like a short path."""
    connection = plan_connection(platform, name="shop", webhooks=[]).apply()
    destination = connection.destination
    assert str(destination) == "local/prod/shop"
    assert destination.dataset == connection.dataset_id
    assert destination.platform == "local"
    remote = type(destination)("https://platform.adobe.io", "o", "dev", "d", "shop")
    assert str(remote) == "platform.adobe.io/dev/shop"


def test_the_guard_lasts_five_minutes_and_fifteen_after_a_schema_change(platform: Platform) -> None:
    """Data must wait after a dataflow was created, and longer after its schema was changed."""
    connection = plan_connection(platform, webhooks=["feedback"]).apply()
    flow = connection.live[Kind.FEEDBACK]
    changed = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=flow.changed_at)
    assert connection.guard_until(flow) == changed + timedelta(minutes=5)
    connection.schema_changed_at = flow.changed_at
    assert connection.guard_until(flow) == changed + timedelta(minutes=15)


def test_opening_a_missing_connection_names_the_missing_parts(platform: Platform) -> None:
    """Without a connection, the error lists the missing objects and the next step."""
    with pytest.raises(ConnectionIncomplete, match=r"the field group .*the schema .*the dataset .*apply"):
        open_connection(platform)


def test_opening_an_incomplete_connection_names_the_missing_parts(platform: Platform) -> None:
    """A webhook whose dataflow is gone makes the connection incomplete; connecting completes it."""
    connection = plan_connection(platform, webhooks=["feedback", "transcript"]).apply()
    platform.flows.delete_flow(connection.live[Kind.FEEDBACK].flow_id)
    with pytest.raises(ConnectionIncomplete, match="'chatlio live feedback dataflow'"):
        open_connection(platform)
    plan = plan_connection(platform, webhooks=["feedback", "transcript"])
    assert [entry.name for entry in plan.objects if entry.action == "create"] == [
        "chatlio live feedback dataflow"
    ]
    plan.apply()
    assert set(open_connection(platform).live) == {Kind.FEEDBACK, Kind.TRANSCRIPT}


def test_dataflows_that_are_not_enabled_in_time_are_reported(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dataflow that takes too long is reported; later the connection continues from there."""
    monkeypatch.setattr(building_module, "LONGEST_WAIT", 0.0)
    with pytest.raises(ConnectionIncomplete, match="some dataflows are not enabled"):
        plan_connection(platform, webhooks=["feedback"]).apply()
    monkeypatch.undo()
    assert list(plan_connection(platform, webhooks=["feedback"]).apply().live) == [Kind.FEEDBACK]


def test_disconnect_removes_our_resources_and_keeps_the_data(platform: Platform, census: Census) -> None:
    """Dataflows, connections and mapping sets are removed; schema, field group and dataset stay; twice."""
    connection = plan_connection(platform, webhooks=["feedback", "transcript"]).apply()
    connection.history_flow(Kind.FEEDBACK)
    full = census()
    planned = list_removals(platform)
    assert not planned.done
    assert census() == full
    removal = disconnect(platform)
    assert removal.done
    assert [entry.id for entry in removal.removed] == [entry.id for entry in planned.objects]
    assert [entry.object for entry in removal.removed] == (
        ["dataflow"] * 3 + ["source connection"] * 3 + ["target connection"] * 3 + ["mapping set"] * 3
    )
    assert sizes(census) == {**NOTHING, "field group": 1, "schema": 1, "dataset": 1}
    assert "tab Behavior" in repr(removal)
    assert len(removal.webhook_fields) == 5
    assert json.loads(json.dumps(removal.as_dict()))["removed"][0]["object"] == "dataflow"
    assert disconnect(platform).objects == ()
    assert "Nothing to remove" in repr(disconnect(platform))
    again = plan_connection(platform, webhooks=["feedback"]).apply()
    assert (again.dataset_id, again.schema_id) == (connection.dataset_id, connection.schema_id)
