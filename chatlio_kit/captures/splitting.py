"""From a file's text to its records, in memory a block at a time.

A record is a non-blank line of newline-delimited JSON (numbered by its physical line), an element of an
array (by its index from 1), or an object standing alone or after another. A file that cannot be read to its
end gives the records before the break, and one more that says so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import compress, count
from pathlib import Path

from chatlio_kit.captures.brackets import Brackets
from chatlio_kit.captures.containers import BREAKS, Text, open_bytes
from chatlio_kit.captures.records import MOST_BYTES, Fault, Raws, said, too_large, unreadable

BLOCK = 1 << 20
PEEK = 1 << 16

_BLANK = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()


def read_records(path: Path) -> Iterator[Raws | Fault]:
    """Read a file's records, whatever its container and form."""
    number = 0
    try:
        with open_bytes(path) as handle:
            for found in split(Text(handle)):
                number = found.number if isinstance(found, Fault) else found.numbers[-1]
                yield found
    except BREAKS as broken:
        yield unreadable(
            number + 1, b"", f"The file breaks off here: {said(broken)}. Records before it stand."
        )


def split(text: Text) -> Iterator[Raws | Fault]:
    """Split a text into records, by the form that its beginning shows."""
    blocks = _Blocks(text)
    head = blocks.head
    if not head.strip():
        yield from _by_line(blocks)
        return
    if _whole_values_follow(head, blocks.ended):
        yield from _by_value(blocks)
    elif _looks_like_json(head):
        yield from _by_line(blocks)
    else:
        detail = "The file holds no JSON: no line of its beginning is an object or an array."
        yield unreadable(1, b"", detail)


class _Blocks:
    """A text's blocks. What breaks while looking ahead is told when reading comes to it."""

    def __init__(self, text: Text) -> None:
        self._text = text
        self._broken: Exception | None = None
        self.ended = False
        parts: list[bytes] = []
        size = 0
        # Blank lines at the beginning say nothing, however many there are up to a block of them.
        while size < PEEK or (size < BLOCK and not any(part.strip() for part in parts)):
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

    def __iter__(self) -> Iterator[bytes]:
        if self.head:
            yield self.head
        while block := self._next(BLOCK):
            yield block

    def finish(self) -> None:
        """Raise what broke, now that everything before it was read."""
        if self._broken is not None:
            raise self._broken


def _whole_values_follow(head: bytes, ended: bool) -> bool:
    """Whether the file is an array, or objects that span or share lines, not a record on each line."""
    lines = [line for line in head.split(b"\n") if line.strip()]
    whole = ended or len(lines) > 1
    first = lines[0].lstrip()
    if first[:1] not in (b"{", b"["):
        return False
    text = first.decode("utf-8", errors="surrogateescape")
    try:
        value, end = _DECODER.raw_decode(text)
    except (ValueError, RecursionError):
        if not whole or first[:1] == b"[":
            return first[:1] == b"["
        # An object that goes on: the next line starts with a key or a bracket, not with a new object.
        return len(lines) > 1 and lines[1].lstrip()[:1] not in (b"{", b"[")
    rest = text[end:].strip()
    if isinstance(value, list):
        return len(lines) == 1
    return len(lines) == 1 and rest.startswith("{")


def _looks_like_json(head: bytes) -> bool:
    """Whether any line begins as JSON does and is text."""
    lines = head.split(b"\n")
    return any(line.lstrip()[:1] in (b"{", b"[") and _is_text(line) for line in lines)


def _is_text(line: bytes) -> bool:
    text = line[:PEEK].decode("utf-8", errors="ignore")
    return "\x00" not in text and len(text.encode()) >= len(line[:PEEK]) - 3


def _by_line(blocks: _Blocks) -> Iterator[Raws | Fault]:
    number, rest, skipping = 0, b"", False
    for block in blocks:
        lines = block.split(b"\n")
        if len(lines) == 1:  # no line ends in this block
            if not skipping:
                rest += block
                if len(rest) > MOST_BYTES:
                    yield too_large(number + 1, rest)
                    skipping, rest = True, b""
            continue
        if skipping:
            number, skipping = number + 1, False
            del lines[0]
        else:
            lines[0] = rest + lines[0]
        rest = lines.pop()
        first = number + 1
        number += len(lines)
        if lines:
            yield from _filled(first, lines)
    blocks.finish()  # where the file breaks off in a line, the break is told for it
    if rest.strip():
        yield Raws([number + 1], [rest.strip()], cut=True)


def _filled(first: int, lines: list[bytes]) -> Iterator[Raws | Fault]:
    """Give the lines that are not blank, with their numbers."""
    if len(lines[0]) > MOST_BYTES:
        yield too_large(first, lines[0])
        first, lines = first + 1, lines[1:]
    raws = [line.strip() for line in lines]
    if all(raws):
        numbers = list(range(first, first + len(raws)))
    else:
        numbers = list(compress(count(first), raws))
        raws = [raw for raw in raws if raw]
    if raws:
        yield Raws(numbers, raws)


def _by_value(blocks: _Blocks) -> Iterator[Raws | Fault]:
    """Read an array's elements, or objects one after another, holding one block of them at a time."""
    stream = _Stream(blocks)
    is_array = stream.open_array()
    number, ended = 0, False
    while True:
        raws: list[bytes] = []
        first = number + 1
        while len(raws) < 1000:
            stream.skip_blank(is_array and number > 0)
            if stream.at_end() or (is_array and stream.here() == "]"):
                ended = True
                break
            found = stream.element()
            if found is None:
                break
            raws.append(found)
            number += 1
        if raws:
            yield Raws(list(range(first, number + 1)), raws)
        if ended:
            break
        if len(raws) < 1000:
            if not stream.is_too_large:
                blocks.finish()
            number += 1
            yield stream.fault(number)
            if stream.at_end():
                break
    blocks.finish()
    if is_array and not stream.was_cut:
        yield from stream.after_array(number)


class _Stream:
    """The values of a text, one after another."""

    def __init__(self, blocks: _Blocks) -> None:
        self._blocks = iter(blocks)
        self._text = ""
        self._position = 0
        self._carry = b""
        self._more = True
        self._wrong = ""
        self._too_large: bytes | None = None
        self._is_array = False
        self.was_cut = False

    def _read(self) -> bool:
        """Append a block; False at the end."""
        block = next(self._blocks, b"")
        if not block:
            self._more = False
            last, self._carry = self._carry, b""
            self._text = self._text[self._position :] + last.decode("utf-8", errors="surrogateescape")
            self._position = 0
            return bool(last)
        block = self._carry + block
        whole = _whole_characters(block)
        self._carry = block[whole:]
        fresh = block[:whole].decode("utf-8", errors="surrogateescape")
        self._text = self._text[self._position :] + fresh
        self._position = 0
        return True

    def open_array(self) -> bool:
        self.skip_blank(False)
        if self.here() != "[":
            return False
        self._position += 1
        self._is_array = True
        return True

    def here(self) -> str:
        return self._text[self._position : self._position + 1]

    @property
    def is_too_large(self) -> bool:
        return self._too_large is not None

    def at_end(self) -> bool:
        return self._position >= len(self._text) and not self._more

    def skip_blank(self, with_separator: bool) -> None:
        while True:
            self._position = _BLANK.match(self._text, self._position).end()  # type: ignore[union-attr]
            if self._position < len(self._text):
                if not (with_separator and self.here() == ","):
                    return
                self._position += 1
                with_separator = False
            elif not self._read() and not self._more:
                return

    def element(self) -> bytes | None:
        """Give the next value's text, good or bad; None when it does not end or is too large."""
        try:
            _, end = _DECODER.raw_decode(self._text, self._position)
            if end < len(self._text) or not self._more:
                return self._take(end)
        except (ValueError, RecursionError) as wrong:
            self._wrong = said(wrong)
        brackets = Brackets()
        scanned = self._position
        while True:
            end_found = brackets.scan(self._text, scanned)
            if end_found is not None:
                return self._take(end_found)
            length = len(self._text) - self._position
            if length > MOST_BYTES:
                self._skip_rest(brackets)
                return None
            if not self._read() and not self._more:
                return None
            scanned = length

    def _skip_rest(self, brackets: Brackets) -> None:
        start = self._text[self._position : self._position + 1000]
        self._too_large = start.encode("utf-8", errors="surrogateescape")
        self._position = len(self._text)
        while self._read() or self._more:
            end = brackets.scan(self._text, 0)
            if end is not None:
                self._position = end
                return
            self._position = len(self._text)

    def _take(self, end: int) -> bytes:
        if end == self._position and not (self._is_array and self.here() == ","):
            end += 1  # a bracket that nothing opened is a bad value of its own
        raw = self._text[self._position : end].strip()
        self._position = end
        return raw.encode("utf-8", errors="surrogateescape")

    def fault(self, number: int) -> Fault:
        """Say why there was no element."""
        if self._too_large is not None:
            start, self._too_large = self._too_large, None
            return too_large(number, start)
        self.was_cut = True
        tail = self._text[self._position :].encode("utf-8", errors="surrogateescape")
        self._position = len(self._text)
        detail = f"The file cannot be read from here on: {self._wrong}. Records before it stand."
        return unreadable(number, tail, detail)

    def after_array(self, number: int) -> Iterator[Fault]:
        """Say what stands where the array should have ended, or after its end."""
        if self.at_end():
            yield unreadable(number + 1, b"", "The array is cut off: its closing bracket is missing.")
            return
        self._position += 1
        self.skip_blank(False)
        if not self.at_end():
            rest = self._text[self._position : self._position + 1000].encode("utf-8", "surrogateescape")
            shown = rest[:60].decode("utf-8", errors="replace")
            yield unreadable(number + 1, rest, f'Something follows the array\'s end: "{shown}".')


def _whole_characters(block: bytes) -> int:
    """Where the last whole UTF-8 character of a block ends."""
    for back in range(1, min(4, len(block)) + 1):
        byte = block[-back]
        if byte < 0x80:
            return len(block)
        if byte >= 0xC0:
            needed = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(block) if needed <= back else len(block) - back
    return len(block)
