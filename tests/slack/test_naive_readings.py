"""Mistakes of a naive reader of workspace exports, where no public report shows them."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from slack_exports import (
    CHANNEL,
    DAY,
    SETTINGS,
    Json,
    by_visitor,
    channel,
    event,
    members_of,
    said,
    users,
    write_export,
    write_zip,
)

import chatlio_kit as ck
from chatlio_kit.errors import CaptureError
from chatlio_kit.slack import SlackCounts
from chatlio_kit.tables import Tables

TS, NEXT = "1710144005.000200", "1710144006.000200"


def _read(path: Path, **more: Any) -> Tables:
    return ck.read_slack(path, **{**SETTINGS, **more}).to_tables(quiet=True)


def _authors(tables: Tables) -> list[tuple[str, str | None]]:
    names = tables.messages["username"].astype(object).where(tables.messages["username"].notna(), None)
    return list(zip(tables.messages["author"], names, strict=True))


def _counts(tables: Tables) -> SlackCounts:
    assert tables.slack is not None
    return tables.slack


def test_a_name_that_is_not_utf8_is_in_code_page_437(tmp_path: Path) -> None:
    """Without the flag, bytes that are not UTF-8 are in code page 437."""
    members = members_of([said(TS, "hi")], channels=[channel(name="z-jörg")], folder="z-jXrg")
    path = write_zip(tmp_path / "export.zip", members)
    path.write_bytes(path.read_bytes().replace(b"z-jXrg", "z-jörg".encode("cp437")))
    with ZipFile(path) as archive:
        assert f"z-jörg/{DAY}.json" in archive.namelist()
    assert list(_read(path).messages["text"]) == ["hi"]


@pytest.mark.parametrize("roots", [("a/b",), ("a", "b")])
def test_no_more_than_one_folder_may_enclose_an_export(tmp_path: Path, roots: tuple[str, ...]) -> None:
    """It is unknown which of several is meant."""
    members = {
        f"{root}/{name}": text for root in roots for name, text in members_of([said(TS, "hi")]).items()
    }
    with pytest.raises(CaptureError, match="is not a Slack export that can be read"):
        _read(write_zip(tmp_path / "export.zip", members))


def test_only_files_of_days_hold_messages(tmp_path: Path) -> None:
    """Other files in a channel's folder are neither read nor rejected."""
    members = members_of([said(TS, "hi")])
    content = members[f"z-ana-ruiz/{DAY}.json"].replace(b"hi", b"no").replace(TS.encode(), NEXT.encode())
    for name in (
        "canvas_in_the_conversation.json",
        "2024-03-11.json.bak",
        "2024-3-11.json",
        "attachments/2024-03-12.json",
    ):
        members[f"z-ana-ruiz/{name}"] = content
    members["2024-03-11.json"] = content
    tables = _read(write_zip(tmp_path / "export.zip", members))
    assert list(tables.messages["text"]) == ["hi"]
    assert not tables.rejections
    assert _counts(tables).messages == 1


def test_a_null_list_of_private_channels_is_empty(tmp_path: Path) -> None:
    """Like the id of a public channel."""
    assert list(_read(write_export(tmp_path, [said(TS, "hi")], groups=b"null")).messages["text"]) == ["hi"]


def test_a_folder_in_decomposed_form_matches_its_entry(tmp_path: Path) -> None:
    """As macOS writes names."""
    path = write_export(
        tmp_path, [said(TS, "hi")], channels=[channel(name="z-jo\u00e3o")], folder="z-joa\u0303o"
    )
    assert list(_read(path).messages["text"]) == ["hi"]


@pytest.mark.parametrize(
    ("created", "is_whole"), [(1356998399, False), (1356998400, True), ("1356998400", True)]
)
def test_a_channel_made_before_2013_has_a_placeholder(
    tmp_path: Path, created: object, is_whole: bool
) -> None:
    """Slack did not exist then, so the time says nothing about the beginning."""
    lines = [event(f"{created}.000100", "channel_join"), by_visitor("1357000000.000200", "hi")]
    tables = _read(write_export(tmp_path, lines, channels=[channel(created=created)]))
    assert list(tables.events["start_is_whole"]) == [is_whole]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({"bot_id": "B9"}, "other_bot"),
        ({"user": "U1", "bot_profile": {"id": "B9", "name": "beep"}}, "other_bot"),
        ({"user": "U7"}, "other_bot"),
        ({"subtype": "bot_message", "bot_id": "B9", "username": "ana"}, "other_bot"),
        ({"subtype": "file_comment", "comment": {"user": "U1", "comment": "x"}}, "subtype_file_comment"),
    ],
    ids=[
        "a bot's id",
        "a bot's profile",
        "a bot among users",
        "another bot's message",
        "a comment on a file",
    ],
)
def test_messages_by_others_than_the_app_and_members_are_left_out(
    tmp_path: Path, line: Json, reason: str
) -> None:
    """A bot is identified by id, profile, type or the list of users, whatever its displayed name."""
    bot = {"id": "U7", "name": "beep", "is_bot": True, "profile": {}}
    lines = [said(TS, "hi"), {"type": "message", "text": "x", "ts": NEXT, **line}]
    tables = _read(write_export(tmp_path, lines, people=[*users(), bot]))
    assert list(tables.messages["text"]) == ["hi"]
    assert _counts(tables).left_out == {reason: 1}


def test_a_name_without_a_user_decides_nothing(tmp_path: Path) -> None:
    """It is kept, and the author is unknown."""
    tables = _read(write_export(tmp_path, [{"type": "message", "text": "x", "username": "ana", "ts": TS}]))
    assert _authors(tables) == [("unknown", "ana")]


def test_a_deleted_user_is_named_by_the_remaining_profile(tmp_path: Path) -> None:
    """For a deleted user, an export has little more than the login name."""
    people = [*users(), {"id": "U3", "deleted": True, "name": "kim", "profile": {}}, {"id": "U4"}]
    tables = _read(write_export(tmp_path, [said(TS, "hi", "U3"), said(NEXT, "yo", "U4")], people=people))
    assert _authors(tables) == [("agent", "kim"), ("agent", "U4")]


@pytest.mark.parametrize(
    ("more", "author"),
    [
        ({"username": "Chatlio"}, ("unknown", None)),
        ({"username": " chatlio "}, ("unknown", None)),
        ({"username": "Widget", "bot_profile": {"id": "B0CHAT", "name": "widget"}}, ("unknown", None)),
        ({"username": "ana", "bot_profile": {"id": "B0CHAT", "name": "widget"}}, ("visitor", "ana")),
    ],
)
def test_the_app_s_own_name_is_never_a_visitor_s(
    tmp_path: Path, more: Json, author: tuple[str, str | None]
) -> None:
    """Neither the name in the list of users, nor the name in the message's bot profile."""
    assert _authors(_read(write_export(tmp_path, [by_visitor(TS, "hi", **more)]))) == [author]


def test_a_list_of_replies_makes_no_thread(tmp_path: Path) -> None:
    """A line belongs to a thread by its own thread_ts; the head's list is a hint."""
    head = said(
        TS, "head", thread_ts=TS, reply_count=2, replies=[{"user": "U1", "ts": NEXT}, {"ts": "1.000001"}]
    )
    path = write_export(tmp_path, [head, said(NEXT, "no reply")])
    assert list(_read(path).messages["text"]) == ["head", "no reply"]


def test_a_reply_without_its_head_is_a_reply(tmp_path: Path) -> None:
    """A date range may have removed the head."""
    path = write_export(tmp_path, [said(TS, "hi"), said(NEXT, "reply", thread_ts="1700000000.000100")])
    tables = _read(path)
    assert list(tables.messages["text"]) == ["hi"]
    assert _counts(tables).left_out == {"thread_reply": 1}
    assert list(_read(path, thread_replies="keep").messages["text"]) == ["hi", "reply"]


def test_a_day_of_an_unpacked_export_has_a_limit_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No entry in the zip's directory gives its size."""
    monkeypatch.setattr("chatlio_kit.slack.history.DAY_BYTES", 1000)
    days = {DAY: [said(TS, "hi")], "2024-03-12": [said("1710230405.000200", "x" * 1000)]}
    with ZipFile(write_export(tmp_path, days)) as archive:
        archive.extractall(tmp_path / "unpacked")
    tables = _read(tmp_path / "unpacked")
    assert list(tables.messages["text"]) == ["hi"]
    (rejected,) = tables.rejections
    assert (rejected.file, rejected.reason) == (f"unpacked!{CHANNEL}/2024-03-12.json", "unreadable")
