"""Problems that readers of Slack exports have reported in public, each as a small invented export."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from random import Random
from typing import Any
from zipfile import ZipFile, ZipInfo

import pytest
from slack_exports import (
    BOT_USER,
    CHANNEL,
    DAY,
    NAME,
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
from chatlio_kit.slack import SlackHistory, SlackSettings
from chatlio_kit.tables import Export, Tables

TS = "1710144005.000200"


def _read(path: Path, **more: Any) -> Tables:
    return _export(path, **more).to_tables(quiet=True)


def _export(path: Path, **more: Any) -> Export:
    return ck.read_slack(path, **{**SETTINGS, **more})


def _texts(tables: Tables) -> list[str | None]:
    return [None if text != text else text for text in tables.messages["text"]]  # noqa: PLR0124 - NaN


def _authors(tables: Tables) -> list[str]:
    return list(tables.messages["author"])


def _raw_zip(path: Path, members: dict[bytes, bytes], *, flag: int) -> Path:
    """Write a zip whose members have exactly these bytes as names."""
    with ZipFile(path, "w") as archive:
        for number, (name, content) in enumerate(members.items()):
            archive.writestr(ZipInfo(str(number).ljust(len(name), "x")), content)
    data = bytearray(path.read_bytes())
    for number, name in enumerate(members):
        placeholder = str(number).ljust(len(name), "x").encode()
        for signature, name_at, flag_at in ((b"PK\x03\x04", 30, 6), (b"PK\x01\x02", 46, 8)):
            start = 0
            while (start := data.find(signature, start)) >= 0:
                if data[start + name_at :][: len(name)] == placeholder:
                    data[start + name_at : start + name_at + len(name)] = name
                    struct.pack_into("<H", data, start + flag_at, flag)
                start += 4
    path.write_bytes(bytes(data))
    return path


@pytest.mark.parametrize(
    ("name", "flag"),
    [("z-joão", 0), ("z-joão", 0x800), ("z-a\u202fb", 0x800)],
    ids=["1: flag missing", "2: flag set", "2: odd blank"],
)
def test_names_are_read_as_utf8_where_they_are(tmp_path: Path, name: str, flag: int) -> None:
    """Names in UTF-8 are read as such."""
    members = members_of([said(TS, "hi")], channels=[channel(name=name)], folder=name)
    named = {member.encode(): content for member, content in members.items()}
    assert _texts(_read(_raw_zip(tmp_path / "export.zip", named, flag=flag))) == ["hi"]


def test_3_a_folder_matches_its_entry_in_normal_form(tmp_path: Path) -> None:
    """A folder matches its entry in normalised form."""
    path = write_export(tmp_path, [said(TS, "hi")], channels=[channel(name="z-ビューア")], folder="z-ﾋﾞｭｰｱ")
    assert _texts(_read(path)) == ["hi"]


def test_4_backslashes_separate_too(tmp_path: Path) -> None:
    """Backslashes are separators too."""
    members = members_of([said(TS, "hi")])
    named = {name.replace("/", "\\"): content for name, content in members.items()}
    assert _texts(_read(write_zip(tmp_path / "export.zip", named))) == ["hi"]


def test_5_an_enclosing_folder_is_allowed(tmp_path: Path) -> None:
    """A folder may enclose everything."""
    members = {f"acme export/{name}": content for name, content in members_of([said(TS, "hi")]).items()}
    members["__MACOSX/acme export/._channels.json"] = b"\0"
    members["acme export/.DS_Store"] = b"\0"
    path = write_zip(tmp_path / "export.zip", members)
    assert _texts(_read(path)) == ["hi"]
    with ZipFile(path) as archive:
        archive.extractall(tmp_path / "unpacked")
    assert _texts(_read(tmp_path / "unpacked")) == ["hi"]
    assert _texts(_read(tmp_path / "unpacked" / "acme export")) == ["hi"]


def test_6_slackbot_is_not_an_agent(tmp_path: Path) -> None:
    """Slackbot is not an agent."""
    export = _export(write_export(tmp_path, [said(TS, "hi", "USLACKBOT"), said("1710144006.000200", "yes")]))
    assert _texts(export.to_tables(quiet=True)) == ["yes"]
    assert export.slack is not None
    assert export.slack.counts.left_out == {"other_bot": 1}


def test_7_an_unknown_user_keeps_the_id_or_the_message_s_own_name(tmp_path: Path) -> None:
    """An unknown user keeps the id or the message's own name."""
    lines = [said(TS, "hi", "U9"), said("1710144006.000200", "yo", "U8", user_profile={"real_name": "Kim"})]
    tables = _read(write_export(tmp_path, lines, people=[]), bot_users=[BOT_USER])
    assert list(tables.messages["username"]) == ["U9", "Kim"]
    assert _authors(tables) == ["agent", "agent"]


def test_8_a_bot_message_without_bot_id_is_the_app_s_in_its_own_channel(tmp_path: Path) -> None:
    """A bot message without bot id is the app's in its own channel."""
    line = {"type": "message", "subtype": "bot_message", "text": "x", "username": "ana", "ts": TS}
    tables = _read(write_export(tmp_path, [line]))
    assert (_authors(tables), list(tables.messages["username"])) == (["visitor"], ["ana"])
    elsewhere = [channel(creator="U1")]
    lines = [line, by_visitor("1710144006.000200", "y")]
    assert _texts(_read(write_export(tmp_path, lines, channels=elsewhere))) == ["y"]


def test_9_a_message_without_user_has_an_unknown_author(tmp_path: Path) -> None:
    """A message without user has an unknown author."""
    tables = _read(write_export(tmp_path, [{"type": "message", "text": "x", "ts": TS}]))
    assert _authors(tables) == ["unknown"]
    assert tables.messages["slack_user_id"].isna().all()


def test_10_a_thread_needs_no_list_of_replies(tmp_path: Path) -> None:
    """A thread needs no list of replies."""
    lines = [
        said(TS, "head", reply_count=1, thread_ts=TS),
        said("1710144006.000200", "reply", thread_ts=TS),
    ]
    path = write_export(tmp_path, lines)
    assert _texts(_read(path)) == ["head"]
    assert _texts(_read(path, thread_replies="keep")) == ["head", "reply"]


def test_11_a_reply_is_found_in_another_day_s_file(tmp_path: Path) -> None:
    """A reply is found in another day's file."""
    days = {
        "2024-03-11": [said(TS, "head", thread_ts=TS), said("1710144010.000200", "next")],
        "2024-03-14": [said("1710403205.000200", "reply", thread_ts=TS)],
    }
    tables = _read(write_export(tmp_path, days), thread_replies="keep")
    assert _texts(tables) == ["head", "next", "reply"]
    assert len(tables.conversations) == 1


HIDDEN = [{"id": "F1", "mode": "tombstone"}, {"id": "F2", "mode": "hidden_by_limit"}]


def test_12_and_13_hidden_files_are_counted_and_the_text_stays(tmp_path: Path) -> None:
    """Hidden files are counted and the text stays."""
    export = _export(write_export(tmp_path, [said(TS, "hi", files=HIDDEN)]))
    assert _texts(export.to_tables(quiet=True)) == ["hi"]
    assert export.slack is not None
    assert export.slack.counts.files == 2


def test_14_text_goes_before_blocks(tmp_path: Path) -> None:
    """Text takes precedence over blocks."""
    rich = {"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": [_run("a b")]}]}
    card = {"type": "section", "text": {"type": "mrkdwn", "text": "card"}}
    assert _texts(_read(write_export(tmp_path, [said(TS, "a b", blocks=[rich, card])]))) == ["a b"]


def _run(text: str) -> Json:
    return {"type": "text", "text": text}


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"attachments": [{"text": "late", "fallback": "late"}]}, "late"),
        ({"attachments": [{"fallback": "only"}]}, "only"),
        ({"blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": "a &amp; b"}}]}, "a & b"),
        (
            {"blocks": [{"type": "rich_text", "elements": [{"elements": [_run("x &amp; "), _run("y")]}]}]},
            "x &amp; y",
        ),
        (
            {"blocks": [{"type": "section", "text": {"text": "block"}}], "attachments": [{"text": "no"}]},
            "block",
        ),
    ],
)
def test_15_an_empty_text_is_filled_from_blocks_or_else_attachments(
    tmp_path: Path, more: Json, text: str
) -> None:
    """An empty text is filled from blocks or else attachments."""
    assert _texts(_read(write_export(tmp_path, [by_visitor(TS, "", **more)]))) == [text]


def test_16_one_channel_is_in_memory_at_a_time(tmp_path: Path) -> None:
    """A channel is read on request; nothing of the next one has been read before."""
    members: dict[str, bytes] = {}
    names = [f"z-{number}" for number in range(5)]
    channels = [channel(f"C{number}", name) for number, name in enumerate(names)]
    for number, name in enumerate(names):
        members |= members_of([said(f"171014400{number}.000200", name)], channels=channels, folder=name)
    history = SlackHistory(write_zip(tmp_path / "export.zip", members), SlackSettings.of(SETTINGS))
    for number, read in enumerate(history.channels(history.webhooks()), 1):
        assert [line.text for line in read.conversations[0].messages] == [names[number - 1]]
        assert (history.counts.channels_read, history.counts.messages) == (number, number)


@pytest.mark.parametrize("size", [100_000_000, 30_000_000])
def test_17_a_bomb_is_rejected_without_affecting_other_files(tmp_path: Path, size: int) -> None:
    """A bomb is refused and costs nothing else."""
    days = {"2024-03-11": [said(TS, "hi")], "2024-03-12": b" " * size}
    tables = _read(write_export(tmp_path, days))
    assert _texts(tables) == ["hi"]
    (rejected,) = tables.rejections
    assert (rejected.file, rejected.reason) == (f"export.zip!{CHANNEL}/2024-03-12.json", "unreadable")
    assert "more than any real one" in rejected.detail


def test_18_an_absent_address_stays_absent(tmp_path: Path) -> None:
    """An absent address stays absent."""
    tables = _read(write_export(tmp_path, [said(TS, "hi")]))
    assert tables.events["agent_email"].isna().all()
    assert list(tables.events["agent_name"]) == ["Sam Lee"]
    people = [{"id": "U1", "profile": {"real_name": "Sam Lee", "email": "sam@example.com"}}]
    assert list(_read(write_export(tmp_path, [said(TS, "hi")], people=people), bot_users=[BOT_USER]).events[
        "agent_email"
    ]) == ["sam@example.com"]  # fmt: skip


def test_19_a_null_list_of_channels_is_empty(tmp_path: Path) -> None:
    """A null list of channels is empty."""
    export = _export(write_export(tmp_path, [said(TS, "hi")], channels=b"null"))
    assert export.to_tables(quiet=True).events.empty
    assert "export.zip!channels.json lists no channels" in export.notes()


def test_20_a_folder_that_two_entries_claim_is_reported_and_not_read(tmp_path: Path) -> None:
    """A folder that two entries claim is reported and not read."""
    members = members_of([said(TS, "hi")], channels=[channel(), channel("C0OTHER")])
    members["b'z-general'/2024-03-11.json"] = b"[]"
    export = _export(write_zip(tmp_path / "export.zip", members))
    assert export.to_tables(quiet=True).events.empty
    assert any(note.startswith("2 channels were not read, because another entry") for note in export.notes())
    assert any(note.endswith("belong to no channel of the index: 1 folder") for note in export.notes())


def test_21_private_channels_are_in_groups_json(tmp_path: Path) -> None:
    """Private channels are listed in groups.json."""
    assert _texts(_read(write_export(tmp_path, [said(TS, "hi")], channels=[], groups=[channel()]))) == ["hi"]


def test_22_ts_keeps_all_its_digits(tmp_path: Path) -> None:
    """A ts keeps all its digits."""
    lines = [said("1710144005.000390", "second"), said("1710144005.000389", "first")]
    tables = _read(write_export(tmp_path, lines))
    assert list(tables.messages["ts"]) == ["1710144005.000389", "1710144005.000390"]
    assert _texts(tables) == ["first", "second"]
    assert list(tables.messages["sent_at"].dt.microsecond) == [389, 390]


def test_a_day_file_s_name_dates_nothing(tmp_path: Path) -> None:
    """A file is named by the day in California; times come from ts alone, in the order of ts."""
    days = {"2031-01-01": [said("1710144006.000200", "second")], "2031-01-02": [said(TS, "first")]}
    tables = _read(write_export(tmp_path, days))
    assert _texts(tables) == ["first", "second"]
    assert str(tables.messages["sent_at"].min()) == "2024-03-11 08:00:05.000200+00:00"


def test_a_byte_order_mark_and_line_breaks_are_accepted(tmp_path: Path) -> None:
    """A tool that rewrote a file may have added them."""
    days = {DAY: b"\xef\xbb\xbf[\r\n" + json.dumps(said(TS, "hi")).encode() + b"\r\n]\r\n"}
    assert _texts(_read(write_export(tmp_path, days))) == ["hi"]


def test_a_folder_may_be_named_by_the_channel_s_id(tmp_path: Path) -> None:
    """Other tools name folders differently; files with other names are not daily files."""
    members = members_of([said(TS, "hi")], folder=CHANNEL)
    members[f"{CHANNEL}/canvas_in_the_conversation.json"] = b"[1]"
    assert _texts(_read(write_zip(tmp_path / "export.zip", members))) == ["hi"]


@pytest.mark.parametrize("members", [[], None])
def test_23_an_archived_channel_has_no_members(tmp_path: Path, members: list[str] | None) -> None:
    """An archived channel has no members."""
    entry = channel(is_archived=True)
    if members is None:
        del entry["members"]
    assert _texts(_read(write_export(tmp_path, [said(TS, "hi")], channels=[entry]))) == ["hi"]


def test_24_ids_are_stable_and_a_longer_export_gives_a_fuller_event(tmp_path: Path) -> None:
    """Ids are the same in a later export, and a longer export is a more complete event."""
    lines = [event("1710144000.000100", "channel_join"), by_visitor(TS, "hi")]
    first = _read(write_export(tmp_path, lines)).events
    again = _read(write_export(tmp_path, lines)).events
    longer = _read(write_export(tmp_path, [*lines, said("1710144061.000100", "hello")])).events
    assert list(first["event_id"]) == list(again["event_id"])
    assert list(first["conversation_id"]) == list(longer["conversation_id"])
    assert list(first["event_id"]) != list(longer["event_id"])
    assert list(longer["message_count"]) == [2]


def test_25_a_message_needs_no_user_profile(tmp_path: Path) -> None:
    """A message needs no user profile."""
    assert list(_read(write_export(tmp_path, [said(TS, "hi")])).messages["username"]) == ["Sam Lee"]


@pytest.mark.parametrize("blocks", [[5, {"type": "call"}], None, "x", [[[]]]])
def test_26_odd_blocks_are_ignored(tmp_path: Path, blocks: object) -> None:
    """Odd blocks are ignored."""
    lines = [said(TS, "hi", blocks=blocks), by_visitor("1710144006.000200", "", blocks=blocks)]
    assert _texts(_read(write_export(tmp_path, lines))) == ["hi", None]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"channel_id":"C1","messages":[]}', "a dump of one channel"),
        (b'{"ok":true,"messages":[],"has_more":false}', "a page of Slack's API"),
        (b"SQLite format 3\0....", "an SQLite database"),
        (b"plain text", "neither a zip nor a folder"),
    ],
)
def test_27_other_files_are_refused_with_their_type(tmp_path: Path, content: bytes, words: str) -> None:
    """Other files are refused with a description."""
    path = tmp_path / "C1.json"
    path.write_bytes(content)
    with pytest.raises(CaptureError, match=words):
        _export(path)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("slackdump.sqlite", r"slackdump archive \(SQLite\)"),
        ("C0123456789.json", "a slackdump dump"),
        ("C0123456789.json.gz", "an older slackdump archive"),
        ("channels/z-ana.txt", "a text export"),
        ("z-ana/2024-03-11.json", "no channels.json, which lists each channel's id"),
        ("notes.md", "it has no channels.json"),
    ],
)
def test_other_zips_are_refused_with_their_type(tmp_path: Path, name: str, words: str) -> None:
    """Other zips are refused with a description."""
    with pytest.raises(CaptureError, match=words):
        _export(write_zip(tmp_path / "other.zip", {name: b"x"}))


def test_28_bots_without_a_name_are_unknown_or_another_s(tmp_path: Path) -> None:
    """Bots without a name are unknown, or another bot."""
    pssst = {"subtype": "bot_message", "text": "Pssst!", "type": "message", "ts": TS}
    own = by_visitor("1710144006.000200", "own")
    del own["username"]
    assert _authors(_read(write_export(tmp_path, [pssst, own]))) == ["unknown", "unknown"]
    tables = _read(write_export(tmp_path, [pssst, own], channels=[channel(creator="U1")]))
    assert _texts(tables) == ["own"]
    for choice, authors in (("visitor", ["visitor", "visitor"]), ("notice", [])):
        path = write_export(tmp_path, [pssst, own])
        assert _authors(_read(path, bot_without_username=choice)) == authors


def test_29_the_rest_of_a_truncated_zip_is_read(tmp_path: Path) -> None:
    """The remaining contents of a truncated zip are read."""
    texts = [Random(day).randbytes(400).hex() for day in range(10)]
    days = {f"2024-03-1{day}": [said(f"171011{day}005.000200", text)] for day, text in enumerate(texts)}
    path = write_export(tmp_path, days)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    export = _export(path)
    tables = export.to_tables(quiet=True)
    assert 3 <= len(tables.messages) < 10
    assert _texts(tables) == texts[: len(tables.messages)]
    assert any("has no list of members at its end" in note for note in export.notes())
    assert [rejection.reason for rejection in tables.rejections] == ["unreadable"]


def test_29_a_zip_damaged_in_the_middle_loses_one_day(tmp_path: Path) -> None:
    """A zip damaged in the middle loses one day."""
    days = {f"2024-03-{day}": [said(f"17101{day}005.000200", f"hi {day}" * 9)] for day in range(10, 13)}
    path = write_export(tmp_path, days)
    data = bytearray(path.read_bytes())
    start = data.index(f"{NAME}/2024-03-11.json".encode()) + len(f"{NAME}/2024-03-11.json")
    data[start + 4 : start + 24] = bytes(20)
    path.write_bytes(bytes(data))
    tables = _read(path)
    assert _texts(tables) == ["hi 10" * 9, "hi 12" * 9]
    assert [rejection.reason for rejection in tables.rejections] == ["unreadable"]


def test_30_a_day_that_is_not_json_is_rejected_and_the_channel_read(tmp_path: Path) -> None:
    """A day that is not JSON is rejected, and the channel is read."""
    days = {DAY: [said(TS, "hi")], "2024-03-12": b'[{"type":"message" "ts":"1"}]'}
    export = _export(write_export(tmp_path, days))
    tables = export.to_tables(quiet=True)
    assert _texts(tables) == ["hi"]
    (rejected,) = tables.rejections
    assert (rejected.file, rejected.record) == (f"export.zip!{CHANNEL}/2024-03-12.json", 1)
    assert (rejected.reason, rejected.raw) == ("not_json", None)


@pytest.mark.parametrize("half", [rb"\ud83d", b"\xff"])
def test_30b_a_message_with_half_a_character_is_rejected_alone(tmp_path: Path, half: bytes) -> None:
    """Half of an emoji, or a byte that is not UTF-8, costs its message; the day's others are read."""
    lines = [said(TS, "hi"), said("1710144006.000200", "cut HALF"), said("1710144007.000200", "bye")]
    day = json.dumps(lines).encode()
    export = _export(write_export(tmp_path, {DAY: day.replace(b"HALF", half)}))
    tables = export.to_tables(quiet=True)
    assert _texts(tables) == ["hi", "bye"]
    (rejected,) = tables.rejections
    assert (rejected.file, rejected.record) == (f"export.zip!{CHANNEL}/{DAY}.json", 2)
    assert (rejected.reason, rejected.raw) == ("not_json", None)
    assert export.slack is not None
    assert export.slack.counts.messages == export.slack.counts.kept + export.slack.counts.rejected


def test_30c_half_a_character_in_a_name_costs_no_index(tmp_path: Path) -> None:
    """A member's damaged name does not make the export unreadable."""
    sam, bot = users()
    people = [{**sam, "profile": {"real_name": "Sam \ud83d"}}, bot]
    export = _export(write_export(tmp_path, {DAY: [said(TS, "hi")]}, people=people))
    assert list(export.to_tables(quiet=True).messages["username"]) == ["Sam ?"]


def test_31_days_that_cannot_be_read_are_rejected_where_nothing_else_shows_the_app(tmp_path: Path) -> None:
    """A channel that someone else created, none of whose days can be read, does not disappear silently."""
    days = {DAY: b'[{"type":', "2024-03-12": [said(TS, "colleagues")]}
    export = _export(write_export(tmp_path, days, channels=[channel(creator="U1")]))
    tables = export.to_tables(quiet=True)
    assert _texts(tables) == []
    assert [(reject.file, reject.reason) for reject in tables.rejections] == [
        (f"export.zip!{CHANNEL}/{DAY}.json", "not_json")
    ]
    assert export.slack is not None
    counts = export.slack.counts
    assert (counts.without_app, counts.messages, counts.rejected) == (1, 1, 1)
