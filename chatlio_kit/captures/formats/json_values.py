"""Read consecutive JSON values, or the elements of an array, with one block of text in memory.

A damaged value costs only itself. It ends where its brackets close or, failing that, where the next object
starts with a key that other objects in the file start with.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterable, Iterator
from itertools import chain

from chatlio_kit.captures.dialects.pages import ListOfPage, begins_page, list_of_page
from chatlio_kit.captures.formats.records import (
    MOST_BYTES,
    ByteRecords,
    Paged,
    ReadFault,
    message_of,
    too_large,
    unreadable,
)
from chatlio_kit.captures.formats.text_blocks import BLOCK, PEEK, Blocks

WRITTEN_ENDS = re.compile(r"(?:\\r)?\\n(?:[ \t\r\n]|\\[rn])*")
"""A line feed written as a backslash and a letter; between values it cannot mean anything else."""
_BLANK = re.compile(r"(?:[ \t\r\n]|\\[rn])*")
_KEY = r'\{\s*("(?:[^"\\\x00-\x1f]|\\.){1,200}")\s*:'
_FIRST_KEY = re.compile(_KEY)
_FOLLOWING_KEY = re.compile(rf"\}}.?\s*{_KEY}")
_SWALLOWED = re.compile(r'\{\s*"\Z')
_CLOSING = re.compile(r"\}+|\](?:\s*\])*")
_MARKS = re.compile(r'["\\\n\[\]{},]')
_IN_STRING = re.compile(r'["\\\n]')
_OPENING = {"}": ord("{"), "]": ord("[")}
_MOST_KEYS = 16
_MOST_GUESSES = 100
_FAR, _NEAR = 1 << 15, 1 << 11
_LONGEST_WORD = 12
_MOST_RECORDS = 1000
_DECODER = json.JSONDecoder()


def own_key(text: str, start: int = 0) -> set[str]:
    """Return the first key of the object at this position, if there is one."""
    key = _FIRST_KEY.match(text, start)
    return set() if key is None else {key[1]}


def first_keys(text: str, start: int = 0) -> set[str]:
    """Return the keys that objects may start with: this one's, and that of the longest one after another."""
    keys = own_key(text, start)
    following: dict[str, int] = {}
    for key in _FOLLOWING_KEY.finditer(text, start, start + PEEK):
        following.setdefault(key[1], key.start(1))
        if len(following) == _MOST_KEYS:
            break
    if following:
        keys.add(max(following, key=lambda key: _length(text, text.rindex("{", 0, following[key]))))
    elif not keys and (any_one := _FIRST_KEY.search(text, start)) is not None:
        keys.add(any_one[1])
    return keys


def _length(text: str, start: int) -> int:
    """Return the length of an object, up to a limit; 0 for a damaged one."""
    beginning = text[start : start + PEEK]
    try:
        return _DECODER.raw_decode(beginning)[1]
    except json.JSONDecodeError as wrong:
        return PEEK if len(beginning) == PEEK and _is_cut(wrong, beginning) else 0
    except (ValueError, RecursionError):
        return 0


def _is_cut(wrong: json.JSONDecodeError, text: str) -> bool:
    """Return whether a value is invalid only because the text ends within it."""
    return wrong.msg.startswith("Unterminated") or wrong.pos > len(text) - _LONGEST_WORD


def begins_with(keys: Iterable[str]) -> str:
    """Return the pattern of an object that starts with one of these keys."""
    return rf"\{{\s*(?:{'|'.join(map(re.escape, sorted(keys)))})\s*:"


def read_values(blocks: Blocks) -> Iterator[ByteRecords | ReadFault]:
    """Read an array's elements, or consecutive objects."""
    stream = Values(blocks)
    is_array = stream.open_array()
    number = yield from stream.elements(0)
    blocks.finish()
    if is_array and not stream.was_cut:
        yield from stream.after_array(number)


class Values:
    """The consecutive values of a text.

    Args:
        blocks: The text.
        rest: The blocks still to be read; by default all.

    Attributes:
        was_cut: True if the text ended within a value.
    """

    def __init__(self, blocks: Blocks, rest: Iterable[bytes] | None = None) -> None:
        self._source, self._blocks = blocks, iter(blocks if rest is None else rest)
        self._text = ""
        self._position = 0
        self._carry = b""
        self._more = True
        self._wrong = ""
        self._too_large: bytes | None = None
        self._is_array = False
        self._page: ListOfPage | None = None
        self._are_pages: bool | None = None
        self._keys: set[str] = set()
        self._guesses = 0
        self._start: re.Pattern[str] | None = None
        self._searched: tuple[int, int | None] | None = None
        self.was_cut = False

    def elements(
        self, number: int, *, in_page: bool = False
    ) -> Generator[ByteRecords | ReadFault, None, int]:
        """Read values to the end of the text, or to the end of the array that holds them.

        Args:
            number: Number of the previous record.
            in_page: True if they are the captures that a page lists.

        Returns:
            The number of the last record.
        """
        ended, before = False, number
        while not ended:
            raws: list[bytes] = []
            size, stuck, first = 0, False, number + 1
            while len(raws) < _MOST_RECORDS and size < BLOCK:
                self._skip_blank(with_separator=number > before)
                if self._at_end() or (self._here() == "]" if in_page else self._is_array and self._closes()):
                    ended = True
                    break
                raw = self._element(may_be_page=not in_page and self._are_pages is not False)
                if raw is None:
                    stuck = True
                    break
                raws.append(raw)
                size += len(raw)
                number += 1
            if raws:
                numbers = list(range(first, number + 1))
                yield Paged(numbers, raws) if in_page else ByteRecords(numbers, raws)
                if self._are_pages is None and not in_page:
                    self._are_pages = begins_page(raws)
            if not stuck:
                continue
            if self._page is not None:
                number = yield from self.page(number)
                continue
            if self._too_large is None:
                self._source.finish()
            number += 1
            yield self._fault(number)
            ended = self._at_end()
        return number

    def page(self, number: int) -> Generator[ByteRecords | ReadFault, None, int]:
        """Read the captures that the page at this position lists, and skip the rest of the page.

        Returns:
            The number of the last record.
        """
        if not self._text:
            self._read()
        page = self._page or list_of_page(self._text, self._position)
        if page is None:
            return number
        self._page, self._are_pages = None, True
        self._put_back(page.start)
        was_array, self._is_array = self._is_array, True
        number = yield from self.elements(number, in_page=True)
        self._is_array = was_array
        is_closed = not self._at_end() and self._skip_end(page.depth)
        if not is_closed and not self.was_cut:
            self._source.finish()
            number += 1
            yield unreadable(number, b"", "The page is truncated: its closing brackets are missing.")
            self.was_cut = True
        return number

    def _skip_end(self, depth: int) -> bool:
        """Skip the end of a page, given the number of open objects; return False if it is truncated."""
        brackets, skipped = Brackets(depth), 0
        self._position += 1
        while (end := brackets.scan(self._text, self._position)) is None:
            skipped += len(self._text) - self._position
            self._source.check_skipped(skipped)
            self._position = len(self._text)
            if not self._read() and not self._more:
                return False
        self._position = end
        return True

    @property
    def blocks(self) -> Iterator[bytes]:
        """The blocks that were not read yet."""
        return self._blocks

    def rest(self) -> bytes:
        """Return the text that was read but not parsed."""
        return self._text[self._position :].encode("utf-8", errors="surrogateescape") + self._carry

    def _put_back(self, start: int) -> None:
        """Continue from a position, with one block of the text in memory."""
        rest = self._text[start:].encode("utf-8", errors="surrogateescape") + self._carry
        self._blocks = chain((rest[at : at + BLOCK] for at in range(0, len(rest), BLOCK)), self._blocks)
        self._text, self._position, self._carry, self._more = "", 0, b"", True
        self._keys, self._start, self._searched = set(), None, None

    def _read(self) -> bool:
        """Append a block; return False at the end."""
        self._searched = None
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
        """Enter the array at this position, if there is one."""
        self._skip_blank(with_separator=False)
        if self._here() != "[":
            return False
        self._position += 1
        self._is_array = True
        return True

    def _here(self) -> str:
        return self._text[self._position : self._position + 1]

    def _at_end(self) -> bool:
        return self._position >= len(self._text) and not self._more

    def _closes(self) -> bool:
        """Return whether the array ends here; a bracket before further objects is an invalid value."""
        if self._here() != "]":
            return False
        while len(self._text) - self._position < BLOCK // 2 and self._more:
            self._read()
        return self._next_start(1, is_deep=False) is None

    def _skip_blank(self, *, with_separator: bool) -> None:
        while True:
            self._position = _BLANK.match(self._text, self._position).end()  # type: ignore[union-attr]
            if self._position < len(self._text):
                if self._here() == "\\" and self._position + 1 == len(self._text) and self._read():
                    continue  # the letter of an escaped line feed is in the next block
                if not (with_separator and self._here() == ","):
                    return
                self._position += 1
                with_separator = False
            elif not self._read() and not self._more:
                return

    def _element(self, *, may_be_page: bool) -> bytes | None:
        """Return the next value's text, valid or not; None if it does not end, is too large or is a page."""
        self._drop_parsed()
        if self._here() == "[" and self._keys and self._pattern().match(self._text, self._position + 1):
            return self._advance(self._position + 1)  # an array among objects, which contains objects itself
        broken_at: int | None = None
        is_deep = False
        try:
            end = self._decode()
            if end is not None:
                self._wrong = ""
                self._learn()
                return self._advance(end)
        except json.JSONDecodeError as wrong:
            self._wrong = wrong.msg  # without the position, which counts from the text in memory
            broken_at = wrong.pos - self._position
            if may_be_page and self._finds_page():
                return None
        except RecursionError as wrong:
            self._wrong, broken_at, is_deep = message_of(wrong), 0, True
        except ValueError as wrong:  # a number with more digits than Python reads
            self._wrong = message_of(wrong)
        brackets = Brackets()
        scanned = 0
        while True:
            # A damaged value ends, at the latest, where the next object starts as the others do.
            begins = None if broken_at is None else self._next_start(broken_at, is_deep)
            end_found = brackets.scan(self._text, self._position + scanned, begins)
            if end_found is not None or begins is not None:
                return self._advance(end_found or begins or 0)
            length = len(self._text) - self._position
            if length > MOST_BYTES:
                if not (may_be_page and self._finds_page()):
                    self._skip_rest(brackets)
                return None
            if not self._read() and not self._more:
                return None
            scanned = length

    def _finds_page(self) -> bool:
        self._page = list_of_page(self._text, self._position)
        return self._page is not None

    def _decode(self) -> int | None:
        """Return the end of the value, reading more as needed; None for a very long value."""
        while True:
            try:
                _, end = _DECODER.raw_decode(self._text, self._position)
            except json.JSONDecodeError as wrong:
                if not (self._more and _is_cut(wrong, self._text)):
                    raise
            else:
                if end < len(self._text) or not self._more:
                    return end
            length = len(self._text) - self._position
            if length > MOST_BYTES:
                return None
            # The value is decoded again, so the amount of text doubles each time.
            while self._more and len(self._text) - self._position < min(2 * length, MOST_BYTES + 1):
                self._read()

    def _drop_parsed(self) -> None:
        """Drop the text before this position, because decoding errors count lines from the start."""
        if self._position > (_NEAR if self._wrong else _FAR):
            self._text = self._text[self._position :]
            self._position, self._searched = 0, None

    def _learn(self) -> None:
        """Remember the key that the object at this position starts with."""
        key = _FIRST_KEY.match(self._text, self._position)
        if key is not None and key[1] not in self._keys and len(self._keys) < _MOST_KEYS:
            self._keys.add(key[1])
            self._start = self._searched = None

    def _next_start(self, broken_at: int, is_deep: bool) -> int | None:
        """Return the position of the next object that starts like others, or of the comma before it."""
        self._guess()
        start = max(self._position + broken_at, self._position + 1)
        # A string that lost its closing quote extends to the first quote of the next object.
        swallowed = _SWALLOWED.search(self._text, max(self._position + 1, start - 100), start)
        if swallowed is not None:
            start = swallowed.start()
        while (at := self._search(start)) is not None:
            before = self._text[max(self._position, at - 100) : at]
            blank = len(before) - len(before.rstrip())
            mark = before.rstrip()[-1:]
            if mark == ",":
                return at - blank - 1
            # Objects that are nested too deeply also start alike within one another.
            if not is_deep or mark in ("}", "]"):
                return at
            start = at + 1
        return None

    def _guess(self) -> None:
        """Add the keys that objects near a damaged value seem to start with."""
        if self._guesses == _MOST_GUESSES:
            return
        self._guesses += 1
        keys = first_keys(self._text, self._position)
        if not keys <= self._keys:
            self._keys |= keys
            self._start = self._searched = None

    def _search(self, start: int) -> int | None:
        """Find an object that starts as others do; the last result is cached."""
        if self._searched is not None:
            searched_from, at = self._searched
            if searched_from <= start and (at is None or start <= at):
                return at
        match = self._pattern().search(self._text, start) if self._keys else None
        self._searched = (start, match.start() if match is not None else None)
        return self._searched[1]

    def _pattern(self) -> re.Pattern[str]:
        """Return the pattern that matches the start of objects in this file."""
        if self._start is None:
            self._start = re.compile(begins_with(self._keys))
        return self._start

    def _skip_rest(self, brackets: Brackets) -> None:
        start = self._text[self._position : self._position + 1000]
        self._too_large = start.encode("utf-8", errors="surrogateescape")
        skipped = self._position = len(self._text)
        while self._read() or self._more:
            end = brackets.scan(self._text, 0)
            if end is not None:
                self._position = end
                return
            self._position = len(self._text)
            skipped += len(self._text)
            self._source.check_skipped(skipped)

    def _advance(self, end: int) -> bytes:
        """Return the text up to a position, and continue from there."""
        if end == self._position and not (self._is_array and self._here() == ","):
            # closing brackets without an opening one are an invalid value of their own
            closing = _CLOSING.match(self._text, end)
            end = closing.end() if closing is not None else end + 1
        raw = self._text[self._position : end].strip()
        self._position = end
        return raw.encode("utf-8", errors="surrogateescape")

    def _fault(self, number: int) -> ReadFault:
        """Return the error for a value that could not be read."""
        if self._too_large is not None:
            start, self._too_large = self._too_large, None
            return too_large(number, start)
        self.was_cut = True
        tail = self._text[self._position :].encode("utf-8", errors="surrogateescape")
        self._position = len(self._text)
        wrong = self._wrong.removesuffix(" starting at")  # a position would follow
        detail = (
            f"The file is truncated in this record, or a quote or bracket in it is not closed: {wrong}. "
            "Records before it are kept."
        )
        return unreadable(number, tail, detail)

    def after_array(self, number: int) -> Iterator[ReadFault]:
        """Report an array without an end, or text after its end."""
        if self._at_end():
            yield unreadable(number + 1, b"", "The array is truncated: its closing bracket is missing.")
            return
        self._position += 1
        self._skip_blank(with_separator=False)
        if not self._at_end():
            rest = self._text[self._position : self._position + 1000].encode("utf-8", "surrogateescape")
            shown = rest[:60].decode("utf-8", errors="replace")
            yield unreadable(number + 1, rest, f'Something follows the array\'s end: "{shown}".')


class Brackets:
    """A scanner that finds the end of an invalid value from its brackets and quotes alone.

    A closing bracket closes as much as it can: in ``{"a": [1}`` the brace ends the array too. A line feed
    ends a string, because no JSON string contains one; a missing quote therefore costs at most its own line.

    Args:
        objects: Number of nested objects that are open at the start.
    """

    def __init__(self, objects: int = 0) -> None:
        self._open = bytearray(b"{" * objects)
        self._depth = {ord("{"): objects, ord("["): 0}
        self._in_string = False
        self._skip = 0

    def scan(self, text: str, start: int, end: int | None = None) -> int | None:
        """Return the position after the value, or None if the value does not end in this block.

        Args:
            text: The block.
            start: Position to continue from.
            end: Position to stop at, before the end of the block.
        """
        limit = len(text) if end is None else end
        position = start + self._skip
        self._skip = 0
        while position < limit:
            match = (_IN_STRING if self._in_string else _MARKS).search(text, position, limit)
            if match is None:
                return None
            mark, at = match.group(), match.start()
            position = at + 1
            if mark == "\\":
                if self._in_string:
                    position += 1
                    self._skip = max(0, position - limit)
            elif mark == '"':
                self._in_string = not self._in_string
            elif mark == "\n":
                self._in_string = False
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


def _whole_characters(block: bytes) -> int:
    """Return the end of the last complete UTF-8 character in a block."""
    for back in range(1, min(4, len(block)) + 1):
        byte = block[-back]
        if byte < 0x80:
            return len(block)
        if byte >= 0xC0:
            needed = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(block) if needed <= back else len(block) - back
    return len(block)
