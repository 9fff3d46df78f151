"""Files that were read to their end before: recognised without parsing them again.

A file counts as unchanged when its size, its time and the bytes at both its ends are what they were, and the
user's choices are too. A file that held a reject is always read again: the reject has to be told again.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

_ENDS = 1 << 16


def mark_of(path: Path, settling: object) -> str | None:
    """Give a text that changes with a file, or with how it is read; None for one that cannot be read."""
    try:
        status = path.stat()
        digest = sha256(f"{status.st_size}|{status.st_mtime_ns}|{settling!r}".encode())
        with path.open("rb") as file:
            digest.update(file.read(_ENDS))
            file.seek(max(0, status.st_size - _ENDS))
            digest.update(file.read(_ENDS))
    except OSError:  # reading its records tells why, as a reject
        return None
    return digest.hexdigest()
