"""Pages that are too long to be held in memory: where the list of captures begins in one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from chatlio_kit.captures.dialects.pages import LISTS

_DECODER = json.JSONDecoder()
_BLANK = re.compile(r"[ \t\r\n]*")
_LISTS = frozenset(place.keys for place in LISTS.values())
_ABOVE = frozenset(keys[:count] for keys in _LISTS for count in range(1, len(keys)))
_FIRST_CAPTURE = re.compile(r"\[[ \t\r\n]*(?=\{)")
_PAYLOAD = "payload"


@dataclass(frozen=True)
class ListOfPage:
    """Where a page lists its captures.

    Attributes:
        start: the place of the first capture in the text.
        depth: how many objects are open there.
    """

    start: int
    depth: int


def list_of_page(text: str, start: int = 0) -> ListOfPage | None:
    """Find where the object that begins here lists captures as loggers' pages do; None when it is no page.

    Only what stands before the list is looked at, so the object may be damaged or cut off behind it.
    """
    try:
        return _Head(text).find(start)
    except (ValueError, RecursionError):
        return None


def begins_page(raws: Iterable[bytes]) -> bool | None:
    """Whether the first object among records is a page; None when there is no object among them."""
    for raw in raws:
        if raw.startswith(b"{"):
            return list_of_page(raw.decode("utf-8", errors="surrogateescape")) is not None
    return None


class _Head:
    """What stands in a page before its list."""

    def __init__(self, text: str) -> None:
        self._text = text

    def find(self, start: int) -> ListOfPage | None:
        path: tuple[str, ...] = ()
        position = self._after("{", self._skip(start))
        while True:
            position = self._skip(position)
            if self._text.startswith("}", position):
                if not path:
                    return None
                path, position = path[:-1], self._skip(position + 1)
            else:
                key, position = self._value(position)
                position = self._skip(self._after(":", self._skip(position)))
                here = (*path, key)
                if here == (_PAYLOAD,):
                    return None
                found = _FIRST_CAPTURE.match(self._text, position) if here in _LISTS else None
                if found is not None:
                    return ListOfPage(found.end(), len(here))
                if here in _ABOVE and self._text.startswith("{", position):
                    path, position = here, position + 1
                    continue
                _, position = self._value(position)
                position = self._skip(position)
            if self._text.startswith(",", position):
                position += 1

    def _skip(self, position: int) -> int:
        found = _BLANK.match(self._text, position)
        return position if found is None else found.end()

    def _after(self, mark: str, position: int) -> int:
        if not self._text.startswith(mark, position):
            raise ValueError(f"no {mark} here")
        return position + 1

    def _value(self, position: int) -> tuple[Any, int]:
        return _DECODER.raw_decode(self._text, position)
