"""Problems with the machine and the connection to the platform: one message that names the right contact."""

from __future__ import annotations

import errno
import json
import sqlite3
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from filelock import FileLock

import chatlio_kit as ck
from chatlio_kit.aep.errors import error_of
from chatlio_kit.aep.http import Reply, new_session, send_once
from chatlio_kit.cli import command, main
from chatlio_kit.errors import Unreachable
from chatlio_kit.local_platform import LocalAccount, RunningPlatform
from chatlio_kit.local_platform.server import process as lifecycle

BLOCKED = b"<!DOCTYPE html><html><head><title>Access\n denied</title></head><body>p8e-secret</body></html>"


@pytest.fixture
def proxy() -> Iterator[str]:
    """Responds to every request like a filtering proxy: with its own page."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(403)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(BLOCKED)))
            self.end_headers()
            self.wfile.write(BLOCKED)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_web_page_at_the_token_endpoint(proxy: str, chatlio_kit: Any) -> None:
    """A proxy's 403 is reported as such; no one is sent to Adobe's permissions."""
    done = chatlio_kit(RunningPlatform(proxy, LocalAccount("a secret")), "doctor", "--json")
    (check,) = [entry for entry in json.loads(done.stdout)["checks"] if entry["check"] == "token"]
    assert done.exit_code == 1
    assert "a web page came back instead of the API's response: 'Access denied'" in check["finding"]
    assert "A proxy or firewall in between responded" in check["next_step"]
    assert "AEP_IMS_URL" in check["next_step"]
    assert "ermission" not in done.stdout.split("proxy or firewall")[0]
    assert "p8e-secret" not in done.output


@pytest.mark.parametrize(
    ("status", "kind"), [(401, "Unreachable"), (407, "Unreachable"), (503, "Unavailable")]
)
def test_a_web_page_of_any_service(status: int, kind: str) -> None:
    """With any status; an outage of the platform itself stays an outage."""
    error = error_of("Catalog", "list the datasets", Reply(status, BLOCKED, {}))
    assert type(error).__name__ == kind


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_file_of_certificates_that_is_missing(
    variable: str, chatlio_kit: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The variable and the path are named, with the next step; nothing is tried twice."""
    gone = str(tmp_path / "gone.pem")
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    here = RunningPlatform("https://127.0.0.1:9", LocalAccount("a secret"))
    for arguments in (["doctor"], ["connect"]):
        done = chatlio_kit(here, *arguments, **{variable: gone})
        assert done.exit_code == 1
        assert f"{variable} names {gone!r}, but there is no such file" in done.output
        assert "Correct the variable, or unset it." in done.output


def test_a_setting_that_no_header_can_carry() -> None:
    """A typographic dash in the organisation's id gives a message, not a traceback."""
    session = new_session("http://127.0.0.1:9")
    outcome = send_once(session, "GET", "http://127.0.0.1:9/", headers={"x-gw-ims-org-id": "A\u2013B"})
    session.close()
    assert "a character that HTTP cannot carry" in repr(outcome)


def test_a_state_folder_without_working_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither type of lock: the folder is named, with another place for it, without a long wait."""

    class Refusing(sqlite3.Connection):
        def execute(self, *_: Any) -> Any:
            raise sqlite3.OperationalError("locking protocol")

    connect = sqlite3.connect
    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", lambda *given, **more: connect(*given, **more, factory=Refusing))
        with pytest.raises(Unreachable, match=r"cannot be locked \(locking protocol\)") as error:
            ck.open_platform(state=tmp_path / "state")
    assert str(tmp_path / "state") in str(error.value)
    assert "a disk of this machine" in str(error.value)
    assert not list((tmp_path / "state").iterdir())

    def no_locks(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(FileLock, "acquire", no_locks)
    with pytest.raises(Unreachable, match="No locks available"):
        ck.open_platform(state=tmp_path / "state")


def test_a_local_platform_with_an_empty_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty log is reported as such."""
    monkeypatch.setattr(lifecycle, "START_SECONDS", 0.0)
    monkeypatch.setattr(lifecycle, "_live_url", lambda _: None)
    monkeypatch.setattr(lifecycle, "_spawn", lambda *_: _Idle(tmp_path / "state" / "local"))
    with pytest.raises(Unreachable, match="does not answer: its log is empty"):
        ck.open_platform(state=tmp_path / "state")


class _Idle:
    """A process that neither ends nor prints anything."""

    def __init__(self, store: Path) -> None:
        (store / "server.log").touch()

    def poll(self) -> None:
        """Still there."""


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "too little free memory"),
        (sqlite3.DatabaseError("file is not a database"), "file is not a database"),
        (sqlite3.OperationalError("disk I/O error"), "disk I/O error"),
        (OSError(errno.EIO, "Input/output error"), "refused to continue: Input/output error."),
        (OSError(errno.EACCES, "Permission denied", "x.db"), "Permission denied: 'x.db'."),
        (TimeoutError(), "refused to continue: TimeoutError."),
    ],
)
@pytest.mark.parametrize("options", [(), ("--json",)])
def test_the_last_resort(
    error: Exception, said: str, options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An error that no room has a message for ends in one, with exit code 1, also in JSON."""

    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(command.Context, "open", fail)
    done = CliRunner().invoke(main, ["connect", "--state", str(tmp_path), *options])
    assert (done.exit_code, isinstance(done.exception, SystemExit)) == (1, True)
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    if options:
        assert said in json.loads(done.stdout)["error"]


def test_a_fault_of_ours_is_not_swallowed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A programming error keeps its traceback, so that it can be found."""

    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(command.Context, "open", fail)
    done = CliRunner().invoke(main, ["connect", "--state", str(tmp_path)])
    assert isinstance(done.exception, ZeroDivisionError)
