"""A Slack export reaches the dataset: once, with its origin, and paired with later webhooks."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from slack_exports import (
    CHANNEL,
    SETTINGS,
    Json,
    by_visitor,
    channel,
    event,
    members_of,
    said,
    write_export,
    write_zip,
)

import chatlio_kit as ck
from chatlio_kit import local_platform
from chatlio_kit.aep import Platform
from chatlio_kit.chatlio import catalogue
from chatlio_kit.cli import main
from chatlio_kit.connection.resources import blueprint, mappings
from chatlio_kit.delivery import Ledger
from chatlio_kit.delivery.requests.wire import wire_records
from chatlio_kit.errors import UsageError
from chatlio_kit.jobs.backfill import backfill

Payload = dict[str, Any]
NEW_FIELDS = {"origin", "ended_by", "start_is_whole"}
LINES = [
    event("1710144000.000100", "channel_join"),
    by_visitor("1710144005.000200", "Is the beta open?"),
    said("1710144061.448129", "Yes, since today."),
]
MORE = said("1710144101.000100", "It needs a key.")


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """A state folder with a local platform in its own process."""
    state = tmp_path / "own"
    local_platform.ensure_running(
        state / "local", options=local_platform.Options(enabling_delay=0.02, processing_delay=0.02)
    )
    yield state
    local_platform.stop(state / "local")


def _captures(tmp_path: Path, payloads: list[Payload]) -> Path:
    path = tmp_path / "captures.ndjson"
    path.write_text("".join(f"{json.dumps(payload)}\n" for payload in payloads), encoding="utf-8")
    return path


def _slack(path: Path, lines: list[Json], **more: Any) -> Any:
    return ck.read_slack(write_export(path, lines), **{**SETTINGS, **more})


def test_an_export_lands_once_and_grows(local: Platform, tmp_path: Path) -> None:
    """An export lands once and grows."""
    first = backfill(_slack(tmp_path, LINES), local, quiet=True).as_dict()
    assert (first["read"], first["accepted"], first["landed"]) == (1, 1, 1)
    again = backfill(_slack(tmp_path, LINES), local, quiet=True).as_dict()
    assert (again["accepted"], again["duplicates"], again["total"]["landed"]) == (0, 1, 1)
    grown = backfill(_slack(tmp_path, [*LINES, MORE]), local, quiet=True).as_dict()
    assert (grown["accepted"], grown["total"]["landed"]) == (1, 2)
    rows = ck.open_connection(local, quiet=True).read_rows(quiet=True)
    assert rows["conversation_id"].nunique() == 1
    assert sorted(rows["message_count"]) == [2, 3]
    assert set(rows["origin"]) == {"slack_export"}
    assert set(rows["ended_by"]) == {"last_message"}
    assert list(rows["start_is_whole"]) == [True, True]
    assert set(rows["occurred_at_source"]) == {"slack_ts"}


def test_a_page_accounts_for_every_message_and_conversation(local: Platform, tmp_path: Path) -> None:
    """As in the report of a conversion, in Python, as a command and on disk; not without an export."""
    lines = [
        *LINES, "no object", {"type": "message", "text": "without ts"},
        event("1710144100.000100", "channel_archive"), event("1710150000.000100", "channel_unarchive"),
        event("1710150060.000100", "channel_archive"), said("1710200005.000200", "Still there?"),
    ]  # fmt: skip
    export = write_export(tmp_path, lines)
    converted = ck.read_slack(export, **SETTINGS).to_tables(quiet=True).slack
    settings = tmp_path / "slack.toml"
    settings.write_text('channels = ["z-*"]\napp_ids = ["A0CHAT"]\n', encoding="utf-8")
    arguments = ["backfill", str(export), "--slack", str(settings), "--state", str(local.settings.state)]
    result = CliRunner().invoke(main, [*arguments, "--json"])
    slack = json.loads(result.stdout)["slack"]
    assert converted is not None
    assert slack == converted.as_dict()
    assert slack["messages"] == slack["kept"] + sum(slack["left_out"].values()) + slack["rejected"] == 9
    assert (slack["kept"], slack["left_out"], slack["rejected"]) == (3, {"event": 4}, 2)
    fates = ("accepted", "duplicates", "rejected_conversations", "covered", "empty", "open")
    assert [slack[fate] for fate in fates] == [2, 0, 0, 0, 1, 0]
    assert slack["conversations"] == sum(slack[fate] for fate in fates)
    again = backfill(ck.read_slack(export, **SETTINGS), local, quiet=True)
    written = sorted((local.settings.state / "reports").glob("*/report.json"))[-1]
    assert json.loads(written.read_bytes())["slack"] == again.as_dict()["slack"]
    assert [again.as_dict()["slack"][fate] for fate in fates] == [0, 2, 0, 0, 1, 0]
    captures = _captures(tmp_path, [])
    captures.write_text('{"kind": "visitor_active"}\n', encoding="utf-8")
    assert "slack" not in backfill(captures, local, quiet=True).as_dict()


def test_frames_of_an_export_are_streamed_like_any_other(
    local: Platform, tmp_path: Path, transcript: Payload
) -> None:
    """Merged with webhooks, each event with its own messages."""
    captures = _captures(tmp_path, [{**transcript, "channelId": CHANNEL}])
    tables = _slack(tmp_path, [*LINES, MORE], captures=captures).to_tables(quiet=True)
    connection = ck.plan_connection(local, quiet=True).apply(quiet=True)
    page = ck.stream(tables, connection, quiet=True).reconcile()
    assert page.as_dict()["landed"] == 2
    rows = connection.read_rows(quiet=True)
    sent = rows.set_index("origin")["chat_messages"]
    texts = {origin: [message["text"] for message in messages] for origin, messages in sent.items()}
    assert texts == {
        "webhook": ["Is the beta open?", "Yes, since today."],
        "slack_export": ["It needs a key."],
    }


def test_a_later_export_without_its_head_is_the_same_conversation(local: Platform, tmp_path: Path) -> None:
    """A later export without its head is the same conversation."""
    backfill(_slack(tmp_path, [*LINES, MORE]), local, quiet=True)
    later = said("1710144301.000100", "One more thing.")
    page = backfill(_slack(tmp_path, [*LINES[2:], MORE, later]), local, quiet=True)
    assert page.as_dict()["accepted"] == 1
    rows = ck.open_connection(local, quiet=True).read_rows(quiet=True)
    assert rows["conversation_id"].nunique() == 1
    assert sorted(rows["start_is_whole"]) == [False, True]


def test_captures_that_turn_up_later_are_named_as_pairs(
    local: Platform, tmp_path: Path, transcript: Payload
) -> None:
    """Captures that arrive later are listed as pairs."""
    alone = _slack(tmp_path, [*LINES, MORE])
    own_id = alone.to_tables(quiet=True).events["conversation_id"].iat[0]
    backfill(alone, local, quiet=True)
    captures = _captures(tmp_path, [{**transcript, "channelId": CHANNEL}])
    page = backfill(_slack(tmp_path, [*LINES, MORE], captures=captures), local, quiet=True)
    assert page.as_dict()["by_kind"] == {"transcript": 2}
    (note,) = [note for note in page.notes if "under two ids" in note]
    assert f"{own_id} and {transcript['conversationUUID']}" in note
    again = backfill(_slack(tmp_path, [*LINES, MORE], captures=captures), local, quiet=True)
    assert (again.as_dict()["accepted"], again.as_dict()["duplicates"]) == (0, 2)
    assert any("under two ids" in note for note in again.notes)


def test_an_export_without_the_captures_that_were_sent_is_warned_about(
    local: Platform, tmp_path: Path, transcript: Payload
) -> None:
    """Coverage by webhooks is known only from captures that the same run reads."""
    backfill(_captures(tmp_path, [transcript]), local, quiet=True)
    page = backfill(_slack(tmp_path, LINES), local, quiet=True)
    (note,) = [note for note in page.notes if "other files than this export" in note]
    assert note.startswith("1 transcript of this destination")
    again = backfill(_slack(tmp_path, LINES, captures=_captures(tmp_path, [transcript])), local, quiet=True)
    assert not any("other files than this export" in note for note in again.notes)


def test_captures_are_always_read_next_to_an_export(
    local: Platform, tmp_path: Path, transcript: Payload
) -> None:
    """Although they are unchanged: what they cover must not be sent from Slack."""
    captures = _captures(tmp_path, [{**transcript, "channelId": CHANNEL}])
    backfill(captures, local, quiet=True)
    export = _slack(tmp_path, LINES, captures=captures)
    page = backfill(export, local, quiet=True).as_dict()
    assert (page["accepted"], page["duplicates"]) == (0, 1)
    assert export.slack.counts.covered == 1
    assert len(export.to_tables(quiet=True).messages) == 2


def test_a_visitor_s_conversation_from_slack_is_forgotten_too(
    state: Path, tmp_path: Path, conversation: Payload
) -> None:
    """The webhook about its start leads from the visitor to it."""
    start = {"kind": "conversation_started", "receivedAt": "2024-03-11T08:00:07Z"}
    start["payload"] = {**conversation, "channelId": CHANNEL}
    captures = _captures(tmp_path, [start])
    settings = tmp_path / "slack.toml"
    settings.write_text('channels = ["z-*"]\napp_ids = ["A0CHAT"]\n', encoding="utf-8")
    with ck.open_platform("local", state=state) as platform:
        backfill(_slack(tmp_path, LINES, captures=captures), platform, quiet=True)
    options = ["--visitor-id", conversation["visitor"]["UUID"], "--state", str(state), "--yes"]
    paths = [str(tmp_path / "export.zip"), str(captures), "--slack", str(settings)]
    result = CliRunner().invoke(main, ["forget", *paths, *options, "--json"])
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    assert content["events"] == 2
    with Ledger(state) as ledger:
        assert set(ledger.as_frame()["source_file"]) == {"(forgotten)"}


BEA, OTHER = "C0BEA", "8d2f0b63-4c7e-4a19-6ba2-1e5f7c3a9d24"
MENTION = "As in C0ANA"


def _two_channels(tmp_path: Path, conversation: Payload, transcript: Payload) -> tuple[Path, Path]:
    """An export of two channels, and webhooks of the first one's visitor, who also chatted elsewhere."""
    members = members_of([*LINES, MORE], channels=[channel(), channel(BEA, "z-bea")])
    other = [by_visitor("1710144005.000200", "Bea asks", "bea"), said("1710144061.000200", MENTION)]
    members |= members_of([*other, None], folder="z-bea", channels=[channel(), channel(BEA, "z-bea")])
    started = {**conversation, "channelId": CHANNEL, "slackChannelId": "C0LOBBY"}
    payloads: list[Payload] = [
        {"kind": "conversation_started", "receivedAt": "2024-03-11T08:00:07Z", "payload": started},
        {"kind": "transcript", "payload": {**transcript, "channelId": CHANNEL}},
    ]
    elsewhere = {**conversation, "channelId": "C0CAT", "conversationUUID": OTHER, "slackChannelId": "C0LOBBY"}
    elsewhere["message"] = "Somewhere else"
    payloads.append({"kind": "feedback", "receivedAt": "2024-03-12T08:00:07Z", "payload": elsewhere})
    broken = {**started, "visitor": {**started["visitor"], "IPAddress": "nowhere"}}
    payloads.append({"kind": "feedback", "receivedAt": "2024-03-12T08:00:08Z", "payload": broken})
    return write_zip(tmp_path / "export.zip", members), _captures(tmp_path, payloads)


def _kept(state: Path) -> str:
    """All bytes of a state folder, and the rows of its lake."""
    content = [path.read_bytes().decode("latin-1") for path in state.rglob("*") if path.is_file()]
    return "\n".join([*content, *(str(pq.read_table(path).to_pylist()) for path in state.rglob("*.parquet"))])


def _forget(state: Path, *arguments: str | Path) -> tuple[int, Json]:
    result = CliRunner().invoke(
        main, ["forget", *map(str, arguments), "--state", str(state), "--yes", "--json"]
    )
    return result.exit_code, json.loads(result.stdout) if result.stdout else {"error": result.output}


@pytest.mark.parametrize("has_captures", [True, False])
def test_one_channel_s_conversations_are_forgotten(
    state: Path, tmp_path: Path, conversation: Payload, transcript: Payload, has_captures: bool
) -> None:
    """From webhooks and Slack; others that mention the channel, or share only the lobby or visitor, stay."""
    export, captures = _two_channels(tmp_path, conversation, transcript)
    settings, out = tmp_path / "slack.toml", tmp_path / "out"
    settings.write_text('channels = ["z-*"]\napp_ids = ["A0CHAT"]\n', encoding="utf-8")
    paths = [str(export), str(captures), "--slack", str(settings)]
    with ck.open_platform("local", state=state) as platform:
        page = backfill(
            ck.read_slack(export, captures=captures, settings=settings), platform, quiet=True
        ).as_dict()
    assert (page["accepted"], page["rejected"], page["landed"]) == (5, 2, 5)
    assert CliRunner().invoke(main, ["convert", *paths, "--out", str(out)]).exit_code == 3
    chat = transcript["conversationUUID"]
    before = _kept(state)
    assert all(word in before for word in (CHANNEL, chat, "It needs a key.", "nowhere"))
    code, nothing = _forget(state, *paths, "--channel", "C0LOBBY")
    assert (code, nothing["found"]) == (1, False)
    code, content = _forget(state, *(paths if has_captures else []), "--tables", out, "--channel", CHANNEL)
    assert code == 0, content
    assert (content["events"], content["lake_rows"], content["rejects"]) == (3, 3, 1)
    assert content["tables"] == {"events": 3, "messages": 3, "conversations": 1}
    in_captures = [(entry["file"], entry["record"]) for entry in content["in_captures"]]
    ours = [(f"export.zip!{CHANNEL}", 1), *(("captures.ndjson", record) for record in (1, 2, 4))]
    assert sorted(in_captures) == (sorted(ours) if has_captures else [])
    after = _kept(state)
    assert [word for word in (chat, "It needs a key.", "Is the beta open?", "nowhere") if word in after] == []
    assert f"!{CHANNEL}" not in after
    assert after.count(CHANNEL) == after.count(MENTION) > 0
    assert all(word in after for word in (OTHER, BEA, "C0LOBBY", conversation["visitor"]["UUID"]))
    assert set(ck.read_tables(out).events["channel_id"]) == {BEA, "C0CAT"}
    code, again = _forget(state, "--channel", CHANNEL)
    assert (code, again["found"]) == (1, False)


def test_the_ledger_leads_to_a_channel_s_transcripts(state: Path, tmp_path: Path) -> None:
    """Even if nothing else is left of them; sent events are not sent again."""
    with ck.open_platform("local", state=state) as platform:
        backfill(_slack(tmp_path, LINES), platform, quiet=True)
    local_platform.stop(state / "local")
    shutil.rmtree(state / "local")
    result = ck.forget(channel=CHANNEL, state=state)
    assert (result.found, result.events, result.lake_rows) == (True, 1, 0)
    with Ledger(state) as ledger:
        assert list(ledger.as_frame()["source_file"]) == ["(forgotten)"]


@pytest.mark.parametrize("name", ["z-ana-ruiz", "#general", "c0ana"])
def test_a_channel_s_name_is_not_its_id(tmp_path: Path, name: str) -> None:
    """A name would find nothing, and would seem to be forgotten."""
    with pytest.raises(UsageError, match=r"channel= takes a channel's id such as C0123456789, not its name"):
        ck.forget(channel=name, state=tmp_path)


def test_redacted_ids_are_not_in_the_name_of_the_file(tmp_path: Path) -> None:
    """Redacted ids are not in the name of the file."""
    tables = _slack(tmp_path, [*LINES, None], redact="mask").to_tables(quiet=True)
    assert list(tables.events["source_file"]) == ["export.zip"]
    assert [rejection.file for rejection in tables.rejections] == ["export.zip"]
    assert not any(CHANNEL in note for note in tables.notes)


def test_a_webhook_s_record_is_sent_unchanged(tmp_path: Path, transcript: Payload) -> None:
    """Absence means a webhook, as in every event from a live dataflow or an earlier version."""
    tables = ck.read_export(_captures(tmp_path, [transcript])).to_tables(quiet=True)
    (record,) = wire_records(tables.events, tables.messages)
    assert not NEW_FIELDS & json.loads(record.body).keys()
    tables = _slack(tmp_path, LINES).to_tables(quiet=True)
    (record,) = wire_records(tables.events, tables.messages)
    body = json.loads(record.body)
    assert {name: body[name] for name in NEW_FIELDS} == {
        "origin": "slack_export",
        "ended_by": "last_message",
        "start_is_whole": True,
    }
    assert body["chat_messages"][0].keys() == {"ts", "sent_at", "author", "username", "text"}


def test_an_existing_connection_is_updated_by_plan(
    local: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, transcript: Payload
) -> None:
    """The field group grows by three fields; live dataflows stay unchanged."""
    with monkeypatch.context() as earlier:
        fields = [field for field in catalogue.sent_fields() if field.name not in NEW_FIELDS]
        earlier.setattr(blueprint, "sent_fields", lambda: iter(fields))
        earlier.setattr(mappings, "sent_fields", lambda: iter(fields))
        backfill(_captures(tmp_path, [transcript]), local, quiet=True)
    plan = ck.plan_connection(local, quiet=True)
    changing = [(item.object, item.reason) for item in plan.objects if item.action == "update"]
    assert changing == [("field group", "to be added: ended_by, origin, start_is_whole")]
    channels = [channel(id_="C0NEW")]
    path = write_export(tmp_path, LINES, channels=channels)
    page = backfill(ck.read_slack(path, **SETTINGS), local, quiet=True)
    assert page.as_dict()["total"]["landed"] == 2
    rows = ck.open_connection(local, quiet=True).read_rows(quiet=True)
    assert sorted(rows["origin"]) == ["slack_export", "webhook"]
    assert not ck.plan_connection(local, quiet=True).changes
