"""From a file's bytes to its records, each with its number and its own bytes.

A record is a non-blank line of newline-delimited JSON (numbered by its physical line), an element of an
array (by its index from 1), or an object standing alone. A file that cannot be read to its end gives the
records before the break, and one more that says so.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

import orjson

from chatlio_kit.events.rejection import Reason, shortened

GZIP_MAGIC = b"\x1f\x8b"
BOM = b"\xef\xbb\xbf"
PEEK = 1 << 16

# orjson reads integers beyond 64 bits as floats and so loses digits; Python's own json keeps them all.
_LONG_NUMBER = re.compile(rb"\d{17}")
_BREAKS = (OSError, EOFError, zlib.error)


@dataclass(slots=True)
class Record:
    """One record as it was read: a JSON value, or the reason why there is none."""

    number: int
    raw: bytes
    value: Any = None
    reason: Reason | None = None
    detail: str = ""


def read_records(path: Path) -> Iterator[Record]:
    """Read a file's records, whatever its form: plain or gzip; lines, an array or an object."""
    number = 0
    try:
        with _open(path) as handle:
            for record in _split(handle):
                number = record.number
                yield record
    except _BREAKS as broken:
        words = str(broken) or type(broken).__name__
        yield _unreadable(number + 1, b"", f"The file breaks off here: {words}. Records before it stand.")


def parse(raw: bytes) -> Any:
    """Read one JSON text, exactly: no number loses a digit, and nothing outside JSON passes.

    Raises:
        ValueError: with what is wrong and where.
    """
    value = orjson.loads(raw)
    if _LONG_NUMBER.search(raw):
        try:
            return json.loads(raw)
        except RecursionError:
            raise ValueError("nested too deeply") from None
    return value


def _open(path: Path) -> gzip.GzipFile | BufferedReader:
    with path.open("rb") as handle:
        packed = handle.read(len(GZIP_MAGIC)) == GZIP_MAGIC
    return gzip.open(path, "rb") if packed else path.open("rb")


def _split(handle: gzip.GzipFile | BufferedReader) -> Iterator[Record]:
    lines = _Lines(handle)
    first = lines.first()
    if first is None:
        return
    if not _whole_value_follows(first, lines):
        if lines.look_like_json():
            yield from _by_line(lines)
        else:
            detail = "The file holds no JSON: no line of its beginning is an object or an array."
            yield _unreadable(1, b"", detail)
        return
    yield from _by_value(lines)


class _Lines:
    """The lines of a file, with a look ahead that consumes nothing."""

    def __init__(self, handle: gzip.GzipFile | BufferedReader) -> None:
        self._handle = handle
        self.ahead: list[bytes] = []
        self._broken: Exception | None = None
        size = 0
        while size < PEEK and (line := self._next()):
            self.ahead.append(line)
            size += len(line)
        if self.ahead:
            self.ahead[0] = self.ahead[0].removeprefix(BOM)

    def _next(self) -> bytes:
        if self._broken is not None:
            return b""
        try:
            return self._handle.readline()
        except _BREAKS as broken:
            self._broken = broken
            return b""

    def __iter__(self) -> Iterator[bytes]:
        yield from self.ahead
        while line := self._next():
            yield line
        if self._broken is not None:
            raise self._broken

    def first(self) -> bytes | None:
        """The first line that is not blank."""
        first = next((line for line in self.ahead if line.strip()), None)
        if first is None and self._broken is not None:
            raise self._broken
        return first

    def look_like_json(self) -> bool:
        """Whether any line ahead begins as JSON does and is text."""
        return any(line.lstrip()[:1] in (b"{", b"[") and _is_text(line) for line in self.ahead)


def _is_text(line: bytes) -> bool:
    try:
        return "\x00" not in line.decode()
    except UnicodeDecodeError:
        return False


def _whole_value_follows(first: bytes, lines: _Lines) -> bool:
    """Whether the file is an array, or objects that span lines, rather than a record on each line."""
    opening = first.lstrip()[:1]
    if opening not in (b"{", b"["):
        return False
    filled = [line for line in lines.ahead if line.strip()]
    try:
        value = parse(first)
    except ValueError:
        if opening == b"[":
            return True
        # An object that goes on: the next line starts with a key or a bracket, not with a new object.
        return len(filled) > 1 and filled[1].lstrip()[:1] not in (b"{", b"[")
    return isinstance(value, list) and len(filled) == 1


def _by_line(lines: _Lines) -> Iterator[Record]:
    for number, line in enumerate(lines, start=1):
        raw = line.strip()
        if not raw:
            continue
        try:
            yield Record(number, raw, parse(raw))
        except ValueError as wrong:
            if line.endswith(b"\n"):
                yield Record(number, raw, None, Reason.NOT_JSON, _not_json(wrong))
            else:
                detail = f"The file is cut off in its last line: {_said(wrong)}."
                yield _unreadable(number, raw, detail)


def _by_value(lines: _Lines) -> Iterator[Record]:
    """Read an array's elements, or objects one after another."""
    content = bytearray()
    broken: Exception | None = None
    try:
        for line in lines:
            content += line
    except _BREAKS as why:
        broken = why
    text = bytes(content).decode("utf-8", errors="surrogateescape")
    decoder = json.JSONDecoder()
    is_array = text.lstrip().startswith("[")
    position = text.index("[") + 1 if is_array else 0
    number = 0
    while True:
        position = _skip(text, position, "," if is_array and number else "")
        if position >= len(text) or (is_array and text[position] == "]"):
            break
        number += 1
        try:
            _, end = decoder.raw_decode(text, position)
        except (ValueError, RecursionError) as wrong:
            tail = text[position:].encode("utf-8", errors="surrogateescape")
            detail = f"The file cannot be read from here on: {_said(wrong)}. Records before it stand."
            yield _unreadable(number, tail, detail)
            return
        raw = text[position:end].encode("utf-8", errors="surrogateescape")
        try:
            yield Record(number, raw, parse(raw))
        except ValueError as wrong:
            yield Record(number, raw, None, Reason.NOT_JSON, _not_json(wrong))
        position = end
    if broken is not None:
        raise broken
    if is_array:
        yield from _after_array(text, position, number)


def _after_array(text: str, position: int, number: int) -> Iterator[Record]:
    """Say what stands where the array should have ended, or after its end."""
    if position >= len(text):
        yield _unreadable(number + 1, b"", "The array is cut off: its closing bracket is missing.")
    elif rest := text[position + 1 :].strip():
        raw = rest.encode("utf-8", errors="surrogateescape")
        yield _unreadable(number + 1, raw, f"Something follows the array's end: {shortened(rest)}.")


_BLANK = re.compile(r"[ \t\r\n]*")


def _skip(text: str, position: int, separator: str) -> int:
    position = _BLANK.match(text, position).end()  # type: ignore[union-attr]
    if separator and text.startswith(separator, position):
        position = _BLANK.match(text, position + 1).end()  # type: ignore[union-attr]
    return position


def _not_json(wrong: Exception) -> str:
    return f"Not JSON: {_said(wrong)}. Correct the record and read it again."


def _said(wrong: Exception) -> str:
    return str(wrong).rstrip(".") or type(wrong).__name__


def _unreadable(number: int, raw: bytes, detail: str) -> Record:
    return Record(number, raw, None, Reason.UNREADABLE, detail)
