"""Records as read from files, and their exact values: no digit and no key is lost."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from chatlio_kit.chatlio.event_ids import canonical
from chatlio_kit.chatlio.numbers import WrittenNumber, as_written, is_double
from chatlio_kit.chatlio.rejections import Reason, shortened

Text = bytes | memoryview
"""The text of a record; a view shares the bytes of the block it was read in."""

BLANK = 0x20
"""No byte above this one is white space."""

MOST_BYTES = 16_000_000
"""Longer records are rejected: no chat is that long, and memory must stay bounded."""

HUGE = 2.0**63
"""The size from which orjson reads integers as floats and loses digits."""

_CONVERT = "Convert the file to UTF-8, or name its encoding with --encoding (in Python encoding=)"
_PAYLOAD = "payload"
_QUOTE = b'"'
_ESCAPED_QUOTE = b"\\u0022"
_DOUBTFUL = re.compile(
    rb"(?:^|[:,\[\s])(-?(?=[\d.]{17}|[\d.]+[eE])\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)"
)  # fmt: skip
_SURROGATE = 0xED
_LEAST, _MOST = -(2**63), 2**64 - 1


class RepeatedKey(ValueError):
    """An object has a key twice, so the intended value is unknown."""


class NotUtf8(ValueError):
    """Bytes that are not UTF-8, or that end within a character."""

    def __init__(self, sentence: str, *, ends_early: bool) -> None:
        super().__init__(sentence)
        self.ends_early = ends_early


class InvalidRecord(ValueError):
    """A record that is JSON, but from which no payload can be unwrapped."""

    def __init__(self, reason: Reason, field: str | None, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.field, self.detail = reason, field, detail


@dataclass(slots=True)
class ByteRecords:
    """Consecutive records of a file.

    Attributes:
        numbers: Number of each record in its file.
        raws: Bytes of each record.
        cut: True if the file ends in the last record without a line feed, so that it may be truncated.
        is_loose: True if they were written from typed values, so that their text is not the captured one.
    """

    numbers: Sequence[int]
    raws: list[bytes]
    cut: bool = False
    is_loose: bool = False

    def __len__(self) -> int:
        return len(self.raws)

    def part(self, start: int, end: int) -> Sequence[Text]:
        """Return the bytes of some records."""
        return self.raws[start:end]

    @property
    def head(self) -> bytes:
        """The bytes of the first record."""
        return self.raws[0]

    @property
    def size(self) -> int:
        """The size in bytes."""
        return sum(map(len, self.raws))

    def shifted(self, lines: int) -> ByteRecords:
        """Return the same records, this many lines further on in their file."""
        return replace(self, numbers=[number + lines for number in self.numbers])


class Paged(ByteRecords):
    """Records listed by a page, read one by one because the page is damaged or too large for memory."""


class LineRecords:
    """Records that are lines of their file: like ``ByteRecords``, but split only when they are read.

    Args:
        first: Number of the first line.
        text: Whole lines, without the final line feed; none is blank.
        ends: Positions in the text at which all lines but the last end.
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
        """The number of each record in its file."""
        return range(self._first, self._first + len(self))

    @property
    def raws(self) -> list[bytes]:
        """The bytes of each record, split on every call."""
        return list(map(bytes, self.part(0, len(self))))

    def part(self, start: int, end: int) -> list[Text]:
        """Return the bytes of some records, copied only where white space has to be stripped."""
        text, ends = self._text, self._ends[start:end]
        if end > len(self._ends):
            ends = np.append(ends, len(text))
        lasts = ends.tolist()
        starts = (int(self._ends[start - 1]) + 1 if start else 0, *[end + 1 for end in lasts[:-1]])
        bounds = zip(starts, lasts, strict=True)
        if (np.frombuffer(text, np.uint8)[ends - 1] > BLANK).all():
            view = memoryview(text)
            return [view[first:last] for first, last in bounds]
        return [text[first:last].strip() for first, last in bounds]

    def shifted(self, lines: int) -> LineRecords:
        """Return the same records, this many lines further on in their file."""
        return LineRecords(self._first + lines, self._text, self._ends)

    @property
    def head(self) -> bytes:
        """The bytes of the first record."""
        return bytes(self.part(0, 1)[0])

    @property
    def size(self) -> int:
        """The size in bytes."""
        return len(self._text)


@dataclass(slots=True)
class ReadFault:
    """A part of a file that cannot be read as a record.

    Attributes:
        number: Number that the record would have.
        raw: Its bytes, or the first of them.
        reason: Reason why it cannot be read.
        detail: The same, as a sentence.
    """

    number: int
    raw: bytes
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Remark:
    """A remark about a file as a whole.

    Attributes:
        one: Sentence about one file, to follow its name.
        many: Sentence about several files, to follow their number.
    """

    one: str
    many: str


Records = LineRecords | ByteRecords
ReadItem = LineRecords | ByteRecords | ReadFault | Remark
"""The items that reading a file yields."""


def parse(raw: bytes) -> Any:
    """Parse JSON exactly: no number loses a digit, no key is dropped, and nothing but JSON is accepted.

    Raises:
        ValueError: The text is invalid; the message gives the error and its position.
        RepeatedKey: An object has a key twice.
    """
    try:
        value = orjson.loads(raw)
    except ValueError:
        if (wrong := not_utf8(raw)) is not None:
            raise wrong from None
        raise
    return value if is_exact(raw, value) else _parse_slowly(raw)


def not_utf8(raw: bytes) -> NotUtf8 | None:
    """Return the error for the first byte that is not UTF-8; None for valid text."""
    try:
        raw.decode()
    except UnicodeDecodeError as wrong:
        number, byte = wrong.start + 1, raw[wrong.start]
        if byte == _SURROGATE and raw[number : number + 1] >= b"\xa0":
            sentence = f"its byte {number:,} is half of a character. Correct the record and read it again"
        else:
            sentence = f"its byte {number:,} is 0x{byte:02X}. {_CONVERT}"
        return NotUtf8(sentence, ends_early=wrong.reason == "unexpected end of data")
    return None


def is_exact(raw: bytes, value: Any) -> bool:
    """Return whether a value that orjson parsed is known to hold everything in its text.

    It does if serializing it gives the same bytes. Otherwise the result must have as many quotes, because a
    repeated key would have lost two. Integers beyond 64 bits became floats, so floats of that size count as
    inexact, as do decimals with more digits than a double holds.
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
    """Return whether the text has exactly this many quotes, none of them hidden in an escape."""
    return raw.count(_QUOTE) == quotes and _ESCAPED_QUOTE not in raw


def keeps_decimals(raw: bytes) -> bool:
    """Return whether a double holds every decimal number in JSON to the last digit.

    A double holds up to 15 digits, so only longer numbers and numbers with an exponent are checked. Digits
    within a string may cause a false negative.
    """
    return all(is_double(number.decode()) for number in _DOUBTFUL.findall(raw))


def floats_in(value: Any) -> Iterator[float]:
    """Yield the floats anywhere in a value."""
    if type(value) is dict:
        value = list(value.values())
    if type(value) is list:
        for item in value:
            yield from floats_in(item)
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
        if written:  # next to such a number, integers keep their spelling too
            value = json.loads(raw, parse_float=decimal, parse_int=_integer)
            canonical({"": value})
    except (RecursionError, TypeError):
        raise ValueError("nested too deeply") from None
    return value


def _integer(text: str) -> int | WrittenNumber:
    number = int(text)
    return number if _LEAST <= number <= _MOST else WrittenNumber(text)


def _with_keys_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        counts = Counter(key for key, _ in pairs)
        raise RepeatedKey(next(key for key, count in counts.items() if count > 1))
    return members


def row_of(cells: dict[str, Any]) -> bytes:
    """Write a table's row as a JSON object; JSON in a cell named payload becomes an object.

    Raises:
        TypeError: JSON cannot represent a cell.
    """
    payload = cells.get(_PAYLOAD)
    if isinstance(payload, str) and payload.lstrip()[:1] == "{":
        with suppress(ValueError):
            orjson.loads(payload)  # what is not JSON stays a string
            cells = {**cells, _PAYLOAD: orjson.Fragment(payload.encode())}
    return orjson.dumps(cells, default=as_written)


def refusal(wrong: Exception, *, cut: bool = False) -> tuple[Reason, str | None, str]:
    """Return the reason why a record could not be parsed, with its field and a sentence."""
    if isinstance(wrong, InvalidRecord):
        return wrong.reason, wrong.field, wrong.detail
    if isinstance(wrong, RepeatedKey):
        key = str(wrong)
        detail = (
            f"The key {shortened(key)} occurs twice in one object, so the intended value is unknown. "
            "Correct the record and read it again."
        )
        return Reason.DUPLICATE_KEY, key, detail
    if cut and _ends_early(wrong):
        words = "inside of a character" if isinstance(wrong, NotUtf8) else message_of(wrong)
        return Reason.UNREADABLE, None, f"The file is truncated in its last line: {words}."
    if isinstance(wrong, NotUtf8):
        return Reason.NOT_JSON, None, f"The record is not UTF-8: {wrong}."
    return Reason.NOT_JSON, None, f"Not JSON: {message_of(wrong)}. {_advice(wrong)}"


def _ends_early(wrong: Exception) -> bool:
    """Return whether text is invalid JSON only because it ends too early."""
    if isinstance(wrong, json.JSONDecodeError):
        return wrong.msg.startswith("Unterminated") or wrong.pos >= len(wrong.doc)
    return isinstance(wrong, NotUtf8) and wrong.ends_early


def _advice(wrong: Exception) -> str:
    if isinstance(wrong, json.JSONDecodeError):
        rest = wrong.doc[wrong.pos :].lstrip()
        if wrong.msg.startswith("unexpected content after") and rest.startswith("{"):
            return "The line has more than one object. Put each on its own line and read it again."
        if re.match(r"\{\s*'", wrong.doc):
            return "It is a Python literal, not JSON. Write it with json.dumps and read it again."
    return "Correct the record and read it again."


def message_of(wrong: Exception) -> str:
    """Return an error's own message without a final period."""
    return str(wrong).rstrip(".") or type(wrong).__name__


def too_large(number: int, start: bytes) -> ReadFault:
    """Return the error for a record that is longer than any chat."""
    detail = (
        f"The record is longer than {MOST_BYTES:,} bytes; only its beginning is shown. Remove it from the "
        "file, or split it into its original records."
    )
    return ReadFault(number, start[:1000], Reason.TOO_LARGE, detail)


def unreadable(number: int, raw: bytes, detail: str) -> ReadFault:
    """Return the error for an unreadable part of a file."""
    return ReadFault(number, raw, Reason.UNREADABLE, detail)
