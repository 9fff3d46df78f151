r"""JSON files of an export, in which a single string may be damaged.

``orjson`` refuses a file if one of its strings holds half a character (a lone surrogate such as ``\ud83d``)
or bytes that are not UTF-8. The standard library then reads it, so that the file's other entries are kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NoReturn

import orjson

_BOM = b"\xef\xbb\xbf"


class Damaged:
    """Takes the place of a message with a string that is not text."""


def read_day(content: bytes) -> Any:
    """Parse a daily file; damaged messages of its list become `Damaged`.

    Raises:
        ValueError: It is not JSON.
    """
    return _read(content, _mark_damaged)


def read_index(content: bytes) -> Any:
    """Parse an index; damaged characters, which only occur in names, become question marks.

    Raises:
        ValueError: It is not JSON.
    """
    return _read(content, _replace_damaged)


def _read(content: bytes, repair: Callable[[list[Any]], Any]) -> Any:
    content = content.removeprefix(_BOM)
    try:
        return orjson.loads(content)
    except ValueError:
        return repair(_read_leniently(content))


def _mark_damaged(messages: list[Any]) -> list[Any]:
    marked = [message if _is_text(message) else Damaged() for message in messages]
    if not any(isinstance(message, Damaged) for message in marked):
        raise ValueError("it has a fault that the standard library overlooks")
    return marked


def _replace_damaged(entries: list[Any]) -> Any:
    return orjson.loads(json.dumps(entries, ensure_ascii=False).encode(errors="replace"))


def _read_leniently(content: bytes) -> list[Any]:
    try:
        parsed = json.loads(content.decode(errors="surrogateescape"), parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(parsed, list):
        raise ValueError("it is not a list")
    return parsed


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _is_text(message: object) -> bool:
    """Whether all strings of a message can be encoded."""
    try:
        json.dumps(message, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True
