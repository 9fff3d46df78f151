"""The sample's Slack export has the same chats as its webhooks, as far as both describe them."""

from __future__ import annotations

import json
from pathlib import Path
from zipfile import ZipFile

import orjson
import pandas as pd
import pytest
from click.testing import CliRunner

import chatlio_kit as ck
from chatlio_kit.chatlio.catalogue import TABLES
from chatlio_kit.cli import main
from chatlio_kit.samples import SampleExport
from chatlio_kit.samples.slack import APP_ID
from chatlio_kit.slack.text import Renderer
from chatlio_kit.tables import Tables

SETTINGS = {"channels": "z-*", "app_ids": APP_ID, "bot_without_username": "notice"}

CANNOT_KNOW = {
    "event_id", "occurred_at", "occurred_at_source", "received_at", "widget_id", "conversation_id",
    "visitor_id", "visitor_email", "visitor_name", "user_id", "visitor_traits", "visitor_handle",
    "user_agent", "page_url", "referrer_url", "visitor_created_at", "ip_address", "location", "message",
    "contact_name", "contact_email", "contact_mailbox", "subject", "slack_channel_id", "slack_channel_name",
    "slack_team_id", "started_at", "agent_email", "reply_to_email", "archive_url", "command_words",
    "extra_fields", "origin", "ended_by", "start_is_whole", "payload_digest", "source_file", "source_record",
}  # fmt: skip
"""Columns of events that a Slack export cannot know as a webhook does, or knows in another form."""


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> SampleExport:
    """Webhooks and a Slack export of the same chats."""
    return ck.write_sample(tmp_path_factory.mktemp("sample") / "captures", events=700, slack=True)


@pytest.fixture(scope="module")
def by_webhooks(sample: SampleExport) -> Tables:
    """The webhooks' messages."""
    return ck.read_export(sample.path).to_tables(quiet=True)


@pytest.fixture(scope="module")
def by_slack(sample: SampleExport) -> Tables:
    """The Slack export's messages."""
    assert sample.slack is not None
    return ck.read_slack(sample.slack, **SETTINGS).to_tables(quiet=True)


def test_both_have_the_same_messages(by_webhooks: Tables, by_slack: Tables) -> None:
    """Their ts, author and text; a webhook's text has links in Slack's markup."""
    channels = by_webhooks.events.drop_duplicates("event_id").set_index("event_id")["channel_id"]
    sent = by_webhooks.messages.assign(channel_id=by_webhooks.messages["event_id"].map(channels))
    channels = by_slack.events.set_index("event_id")["channel_id"]
    exported = by_slack.messages.assign(channel_id=by_slack.messages["event_id"].map(channels))
    both = sent.merge(exported, on=["channel_id", "ts"], suffixes=("", "_slack"))
    assert len(both) == len(sent) > 900
    assert (both["author"] == both["author_slack"]).all()
    assert (both["sent_at"] == both["sent_at_slack"]).all()
    agents = both[both["author"] == "agent"]
    assert (agents["slack_user_id"] == agents["slack_user_id_slack"]).all()
    visitors = both[both["author"] == "visitor"]
    assert (visitors["username"] == visitors["username_slack"]).all()
    renderer = Renderer({}, {})
    texts = [
        seen in (said, renderer.rendered(said))
        for said, seen in zip(both["text"], both["text_slack"], strict=True)
    ]
    assert all(texts)
    assert (both["text"] == both["text_slack"]).mean() > 0.95


def test_both_have_the_same_conversations(by_webhooks: Tables, by_slack: Tables) -> None:
    """Every transcript's messages are those of one Slack conversation, in all columns that Slack knows."""
    assert set(by_slack.events["kind"]) == {"transcript"}
    transcripts = by_webhooks.events[by_webhooks.events["kind"] == "transcript"]
    fullest = transcripts.sort_values("message_count").drop_duplicates("conversation_id", keep="last")
    both = fullest.merge(by_slack.events, on=["channel_id", "message_ts"], suffixes=("", "_slack"))
    assert len(both) == len(fullest) == transcripts["conversation_id"].nunique()
    known = {field.name for field in TABLES["events"]} - CANNOT_KNOW
    assert known == {
        "kind",
        "channel_id",
        "channel_name",
        "message_ts",
        "message_count",
        "ended_at",
        "agent_name",
    }
    assert (both["message_count"] == both["message_count_slack"]).all()
    assert (both["agent_name"].fillna("") == both["agent_name_slack"].fillna("")).all()
    assert ((both["ended_at"] - both["ended_at_slack"]).abs() <= pd.Timedelta(microseconds=1)).mean() > 0.9
    assert both["start_is_whole_slack"].all()
    assert set(both["ended_by_slack"]) == {"channel_archive"}
    assert (both["channel_name"] == both["channel_name_slack"]).mean() > 0.5


def test_sources_read_together_repeat_no_message(sample: SampleExport, by_slack: Tables) -> None:
    """Merged, no message occurs twice."""
    export = ck.read_slack(sample.slack or "", captures=sample.path, **SETTINGS)
    tables = export.to_tables(quiet=True)
    assert not tables.messages.duplicated(["conversation_id", "ts"]).any()
    assert len(tables.messages) == len(by_slack.messages)
    assert export.slack is not None
    counts = export.slack.counts
    assert counts.covered + counts.accepted == len(by_slack.conversations)
    assert counts.merged == 0
    assert counts.joined > 0


def test_the_command_names_the_export_file(tmp_path: Path) -> None:
    """Next to the captures, under their name."""
    out = tmp_path / "captures"
    result = CliRunner().invoke(main, ["sample", str(out), "--events", "20", "--slack", "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["slack"] == f"{out}.slack.zip"
    assert Path(f"{out}.slack.zip").is_file()


def test_the_same_seed_gives_the_same_bytes_and_the_same_captures(tmp_path: Path) -> None:
    """The same seed gives the same bytes and the same captures."""
    first = ck.write_sample(tmp_path / "a" / "captures", events=60, slack=True)
    second = ck.write_sample(tmp_path / "b" / "captures", events=60, slack=True)
    without = ck.write_sample(tmp_path / "c" / "captures", events=60)
    assert first.slack is not None
    assert second.slack is not None
    assert without.slack is None
    assert first.slack.read_bytes() == second.slack.read_bytes()
    for path in first.path.rglob("*.ndjson*"):
        inside = path.relative_to(first.path)
        assert path.read_bytes() == (second.path / inside).read_bytes()
        assert path.read_bytes() == (without.path / inside).read_bytes()


def test_the_sample_knows_several_forms_of_a_bot_s_message(sample: SampleExport) -> None:
    """The sample uses several forms of bot messages."""
    forms = set()
    with ZipFile(sample.slack or "") as archive:
        for name in archive.namelist():
            if name.startswith("z-"):
                lines = orjson.loads(archive.read(name))
                forms |= {
                    (line.get("subtype"), "bot_id" in line, "user" in line)
                    for line in lines
                    if "username" in line and line["username"] != "radio"
                }
    assert forms == {("bot_message", True, False), ("bot_message", False, False), (None, True, True)}
