"""Mapper functions on text: strings, regular expressions, hashes and URLs.

Positions and lengths count UTF-16 units, as in Java's strings; splitting a character is an error. So is null
instead of a string.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, quote_plus, unquote_plus, urlsplit

from ..server.patterns import WrongPattern, compile_pattern
from .values import EvaluationError, list_of, text_of, truth_of, whole_number_of

_CHARSETS = {"UTF-8": "utf-8", "UTF-16": "utf-16-be", "ISO-8859-1": "iso-8859-1", "US-ASCII": "ascii"}
_PORTS = {"http": 80, "https": 443, "ftp": 21, "sftp": 22}
_JAVA_SPACE = "".join(map(chr, range(0x21)))
_JAVA_DOT = "[^\n\r\u0085\u2028\u2029]"
_JAVA_ESCAPES = {"s": "{}\t\n\v\f\r {}", "S": "[^\t\n\v\f\r ]"}  # RE2's classes lack the vertical tab
_LONGEST_PAD = 1_000_000
_LONGEST_TEXT = 16_000_000


def concat(*parts: Any) -> str:
    """Concatenate the strings of all parts."""
    return "".join([text_of(part) for part in parts])


def explode(value: Any, separator: Any = ",") -> list[str]:
    """Split by a regular expression, without empty parts at the end, as Java's `String.split` does."""
    parts = [part or "" for part in java_regex(text_of(separator)).split(text_of(value))]
    while len(parts) > 1 and not parts[-1]:
        parts.pop()
    return parts


def split(value: Any, separators: Any) -> list[str]:
    """Split at any of the separator characters."""
    marks = text_of(separators)
    if not marks:
        raise EvaluationError("the separator is empty")
    return [part for part in re.split(f"[{re.escape(marks)}]", text_of(value)) if part]


def instr(value: Any, wanted: Any, start: Any = 0, occurrence: Any = 1) -> int:
    """Return the 0-based position of the nth occurrence of a string, or -1."""
    text, part = _units(text_of(value)), _units(text_of(wanted))
    at, count = whole_number_of(start) * 2, whole_number_of(occurrence)
    if at < 0 or count < 1:
        raise EvaluationError("a position starts at 0 and an occurrence at 1")
    while (found := text.find(part, at)) != -1:
        if found % 2 == 0:
            count -= 1
            if count == 0:
                return found // 2
        at = found + 1
    return -1


def replacestr(value: Any, wanted: Any, replacement: Any) -> str:
    """Replace every occurrence of a string."""
    if not text_of(wanted):
        raise EvaluationError("the text to replace is empty")
    text, old, new = text_of(value), text_of(wanted), text_of(replacement)
    if len(text) + text.count(old) * len(new) > _LONGEST_TEXT:
        raise EvaluationError("the text that this makes is too long")
    return text.replace(old, new)


def substr(value: Any, start: Any, length: Any) -> str:
    """Return `length` characters from the 0-based `start`; both ends must be inside the string."""
    text, first, count = text_of(value), whole_number_of(start), whole_number_of(length)
    if first < 0 or count < 0 or first + count > _size(text):
        raise EvaluationError(f"substr from {first} for {count} is outside a text of {_size(text)}")
    return _cut(text, first, first + count)


def left(value: Any, count: Any) -> str:
    """Return the first characters, or all of a shorter string."""
    text = text_of(value)
    return _cut(text, 0, min(_count(count), _size(text)))


def right(value: Any, count: Any) -> str:
    """Return the last characters, or all of a shorter string."""
    text = text_of(value)
    size = _size(text)
    return _cut(text, max(size - _count(count), 0), size)


def lower(value: Any) -> str:
    """Convert to lower case."""
    return text_of(value).lower()


def upper(value: Any) -> str:
    """Convert to upper case."""
    return text_of(value).upper()


def ltrim(value: Any) -> str:
    """Remove white space at the start."""
    return text_of(value).lstrip(_JAVA_SPACE)


def rtrim(value: Any) -> str:
    """Remove white space at the end."""
    return text_of(value).rstrip(_JAVA_SPACE)


def trim(value: Any) -> str:
    """Remove white space at both ends."""
    return text_of(value).strip(_JAVA_SPACE)


def join(separator: Any, parts: Any) -> str:
    """Join the elements of an array as strings."""
    return text_of(separator).join([text_of(part) for part in list_of(parts)])


def lpad(value: Any, size: Any, padding: Any) -> str | None:
    """Pad on the left up to a size; null stays null, and null or empty padding is a space."""
    return None if value is None else _padding(text_of(value), size, padding) + text_of(value)


def rpad(value: Any, size: Any, padding: Any) -> str | None:
    """Pad on the right up to a size; null stays null, and null or empty padding is a space."""
    return None if value is None else text_of(value) + _padding(text_of(value), size, padding)


def equals(value: Any, other: Any) -> bool:
    """Return whether two strings are equal."""
    return isinstance(other, str) and text_of(value) == other


def equals_ignore_case(value: Any, other: Any) -> bool:
    """Return whether two strings are equal, ignoring case."""
    return isinstance(other, str) and text_of(value).upper().lower() == other.upper().lower()


def extract_regex(value: Any, pattern: Any) -> list[str | None]:
    """Return the first match and its groups."""
    match = java_regex(text_of(pattern)).search(text_of(value))
    return [] if match is None else [match.group(), *match.groups()]


def matches_regex(value: Any, pattern: Any) -> bool:
    """Return whether the whole string matches, as Java's `String.matches` does."""
    return java_regex(text_of(pattern)).fullmatch(text_of(value)) is not None


def hashing(algorithm: str) -> Callable[..., str]:
    """Return a mapper function that hashes a string in a charset, by default UTF-8, to lower-case hex."""

    def digest(value: Any, charset: Any = "UTF-8") -> str:
        return hashlib.new(algorithm, _encoded(value, charset)).hexdigest()

    return digest


def crc32(value: Any, charset: Any = "UTF-8") -> str:
    """Return the CRC-32 of a string as lower-case hex, least byte first, as in Adobe's sample."""
    return zlib.crc32(_encoded(value, charset)).to_bytes(4, "little").hex()


def get_url_protocol(url: Any) -> str | None:
    """Return the scheme of a URL, or null."""
    return urlsplit(text_of(url)).scheme or None


def get_url_host(url: Any) -> str | None:
    """Return the host of a URL, or null."""
    return urlsplit(text_of(url)).hostname


def get_url_port(url: Any) -> int | None:
    """Return the port of a URL, or its scheme's, or null."""
    parts = urlsplit(text_of(url))
    return parts.port or _PORTS.get(parts.scheme)


def get_url_path(url: Any, full: Any = True) -> str:
    """Return the path of a URL, or only its end."""
    path = urlsplit(text_of(url)).path
    return path if truth_of(full) else path.rpartition("/")[2]


def get_url_query_str(url: Any, anchor: Any) -> dict[str, str]:
    """Return the query of a URL as an object; `anchor` is "retain", "remove" or "append"."""
    parts, choice = urlsplit(text_of(url)), text_of(anchor)
    if choice not in ("retain", "remove", "append"):
        raise EvaluationError(f"anchor {choice!r} is not one of retain, remove, append")
    retained = f"#{parts.fragment}" if choice == "retain" and parts.fragment else ""
    pairs = dict(parse_qsl(parts.query + retained, keep_blank_values=True))
    return {**pairs, "_anchor_": parts.fragment} if choice == "append" else pairs


def get_url_encoded(value: Any) -> str:
    """Encode a string for use in a URL."""
    return quote_plus(text_of(value), safe="*-._")


def get_url_decoded(value: Any) -> str:
    """Decode a string from a URL."""
    return unquote_plus(text_of(value))


@lru_cache(maxsize=256)
def java_regex(pattern: str) -> Any:
    """Compile a Java regular expression; raise `EvaluationError` if RE2 lacks its syntax."""
    translated, in_class, at = "", False, 0
    while at < len(pattern):
        piece = pattern[at]
        if piece == "\\":
            piece = pattern[at : at + 2]
            if piece[1:] in tuple("pPQEGRhHXkzZCN") or (in_class and piece == "\\S"):
                raise EvaluationError(f"regular expression {pattern!r} uses {piece}, which is not offered")
            if piece[1:] in _JAVA_ESCAPES:
                translated += _JAVA_ESCAPES[piece[1:]].format(*("", "") if in_class else ("[", "]"))
                at += 2
                continue
        elif in_class:
            if piece == "[" or pattern.startswith("&&", at):
                raise EvaluationError(f"regular expression {pattern!r} nests character classes")
            in_class = piece != "]"
        elif piece == "[":
            in_class = True
        elif piece == ".":
            piece = _JAVA_DOT
        elif pattern.startswith("(?<", at) and pattern[at + 3 : at + 4] not in ("=", "!"):
            piece = "(?P<"
            at += 2
        translated += piece
        at += 1 if len(piece) == 1 or piece in (_JAVA_DOT, "(?P<") else len(piece)
    try:
        return compile_pattern(translated)
    except WrongPattern as error:
        raise EvaluationError(f"regular expression {pattern!r}: {error}") from None


def _encoded(value: Any, charset: Any) -> bytes:
    name = text_of(charset)
    if name not in _CHARSETS:
        raise EvaluationError(f"charset {name!r} is not one of {', '.join(_CHARSETS)}")
    mark = b"\xfe\xff" if name == "UTF-16" and text_of(value) else b""
    return mark + text_of(value).encode(_CHARSETS[name], errors="replace")


def _units(text: str) -> bytes:
    return text.encode("utf-16-le", errors="surrogatepass")


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(_units(text)) // 2


def _cut(text: str, start: int, end: int) -> str:
    if text.isascii():
        return text[start:end]
    try:
        return _units(text)[start * 2 : end * 2].decode("utf-16-le")
    except UnicodeDecodeError:
        raise EvaluationError("the cut goes through the middle of a character") from None


def _count(value: Any) -> int:
    count = whole_number_of(value)
    if count < 0:
        raise EvaluationError(f"count {count} is negative")
    return count


def _padding(text: str, size: Any, padding: Any) -> str:
    marks = " " if padding is None else text_of(padding) or " "
    missing = max(_count(size) - _size(text), 0)
    if missing > _LONGEST_PAD:
        raise EvaluationError(f"a size of {size} is too long")
    return _cut(marks * missing, 0, missing)
