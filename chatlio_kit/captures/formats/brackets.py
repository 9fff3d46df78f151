"""Where a JSON value ends that cannot be parsed: by its brackets and quotes alone."""

from __future__ import annotations

import re

_MARKS = re.compile(r'["\\\n\[\]{},]')
_IN_TEXT = re.compile(r'["\\\n]')
_OPENING = {"}": ord("{"), "]": ord("[")}


class Brackets:
    """Follows one value through blocks of text to its end.

    A closing bracket closes what it can: in ``{"a": [1}`` the brace ends the array too. A line's end ends a
    text, since no JSON text holds one; so a forgotten quote costs its own line at most.

    Args:
        objects: how many objects, one inside another, are open where it begins.
    """

    def __init__(self, objects: int = 0) -> None:
        self._open = bytearray(b"{" * objects)
        self._depth = {ord("{"): objects, ord("["): 0}
        self._in_text = False
        self._skip = 0
        self._started = False

    def scan(self, text: str, start: int, end: int | None = None) -> int | None:
        """Go on from ``start``; give the place behind the value, or None when it goes on after the block.

        Args:
            text: the block.
            start: where to go on.
            end: where to stop before the block's end.
        """
        limit = len(text) if end is None else end
        position = start + self._skip
        self._skip = 0
        while position < limit:
            found = (_IN_TEXT if self._in_text else _MARKS).search(text, position, limit)
            if found is None:
                return None
            mark, at = found.group(), found.start()
            position = at + 1
            if mark == "\\":
                if self._in_text:
                    position += 1
                    self._skip = max(0, position - limit)
            elif mark == '"':
                self._in_text = not self._in_text
            elif mark == "\n":
                self._in_text = False
            elif mark in "[{":
                self._open.append(ord(mark))
                self._depth[ord(mark)] += 1
            elif mark == ",":
                if not self._open:
                    return at
            else:
                closed = self._close(mark, at)
                if closed is not None:
                    return closed
        return None

    def _close(self, mark: str, at: int) -> int | None:
        if not self._open:
            return at
        opening = _OPENING[mark]
        if not self._depth[opening]:
            return None
        closed = None
        while closed != opening:
            closed = self._open.pop()
            self._depth[closed] -= 1
        return None if self._open else at + 1
