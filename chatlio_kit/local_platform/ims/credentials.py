"""The client secret of a store: random, made once, readable by its owner alone."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

FILE = "client-secret"
_LEAST = 32


def read_secret(store: Path) -> str | None:
    """Return the client secret of a store; None when it has none."""
    path = store / FILE
    try:
        secret = path.read_text(encoding="ascii").strip() if stat.S_ISREG(path.lstat().st_mode) else ""
    except (FileNotFoundError, ValueError):
        return None
    return secret if len(secret) >= _LEAST else None


def make_secret(store: Path) -> str:
    """Return the client secret of a store, and make a new one unless there is one that nobody else can read.

    The process that has the store calls it, before it answers anybody.
    """
    secret = read_secret(store)
    if secret is None or (os.name == "posix" and (store / FILE).stat().st_mode & 0o077):
        secret = secrets.token_urlsafe(32)
        unfinished = store / f"{FILE}.{secrets.token_hex(8)}.unfinished"
        handle = os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with open(handle, "w", encoding="ascii") as file:
            file.write(secret)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(store / FILE)
    return secret
