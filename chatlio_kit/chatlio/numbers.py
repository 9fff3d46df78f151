"""Numbers that no double holds exactly, kept as they were written."""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from typing import Any

import orjson


class WrittenNumber:
    """A number of a JSON text that a double, or an integer of 64 bits, would alter.

    Attributes:
        text: the number as it was written.
    """

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return self.text

    __repr__ = __str__


def is_double(text: str) -> bool:
    """Whether a double holds a decimal number exactly as it was written."""
    try:
        return Decimal(text) == Decimal(repr(float(text)))
    except InvalidOperation:  # an exponent beyond Decimal's range
        return False


def as_written(value: object) -> orjson.Fragment:
    """Return such a number as orjson is to write it.

    Raises:
        TypeError: for anything else.
    """
    if isinstance(value, WrittenNumber):
        return orjson.Fragment(value.text)
    raise TypeError(type(value).__name__)


def indented(value: Any) -> str:
    """Write a value as indented JSON, with each number as it was written."""
    try:
        return orjson.dumps(value, default=as_written, option=orjson.OPT_INDENT_2).decode()
    except TypeError:  # an integer beyond 64 bits, which orjson refuses and Python keeps exactly
        return json.dumps(value, indent=2, ensure_ascii=False)
