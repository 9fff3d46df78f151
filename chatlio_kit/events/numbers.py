"""Numbers that no double holds: they stay as they were written."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation


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
    """Whether a decimal number, read as a double and written again, still says the same."""
    try:
        return Decimal(text) == Decimal(repr(float(text)))
    except InvalidOperation:  # an exponent beyond all that computers reckon with
        return False
