"""A text in blocks, the first of them looked at before it is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from chatlio_kit.captures.formats.compression import BREAKS

BLOCK = 1 << 20
PEEK = 1 << 16
MOST_BLANK = 16_000_000
MOST_SKIPPED = 1_000_000_000
"""A record that is too large is passed over, but only so far: what goes on and on is given up."""


class Readable(Protocol):
    """A text that is read in blocks; an empty one is its end."""

    def read(self, size: int) -> bytes:
        """Return the next block."""


class Blocks:
    """A text's blocks. What breaks while looking ahead is told when reading comes to it.

    Attributes:
        head: the text's beginning.
        ended: whether the text ends with it.
    """

    def __init__(self, text: Readable) -> None:
        self._text = text
        self._broken: Exception | None = None
        self.ended = False
        parts: list[bytes] = []
        size = 0
        # Blank lines at the beginning say nothing, however many there are.
        while size < PEEK or (size < MOST_BLANK and not any(part.strip() for part in parts)):
            block = self._next(PEEK)
            if not block:
                self.ended = True
                break
            parts.append(block)
            size += len(block)
        self.head = b"".join(parts)

    def _next(self, size: int) -> bytes:
        if self._broken is not None:
            return b""
        try:
            return self._text.read(size)
        except BREAKS as broken:
            self._broken = broken
            return b""

    def look_on(self, found: Callable[[bytes], bool], most: int) -> bool:
        """Read on, and into the head, to the block in which something is found; False when it is not.

        Args:
            found: whether it is in these lines, whole but for the last.
            most: how long the head may become.
        """
        rest = self.head
        while not found(rest):
            block = b"" if self.ended or len(self.head) > most else self._next(BLOCK)
            if not block:
                return False
            self.head += block
            rest = rest[rest.rfind(b"\n") + 1 :] + block
        return True

    def __iter__(self) -> Iterator[bytes]:
        if self.head:
            yield self.head
        while block := self._next(BLOCK):
            yield block

    def pass_over(self, skipped: int) -> None:
        """Go on in a record of which so much was skipped; one without an end is where reading ends."""
        if skipped > MOST_SKIPPED:
            self._broken = OSError(f"a record goes on for more than {MOST_SKIPPED:,} bytes")

    def finish(self) -> None:
        """Raise what broke, now that everything before it was read."""
        if self._broken is not None:
            raise self._broken
