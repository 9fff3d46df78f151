"""The rehearsal on docs/real-platform.md, followed command by command."""

from __future__ import annotations

import os
import re
import shlex
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import sleep

import pytest
from click.testing import CliRunner

from chatlio_kit.aep import Platform
from chatlio_kit.cli import main

PAGE = Path(__file__).parent.parent / "docs" / "real-platform.md"
SECTION = "## Rehearse with the same commands"
OUTCOMES = {
    "doctor": "No check failed",
    "connect --dry-run": "Nothing was changed. Without --dry-run, connect makes these changes.",
    "connect": "paste each URL of urls.json",
    "sample": "Sample export in captures",
    "backfill --dry-run": "nothing was sent",
    "backfill": "The dataset holds 200 rows of these events.",
    "reconcile": "dataflow received",
    "status": "Sent to 127.0.0.1/prod/chatlio",
    "verify-sandbox": "conformance cases",
}
"""What each command of the page shows."""


def _commands() -> list[list[str]]:
    section = PAGE.read_text("utf-8").partition(SECTION)[2].partition("\n## ")[0]
    blocks = re.findall(r"```console\n(.*?)```", section, re.DOTALL)
    return [shlex.split(line, comments=True) for line in "".join(blocks).splitlines()]


@contextmanager
def _serving(words: list[str]) -> Iterator[None]:
    """Run the command that serves, on any free port, until the block ends."""
    words[words.index("--port") + 1] = "0"
    process = subprocess.Popen(
        [sys.executable, "-m", "chatlio_kit", *words[1:]], stdout=subprocess.PIPE, text=True, encoding="utf-8"
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline().startswith("http://127.0.0.1:")
        yield
    finally:
        process.terminate()
        process.communicate(timeout=30)


def _without_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AEP_")]:
        monkeypatch.delenv(name)


def test_the_page_s_rehearsal_works_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``--platform aep`` and the settings that the server wrote, every command ends with 0."""
    monkeypatch.chdir(tmp_path)
    _without_settings(monkeypatch)
    monkeypatch.setattr("chatlio_kit.jobs.verify.walk.GUARD_SECONDS", 0.0)
    defaults = Platform.__init__.__kwdefaults__ or {}
    monkeypatch.setitem(defaults, "sleep", lambda seconds: sleep(min(seconds, 0.05)))
    serve, *others = _commands()
    shown = {}
    with _serving(serve):
        for program, *words in others:
            assert program == "chatlio-kit"
            done = CliRunner().invoke(main, words)
            assert done.exit_code == 0, (words, done.output)
            shown[f"{words[0]}{' --dry-run' * ('--dry-run' in words)}"] = done.stdout
    assert shown.keys() == OUTCOMES.keys()
    assert [name for name, words in OUTCOMES.items() if words not in shown[name]] == []
    if os.name == "posix":
        assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600


def test_settings_of_one_s_own_are_never_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A .env file with other contents is kept, and nothing is served."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("AEP_CLIENT_ID=mine\n", encoding="utf-8")
    done = CliRunner().invoke(main, ["local-platform", "serve", "--store", "platform", "--write-env", ".env"])
    assert done.exit_code == 2
    assert "already exists and may hold your own settings" in done.stderr
    assert (tmp_path / ".env").read_text("utf-8") == "AEP_CLIENT_ID=mine\n"
    assert not (tmp_path / "platform").exists()


def test_a_port_in_use_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the port and the option."""
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = CliRunner().invoke(main, ["local-platform", "serve", "--store", "platform", "--port", port])
    assert done.exit_code == 1
    assert f"Port {port} may be in use: choose another with --port." in done.stderr
