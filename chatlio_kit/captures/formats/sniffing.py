"""Detect the format of a text's records from its beginning, even if that is damaged."""

from __future__ import annotations

import json
import re

from chatlio_kit.captures.formats.json_values import WRITTEN_ENDS, begins_with, first_keys, own_key
from chatlio_kit.captures.formats.text_blocks import PEEK

_DECODER = json.JSONDecoder()
_OPENS_TWICE = re.compile(rb"\{\s*[{\[]")
_OPENING = (b"{", b"[")
_OBJECT_OPENS = "{"


def are_values(head: bytes, ended: bool) -> bool:
    """Return whether the records are array elements, or objects that span or share lines, rather than lines.

    Args:
        head: The text's beginning.
        ended: True if the text ends there.
    """
    lines = [line.strip() for line in head.lstrip().split(b"\n") if line.strip()]
    first = lines[0]
    if first[:1] not in _OPENING:
        return _are_values_after_damage(lines, ended)
    text = first.decode("utf-8", errors="surrogateescape")
    try:
        value, end = _DECODER.raw_decode(text)
    except (ValueError, RecursionError):
        return _continues(lines, ended)
    if isinstance(value, list):
        return len(lines) == 1
    rest = text[end:].lstrip()
    if written_ends := WRITTEN_ENDS.match(rest):
        following = rest[written_ends.end() :]
        if not following or following.startswith(_OBJECT_OPENS) or (not ended and len(lines) == 1):
            return True
    if len(lines) > 1 and (not rest or _are_records(lines, ended)):
        return False
    return rest.startswith(("{", ",")) or _begins_again(text, rest)


def look_like_json(head: bytes) -> bool:
    """Return whether any line starts like JSON and is text."""
    return any(line.lstrip()[:1] in _OPENING and _is_text(line) for line in head.lstrip().split(b"\n"))


def holds_record(lines: bytes) -> bool:
    """Return whether any line is by itself an object with a key."""
    return any(is_record(line) for line in lines.split(b"\n"))


def is_record(line: bytes) -> bool:
    """Return whether a line is by itself an object with a key, like a record of newline-delimited JSON."""
    line = line.strip()
    return line.startswith(b"{") and line.endswith(b"}") and b'"' in line and _is_whole(line)


def _continues(lines: list[bytes], ended: bool) -> bool:
    """Return whether an incomplete first line is the start of a value."""
    first = lines[0]
    if len(lines) == 1:
        opens_twice = not ended and _OPENS_TWICE.match(first) is not None
        return first.startswith(b"[") or opens_twice or _holds_many(first, ended)
    if _are_records(lines, ended):
        return False
    # An object continues if the next line starts with a key or a bracket, not with a new object.
    return first.startswith(b"[") or lines[1][:1] not in _OPENING or _another_begins(lines)


def _are_values_after_damage(lines: list[bytes], ended: bool) -> bool:
    """Return whether complete values follow a damaged beginning, e.g. an array whose first byte is wrong."""
    if len(lines) == 1:
        return _holds_many(lines[0], ended) or (not ended and b'{"' in lines[0])
    continues = any(line in _OPENING for line in lines) or _are_elements(lines)
    return continues and not _are_records(lines, ended)


def _are_elements(lines: list[bytes]) -> bool:
    """Return whether most lines are an array's elements, followed by commas."""
    return 2 * sum(line.startswith(b"{") and line.endswith(b"},") for line in lines) > len(lines)


def _holds_many(line: bytes, ended: bool) -> bool:
    """Return whether a line holds several damaged records: an array ends there, or an object starts again."""
    if ended and line.endswith(b"]"):
        return True
    text = line.decode("utf-8", errors="surrogateescape")
    return _begins_again(text, text)


def _begins_again(text: str, rest: str) -> bool:
    """Return whether the rest of a text holds a bracket and then an object that starts like the first one."""
    keys = first_keys(text)
    return bool(keys) and re.search(rf"\}}.?\s*{begins_with(keys)}", rest) is not None


def _another_begins(lines: list[bytes]) -> bool:
    """Return whether a line holds consecutive objects that start like the first line."""
    text = lines[0].decode("utf-8", errors="surrogateescape")
    keys = own_key(text)
    again = re.compile(rf"\}}\s*{begins_with(keys)}".encode("utf-8", errors="surrogateescape"))
    return bool(keys) and any(again.search(line) for line in lines)


def _are_records(lines: list[bytes], ended: bool) -> bool:
    """Return whether most lines after the first are objects by themselves, as in newline-delimited JSON."""
    following = lines[1:] if ended else lines[1:-1]
    whole = sum(line.startswith(b"{") and len(line) > 2 and _is_whole(line) for line in following)
    return 2 * whole > len(following)


def _is_whole(line: bytes) -> bool:
    try:
        json.loads(line.decode("utf-8", errors="surrogateescape"))
    except (ValueError, RecursionError):
        return False
    return True


def _is_text(line: bytes) -> bool:
    text = line[:PEEK].decode("utf-8", errors="ignore")
    return "\x00" not in text and len(text.encode()) >= len(line[:PEEK]) - 3
