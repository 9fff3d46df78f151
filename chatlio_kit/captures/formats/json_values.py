"""JSON values one after another - an array's elements, or objects - with a block of them in memory at a time.

A damaged value costs itself: it ends where its brackets say or, if it is worse, where the next object begins
as the others of the file do.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterable, Iterator
from itertools import chain

from chatlio_kit.captures.formats.brackets import Brackets
from chatlio_kit.captures.formats.long_pages import ListOfPage, begins_page, list_of_page
from chatlio_kit.captures.formats.records import (
    MOST_BYTES,
    ByteRecords,
    Paged,
    ReadFault,
    said,
    too_large,
    unreadable,
)
from chatlio_kit.captures.formats.text_blocks import BLOCK, PEEK, Blocks

WRITTEN_ENDS = re.compile(r"(?:\\r)?\\n(?:[ \t\r\n]|\\[rn])*")
"""A line's end that was written as a backslash and a letter; between values it can be nothing else."""
_BLANK = re.compile(r"(?:[ \t\r\n]|\\[rn])*")
_KEY = r'\{\s*("(?:[^"\\\x00-\x1f]|\\.){1,200}")\s*:'
_FIRST_KEY = re.compile(_KEY)
_FOLLOWING_KEY = re.compile(rf"\}}.?\s*{_KEY}")
_SWALLOWED = re.compile(r'\{\s*"\Z')
_CLOSING = re.compile(r"\}+|\](?:\s*\])*")
_MOST_KEYS = 16
_MOST_GUESSES = 100
_FAR, _NEAR = 1 << 15, 1 << 11
_LONGEST_WORD = 12
_MOST_RECORDS = 1000
_DECODER = json.JSONDecoder()


def own_key(text: str, start: int = 0) -> set[str]:
    """Give the first key of the object that begins here, if one does."""
    found = _FIRST_KEY.match(text, start)
    return set() if found is None else {found[1]}


def first_keys(text: str, start: int = 0) -> set[str]:
    """Say with which keys objects may begin here: this one's, and the longest one's that follows another."""
    keys = own_key(text, start)
    following: dict[str, int] = {}
    for found in _FOLLOWING_KEY.finditer(text, start, start + PEEK):
        following.setdefault(found[1], found.start(1))
        if len(following) == _MOST_KEYS:
            break
    if following:
        keys.add(max(following, key=lambda key: _length(text, text.rindex("{", 0, following[key]))))
    elif not keys and (any_one := _FIRST_KEY.search(text, start)) is not None:
        keys.add(any_one[1])
    return keys


def _length(text: str, start: int) -> int:
    """Say how long an object is, as far as it is looked at; 0 for a damaged one."""
    looked_at = text[start : start + PEEK]
    try:
        return _DECODER.raw_decode(looked_at)[1]
    except json.JSONDecodeError as wrong:
        return PEEK if len(looked_at) == PEEK and _is_cut(wrong, looked_at) else 0
    except (ValueError, RecursionError):
        return 0


def _is_cut(wrong: json.JSONDecodeError, text: str) -> bool:
    """Whether a value is wrong only because the text ends in it."""
    return wrong.msg.startswith("Unterminated") or wrong.pos > len(text) - _LONGEST_WORD


def begins_with(keys: Iterable[str]) -> str:
    """Write as a pattern how an object begins that has one of these keys first."""
    return rf"\{{\s*(?:{'|'.join(map(re.escape, sorted(keys)))})\s*:"


def read_values(blocks: Blocks) -> Iterator[ByteRecords | ReadFault]:
    """Read an array's elements, or objects one after another."""
    stream = Values(blocks)
    is_array = stream.open_array()
    number = yield from stream.elements(0)
    blocks.finish()
    if is_array and not stream.was_cut:
        yield from stream.after_array(number)


class Values:
    """The values of a text, one after another.

    Args:
        blocks: the text.
        rest: what is still to be read of it; by default all.
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
        """Read values to the end of the text, or of the array that they stand in.

        Args:
            number: the number of the record before.
            in_page: whether they are the captures that a page lists.

        Returns:
            The last record's number.
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
                found = self._element(may_be_page=not in_page and self._are_pages is not False)
                if found is None:
                    stuck = True
                    break
                raws.append(found)
                size += len(found)
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
        """Read the captures that the page lists which begins here, and what stands behind them in it.

        Returns:
            The last record's number.
        """
        if not self._text:
            self._read()
        found = self._page or list_of_page(self._text, self._position)
        if found is None:
            return number
        self._page, self._are_pages = None, True
        self._put_back(found.start)
        was_array, self._is_array = self._is_array, True
        number = yield from self.elements(number, in_page=True)
        self._is_array = was_array
        is_closed = not self._at_end() and self._pass_end(found.depth)
        if not is_closed and not self.was_cut:
            self._source.finish()
            number += 1
            yield unreadable(number, b"", "The page is cut off: its closing brackets are missing.")
            self.was_cut = True
        return number

    def _pass_end(self, depth: int) -> bool:
        """Pass over a page's end behind its list, with so many objects open; False when it is cut off."""
        brackets, skipped = Brackets(depth), 0
        self._position += 1
        while (end := brackets.scan(self._text, self._position)) is None:
            skipped += len(self._text) - self._position
            self._source.pass_over(skipped)
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
        """Return what was read of the text, but not looked at."""
        return self._text[self._position :].encode("utf-8", errors="surrogateescape") + self._carry

    def _put_back(self, start: int) -> None:
        """Go on at a place with a block of the text at a time, however much of it was read."""
        rest = self._text[start:].encode("utf-8", errors="surrogateescape") + self._carry
        self._blocks = chain((rest[at : at + BLOCK] for at in range(0, len(rest), BLOCK)), self._blocks)
        self._text, self._position, self._carry, self._more = "", 0, b"", True
        self._keys, self._start, self._searched = set(), None, None

    def _read(self) -> bool:
        """Append a block; False at the end."""
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
        """Go into the array that begins here, if one does."""
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
        """Whether the array ends here; a bracket that more such objects follow is a bad value of its own."""
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
                    continue  # the letter of a written line's end is in the next block
                if not (with_separator and self._here() == ","):
                    return
                self._position += 1
                with_separator = False
            elif not self._read() and not self._more:
                return

    def _element(self, *, may_be_page: bool) -> bytes | None:
        """Return the next value's text, good or bad; None when it does not end, is too large or is a page."""
        self._drop_what_was_read()
        if self._here() == "[" and self._keys and self._pattern().match(self._text, self._position + 1):
            return self._take(self._position + 1)  # an array among objects, which holds just such objects
        broken_at: int | None = None
        is_deep = False
        try:
            end = self._decode()
            if end is not None:
                self._wrong = ""
                self._learn()
                return self._take(end)
        except json.JSONDecodeError as wrong:
            self._wrong = wrong.msg  # its place would count from where the text in memory begins
            broken_at = wrong.pos - self._position
            if may_be_page and self._finds_page():
                return None
        except RecursionError as wrong:
            self._wrong, broken_at, is_deep = said(wrong), 0, True
        except ValueError as wrong:  # a number of more digits than Python reads
            self._wrong = said(wrong)
        brackets = Brackets()
        scanned = 0
        while True:
            # What is broken before the next object begins as others do is over there at the latest.
            begins = None if broken_at is None else self._next_start(broken_at, is_deep)
            end_found = brackets.scan(self._text, self._position + scanned, begins)
            if end_found is not None or begins is not None:
                return self._take(end_found or begins or 0)
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
        """Say where the next value ends, reading on while the text is only cut; None for a very long one."""
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
            # As much again, since the value is decoded anew: so a long one costs what a few short ones do.
            while self._more and len(self._text) - self._position < min(2 * length, MOST_BYTES + 1):
                self._read()

    def _drop_what_was_read(self) -> None:
        """Let the text begin near here: a fault's place is counted from its beginning, each time anew."""
        if self._position > (_NEAR if self._wrong else _FAR):
            self._text = self._text[self._position :]
            self._position, self._searched = 0, None

    def _learn(self) -> None:
        """Remember how objects begin here."""
        found = _FIRST_KEY.match(self._text, self._position)
        if found is not None and found[1] not in self._keys and len(self._keys) < _MOST_KEYS:
            self._keys.add(found[1])
            self._start = self._searched = None

    def _next_start(self, broken_at: int, is_deep: bool) -> int | None:
        """Say where the next object begins that begins as others do, or the comma before it."""
        self._guess()
        start = max(self._position + broken_at, self._position + 1)
        # A text that lost its end goes on to the first quote of the object behind it.
        swallowed = _SWALLOWED.search(self._text, max(self._position + 1, start - 100), start)
        if swallowed is not None:
            start = swallowed.start()
        while (found := self._search(start)) is not None:
            before = self._text[max(self._position, found - 100) : found]
            blank = len(before) - len(before.rstrip())
            mark = before.rstrip()[-1:]
            if mark == ",":
                return found - blank - 1
            # Objects that are nested too deeply begin alike inside one another too.
            if not is_deep or mark in ("}", "]"):
                return found
            start = found + 1
        return None

    def _guess(self) -> None:
        """Add the keys that objects seem to begin with where something is damaged."""
        if self._guesses == _MOST_GUESSES:
            return
        self._guesses += 1
        found = first_keys(self._text, self._position)
        if not found <= self._keys:
            self._keys |= found
            self._start = self._searched = None

    def _search(self, start: int) -> int | None:
        """Find an object that begins as others do; what was found is kept for the next look."""
        if self._searched is not None:
            since, at = self._searched
            if since <= start and (at is None or start <= at):
                return at
        found = self._pattern().search(self._text, start) if self._keys else None
        self._searched = (start, found.start() if found is not None else None)
        return self._searched[1]

    def _pattern(self) -> re.Pattern[str]:
        """Give how objects begin here."""
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
            self._source.pass_over(skipped)

    def _take(self, end: int) -> bytes:
        if end == self._position and not (self._is_array and self._here() == ","):
            # brackets that nothing opened are a bad value of their own
            closing = _CLOSING.match(self._text, end)
            end = closing.end() if closing is not None else end + 1
        raw = self._text[self._position : end].strip()
        self._position = end
        return raw.encode("utf-8", errors="surrogateescape")

    def _fault(self, number: int) -> ReadFault:
        """Say why there was no element."""
        if self._too_large is not None:
            start, self._too_large = self._too_large, None
            return too_large(number, start)
        self.was_cut = True
        tail = self._text[self._position :].encode("utf-8", errors="surrogateescape")
        self._position = len(self._text)
        wrong = self._wrong.removesuffix(" starting at")  # its place would follow
        detail = (
            f"The file is cut off in this record, or a quote or bracket in it is not closed: {wrong}. "
            "Records before it stand."
        )
        return unreadable(number, tail, detail)

    def after_array(self, number: int) -> Iterator[ReadFault]:
        """Say what stands where the array should have ended, or after its end."""
        if self._at_end():
            yield unreadable(number + 1, b"", "The array is cut off: its closing bracket is missing.")
            return
        self._position += 1
        self._skip_blank(with_separator=False)
        if not self._at_end():
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
