"""Which platform is meant, and the door to it."""

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
from chatlio_kit.errors import Unreachable, UsageError, option
from chatlio_kit.local_platform import RunningPlatform
from chatlio_kit.private_files import make_state
from chatlio_kit.settings import AEP, DEFAULT_STATE, LOCAL, Secret, Settings

STORE = "local"
"""The local platform's store, inside the state folder."""
READING_SECONDS = 4 * 60 * 60.0
"""How long a local platform stays up unused while somebody reads a notebook."""

_CHOICE = "CHATLIO_KIT_PLATFORM"


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
    """Open Experience Platform, or the embedded local platform that answers as it does.

    Args:
        platform: ``local`` or ``aep``; by default what ``CHATLIO_KIT_PLATFORM`` says, else ``local``.
        state: the folder that remembers: ledger, local store, reports.
        faults: what goes wrong on a local platform that is started now, to practise with: a JSON file, or
            what it would hold; ``help(chatlio_kit.local_platform.faults.plan)`` lists the faults.
        idle: seconds without a call after which a local platform that is started now ends by itself.

    Raises:
        UsageError: when ``platform`` is neither, or faults are asked of Experience Platform.
        SettingsError: when a setting for ``aep`` is missing.
        Unreachable: when the local platform does not start, for instance since a fault cannot be meant.
    """
    chosen = platform or os.environ.get(_CHOICE) or LOCAL
    if chosen == AEP and faults is not None:
        raise UsageError("Faults are practised on the local platform alone: open_platform('local', ...).")
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


def _require_locks(state: Path) -> None:
    """Try, on a file of its own, whether SQLite can lock files in the state folder.

    Some network drives cannot: a database there waits for its lock until somebody gives up.

    Raises:
        Unreachable: when it cannot.
        OSError: when no file can be made there.
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
    """Word why the local platform did not start."""
    if isinstance(error, OSError):
        place = f": {error.filename!r}" if error.filename else ""
        return f"{error.strerror or error}{place}"
    said = str(error).strip()
    return f"{said} no word was left in its log" if said.endswith(":") else said


def settings_of(running: RunningPlatform, state: Path = DEFAULT_STATE) -> Settings:
    """Give the settings that reach a local platform: its only account, all services behind one URL.

    Args:
        running: the platform.
        state: the folder that remembers: ledger, local store, reports.
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
