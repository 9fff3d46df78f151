"""Start, find and stop the server of a store folder: one process per folder.

Nothing here loads the server itself: whoever only talks to it is up sooner, and smaller.
"""

from __future__ import annotations

import contextlib
import fcntl
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
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ..ims.account import LocalAccount, Options
from ..ims.credentials import read_secret
from ..store import DATABASE

IDENTITY_PATH = "/local-platform"
"""Where a server says who it is."""

IDLE_SECONDS = 60.0
START_SECONDS = 30.0
STOP_SECONDS = 30.0
OWN_SECONDS = 0.5
_POLL_SECONDS = 0.02
_LOOPBACK = re.compile(r"http://(127\.0\.0\.1:[0-9]{1,5})")
# The package is loaded from its own folder, which the path for all other imports does not hold: what stands
# in the current folder, or beside a source checkout, is never imported by its name.
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
"""What Python and the system need; everything else stays with the caller, credentials first of all."""


class CannotServe(RuntimeError):
    """The local platform does not start, or does not stop."""


@dataclass(frozen=True)
class RunningPlatform:
    """A local platform that answers: every service has the one base ``url``."""

    url: str
    account: LocalAccount


def ensure_running(
    store: Path, *, idle: float = IDLE_SECONDS, options: Options | None = None
) -> RunningPlatform:
    """Find the live server of a store folder, or start one that outlives the caller.

    A server that is found keeps its own options.

    Raises:
        CannotServe: when no server answers in time; its last words are in ``server.log``.
    """
    store = private(store)
    deadline = time.monotonic() + START_SECONDS
    with _locked(store / "starting.lock"):
        while True:
            found = _answering(store)
            secret = read_secret(store)
            if found and secret:
                return RunningPlatform(found, LocalAccount(secret))
            if found:  # a server of an earlier version, whose secret everybody knew
                stop(store)
            if _is_free(store / "server.lock"):
                break
            _wait_until(deadline, f"a server holds {store} and does not answer")
        process = _spawn(store, idle, options or Options())
        while not (found := _answering(store)):
            if process.poll() is not None:
                raise CannotServe(f"the local platform ended at its start: {_last_words(store)}")
            _wait_until(deadline, f"the local platform does not answer: {_last_words(store)}")
    threading.Thread(target=process.wait, name="reap local platform", daemon=True).start()
    return RunningPlatform(found, LocalAccount(read_secret(store) or ""))


def stop(store: Path) -> bool:
    """Stop the server process of a store folder and wait for its end; says whether one was running.

    Raises:
        CannotServe: when the server does not end, or is a thread of another program.
    """
    if not (store / "server.lock").exists() or _is_free(store / "server.lock"):
        return False
    deadline = time.monotonic() + STOP_SECONDS
    while not _answering(store) and not _is_free(store / "server.lock"):
        _wait_until(deadline, f"a server holds {store} and does not answer")
    content = _read(store)
    if content:
        if content["thread"]:
            raise CannotServe(f"the server of {store} is a thread of the process {content['pid']}")
        with contextlib.suppress(ProcessLookupError):
            os.kill(content["pid"], signal.SIGTERM)
    while not _is_free(store / "server.lock"):
        _wait_until(deadline, f"the server of {store} does not end")
    return True


def _spawn(store: Path, idle: float, options: Options) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-c", _START, str(Path(__file__).resolve().parents[2])]
    command += ["--store", str(store), "--idle", str(idle)]
    for each in fields(Options):
        value = getattr(options, each.name)
        if each.name == "withheld":
            for name in sorted(value):
                command += ["--withheld", name]
        elif each.name == "faults":
            if value is not None:
                command += ["--faults", str(_faults_file(store, value))]
        else:
            command += [f"--{each.name.replace('_', '-')}", str(value)]
    log = _open_private(store / "server.log", os.O_APPEND | os.O_WRONLY)
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=store,
            env=_environment(),
        )
    finally:
        os.close(log)


def _environment() -> dict[str, str]:
    """Return what the server needs of the environment: no credentials, and no path to the current folder."""
    kept = {name: os.environ[name] for name in _NEEDED if name in os.environ}
    here = Path.cwd()
    folders = [each for each in sys.path if os.path.isabs(each) and Path(each).resolve() != here]
    return {**kept, "PYTHONPATH": os.pathsep.join(folders)}


def _faults_file(store: Path, faults: Path | Mapping[str, Any]) -> Path:
    if not isinstance(faults, Mapping):
        return Path(faults).resolve()
    path = store / "faults.json"
    handle = _open_private(path, os.O_TRUNC | os.O_WRONLY)
    with open(handle, "w", encoding="utf-8") as file:
        json.dump(dict(faults), file)
    return path


def private(store: Path) -> Path:
    """Make a store folder that nobody else can read.

    Raises:
        CannotServe: when the folder belongs to somebody else, or is open to others and holds other files.
    """
    store = store.resolve()
    for each in reversed([each for each in (store, *store.parents) if not each.exists()]):
        each.mkdir(mode=0o700, exist_ok=True)
    found = store.stat()
    if hasattr(os, "geteuid") and os.geteuid() and found.st_uid not in (0, os.geteuid()):
        raise CannotServe(f"The folder {store} belongs to another user. Choose one of your own.")
    if os.name == "posix" and found.st_mode & 0o077:
        if any(store.iterdir()) and not (store / DATABASE).exists():
            raise CannotServe(
                f"The folder {store} is open to other users and holds other files. Choose an empty folder."
            )
        store.chmod(0o700)
    return store


def _open_private(path: Path, flags: int) -> int:
    """Open a file of the store for its owner alone; a symbolic link that somebody planted is not followed."""
    return os.open(path, os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | flags, 0o600)


def _open_lock(path: Path) -> int:
    return _open_private(path, os.O_RDWR)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = _open_lock(path)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


@contextmanager
def owned(store: Path) -> Iterator[None]:
    """Hold the folder as its one server; the system lets go of it however the process ends."""
    lock = _open_lock(store / "server.lock")
    try:
        # Whoever asks whether a server is there holds the lock for a moment.
        deadline = time.monotonic() + OWN_SECONDS
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                _wait_until(deadline, f"another server has {store}")
        yield
    finally:
        os.close(lock)


def _is_free(path: Path) -> bool:
    lock = _open_lock(path)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        return True
    finally:
        os.close(lock)


def write_address(store: Path, content: dict[str, Any]) -> None:
    """Say where the folder's server answers, and who it is."""
    unfinished = store / "server.json.unfinished"
    with open(_open_private(unfinished, os.O_TRUNC | os.O_WRONLY), "w", encoding="utf-8") as file:
        json.dump(content, file)
    unfinished.replace(store / "server.json")


def _read(store: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json.loads((store / "server.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return content


def _answering(store: Path) -> str | None:
    """The address of the folder's server, if it answers and is the one that wrote ``server.json``."""
    content = _read(store)
    if content is None:
        return None
    address = _LOOPBACK.fullmatch(str(content["url"]))
    if address is None:
        return None
    connection = http.client.HTTPConnection(address[1], timeout=5)
    try:
        connection.request("GET", IDENTITY_PATH)
        response = connection.getresponse()
        answered = json.loads(response.read())
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
    ours = response.status == 200 and answered.get("instance") == content["instance"]
    return str(content["url"]) if ours else None


def _wait_until(deadline: float, complaint: str) -> None:
    if time.monotonic() > deadline:
        raise CannotServe(complaint)
    time.sleep(_POLL_SECONDS)


def _last_words(store: Path) -> str:
    log = (store / "server.log").read_text(encoding="utf-8", errors="replace").strip()
    return log[-2000:]
