"""One record's text to its value, exactly: no digit is lost, no key disappears."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from chatlio_kit.chatlio.event_ids import canonical
from chatlio_kit.chatlio.numbers import WrittenNumber, as_written, is_double
from chatlio_kit.chatlio.rejections import Reason, shortened

Text = bytes | memoryview
"""A record's text; as a view it shares the bytes of what it was read with."""

BLANK = 0x20
"""No byte above this one is a blank."""

MOST_BYTES = 16_000_000
"""A longer record is told and left out: no chat is that long, and memory has to stay bounded."""

HUGE = 2.0**63
"""Where orjson begins to read whole numbers as floats, and so to lose digits."""

_CONVERT = (
    "Convert the file to UTF-8, or name the encoding that it is in with --encoding (in Python encoding=)"
)
_PAYLOAD = "payload"
_QUOTE = b'"'
_ESCAPED_QUOTE = b"\\u0022"
_DOUBTFUL = re.compile(
    rb"(?:^|[:,\[\s])(-?(?=[\d.]{17}|[\d.]+[eE])\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)"
)  # fmt: skip
_SURROGATE = 0xED
_LEAST, _MOST = -(2**63), 2**64 - 1


class RepeatedKey(ValueError):
    """An object that has one key twice: which of the two values is meant cannot be known."""


class NotUtf8(ValueError):
    """Bytes that are no UTF-8, or that end inside of a character."""

    def __init__(self, sentence: str, *, ends_early: bool) -> None:
        super().__init__(sentence)
        self.ends_early = ends_early


class Refused(ValueError):
    """A record that is JSON, but that no payload can be taken from."""

    def __init__(self, reason: Reason, field: str | None, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.field, self.detail = reason, field, detail


@dataclass(slots=True)
class ByteRecords:
    """Records as they stand in their file, one after another.

    Attributes:
        numbers: the number of each in its file.
        raws: the bytes of each.
        cut: whether the file ends in the last of them without a line's end, so that it may be cut off.
        is_loose: whether they were written from typed values, so that their text is not the one captured.
    """

    numbers: Sequence[int]
    raws: list[bytes]
    cut: bool = False
    is_loose: bool = False

    def __len__(self) -> int:
        return len(self.raws)

    def part(self, start: int, end: int) -> Sequence[Text]:
        """The bytes of some of them."""
        return self.raws[start:end]

    @property
    def head(self) -> bytes:
        """The first of them."""
        return self.raws[0]

    @property
    def size(self) -> int:
        """Their bytes."""
        return sum(map(len, self.raws))


class Paged(ByteRecords):
    """Records that a page lists, read one by one: the page is too long to be held, or damaged."""


class LineRecords:
    """Records that are lines of their file: the same as ``ByteRecords``, but not split before they are looked at.

    Args:
        first: the number of the first line.
        text: whole lines, without the last one's end; none of them is blank.
        ends: where each of the others ends in it.
    """

    __slots__ = ("_ends", "_first", "_text")
    cut = False
    is_loose = False

    def __init__(self, first: int, text: bytes, ends: NDArray[np.int64]) -> None:
        self._first, self._text, self._ends = first, text, ends

    def __len__(self) -> int:
        return len(self._ends) + 1

    @property
    def numbers(self) -> Sequence[int]:
        """The number of each in its file."""
        return range(self._first, self._first + len(self))

    @property
    def raws(self) -> list[bytes]:
        """The bytes of each, split anew."""
        return list(map(bytes, self.part(0, len(self))))

    def part(self, start: int, end: int) -> list[Text]:
        """The bytes of some of them, split anew; copied only where blanks have to be taken away."""
        text, ends = self._text, self._ends[start:end]
        if end > len(self._ends):
            ends = np.append(ends, len(text))
        lasts = ends.tolist()
        starts = (int(self._ends[start - 1]) + 1 if start else 0, *[each + 1 for each in lasts[:-1]])
        borders = zip(starts, lasts, strict=True)
        if (np.frombuffer(text, np.uint8)[ends - 1] > BLANK).all():
            view = memoryview(text)
            return [view[first:last] for first, last in borders]
        return [text[first:last].strip() for first, last in borders]

    @property
    def head(self) -> bytes:
        """The first of them."""
        return bytes(self.part(0, 1)[0])

    @property
    def size(self) -> int:
        """Their bytes."""
        return len(self._text)


@dataclass(slots=True)
class ReadFault:
    """A stretch of a file that gives no record, and why."""

    number: int
    raw: bytes
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Remark:
    """Something worth knowing of a file that is none of its records.

    Attributes:
        one: what is said of one file, behind its name.
        many: what is said of several, behind their number.
    """

    one: str
    many: str


def parse(raw: bytes) -> Any:
    """Read one JSON text, exactly: no number loses a digit, no key is dropped, nothing outside JSON passes.

    Raises:
        ValueError: with what is wrong and where; a RepeatedKey when an object has a key twice.
    """
    try:
        value = orjson.loads(raw)
    except ValueError:
        if (wrong := not_utf8(raw)) is not None:
            raise wrong from None
        raise
    return value if is_exact(raw, value) else _parse_slowly(raw)


def not_utf8(raw: bytes) -> NotUtf8 | None:
    """Return what is wrong with a text that is not UTF-8, and with which of its bytes first."""
    try:
        raw.decode()
    except UnicodeDecodeError as wrong:
        place, found = wrong.start + 1, raw[wrong.start]
        if found == _SURROGATE and raw[place : place + 1] >= b"\xa0":
            sentence = f"its byte {place:,} is half of a character. Correct the record and read it again"
        else:
            sentence = f"its byte {place:,} is 0x{found:02X}. {_CONVERT}"
        return NotUtf8(sentence, ends_early=wrong.reason == "unexpected end of data")
    return None


def is_exact(raw: bytes, value: Any) -> bool:
    """Whether a value that orjson read is surely all that the text says.

    It is where writing it gives the same bytes. Else, written again, it must have as many quotes: a key that
    was there twice would have taken two with it. Whole numbers beyond 64 bits became floats, so floats of
    that size are read again; so are texts with decimals of more digits than a double holds.
    """
    try:
        written = orjson.dumps(value)
        if written == raw:
            return True
        floats = list(floats_in(value))
    except (TypeError, RecursionError):
        return False
    keeps_numbers = not floats or (max(map(abs, floats)) < HUGE and keeps_decimals(raw))
    return keeps_numbers and keeps_quotes(raw, written.count(_QUOTE))


def keeps_quotes(raw: bytes, quotes: int) -> bool:
    """Whether a text has just so many quotes, none of them in the one spelling that would hide another."""
    return raw.count(_QUOTE) == quotes and _ESCAPED_QUOTE not in raw


def keeps_decimals(raw: bytes) -> bool:
    """Whether a double holds every decimal number of a text, to the last digit.

    It holds all of up to 15 digits, so only longer ones and those with an exponent are looked at. What looks
    like such a number inside of a text may give a needless no.
    """
    return all(is_double(found.decode()) for found in _DOUBTFUL.findall(raw))


def floats_in(value: Any) -> Iterator[float]:
    """Give the numbers with a point that stand anywhere in a value."""
    if type(value) is dict:
        for each in value.values():
            yield from floats_in(each)
    elif type(value) is list:
        for each in value:
            yield from floats_in(each)
    elif type(value) is float:
        yield value


def _parse_slowly(raw: bytes) -> Any:
    written: list[WrittenNumber] = []

    def decimal(text: str) -> float | WrittenNumber:
        if is_double(text):
            return float(text)
        written.append(WrittenNumber(text))
        return written[-1]

    try:
        value = json.loads(raw, object_pairs_hook=_with_keys_once, parse_float=decimal)
        if written:  # beside such a number, whole ones stay as they were written too
            value = json.loads(raw, parse_float=decimal, parse_int=_integer)
            canonical({"": value})
    except (RecursionError, TypeError):
        raise ValueError("nested too deeply") from None
    return value


def _integer(text: str) -> int | WrittenNumber:
    number = int(text)
    return number if _LEAST <= number <= _MOST else WrittenNumber(text)


def _with_keys_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        counts = Counter(key for key, _ in pairs)
        raise RepeatedKey(next(key for key, count in counts.items() if count > 1))
    return found


def row_of(cells: dict[str, Any]) -> bytes:
    """Write a table's row as a record; of our envelope, the payload is the object that its cell holds.

    Raises:
        TypeError: when a cell is nothing that JSON has.
    """
    payload = cells.get(_PAYLOAD)
    if isinstance(payload, str) and payload.lstrip()[:1] == "{":
        with suppress(ValueError):
            orjson.loads(payload)  # what is no JSON stays the text that it is
            cells = {**cells, _PAYLOAD: orjson.Fragment(payload.encode())}
    return orjson.dumps(cells, default=as_written)


def refusal(wrong: Exception, *, cut: bool = False) -> tuple[Reason, str | None, str]:
    """Say why a text could not be read: reason, field and sentence."""
    if isinstance(wrong, Refused):
        return wrong.reason, wrong.field, wrong.detail
    if isinstance(wrong, RepeatedKey):
        key = str(wrong)
        detail = (
            f"The key {shortened(key)} stands twice in one object, and which value is meant cannot be known. "
            "Correct the record and read it again."
        )
        return Reason.DUPLICATE_KEY, key, detail
    if cut and _ends_early(wrong):
        words = "inside of a character" if isinstance(wrong, NotUtf8) else said(wrong)
        return Reason.UNREADABLE, None, f"The file is cut off in its last line: {words}."
    if isinstance(wrong, NotUtf8):
        return Reason.NOT_JSON, None, f"The record is not UTF-8: {wrong}."
    return Reason.NOT_JSON, None, f"Not JSON: {said(wrong)}. {_advice(wrong)}"


def _ends_early(wrong: Exception) -> bool:
    """Whether a text is no JSON only because it ends too early."""
    if isinstance(wrong, json.JSONDecodeError):
        return wrong.msg.startswith("Unterminated") or wrong.pos >= len(wrong.doc)
    return isinstance(wrong, NotUtf8) and wrong.ends_early


def _advice(wrong: Exception) -> str:
    if isinstance(wrong, json.JSONDecodeError):
        rest = wrong.doc[wrong.pos :].lstrip()
        if wrong.msg.startswith("unexpected content after") and rest.startswith("{"):
            return "More than one object stands on the line. Give each a line of its own and read it again."
        if re.match(r"\{\s*'", wrong.doc):
            return "It is written as Python shows an object. Write it with json.dumps and read it again."
    return "Correct the record and read it again."


def said(wrong: Exception) -> str:
    """Give an error's own words."""
    return str(wrong).rstrip(".") or type(wrong).__name__


def too_large(number: int, start: bytes) -> ReadFault:
    """Tell a record that is longer than any chat."""
    detail = (
        f"The record is longer than {MOST_BYTES:,} bytes; only its beginning is shown. "
        "Take it out of the file, or cut it into the records it was made of."
    )
    return ReadFault(number, start[:1000], Reason.TOO_LARGE, detail)


def unreadable(number: int, raw: bytes, detail: str) -> ReadFault:
    """Tell a stretch of a file that cannot be read."""
    return ReadFault(number, raw, Reason.UNREADABLE, detail)
