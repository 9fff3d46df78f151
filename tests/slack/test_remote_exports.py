"""A Slack export in a bucket or behind a URL is recognised, and has to be downloaded."""

from __future__ import annotations

from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar
from zipfile import ZipFile

import fsspec
import pytest
from click.testing import CliRunner
from slack_exports import by_visitor, members_of, write_export, write_zip

import chatlio_kit as ck
from chatlio_kit.cli import main
from chatlio_kit.errors import UsageError

LINES = [by_visitor("1710144005.000200", "Is the beta open?")]


def _refused(address: str, name: str) -> None:
    """On the command line and in Python, in one message without secrets."""
    result = CliRunner().invoke(main, ["convert", address, "--out", "not-written"])
    assert result.exit_code == 2, result.output
    assert f"{name!r} is a Slack export, not captured webhooks. Download it first." in result.output
    assert f"slack inspect {name} --write slack.toml" in result.output
    assert "hunter2" not in result.output
    assert not Path("not-written").exists()
    with pytest.raises(UsageError, match=r"Download it first. Read it with read_slack\(\)"):
        ck.read_export(address)


def test_an_export_in_a_bucket_is_never_read_as_captures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Named itself, in a folder under another archive's name, or unpacked; a zip of captures is read."""
    monkeypatch.chdir(tmp_path)
    system = fsspec.filesystem("memory")
    content = write_export(tmp_path, LINES).read_bytes()
    hooks = write_zip(tmp_path / "hooks.zip", {"2024-03-11.json": b'{"kind": "visitor_active"}'})
    try:
        system.pipe("/slack/no-suffix", content)
        system.pipe("/folder/deep/export.ZIP", content)
        system.pipe("/folder/a.ndjson", b"{}")
        for name, member in members_of(LINES).items():
            system.pipe(f"/unpacked/below/{name}", member)
        system.pipe("/captures/hooks.zip", hooks.read_bytes())
        system.pipe("/captures/channels.json", b"[]")
        _refused("memory://slack/no-suffix", "no-suffix")
        _refused("memory://folder/", "folder/deep/export.ZIP")
        _refused("memory://unpacked/", "unpacked/below/channels.json")
        assert len(ck.read_export("memory://captures/").captures.files) == 2
    finally:
        for folder in ("slack", "folder", "unpacked", "captures"):
            system.rm(f"/{folder}", recursive=True)
    with pytest.raises(UsageError, match="is a Slack export"):
        ck.read_export((tmp_path / "export.zip").as_uri())


class _Web(SimpleHTTPRequestHandler):
    sent: ClassVar[list[int]] = []
    parts = "sent"

    def do_GET(self) -> None:
        content = (Path(self.directory) / self.path[1:].partition("?")[0]).read_bytes()
        size = (self.headers["Range"] or "").partition("=-")[2] if self.parts != "ignored" else ""
        content = content[-int(size) :] if size else content
        self.sent.append(len(content))
        self.send_response((400 if self.parts == "refused" else 206) if size else 200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("parts", ["sent", "ignored", "refused"])
def test_an_export_behind_a_url_is_never_read_as_captures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: str
) -> None:
    """Its end identifies it if the server sends ranges; if not, all of it is read."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("chatlio_kit.captures.sources.web._END", 1000)
    with ZipFile(tmp_path / "export.zip", "w") as archive:
        archive.writestr("integration_logs.json", bytes(5000))
        for name, member in members_of(LINES).items():
            archive.writestr(name, member)
    handler = type("Web", (_Web,), {"sent": [], "parts": parts})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(tmp_path))) as server:
        Thread(target=server.serve_forever).start()
        try:
            _refused(f"http://127.0.0.1:{server.server_port}/export.zip?sig=hunter2", "export.zip")
        finally:
            server.shutdown()
    assert (1000 in handler.sent) is (parts != "ignored")


@pytest.mark.parametrize(
    "address", ["s3://bucket/export.zip", "https://me:hunter2@host/export.zip?sig=hunter2"]
)
def test_with_settings_too_an_address_is_to_be_downloaded(tmp_path: Path, address: str) -> None:
    """A URL that may contain a password is not repeated."""
    settings = tmp_path / "slack.toml"
    settings.write_text('channels = ["z-*"]\napp_ids = ["A0CHAT"]\n', encoding="utf-8")
    words = "is read from this machine only, not from a URL such as "
    converting = ["convert", address, "--slack", str(settings), "--out", str(tmp_path / "out")]
    for arguments in (converting, ["slack", "inspect", address]):
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 1
        assert f"{words}{address.partition('/')[0]}//. Download it" in result.output
        assert "hunter2" not in result.output
    with pytest.raises(ck.ChatlioKitError, match=f"{words}.*Download it") as refused:
        ck.read_slack(address, channels="z-*", app_ids="A0CHAT")
    assert "hunter2" not in str(refused.value)
