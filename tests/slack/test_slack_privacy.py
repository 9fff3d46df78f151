"""Other people's messages appear nowhere: direct messages, channels that are not chats, URLs of files."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from slack_exports import by_visitor, channel, event, members_of, said, write_zip

import chatlio_kit as ck
from chatlio_kit.aep import Platform
from chatlio_kit.cli import main
from chatlio_kit.jobs.backfill import backfill

CANARY = "canaria"
TOKEN = "xoxe-9876543210-canaria"
SETTINGS = {"channels": ["z-*"], "app_ids": ["A0CHAT"], "lobby": ["z-lobby"]}
TOML = 'channels = ["z-*"]\napp_ids = ["A0CHAT"]\nlobby = ["z-lobby"]\n'


def _file(number: int) -> dict[str, Any]:
    address = f"https://files.slack.com/files-pri/T1-F{number}/{CANARY}.png?t={TOKEN}"
    return {"id": f"F{number}", "name": f"{CANARY}.png", "url_private": address, "thumb_64": address}


def _lines(start: int) -> list[Any]:
    """A chat with canaries in everything that is not kept."""
    return [
        event(f"{start}.000100", "channel_join"),
        by_visitor(f"{start + 5}.000200", "Is the beta open?", files=[_file(1)], icons={"image": CANARY}),
        said(
            f"{start + 61}.448129",
            "Yes",
            user_profile={"image_72": f"https://x/{CANARY}"},
            reactions=[{"name": CANARY, "users": ["U1"], "count": 1}],
            root={"files": [_file(2)], "text": CANARY},
        ),
        said(f"{start + 62}.448129", f"See https://files.slack.com/x.png?t={TOKEN}"),
        said(f"{start + 63}.448129", CANARY, thread_ts=f"{start + 61}.448129"),
        said(f"{start + 64}.448129", CANARY, subtype="pinned_item"),
        said(f"{start + 65}.448129", CANARY, "U9", bot_id="B9"),
        {"type": "message", "text": CANARY, "files": [_file(3)]},
        CANARY,
    ]


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """An export of everything that an owner can export."""
    channels = [
        channel(),
        channel("C0BOARD", f"board-{CANARY}", creator="U1"),
        channel("C0LOBBY", "z-lobby"),
        channel("C0FOREIGN", "z-foreign", creator="U1"),
        channel("C0BROKEN", "z-broken", creator="U1"),
    ]
    members = members_of(
        {"2024-03-11": _lines(1710144000), "2024-03-12": f'[{{"text": "{CANARY}" "ts"'.encode()},
        channels=channels,
        groups=[channel("G0SECRET", f"merger-{CANARY}", creator="U1")],
        dms=[{"id": "D0SECRET", "members": ["U1", "U2"]}],
        mpims=[{"id": "G0MP", "name": f"mpdm-sam--{CANARY}-1", "members": ["U1"]}],
        canvases=[{"title": CANARY}],
    )
    other = members_of([said("1710144005.000200", CANARY), {"ts": CANARY}], channels=[])[
        "z-ana-ruiz/2024-03-11.json"
    ]
    for folder in (
        f"board-{CANARY}", "z-lobby", "z-foreign", f"merger-{CANARY}", "D0SECRET", f"mpdm-sam--{CANARY}-1",
        f"FC:F1:{CANARY}", f"stray-{CANARY}",
    ):  # fmt: skip
        members[f"{folder}/2024-03-11.json"] = other
    members["z-broken/2024-03-11.json"] = f"[{CANARY}".encode()
    members["z-ana-ruiz/canvas_in_the_conversation.json"] = CANARY.encode()
    return write_zip(tmp_path / "export.zip", members)


def _everything_below(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_no_canary_leaves_an_export(
    export: Path, tmp_path: Path, local: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    """No canary leaves an export."""
    caplog.set_level(logging.NOTSET)
    logging.getLogger().setLevel(logging.NOTSET)
    settings = tmp_path / "slack.toml"
    settings.write_text(TOML, encoding="utf-8")
    out, state = tmp_path / "out", local.settings.state
    shown = []
    for arguments in (
        ["slack", "inspect", str(export)],
        ["slack", "inspect", str(export), "--json"],
        ["slack", "inspect", str(export), "--write", str(tmp_path / "proposal.toml")],
        ["convert", str(export), "--slack", str(settings), "--out", str(out)],
        ["convert", str(export), "--slack", str(settings), "--out", str(out / "json"), "--json"],
    ):
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code in (0, 3), result.output
        shown.append(result.output)
    tables = ck.read_slack(export, **SETTINGS).to_tables(quiet=True)
    shown += [f"{tables!r}{tables._repr_html_()}", tables.rejected.to_csv(), tables.messages.to_csv()]
    page = backfill(ck.read_slack(export, **SETTINGS), local, quiet=True)
    assert page.as_dict()["accepted"] == 1
    shown += [f"{page!r}{page._repr_html_()}", (tmp_path / "proposal.toml").read_text(encoding="utf-8")]
    assert list(tables.messages["text"]) == ["Is the beta open?", "Yes", "See https://files.slack.com/x.png"]
    assert [reject.file.partition("!")[2] for reject in tables.rejections] == [
        *["C0ANA/2024-03-11.json"] * 2,
        "C0ANA/2024-03-12.json",
        "C0BROKEN/2024-03-11.json",
    ]
    written = _everything_below(out) + _everything_below(state)
    for word in (CANARY, "xoxe", "merger", "z-foreign"):
        assert word not in "".join(shown)
        assert word not in caplog.text
        assert word.encode() not in written


def test_no_canary_is_in_an_error_s_traceback(export: Path) -> None:
    """No canary is in an error's traceback."""
    with pytest.raises(ck.ChatlioKitError) as refused:
        ck.read_slack(export, channels="z-*", app_ids="A0CHAT", thread_replies="maybe")
    assert CANARY not in "".join(traceback.format_exception(refused.value))


def test_the_report_counts_unread_items(export: Path) -> None:
    """The report counts what it did not read."""
    read = ck.read_slack(export, **SETTINGS)
    read.to_tables(quiet=True)
    assert read.slack is not None
    counts = read.slack.counts
    assert (counts.channels, counts.channels_read, counts.without_app) == (3, 1, 2)
    assert counts.files == 1
    assert any(note.endswith("belong to no channel of the index: 1 folder") for note in read.notes())
