"""Java date patterns, as far as Data Prep mappings use them: parse and format dates.

The supported letters, all documented: `y` year, `M` month, `d` day, `a` AM/PM, `H` hour 0-23, `h` hour
1-12, `m` minute, `s` second, `S` fraction, `X` ISO 8601 zone, `Z` RFC 822 zone, and quoted literal text. Any
other letter is refused rather than misread. Parsing is strict: the whole string must match, every part
must lie in its range, and a date that no calendar has is an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache

DEFAULT_FORMATS = (
    "yyyy-MM-dd HH:mm:ssZ",
    "yyyy-MM-dd HH:mm:ss.SSSZ",
    "yyyy-MM-dd HH:mm:ss.SSS",
    "yyyy-MM-dd'T'HH:mm:ss.SSSX",
    "yyyy-MM-dd'T'HH:mm:ss'Z'",
    "yyyy-MM-dd",
    "yyyy/MM/dd",
    "yyyy.MM.dd",
    "yyyy-MMM-dd",
    "yyyyMMdd",
    "MM-dd-yyyy",
    "MMddyyyy",
    "M/dd/yyyy",
    "dd.M.yyyy",
    "M/dd/yyyy hh:mm:ss a",
    "dd.M.yyyy hh:mm:ss a",
    "dd.MMM.yyyy",
    "dd-MMM-yyyy",
)
"""The formats that are tried, in this order, for a date without a format (Data Prep: data handling)."""

# fmt: off
_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)
# fmt: on
_RUN = re.compile(r"'(?P<quoted>(?:[^']|'')*)'|(?P<letter>[A-Za-z])(?P=letter)*|.", re.DOTALL)
_LONGEST_OFFSET = timedelta(hours=18)


class DateError(ValueError):
    """An error for an unsupported pattern, or for a string that does not match its pattern."""


class JavaPattern:
    """A compiled Java date pattern.

    Raises `DateError` for a pattern with an unsupported letter, an unclosed quote, or a letter with a
    meaningless length or in a second place.
    """

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self._letters: list[str] = []
        self._writers: list[Callable[[datetime], str]] = []
        expression = "".join(self._compile(kind, text) for kind, text in _runs(pattern))
        self._expression = re.compile(expression)
        for letter in set(self._letters):
            if self._letters.count(letter) > 1:
                raise DateError(f"pattern {pattern!r} has the letter {letter!r} in two places")
        if "X" in self._letters and "Z" in self._letters:
            raise DateError(f"pattern {pattern!r} has two zones")

    def parse(self, text: str) -> datetime:
        """Parse `text`, all of which must match; without a zone in the pattern, the date is in UTC.

        A fraction beyond microseconds is truncated. Raises `DateError` if the text does not match, or names a
        day, hour or offset that does not exist.
        """
        match = self._expression.fullmatch(text)
        if match is None:
            raise DateError(f"text {text!r} does not match the pattern {self.pattern!r}")
        parts = dict(zip(self._letters, match.groups(), strict=True))
        if not {"y", "M", "d"} <= parts.keys():
            raise DateError(f"pattern {self.pattern!r} does not name year, month and day")
        try:
            return datetime(
                _year(parts["y"]),
                _month(parts["M"]),
                int(parts["d"]),
                self._hour(parts),
                int(parts.get("m", "0")),
                int(parts.get("s", "0")),
                int(parts.get("S", "0")[:6].ljust(6, "0")),
                tzinfo=_zone(parts.get("X", parts.get("Z"))),
            )
        except ValueError as error:
            raise DateError(f"text {text!r} is not a date by {self.pattern!r}: {error}") from None

    def format(self, moment: datetime) -> str:
        """Format `moment`, which has an offset, by the pattern."""
        return "".join(write(moment) for write in self._writers)

    def _compile(self, kind: str, text: str) -> str:
        if kind == "literal":
            self._writers.append(lambda _moment: text)
            return re.escape(text)
        letter, width = text[0], len(text)
        if letter not in _LETTERS:
            raise DateError(f"pattern letter {letter!r} is not offered")
        expression, writer = _LETTERS[letter](width)
        self._letters.append(letter)
        self._writers.append(writer)
        return f"({expression})"

    def _hour(self, parts: dict[str, str]) -> int:
        if "H" in parts:
            return int(parts["H"])
        if "h" not in parts:
            return 0
        if "a" not in parts:
            raise DateError(f"pattern {self.pattern!r} has an hour 1-12 without AM/PM")
        hour = int(parts["h"])
        if not 1 <= hour <= 12:
            raise ValueError("hour must be in 1..12")
        return hour % 12 + (12 if parts["a"] == "PM" else 0)


@lru_cache(maxsize=256)
def compiled(pattern: str) -> JavaPattern:
    """Return the compiled pattern from a cache; raises `DateError` as `JavaPattern` does."""
    return JavaPattern(pattern)


def parse_default(text: str) -> datetime:
    """Parse a date by the first of `DEFAULT_FORMATS` that matches; raise `DateError` if none does."""
    for pattern in DEFAULT_FORMATS:
        try:
            return compiled(pattern).parse(text)
        except DateError:
            continue
    raise DateError(f"text {text!r} matches none of the default date formats")


def rfc3339(moment: datetime) -> str:
    """Format a date for XDM: with seconds, milliseconds only if not zero, and always an offset."""
    precision = "milliseconds" if moment.microsecond else "seconds"
    local = moment.replace(tzinfo=None).isoformat(timespec=precision)
    return local + _offset_text(moment, colon=True, zero="Z")


def _runs(pattern: str) -> Iterator[tuple[str, str]]:
    """Split a pattern into runs of one letter and literal strings."""
    for match in _RUN.finditer(pattern):
        text, quoted = match.group(), match["quoted"]
        if quoted is not None:  # a doubled quote is one quote, inside quotes and outside
            yield "literal", quoted.replace("''", "'") or "'"
        elif text == "'":
            raise DateError(f"pattern {pattern!r} has an unclosed quote")
        elif text in "[]{}#":
            raise DateError(f"pattern character {text!r} is reserved")
        else:
            yield ("letters" if match["letter"] else "literal"), text


_Letter = tuple[str, Callable[[datetime], str]]


def _year_letter(width: int) -> _Letter:
    if width == 2:
        return "[0-9]{2}", lambda moment: f"{moment.year % 100:02d}"
    if width not in (1, 4):
        raise DateError(f"a year of {width} letters is not offered")
    return ("[0-9]{4}" if width == 4 else "[0-9]{1,4}"), lambda moment: f"{moment.year:0{width}d}"


def _month_letter(width: int) -> _Letter:
    if width <= 2:
        return _number_letter("month")(width)
    if width > 4:
        raise DateError(f"a month of {width} letters is not offered")
    names = [name[:3] if width == 3 else name for name in _MONTHS]
    return "|".join(names), lambda moment: names[moment.month - 1]


def _number_letter(field: str) -> Callable[[int], _Letter]:
    def letter(width: int) -> _Letter:
        if width > 2:
            raise DateError(f"a {field} of {width} letters is not offered")
        expression = "[0-9]{2}" if width == 2 else "[0-9]{1,2}"
        return expression, lambda moment: f"{getattr(moment, field):0{width}d}"

    return letter


def _half_day_hour_letter(width: int) -> _Letter:
    expression, _ = _number_letter("hour")(width)
    return expression, lambda moment: f"{(moment.hour - 1) % 12 + 1:0{width}d}"


def _half_day_letter(width: int) -> _Letter:
    if width > 3:
        raise DateError(f"an AM/PM marker of {width} letters is not offered")
    return "AM|PM", lambda moment: "AM" if moment.hour < 12 else "PM"


def _fraction_letter(width: int) -> _Letter:
    if width > 9:
        raise DateError("a fraction has at most 9 digits")
    return f"[0-9]{{{width}}}", lambda moment: f"{moment.microsecond:06d}000"[:width]


def _iso_zone_letter(width: int) -> _Letter:
    if width == 1:
        return "Z|[+-][0-9]{2}(?:[0-9]{2})?", _short_offset_text
    if width > 3:
        raise DateError(f"a zone of {width} letters X is not offered")
    colon = width == 3
    expression = "Z|[+-][0-9]{2}:[0-9]{2}" if colon else "Z|[+-][0-9]{4}"
    return expression, lambda moment: _offset_text(moment, colon=colon, zero="Z")


def _rfc822_zone_letter(width: int) -> _Letter:
    if width > 3:
        raise DateError(f"a zone of {width} letters Z is not offered")
    return "[+-][0-9]{4}", lambda moment: _offset_text(moment, colon=False, zero="+0000")


_LETTERS: dict[str, Callable[[int], _Letter]] = {
    "y": _year_letter,
    "M": _month_letter,
    "d": _number_letter("day"),
    "a": _half_day_letter,
    "H": _number_letter("hour"),
    "h": _half_day_hour_letter,
    "m": _number_letter("minute"),
    "s": _number_letter("second"),
    "S": _fraction_letter,
    "X": _iso_zone_letter,
    "Z": _rfc822_zone_letter,
}


def _year(text: str) -> int:
    return 2000 + int(text) if len(text) == 2 else int(text)


def _month(text: str) -> int:
    if text[0].isdigit():
        return int(text)
    return 1 + next(index for index, name in enumerate(_MONTHS) if name.startswith(text))


def _zone(text: str | None) -> timezone:
    if text is None or text == "Z":
        return UTC
    digits = text[1:].replace(":", "").ljust(4, "0")
    hours, minutes = int(digits[:2]), int(digits[2:])
    offset = timedelta(hours=hours, minutes=minutes)
    if minutes > 59 or offset > _LONGEST_OFFSET:
        raise ValueError(f"offset {text} is out of range")
    return timezone(-offset if text[0] == "-" else offset)


def _offset_text(moment: datetime, *, colon: bool, zero: str) -> str:
    seconds = int((moment.utcoffset() or timedelta()).total_seconds())
    if seconds == 0:
        return zero
    hours, minutes = divmod(abs(seconds) // 60, 60)
    return f"{'-' if seconds < 0 else '+'}{hours:02d}{':' if colon else ''}{minutes:02d}"


def _short_offset_text(moment: datetime) -> str:
    text = _offset_text(moment, colon=False, zero="Z")
    return text.removesuffix("00") if len(text) == 5 else text
