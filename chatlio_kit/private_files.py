"""Files and folders for their owner alone, and what processes that were killed have left behind."""

from __future__ import annotations

import os
import platform
import re
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from chatlio_kit.errors import OutputError, UsageError

OURS = frozenset({"ledger.db", "ledger.db-wal", "ledger.db-shm", "ledger.lock", "local", "reports"})
"""What stands in a state folder. One with anything else in it may be somebody's working folder."""

_PREFIX = "chatlio-kit"
_DAY = 24 * 60 * 60.0


def make_private_folder(folder: Path) -> None:
    """Make a folder and those above it that are missing, all for their owner alone.

    Raises:
        OSError: it cannot be made.
    """
    missing = [each for each in folder.parents if not each.exists()]
    for each in (*reversed(missing), folder):
        each.mkdir(mode=0o700, exist_ok=True)


def make_state(state: Path) -> None:
    """Make a state folder that nobody else can read; close one that stands open.

    Raises:
        UsageError: it belongs to somebody else, or is open to others and holds other files.
        OSError: it cannot be made.
    """
    make_private_folder(state)
    found = state.stat()
    if hasattr(os, "geteuid") and os.geteuid() and found.st_uid not in (0, os.geteuid()):
        raise UsageError(
            f"The state folder {str(state)!r} belongs to another user, who could change what is in it. "
            "Choose one of your own."
        )
    if os.name == "posix" and found.st_mode & 0o077:
        if any(each.name not in OURS for each in state.iterdir()):
            raise UsageError(
                f"The state folder {str(state)!r} is open to other users and holds other files. "
                "Choose an empty folder, or close this one to others with 'chmod go=' first."
            )
        state.chmod(0o700)


def new_file(path: Path) -> Path:
    """Make an empty file beside a path, for its owner alone, under a name that nobody can foresee.

    It is to take the path's name once it is whole. Drafts that killed processes have left there are removed.

    Raises:
        OSError: it cannot be made.
    """
    for left in path.parent.glob(f".{path.name}.*.partial"):
        if is_left_by(left.name.removeprefix(f".{path.name}.").partition(".")[0], left):
            left.unlink(missing_ok=True)
    handle, draft = tempfile.mkstemp(".partial", f".{path.name}.{os.getpid()}.", path.parent)
    os.close(handle)
    return Path(draft)


def new_temporary_folder() -> Path:
    """Make a folder among the system's temporary ones, and remove those that killed runs have left there.

    Raises:
        OutputError: it cannot be made.
    """
    machine = re.sub(r"\W", "", platform.node())[:40]  # containers that share a folder do not share processes
    owned = re.compile(rf"{_PREFIX}-{machine}-([0-9]+)-\w+")
    try:
        place = Path(tempfile.gettempdir())
        for left in place.glob(f"{_PREFIX}-{machine}-*"):
            named = owned.fullmatch(left.name)
            if named and is_left_by(named[1], left):
                shutil.rmtree(left, ignore_errors=True)
        return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}-{machine}-{os.getpid()}-"))
    except OSError as error:
        raise temporary_folder_unusable(error) from error


def temporary_folder_unusable(error: OSError) -> OutputError:
    """Say that the folder for temporary files is the one that cannot be used."""
    place = ""
    with suppress(OSError):
        place = f" {tempfile.gettempdir()!r}"
    return OutputError(
        f"The folder for temporary files{place} cannot be written: {error.strerror or error}. "
        "Free some space there, or name another folder in the environment variable TMPDIR."
    )


def is_left_by(pid: str, path: Path) -> bool:
    """Whether the process that made a file or folder has ended without removing it.

    Where that cannot be asked, as on Windows, it is taken to have ended after a day.
    """
    if os.name != "posix":
        with suppress(OSError):
            return time.time() - path.stat().st_mtime > _DAY
        return False
    try:
        os.kill(int(pid), 0)
    except (ValueError, OverflowError, ProcessLookupError):
        return True
    except OSError:  # it runs, and is somebody else's
        return False
    return False
