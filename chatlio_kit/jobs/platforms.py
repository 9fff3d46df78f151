"""Open Experience Platform or the local platform."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from chatlio_kit import local_platform
from chatlio_kit.aep import Platform
from chatlio_kit.arguments import checked, optional, place, text
from chatlio_kit.errors import OutputError, Unreachable, UsageError, option
from chatlio_kit.local_platform import RunningPlatform
from chatlio_kit.private_files import make_state, write_private
from chatlio_kit.settings import AEP, DEFAULT_STATE, LOCAL, Secret, Settings, sealed

STORE = "local"
"""The local platform's store, inside the state folder."""
READING_SECONDS = 4 * 60 * 60.0
"""Seconds that an unused local platform keeps running, for example while a user reads a notebook."""

_VARIABLE = "CHATLIO_KIT_PLATFORM"
_OF_LOCAL_PLATFORM = "# The local platform, for rehearsals: written by chatlio-kit local-platform serve"


def _faults(name: str, value: object) -> None:
    if not isinstance(value, Mapping):
        place(name, value)


@checked(platform=optional(text), state=place, faults=optional(_faults))
def open_platform(
    platform: str | None = None,
    *,
    state: Path | str = DEFAULT_STATE,
    faults: Path | str | Mapping[str, Any] | None = None,
    idle: float = READING_SECONDS,
) -> Platform:
    """Open Experience Platform, or the local platform, which answers like it.

    Args:
        platform: ``local`` or ``aep``; by default the value of ``CHATLIO_KIT_PLATFORM``, else ``local``.
        state: The state folder: ledger, local store, reports.
        faults: Faults for practice on a newly started local platform: a JSON file or its content;
            ``help(chatlio_kit.local_platform.faults.plan)`` lists them.
        idle: Seconds without a call after which a newly started local platform ends.

    Raises:
        UsageError: ``platform`` is neither, or faults are combined with Experience Platform.
        SettingsError: A setting for ``aep`` is missing.
        Unreachable: The local platform does not start, for example because a fault is invalid.
    """
    chosen = platform or os.environ.get(_VARIABLE) or LOCAL
    if chosen == AEP and faults is not None:
        raise UsageError("Faults need the local platform: open_platform('local', ...).")
    if chosen == AEP:
        return Platform(Settings.from_environment(state=Path(state)))
    if chosen == LOCAL:
        return Platform(_local_settings(Path(state), faults, idle))
    raise UsageError(f"The platform {chosen!r} is neither {LOCAL} nor {AEP}. Choose one of the two.")


def _local_settings(state: Path, faults: Path | str | Mapping[str, Any] | None, idle: float) -> Settings:
    options = local_platform.Options(faults=Path(faults) if isinstance(faults, str) else faults)
    try:
        make_state(state)
        _require_locks(state)
        running = local_platform.ensure_running(state / STORE, idle=idle, options=options)
    except (OSError, RuntimeError) as error:
        raise Unreachable(
            "The local platform",
            "start",
            _reason(error),
            advice=f"See its log, {str(state / STORE / 'server.log')!r}.",
        ) from error
    return settings_of(running, state)


@sealed
def write_settings(running: RunningPlatform, path: Path) -> None:
    """Write a ``.env`` file with which ``--platform aep`` reaches a local platform, to rehearse.

    Only its owner may read it. A file with other contents is left alone.

    Raises:
        UsageError: The file exists and was not written by this function.
        OutputError: It cannot be written.
    """
    require_own_settings(path)
    settings = settings_of(running)
    values = {
        "AEP_PLATFORM_URL": settings.platform_url,
        "AEP_IMS_URL": settings.ims_url,
        "AEP_CLIENT_ID": settings.client_id,
        "AEP_CLIENT_SECRET": settings.client_secret.reveal(),
        "AEP_ORG_ID": settings.org_id,
        "AEP_SANDBOX": settings.sandbox,
    }
    lines = [_OF_LOCAL_PLATFORM, *(f"{name}={value}" for name, value in values.items())]
    try:
        write_private(path, "".join(f"{line}\n" for line in lines).encode())
    except OSError as error:
        raise OutputError(
            f"The settings could not be written to {str(path)!r}: {error.strerror or error}. Choose a file "
            "in a folder that you can write to."
        ) from error


def require_own_settings(path: Path) -> None:
    """Refuse to overwrite a file that :func:`write_settings` did not write.

    Raises:
        UsageError: The file holds other settings, or cannot be read.
    """
    try:
        is_ours = not path.exists() or path.read_bytes().startswith(_OF_LOCAL_PLATFORM.encode())
    except OSError:
        is_ours = False
    if not is_ours:
        raise UsageError(
            f"{str(path)!r} already exists and may hold your own settings. Rehearse in an empty folder, or "
            "choose another file."
        )


def _require_locks(state: Path) -> None:
    """Check, with a temporary file, that SQLite can lock files in the state folder.

    On some network drives it cannot, and a database there would wait for its lock forever.

    Raises:
        Unreachable: Files in the folder cannot be locked.
        OSError: No file can be created there.
    """
    handle, name = tempfile.mkstemp(prefix=".locks-", dir=state)
    os.close(handle)
    try:
        with closing(sqlite3.connect(name, timeout=0, isolation_level=None)) as database:
            database.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error as error:
        raise Unreachable(
            "The local platform",
            "start",
            f"files in the state folder {str(state)!r} cannot be locked ({error}), as on some network drives",
            advice=f"Choose a folder on a disk of this machine with {option('state')}.",
        ) from error
    finally:
        Path(name).unlink(missing_ok=True)


def _reason(error: OSError | RuntimeError) -> str:
    """Return the reason why the local platform did not start."""
    if isinstance(error, OSError):
        path = f": {error.filename!r}" if error.filename else ""
        return f"{error.strerror or error}{path}"
    reason = str(error).strip()
    return f"{reason} its log is empty" if reason.endswith(":") else reason


def settings_of(running: RunningPlatform, state: Path = DEFAULT_STATE) -> Settings:
    """Return the settings that reach a local platform: its only account, and one URL for all services.

    Args:
        running: The platform.
        state: The state folder: ledger, local store, reports.
    """
    account = running.account
    return Settings(
        client_id=account.client_id,
        client_secret=Secret(account.client_secret),
        org_id=account.org_id,
        sandbox=account.sandbox,
        platform_url=running.url,
        ims_url=running.url,
        is_local=True,
        state=state,
    )
