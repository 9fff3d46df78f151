"""One at a time: processes that share a state folder build their connections one after the other."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from chatlio_kit.errors import ConnectionIncomplete

LOCK = "connecting.lock"
LONGEST_TURN = 900.0
"""Seconds: a build waits up to 10 minutes for its dataflows."""


@contextmanager
def one_at_a_time(state: Path) -> Iterator[None]:
    """Hold a state folder's turn to build; the system ends it however the process ends.

    An exclusive transaction of SQLite is a lock on every system. Without a state folder, or where no lock can
    be made in it, nothing is held: then the objects that two builds have made are compared afterwards.

    Raises:
        ConnectionIncomplete: another process has been building for too long.
    """
    if not state.is_dir():
        yield
        return
    with closing(sqlite3.connect(state / LOCK, timeout=LONGEST_TURN, isolation_level=None)) as turn:
        try:
            turn.execute("BEGIN EXCLUSIVE")
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
                raise ConnectionIncomplete(
                    f"Another process has been connecting from the state folder {str(state)!r} for "
                    f"{LONGEST_TURN / 60:.0f} minutes. End it, then connect again: it goes on from there."
                ) from None
        yield
