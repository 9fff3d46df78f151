"""The proposal has ids and counts, never message text; the reader accepts the settings that it writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from slack_exports import by_visitor, channel, event, members_of, said, write_export, write_zip

import chatlio_kit as ck
from chatlio_kit.cli import main
from chatlio_kit.errors import MissingPath, OutputError, UsageError
from chatlio_kit.samples import SampleExport
from chatlio_kit.slack import SlackSettings

LINES = [
    event("1710144000.000100", "channel_join"),
    by_visitor("1710144005.000200", "Secret question"),
    said("1710144061.448129", "Secret answer"),
    said("1710144062.448129", "aside", thread_ts="1710144061.448129"),
    by_visitor("1710144063.000200", "Secret notice", username=""),
    event("1710144200.000900", "channel_archive"),
]
LOG = [{"app_type": "Chatlio", "app_id": "A0CHAT", "change_type": "added", "date": "1710000000"}]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> SampleExport:
    """Webhooks and a Slack export of the same chats."""
    return ck.write_sample(tmp_path_factory.mktemp("sample") / "captures", events=200, slack=True)


def test_a_proposal_has_ids_and_counts(tmp_path: Path) -> None:
    """A proposal has ids and counts."""
    lobby = channel("C0LOBBY", "live-chat", creator="U1", members=["U1", "U0BOT"])
    other = channel("C0OTHER", "board", creator="U1", members=["U1"])
    path = write_export(tmp_path, LINES, channels=[channel(), lobby, other], integration_logs=LOG)
    proposal = ck.inspect_slack(path)
    assert proposal.settings == {
        "channels": ["z-*"],
        "app_ids": ["A0CHAT"],
        "bot_ids": ["B0CHAT"],
        "bot_users": ["U0BOT"],
        "lobby": ["C0LOBBY"],
        "bot_without_username": "unknown",
        "thread_replies": "leave-out",
        "split_on": ["channel_archive"],
        "closed_only": False,
        "workspace_domain": "",
    }
    assert (proposal.channels, proposal.messages) == (1, 6)
    assert (proposal.with_username, proposal.without_username) == (1, 1)
    assert (proposal.archived, proposal.running, proposal.whole_heads) == (1, 0, 1)
    assert proposal.period == ("2024-03-11", "2024-03-11")
    shown = f"{proposal!r}{proposal._repr_html_()}{proposal.as_toml()}{json.dumps(proposal.as_dict())}"
    for word in ("Secret", "board", "ana"):
        assert word not in shown
    assert "1 message of the app without a name" in shown
    assert "1 reply in threads" in shown


def test_the_reader_accepts_the_proposal(tmp_path: Path, sample: SampleExport) -> None:
    """The reader accepts what it writes."""
    target = tmp_path / "slack.toml"
    result = CliRunner().invoke(
        main, ["slack", "inspect", str(sample.slack), str(sample.path), "--write", str(target), "--json"]
    )
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    settings = SlackSettings.from_file(target)
    assert settings == SlackSettings.of(content["settings"])
    assert settings.bot_without_username == "notice"
    both = content["calibration"]
    assert both["found"] == both["messages"] > 0
    assert both["agents"] == both["same_user"] > 0
    assert sum(both["visitors"].values()) + both["agents"] == both["found"]
    assert len(both["visitors"]) == 3
    out = tmp_path / "out"
    result = CliRunner().invoke(
        main,
        ["convert", str(sample.slack), str(sample.path), "--slack", str(target), "--out", str(out), "--json"],
    )
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["slack"]["covered"] > 0
    assert report["read"] == 200 + report["slack"]["accepted"]


def test_the_proposal_ends_with_the_next_command(tmp_path: Path) -> None:
    """It ends with the command that reads the export with it, and how to settle what is unclear."""
    path, settings = write_export(tmp_path, LINES), tmp_path / "slack.toml"
    result = CliRunner().invoke(main, ["slack", "inspect", str(path), "--write", str(settings)])
    command = f"chatlio-kit convert {path} --slack {settings} --out tables/"
    *_, read, settle = result.stdout.splitlines()
    assert read.endswith(command)
    assert "set bot_without_username to notice and convert again" in settle


def test_a_written_proposal_is_not_replaced(tmp_path: Path) -> None:
    """A written proposal is not replaced."""
    path = write_export(tmp_path, LINES)
    ck.inspect_slack(path, write=tmp_path / "slack.toml")
    with pytest.raises(OutputError, match="may hold your changes"):
        ck.inspect_slack(path, write=tmp_path / "slack.toml")


def test_without_a_named_app_nothing_is_opened(tmp_path: Path) -> None:
    """Without a named app nothing is opened."""
    path = write_export(tmp_path, LINES, people=[], channels=[channel(creator="U5")])
    proposal = ck.inspect_slack(path)
    assert (proposal.channels, proposal.messages, proposal.patterns) == (0, 0, {"z-*": 1})
    assert any("no app or bot of this export is named Chatlio" in question for question in proposal.unclear)


def test_captures_identify_the_app_if_its_name_does_not(tmp_path: Path, transcript: dict[str, Any]) -> None:
    """The app is the author of the visitors' messages that webhooks have."""
    path = write_export(tmp_path, LINES, people=[], channels=[channel(creator="U5")])
    captures = tmp_path / "captures.json"
    captures.write_text(json.dumps({**transcript, "channelId": "C0ANA"}), encoding="utf-8")
    proposal = ck.inspect_slack(path, captures)
    assert proposal.settings["bot_ids"] == ["B0CHAT"]
    assert proposal.calibration is not None
    assert (proposal.calibration.found, proposal.calibration.messages) == (2, 2)
    assert proposal.calibration.visitors == {"bot_message, username": 1}
    assert any("no app of this export is named Chatlio" in question for question in proposal.unclear)


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        (
            'channels = ["z-*"]\napp_ids = ["A1"]\nlobbies = ["x"]\n',
            "'lobbies' is not a setting for Slack exports",
        ),
        ('channels = ["z-*"]\n', "the app that writes visitors' messages is not named"),
        ('app_ids = ["A1"]\n', "channels is empty"),
        ('channels = ["/(/"]\napp_ids = ["A1"]\n', "is not a regular expression"),
        ('channels = ["z-*"]\napp_ids = ["A1"]\nsplit_on = ["gap=x"]\n', "split_on is"),
        (
            'channels = ["z-*"]\napp_ids = ["A1"]\nbot_without_username = "nobody"\n',
            "is one of unknown, visitor",
        ),
        ('channels = ["z-*"]\napp_ids = [1]\n', "app_ids is a list of strings"),
        ('channels = ["z-*"]\napp_ids = ["A1"]\nclosed_only = "yes"\n', "closed_only is true or false"),
        (
            'channels = ["z-*"]\napp_ids = ["A1"]\nworkspace_domain = "https://x"\n',
            "the part before .slack.com",
        ),
        ("channels = [", "cannot be read as TOML"),
    ],
)
def test_wrong_settings_are_reported_in_one_sentence(tmp_path: Path, toml: str, words: str) -> None:
    """Invalid settings give one message."""
    settings = tmp_path / "slack.toml"
    settings.write_text(toml, encoding="utf-8")
    path = write_export(tmp_path, LINES)
    with pytest.raises(UsageError) as error:
        ck.read_slack(path, settings=settings)
    assert words in str(error.value)
    result = CliRunner().invoke(
        main, ["convert", str(path), "--slack", str(settings), "--out", str(tmp_path / "out")]
    )
    assert (result.exit_code, words in result.output, "Traceback" in result.output) == (2, True, False)


def test_missing_settings_are_reported_in_one_sentence(tmp_path: Path) -> None:
    """Missing settings give one message."""
    with pytest.raises(MissingPath, match=r"inspect_slack\(path, write=...\) proposes one"):
        ck.read_slack(write_export(tmp_path, LINES), settings=tmp_path / "slack.toml")


def test_patterns_are_globs_regular_expressions_or_ids() -> None:
    """Patterns are globs, regular expressions or ids."""
    settings = SlackSettings(("z-*", "/^cl-\\d+$/", "C0X"), ("A1",), lobby=("z-lobby",))
    names = {"z-ana": True, "cl-12": True, "cl-ab": False, "board": False, "z-lobby": False}
    assert {name: settings.matches("C0Y", name) for name in names} == names
    assert settings.matches("C0X", "board")


@pytest.mark.parametrize("place", ["export.zip", "captures/my export.zip", "captures"])
def test_an_export_is_never_read_as_captures(tmp_path: Path, place: str) -> None:
    """An export is never read as captures."""
    folder = tmp_path / "captures"
    folder.mkdir()
    path = write_export(tmp_path, LINES)
    if place != "export.zip":
        path = path.rename(folder / "my export.zip")
    result = CliRunner().invoke(main, ["convert", str(tmp_path / place), "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "is a Slack export, not captured webhooks." in result.output
    assert "--slack slack.toml" in result.output
    assert ('my export.zip" --write slack.toml' in result.output) == (place != "export.zip")
    assert not (tmp_path / "out").exists()
    with pytest.raises(UsageError, match=r"Read it with read_slack\(\)"):
        ck.read_export(tmp_path / place)


def test_an_unpacked_export_is_never_read_as_captures(tmp_path: Path) -> None:
    """An unpacked export is never read as captures."""
    for name, content in members_of(LINES).items():
        path = tmp_path / "unpacked" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    with pytest.raises(UsageError, match="is a Slack export"):
        ck.read_export(tmp_path / "unpacked")


def test_a_second_export_is_refused(tmp_path: Path) -> None:
    """A second export is refused."""
    path = write_export(tmp_path, LINES)
    other = write_zip(tmp_path / "other.zip", members_of(LINES))
    with pytest.raises(UsageError, match="one Slack export at a time"):
        ck.read_slack(path, captures=other, channels="z-*", app_ids="A0CHAT")


def test_an_encrypted_zip_is_reported_in_one_sentence(tmp_path: Path) -> None:
    """An encrypted zip gives one message."""
    path = write_export(tmp_path, LINES)
    data = bytearray(path.read_bytes())
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = -1
        while (start := data.find(signature, start + 1)) >= 0:
            data[start + at] |= 1
    path.write_bytes(bytes(data))
    with pytest.raises(
        ck.ChatlioKitError, match=r"channels.json cannot be read: it is encrypted. Unpack the zip"
    ):
        ck.read_slack(path, channels="z-*", app_ids="A0CHAT")


def test_a_broken_index_is_reported_in_one_sentence(tmp_path: Path) -> None:
    """A broken index gives one message."""
    path = write_export(tmp_path, LINES, channels=b"{")
    with pytest.raises(ck.ChatlioKitError, match=r"channels.json is not JSON"):
        ck.read_slack(path, channels="z-*", app_ids="A0CHAT")
