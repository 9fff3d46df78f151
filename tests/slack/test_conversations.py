"""A channel's lines become conversations: their ends, their ids, and the sums of all counts."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slack_exports import CHANNEL, DAY, SETTINGS, Json, by_visitor, channel, event, said, users, write_export

import chatlio_kit as ck
from chatlio_kit.slack import SlackCounts, SlackHistory, SlackSettings
from chatlio_kit.tables import Tables

JOIN = event("1710144000.000100", "channel_join")
ASKED = by_visitor("1710144005.000200", "Is the beta open?")
ANSWERED = said("1710144061.448129", "Yes, since today.")
ARCHIVED = event("1710144200.000900", "channel_archive")
REOPENED = event("1710200000.000100", "channel_unarchive")
BACK = by_visitor("1710200005.000200", "Hello again")


def _read(path: Path, lines: list[Json], **more: Any) -> Tables:
    return ck.read_slack(write_export(path, lines), **{**SETTINGS, **more}).to_tables(quiet=True)


def _rows(tables: Tables, *columns: str) -> list[tuple[Any, ...]]:
    ordered = tables.events.sort_values("ended_at")
    return list(ordered[list(columns)].itertuples(index=False, name=None))


def test_an_archive_ends_a_conversation_and_the_next_line_begins_one(tmp_path: Path) -> None:
    """Archiving ends a conversation, and the next line starts one."""
    tables = _read(tmp_path, [JOIN, ASKED, ANSWERED, ARCHIVED, REOPENED, BACK])
    assert _rows(tables, "ended_by", "start_is_whole", "message_ts") == [
        ("channel_archive", True, "1710144005.000200 1710144061.448129"),
        ("last_message", True, "1710200005.000200"),
    ]
    first = tables.events.sort_values("ended_at").iloc[0]
    assert str(first["started_at"]) == "2024-03-11 08:00:05.000200+00:00"
    assert str(first["ended_at"]) == str(first["occurred_at"]) == "2024-03-11 08:03:20.000900+00:00"
    assert (first["occurred_at_source"], first["origin"]) == ("slack_ts", "slack_export")
    assert (first["agent_name"], first["visitor_name"], first["channel_name"]) == (
        "Sam Lee",
        "ana",
        "z-ana-ruiz",
    )
    assert tables.visitors.empty


def test_ids_follow_the_published_formulas(tmp_path: Path) -> None:
    """Ids follow the published formulas."""
    (row,) = _read(tmp_path, [JOIN, ASKED, ARCHIVED]).events.to_dict("records")
    digits = sha256(f"slack-conversation|{CHANNEL}|1710144000.000100".encode()).hexdigest()
    id_ = row["conversation_id"].replace("-", "")
    assert (id_[:12], id_[13:16], id_[17:]) == (digits[:12], digits[13:16], digits[17:32])
    assert (id_[12], id_[16] in "89ab") == ("8", True)
    content = sha256()
    for text in ("1710144005.000200", "visitor", "Is the beta open?"):
        content.update(f"{len(text)}:{text}".encode())
    words = f"slack_transcript|{CHANNEL}|1710144000.000100|2024-03-11T08:03:20.000900Z|{content.hexdigest()}"
    assert row["event_id"] == sha256(words.encode()).hexdigest()


@pytest.mark.parametrize(
    "more",
    [
        {"thread_replies": "keep"},
        {"bot_without_username": "notice"},
        {"bot_without_username": "visitor"},
    ],
)
def test_options_about_authors_and_threads_leave_the_conversation_s_id(
    tmp_path: Path, more: dict[str, str]
) -> None:
    """Options about authors and threads do not change the conversation's id."""
    notice = by_visitor("1710144001.000100", "A visitor is here", username="")
    reply = said("1710144070.000100", "note", thread_ts="1710144061.448129")
    lines = [JOIN, notice, ASKED, ANSWERED, reply]
    plain = _read(tmp_path, lines).events["conversation_id"]
    assert list(_read(tmp_path, lines, **more).events["conversation_id"]) == list(plain)


def test_changes_between_exports_change_no_id(tmp_path: Path) -> None:
    """Profiles, reactions, reply counts and read marks depend on the day of the export."""
    later = {
        **ANSWERED,
        "text": "Yes, <@U1>.",
        "reactions": [{"name": "+1", "users": ["U1"], "count": 1}],
        "reply_count": 3,
    }
    later |= {
        "user_profile": {"real_name": "Samuel"},
        "last_read": "1710144999.000100",
        "thread_ts": later["ts"],
    }
    answered = {**ANSWERED, "text": "Yes, <@U1>."}
    first = _read(tmp_path, [JOIN, ASKED, answered])
    people = [{**users()[0], "profile": {"real_name": "Samuel Lee"}}, users()[1]]
    path = write_export(tmp_path, [JOIN, ASKED, later], people=people)
    second = ck.read_slack(path, **SETTINGS).to_tables(quiet=True)
    assert list(second.messages["text"]) == ["Is the beta open?", "Yes, @Samuel Lee."]
    assert list(first.events["event_id"]) == list(second.events["event_id"])
    assert list(first.events["payload_digest"]) == list(second.events["payload_digest"])


def test_silence_ends_a_conversation_only_if_requested(tmp_path: Path) -> None:
    """Silence ends a conversation only if requested."""
    lines = [JOIN, ASKED, by_visitor("1710230000.000100", "Anybody?")]
    assert len(_read(tmp_path, lines).events) == 1
    tables = _read(tmp_path, lines, split_on=["channel_archive", "gap=6h"])
    assert _rows(tables, "ended_by", "start_is_whole") == [("gap", True), ("last_message", True)]


@pytest.mark.parametrize(
    ("created", "first", "is_whole"),
    [
        (1710144000, JOIN, True),
        ("1710144001", JOIN, True),
        (1710144000, ASKED, False),
        (1710100000, JOIN, False),
        (0, JOIN, False),
        (None, JOIN, False),
    ],
)
def test_a_beginning_is_complete_if_the_creator_joins_at_creation(
    tmp_path: Path, created: object, first: Json, is_whole: bool
) -> None:
    """A beginning is complete if the creator joins when the channel is created."""
    path = write_export(tmp_path, [first, ANSWERED], channels=[channel(created=created)])
    tables = ck.read_slack(path, **SETTINGS, bot_users=["U0BOT"]).to_tables(quiet=True)
    assert list(tables.events["start_is_whole"]) == [is_whole]


def test_closed_only_excludes_running_conversations(tmp_path: Path) -> None:
    """closed_only leaves out running conversations."""
    export = ck.read_slack(
        write_export(tmp_path, [JOIN, ASKED, ARCHIVED, REOPENED, BACK]), **SETTINGS, closed_only=True
    )
    assert list(export.to_tables(quiet=True).events["ended_by"]) == ["channel_archive"]
    assert export.slack is not None
    assert (export.slack.counts.open, export.slack.counts.left_out["open"]) == (1, 1)


def test_a_broadcast_reply_counts_once(tmp_path: Path) -> None:
    """A broadcast reply counts once."""
    broadcast = said("1710144070.000100", "to all", subtype="thread_broadcast", thread_ts=ANSWERED["ts"])
    tables = _read(tmp_path, [JOIN, ASKED, ANSWERED, broadcast, broadcast], thread_replies="keep")
    assert list(tables.messages["text"]) == ["Is the beta open?", "Yes, since today.", "to all"]


def test_every_line_of_another_kind_is_left_out_by_its_name(tmp_path: Path) -> None:
    """Every line of another type is left out under its name."""
    lines = [
        JOIN,
        ASKED,
        event("1710144010.000100", "pinned_item", "U1"),
        event("1710144011.000100", "message_changed", "U1"),
        event("1710144012.000100", "tombstone", "USLACKBOT"),
        event("1710144013.000100", "slackbot_response", "USLACKBOT"),
        event("1710144014.000100", "brand new kind", "U1"),
        said("1710144015.000100", "reply", thread_ts="1710144005.000200"),
        said("1710144016.000100", "beep", "U7", bot_id="B7"),
        {**ASKED},
    ]
    export = ck.read_slack(write_export(tmp_path, lines), **SETTINGS)
    assert len(export.to_tables(quiet=True).messages) == 1
    assert export.slack is not None
    assert export.slack.counts.left_out == {
        "event": 2,
        "change_record": 1,
        "tombstone": 1,
        "subtype_slackbot_response": 1,
        "subtype_other": 1,
        "thread_reply": 1,
        "other_bot": 1,
        "repeated": 1,
    }


def test_an_invalid_line_is_rejected_by_file_and_number(tmp_path: Path) -> None:
    """An invalid line is rejected by file and number."""
    lines = [
        JOIN,
        None,
        {"type": "message", "text": "x"},
        said("1.5", "y"),
        {**ASKED, "ts": 1710144005.0002},
        ASKED,
    ]
    tables = _read(tmp_path, lines)
    assert [
        (rejection.file, rejection.record, rejection.reason, rejection.field)
        for rejection in tables.rejections
    ] == [
        (f"export.zip!{CHANNEL}/{DAY}.json", 2, "not_an_object", None),
        (f"export.zip!{CHANNEL}/{DAY}.json", 3, "missing", "ts"),
        (f"export.zip!{CHANNEL}/{DAY}.json", 4, "invalid_value", "ts"),
        (f"export.zip!{CHANNEL}/{DAY}.json", 5, "invalid_value", "ts"),
    ]
    assert list(tables.messages["text"]) == ["Is the beta open?"]


def test_a_time_in_the_future_rejects_its_conversation(tmp_path: Path) -> None:
    """A time in the future rejects its conversation."""
    tables = _read(tmp_path, [JOIN, by_visitor("9999999999.000100", "soon"), ARCHIVED, REOPENED, BACK])
    assert [rejection.reason for rejection in tables.rejections] == ["future_time"]


def test_without_a_domain_there_is_no_url(tmp_path: Path) -> None:
    """Without a domain there is no URL."""
    assert _read(tmp_path, [ASKED]).events["archive_url"].isna().all()
    tables = _read(tmp_path, [ASKED], workspace_domain="acme")
    assert list(tables.events["archive_url"]) == [f"https://acme.slack.com/archives/{CHANNEL}"]


def _adds_up(counts: SlackCounts) -> bool:
    conversations = counts.accepted + counts.duplicates + counts.rejected_conversations
    return (
        counts.messages == counts.kept + counts.left_out.total() + counts.rejected
        and counts.conversations == conversations + counts.covered + counts.empty + counts.open
    )


_LINES = st.one_of(
    st.sampled_from([None, 5, {}, {"ts": "x"}, {"ts": ""}]),
    st.builds(
        lambda second, kind, user, text: {
            "type": "message",
            "ts": f"17101{second:05}.000100",
            "subtype": kind,
            "user": user,
            "text": text,
            "bot_id": None if user else "B0CHAT",
            "username": "" if second % 3 else "ana",
        },
        st.integers(0, 60),
        st.sampled_from(["", "channel_join", "channel_archive", "bot_message", "tombstone", "odd"]),
        st.sampled_from(["", "U1", "U2", "U0BOT", "USLACKBOT"]),
        st.text(max_size=5),
    ),
)


@settings(max_examples=60)
@given(
    lines=st.lists(_LINES, max_size=25),
    known=st.lists(st.integers(0, 60), max_size=6),
    closed_only=st.booleans(),
)
def test_every_line_of_a_channel_has_one_outcome(
    tmp_path_factory: pytest.TempPathFactory, lines: list[Any], known: list[int], closed_only: bool
) -> None:
    """In any channel, every line has exactly one outcome."""
    path = write_export(tmp_path_factory.mktemp("export"), lines)
    history = SlackHistory(path, SlackSettings(("z-*",), ("A0CHAT",), closed_only=closed_only))
    webhooks = history.webhooks()
    for number, second in enumerate(known):
        webhooks.add_transcript(CHANNEL, f"conversation-{number % 2}", f"17101{second:05}.000100")
    for read in history.channels(webhooks):
        history.counts.accepted += len(read.conversations)
    assert _adds_up(history.counts)
    assert history.counts.messages == len(lines)
