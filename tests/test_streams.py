"""Standard streams in any encoding, closed, full, or without a reader."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from chatlio_kit import local_platform
from chatlio_kit.samples import write_sample

EVENTS, BAD = 60, 3


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small export with broken records."""
    return write_sample(
        tmp_path_factory.mktemp("x") / "c", events=EVENTS, seed=3, bad_share=BAD / EVENTS
    ).path


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A state folder whose local platform is stopped in the end."""
    state = tmp_path_factory.mktemp("state")
    yield state
    local_platform.stop(state / "local")


def shell(line: str, *arguments: str | Path, encoding: str = "utf-8") -> subprocess.CompletedProcess[bytes]:
    """Run a command in a shell; ``CMD`` in the line is the command with its arguments."""
    words = [sys.executable, "-m", "chatlio_kit", *map(str, arguments)]
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line.replace("CMD", shlex.join(words))],
        capture_output=True,
        check=False,
        env=os.environ | {"PYTHONIOENCODING": encoding},
        timeout=120,
    )


def is_whole(out: Path) -> bool:
    """Return whether a conversion wrote its tables and its report."""
    return orjson.loads((out / "report.json").read_bytes())["read"] == EVENTS


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-16"])
def test_a_summary_is_written_in_any_encoding(export: Path, tmp_path: Path, encoding: str) -> None:
    """Characters that an encoding lacks are replaced; the exit code is the job's."""
    done = shell("CMD", "convert", export, "--out", tmp_path / "o", encoding=encoding)
    assert (done.returncode, b"Traceback" in done.stderr) == (3, False)
    text = done.stdout.decode(encoding)
    assert "Converted" in text
    assert "───" in text or "---" in text
    assert is_whole(tmp_path / "o")


def test_commands_that_send_are_no_different(export: Path, state: Path) -> None:
    """A backfill and what follows it, on a terminal that knows Latin-1 alone."""
    for arguments, code in (
        (("backfill", export), 3),
        (("status",), 0),
        (("reconcile",), 0),
        (("doctor",), 0),
        (("connect", "--dry-run"), 0),
    ):
        done = shell("CMD", *arguments, "--state", state, encoding="latin-1")
        assert (done.returncode, b"Traceback" in done.stderr) == (code, False), done.stderr
        assert "---" in done.stdout.decode("latin-1")


@pytest.mark.parametrize("line", ["CMD 2>&-", "CMD 2>/dev/full", "CMD <&- >&- 2>&-"])
def test_without_a_usable_stderr(export: Path, tmp_path: Path, line: str) -> None:
    """Without stderr, or with a full one, there is no progress, but the job is done."""
    done = shell(line, "convert", export, "--out", tmp_path / "o")
    assert done.returncode == 3
    assert is_whole(tmp_path / "o")
    assert not [path for path in (tmp_path / "o").iterdir() if b"converting" in path.read_bytes()]


def test_a_library_without_a_console(export: Path) -> None:
    """A program without stderr, as under pythonw, converts and shows nothing."""
    code = (
        "import sys; sys.stderr = sys.stdout = None\n"
        "import chatlio_kit as ck\n"
        f"tables = ck.read_export({str(export)!r}).to_tables()\n"
        "sys.exit(len(tables.events) == 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=120).returncode == 0


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_an_answer_that_cannot_be_written_is_a_failure(
    export: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """A full disk behind stdout: the work is done, exit code 1 and one sentence say what is not."""
    done = shell("CMD >/dev/full", "convert", export, "--out", tmp_path / "o", *options)
    assert done.returncode == 1
    assert is_whole(tmp_path / "o")
    assert done.stderr.decode().splitlines()[-1] == (
        "The command succeeded, but its result could not be written to stdout: No space left on device."
    )


def test_help_on_a_full_disk_is_reported() -> None:
    """Even click's own output ends in a message."""
    done = shell("CMD >/dev/full", "--help")
    assert (done.returncode, done.stderr) == (1, b"stdout cannot be written: No space left on device.\n")


def test_a_closed_reader(export: Path, tmp_path: Path) -> None:
    """``| true`` reads nothing: the exit code is the job's, and nothing is printed."""
    done = shell("CMD --json | true", "convert", export, "--out", tmp_path / "o")
    assert (done.returncode, done.stderr) == (3, b"")
    assert is_whole(tmp_path / "o")
