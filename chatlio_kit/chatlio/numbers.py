"""Numbers that a double cannot represent exactly, kept as they were written."""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from typing import Any

import orjson


class WrittenNumber:
    """A JSON number that conversion to a double or a 64-bit integer would change.

    Attributes:
        text: The number as written.
    """

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return self.text

    __repr__ = __str__


def is_double(text: str) -> bool:
    """Return whether a double represents a decimal number exactly."""
    try:
        return Decimal(text) == Decimal(repr(float(text)))
    except InvalidOperation:  # an exponent beyond Decimal's range
        return False


def as_written(value: object) -> orjson.Fragment:
    """Return such a number in the form in which orjson should write it.

    Raises:
        TypeError: The value is anything else.
    """
    if isinstance(value, WrittenNumber):
        return orjson.Fragment(value.text)
    raise TypeError(type(value).__name__)


def indented(value: Any) -> str:
    """Serialize a value as indented JSON, with each number as it was written."""
    try:
        return orjson.dumps(value, default=as_written, option=orjson.OPT_INDENT_2).decode()
    except TypeError:  # integers beyond 64 bits, which orjson refuses and Python keeps exactly
        return json.dumps(value, indent=2, ensure_ascii=False)
