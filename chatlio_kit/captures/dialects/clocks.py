"""Formats of the time of capture, and the options that name them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

from chatlio_kit.captures.formats.records import InvalidRecord
from chatlio_kit.chatlio.rejections import Reason, shortened
from chatlio_kit.chatlio.timestamps import as_rfc3339

_WITHOUT_OFFSET = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d(?:\.\d{1,9})?)", re.ASCII)
_NUMBER = re.compile(r"\d{1,19}(\.\d{1,12})?", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(StrEnum):
    """The format of a time. A dialect declares it; it is never guessed."""

    RFC3339 = "RFC 3339"
    UTC = "date and time in UTC, without an offset"
    SECONDS = "seconds since 1970"
    MILLISECONDS = "milliseconds since 1970"
    MICROSECONDS = "microseconds since 1970"
    NANOSECONDS = "nanoseconds since 1970"

    def read(self, value: Any, place: str) -> str | None:
        """Return a time as RFC 3339, with numbers truncated to microseconds; None if there is no time.

        Raises:
            InvalidRecord: The time has another format.
        """
        if value is None or value == "":
            return None
        written = self.written(value)
        if written is None:
            detail = f"{place} is {shortened(value)}; expected {self}. {advice(value, place)}"
            raise InvalidRecord(Reason.INVALID_TIME, place, detail)
        return written

    def written(self, value: Any) -> str | None:
        """Return a time as RFC 3339; None if it has another format."""
        if self is Clock.RFC3339:
            return as_rfc3339(value) if isinstance(value, str) else None
        if self is Clock.UTC:
            return with_offset(value.removesuffix(" UTC"), "Z") if isinstance(value, str) else None
        if isinstance(value, bool) or not _NUMBER.fullmatch(str(value)):
            return None
        micros = Decimal(str(value)) * _MICROSECONDS[self]
        try:
            moment = _EPOCH + timedelta(microseconds=int(micros))
        except OverflowError:
            return None
        return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


_MICROSECONDS: dict[Clock, Decimal] = {
    Clock.SECONDS: Decimal(1_000_000),
    Clock.MILLISECONDS: Decimal(1000),
    Clock.MICROSECONDS: Decimal(1),
    Clock.NANOSECONDS: Decimal("0.001"),
}
CLOCKS: dict[str, Clock] = {
    "received": Clock.RFC3339,
    "received-utc": Clock.UTC,
    "received-seconds": Clock.SECONDS,
    "received-milliseconds": Clock.MILLISECONDS,
    "received-microseconds": Clock.MICROSECONDS,
    "received-nanoseconds": Clock.NANOSECONDS,
}
"""Formats of a time, by their names in ``--fields``."""
_OPTION_OF_DIGITS = (
    (11, "received-seconds"),
    (14, "received-milliseconds"),
    (17, "received-microseconds"),
    (19, "received-nanoseconds"),
)


def with_offset(text: str, offset: str) -> str | None:
    """Return a date and time with an offset added; None for any string but a time without an offset."""
    parts = _WITHOUT_OFFSET.fullmatch(text)
    return as_rfc3339(f"{parts[1]}T{parts[2]}{offset}") if parts else None


def with_offset_if(time: Any, offset: str) -> Any:
    """Return a time with the offset added if it has none; return any other value unchanged."""
    return (with_offset(time, offset) or time) if offset and isinstance(time, str) else time


def advice(value: Any, place: str) -> str:
    """Return a sentence on how to read a time in another format."""
    text = str(value)
    if not isinstance(value, bool) and _NUMBER.fullmatch(text):
        digits = len(text.partition(".")[0])
        option = next(name for most, name in _OPTION_OF_DIGITS if digits <= most)
        return f"If it counts {CLOCKS[option]}, use --fields {option}={place}."
    if with_offset(text, "Z"):
        return "If times without an offset are UTC, use --fields without-offset=UTC."
    if as_rfc3339(text):
        return f"It has an offset, so use --fields received={place}."
    return "Correct the record, or name another place with --fields received=."
