"""Start, find and stop the server of a store folder: one process per folder.

This module does not import the server, so programs that only talk to it start faster and stay smaller.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ..ims.account import LocalAccount, Options, read_secret
from ..store import DATABASE, open_private

IDENTITY_PATH = "/local-platform"
"""The path at which a server identifies itself."""

IDLE_SECONDS = 60.0
START_SECONDS = 30.0
STOP_SECONDS = 30.0
OWN_SECONDS = 0.5
SERVER_LOCK = "server.lock"
_POLL_SECONDS = 0.02
_OWN_GROUP = getattr(subprocess, "CREATE_NO_WINDOW", 0) | getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
"""On Windows, this keeps Ctrl+C in the caller's console from the server, as a new session does elsewhere."""
_LOOPBACK = re.compile(r"http://(127\.0\.0\.1:[0-9]{1,5})")
# The package is loaded from its own folder, which is not on the path for other imports: nothing in the
# current folder, or next to a source checkout, can replace a module.
_START = """
import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
spec = PathFinder.find_spec("chatlio_kit", [sys.argv.pop(1)])
package = sys.modules["chatlio_kit"] = module_from_spec(spec)
spec.loader.exec_module(package)
from chatlio_kit.local_platform.__main__ import main
sys.exit(main())
"""
_NEEDED = (
    "PATH", "HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "SYSTEMROOT", "SYSTEMDRIVE", "WINDIR",
    "TMPDIR", "TEMP", "TMP", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TZDIR", "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH", "PYTHONHOME", "PYTHONUSERBASE", "PYTHONNOUSERSITE",
    "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX",
)  # fmt: skip
"""Environment variables that Python and the system need. The server gets no others, hence no credentials."""


class CannotServe(RuntimeError):
    """An error for a local platform that does not start or stop."""


@dataclass(frozen=True)
class RunningPlatform:
    """A running local platform; all its services share the base ``url``."""

    url: str
    account: LocalAccount


def ensure_running(
    store: Path, *, idle: float = IDLE_SECONDS, options: Options | None = None
) -> RunningPlatform:
    """Find the running server of a store folder, or start one that outlives the caller.

    A server that is already running keeps its own options.

    Raises:
        CannotServe: No server answers in time; the message quotes the end of ``server.log``.
    """
    store = private(store)
    deadline = time.monotonic() + START_SECONDS
    with FileLock(store / "starting.lock", mode=0o600):
        while True:
            url = _live_url(store)
            secret = read_secret(store)
            if url and secret:
                return RunningPlatform(url, LocalAccount(secret))
            if url:  # a server of an earlier version, whose secret was public
                stop(store)
            if _is_free(store):
                break
            _wait_until(deadline, f"a server holds {store} and does not answer")
        process = _spawn(store, idle, options or Options())
        while not (url := _live_url(store)):
            if process.poll() is not None:
                raise CannotServe(f"the local platform ended at its start: {_end_of_log(store)}")
            _wait_until(deadline, f"the local platform does not answer: {_end_of_log(store)}")
    threading.Thread(target=process.wait, name="reap local platform", daemon=True).start()
    return RunningPlatform(url, LocalAccount(read_secret(store) or ""))


def stop(store: Path) -> bool:
    """Stop the server process of a store folder and wait for its end; return whether one was running.

    Raises:
        CannotServe: The server does not end, or is a thread of another program.
    """
    if _is_free(store):
        return False
    deadline = time.monotonic() + STOP_SECONDS
    while not _live_url(store) and not _is_free(store):
        _wait_until(deadline, f"a server holds {store} and does not answer")
    content = _read_address(store)
    if content:
        if content["thread"]:
            raise CannotServe(f"the server of {store} is a thread of the process {content['pid']}")
        # Windows ends the process immediately, which the store survives like any kill.
        with suppress(OSError):
            os.kill(content["pid"], signal.SIGTERM)
    while not _is_free(store):
        _wait_until(deadline, f"the server of {store} does not end")
    return True


def _spawn(store: Path, idle: float, options: Options) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-c", _START, str(Path(__file__).resolve().parents[3])]
    command += ["--store", str(store), "--idle", str(idle)]
    for option in fields(Options):
        value = getattr(options, option.name)
        if option.name == "withheld":
            for permission in sorted(value):
                command += ["--withheld", permission]
        elif option.name == "faults":
            if value is not None:
                command += ["--faults", str(_faults_file(store, value))]
        else:
            command += [f"--{option.name.replace('_', '-')}", str(value)]
    with open(open_private(store / "server.log", os.O_APPEND | os.O_WRONLY), "ab") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            creationflags=_OWN_GROUP,
            cwd=store,
            env=_environment(),
        )


def _environment() -> dict[str, str]:
    """Return the server's environment, with an import path without the current folder."""
    here = Path.cwd()
    folders = [entry for entry in sys.path if os.path.isabs(entry) and Path(entry).resolve() != here]
    needed = {name: os.environ[name] for name in _NEEDED if name in os.environ}
    return {**needed, "PYTHONPATH": os.pathsep.join(folders)}


def _faults_file(store: Path, faults: Path | Mapping[str, Any]) -> Path:
    if not isinstance(faults, Mapping):
        return Path(faults).resolve()
    path = store / "faults.json"
    with open(open_private(path, os.O_TRUNC | os.O_WRONLY), "w", encoding="utf-8") as file:
        json.dump(dict(faults), file)
    return path


def private(store: Path) -> Path:
    """Create a private store folder.

    Raises:
        CannotServe: The folder belongs to another user, or is open to others and holds other files.
    """
    store = store.resolve()
    for folder in reversed([folder for folder in (store, *store.parents) if not folder.exists()]):
        folder.mkdir(mode=0o700, exist_ok=True)
    if os.name != "posix":  # elsewhere a folder inherits the access rights of the user's profile
        return store
    status, user = store.stat(), os.geteuid()
    if user and status.st_uid not in (0, user):
        raise CannotServe(f"The folder {store} belongs to another user. Choose one of your own.")
    if status.st_mode & 0o077:
        if any(store.iterdir()) and not (store / DATABASE).exists():
            raise CannotServe(
                f"The folder {store} is open to other users and holds other files. Choose an empty folder."
            )
        store.chmod(0o700)
    return store


@contextmanager
def owned(store: Path) -> Iterator[None]:
    """Lock the folder for its only server; the system releases the lock however the process ends."""
    try:
        # A program that asks whether a server runs holds the lock for a moment.
        lock = FileLock(store / SERVER_LOCK, OWN_SECONDS, mode=0o600).acquire(poll_interval=_POLL_SECONDS)
    except Timeout:
        raise CannotServe(f"another server has {store}") from None
    with lock:
        yield


def _is_free(store: Path) -> bool:
    """Return whether no server holds the folder's lock."""
    if not (store / SERVER_LOCK).exists():
        return True
    try:
        with FileLock(store / SERVER_LOCK, 0, mode=0o600):
            return True
    except Timeout:
        return False


def write_address(store: Path, content: dict[str, Any]) -> None:
    """Write the URL and the identity of the folder's server."""
    unfinished = store / "server.json.unfinished"
    with open(open_private(unfinished, os.O_TRUNC | os.O_WRONLY), "w", encoding="utf-8") as file:
        json.dump(content, file)
    unfinished.replace(store / "server.json")


def _read_address(store: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json.loads((store / "server.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return content


def _live_url(store: Path) -> str | None:
    """Return the URL of the folder's server, if it answers and wrote ``server.json``."""
    content = _read_address(store)
    address = _LOOPBACK.fullmatch(str(content["url"])) if content else None
    if content is None or address is None:
        return None
    connection = http.client.HTTPConnection(address[1], timeout=5)
    try:
        connection.request("GET", IDENTITY_PATH)
        response = connection.getresponse()
        identity = json.loads(response.read())
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
    is_ours = response.status == 200 and identity.get("instance") == content["instance"]
    return str(content["url"]) if is_ours else None


def _wait_until(deadline: float, complaint: str) -> None:
    if time.monotonic() > deadline:
        raise CannotServe(complaint)
    time.sleep(_POLL_SECONDS)


def _end_of_log(store: Path) -> str:
    log = (store / "server.log").read_text(encoding="utf-8", errors="replace").strip()
    return log[-2000:]
