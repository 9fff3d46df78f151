"""Files that were read to their end before: recognised without parsing them again.

A file counts as unchanged when its size, its time and all its bytes are what they were - or what its store
says of its version - and the user's choices are too. A file that held a reject is always read again: the
reject has to be told again.
"""

from __future__ import annotations

from hashlib import sha256

from chatlio_kit.captures import CaptureFile


def mark_of(file: CaptureFile, settling: object) -> str | None:
    """Give a text that changes with a file, or with how it is read; None where a change could go unseen."""
    mark = file.place.mark()
    return None if mark is None else sha256(f"{mark}|{settling!r}".encode()).hexdigest()
