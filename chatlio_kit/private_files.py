"""Private files and folders, and the removal of those that killed processes left behind."""

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

OURS = frozenset(
    {"ledger.db", "ledger.db-wal", "ledger.db-shm", "ledger.lock", "connecting.lock"}
    | {"local", "reports", "bulk"}
)
"""Names of everything in a state folder. A folder with other contents may be someone's working folder."""

_PREFIX = "chatlio-kit"
_DAY = 24 * 60 * 60.0


def make_private_folder(folder: Path) -> None:
    """Create a folder and its missing parents, readable only by their owner.

    Raises:
        OSError: The folder cannot be created.
    """
    missing = [parent for parent in folder.parents if not parent.exists()]
    for path in (*reversed(missing), folder):
        path.mkdir(mode=0o700, exist_ok=True)


def make_state(state: Path) -> None:
    """Create a state folder that only its owner can read, or restrict an existing one to its owner.

    Raises:
        UsageError: The folder belongs to another user, or is open to others and holds other files.
        OSError: The folder cannot be created.
    """
    make_private_folder(state)
    status = state.stat()
    if hasattr(os, "geteuid") and os.geteuid() and status.st_uid not in (0, os.geteuid()):
        raise UsageError(
            f"The state folder {str(state)!r} belongs to another user, who could change its contents. Choose "
            "a folder of your own."
        )
    if os.name == "posix" and status.st_mode & 0o077:
        if any(path.name not in OURS for path in state.iterdir()):
            raise UsageError(
                f"The state folder {str(state)!r} is open to other users and holds other files. "
                "Choose an empty folder, or first close this one to others with 'chmod go='."
            )
        state.chmod(0o700)


def new_file(path: Path) -> Path:
    """Create an empty draft next to a path, readable only by its owner, under an unpredictable name.

    The caller renames the draft to the path once it is complete. Drafts of killed processes are removed.

    Raises:
        OSError: The draft cannot be created.
    """
    for draft in path.parent.glob(f".{path.name}.*.partial"):
        if is_left_by(draft.name.removeprefix(f".{path.name}.").partition(".")[0], draft):
            draft.unlink(missing_ok=True)
    handle, name = tempfile.mkstemp(".partial", f".{path.name}.{os.getpid()}.", path.parent)
    os.close(handle)
    return Path(name)


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, whole or not at all.

    Raises:
        OSError: It cannot be written.
    """
    draft = new_file(path)
    try:
        draft.write_bytes(content)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def new_temporary_folder() -> Path:
    """Create a temporary folder, and remove those of killed runs.

    Raises:
        OutputError: The folder cannot be created.
    """
    # containers may share this folder but not their process ids
    machine = re.sub(r"\W", "", platform.node())[:40]
    owned = re.compile(rf"{_PREFIX}-{machine}-([0-9]+)-\w+")
    try:
        for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}-{machine}-*"):
            owner = owned.fullmatch(folder.name)
            if owner and is_left_by(owner[1], folder):
                shutil.rmtree(folder, ignore_errors=True)
        return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}-{machine}-{os.getpid()}-"))
    except OSError as error:
        raise temporary_folder_unusable(error) from error


def temporary_folder_unusable(error: OSError) -> OutputError:
    """Return the error for an unusable folder for temporary files."""
    name = ""
    with suppress(OSError):
        name = f" {tempfile.gettempdir()!r}"
    return OutputError(
        f"The folder for temporary files{name} cannot be written: {error.strerror or error}. "
        "Free some space there, or name another folder in the environment variable TMPDIR."
    )


def is_left_by(pid: str, path: Path) -> bool:
    """Return whether the process that created a file or folder ended without removing it.

    On Windows, where this cannot be determined, a process counts as ended after a day.
    """
    if os.name != "posix":
        with suppress(OSError):
            return time.time() - path.stat().st_mtime > _DAY
        return False
    try:
        os.kill(int(pid), 0)
    except (ValueError, OverflowError, ProcessLookupError):
        return True
    except OSError:  # the process belongs to another user and is running
        return False
    return False
