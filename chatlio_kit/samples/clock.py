"""Times of events, in the formats of Chatlio, Slack and a capture service.

Only addition, multiplication and division are used: `exp` and `log` may differ in their last bit between
machines, and a sample has the same bytes everywhere.
"""

from collections.abc import Iterator
from datetime import date, timedelta
from functools import lru_cache
from random import Random

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE

_FIRST_DAY = date(2023, 1, 1)
_DAYS = 1093  # ends on 2025-12-28, so that a late second transcript still arrives in 2025
_EPOCH = date(1970, 1, 1)

_OPEN = (2, 1, 1, 1, 1, 2, 4, 9, 16, 22, 24, 23, 21, 23, 24, 22, 20, 17, 13, 10, 8, 6, 4, 3)
_CLOSED = (6, 4, 3, 2, 2, 3, 6, 5, 2, 1, 1, 1, 2, 1, 1, 1, 2, 5, 9, 12, 13, 12, 10, 8)


def moments(rng: Random, count: int, *, while_open: bool) -> Iterator[int]:
    """Yield `count` increasing times in microseconds since 1970: by hour and weekday, more every month."""
    hours = _OPEN if while_open else _CLOSED
    weekend = 3 if while_open else 20
    weights: list[int] = []
    for number in range(_DAYS):
        day = _FIRST_DAY + timedelta(days=number)
        growth = 40 + 2 * ((day.year - 2023) * 12 + day.month)
        share = weekend if day.weekday() >= 5 else 10
        weights.extend(growth * share * hour for hour in hours)
    total = sum(weights)
    first = (_FIRST_DAY - _EPOCH).days * 24
    index, below = 0, 0
    for number in range(count):
        mark = (number + rng.random()) / count * total
        while index + 1 < len(weights) and mark >= below + weights[index]:
            below += weights[index]
            index += 1
        yield (first + index) * HOUR + min(int((mark - below) / weights[index] * HOUR), HOUR - 1)


def log_normal(rng: Random, median: float, sigma: float) -> float:
    """Draw a duration whose logarithm is approximately normal."""
    bell = -6.0
    for _ in range(12):
        bell += rng.random()
    growth = 1.0 + sigma * bell / 4096
    for _ in range(12):
        growth *= growth
    return median * growth


@lru_cache(maxsize=4096)
def _day(number: int) -> str:
    return (_EPOCH + timedelta(days=number)).isoformat()


def month_of(micros: int) -> str:
    """Return the month of a time in UTC, as `2024-03`."""
    return _day(micros // (24 * HOUR))[:7]


def _clock_face(seconds: int) -> str:
    number, rest = divmod(seconds, 86_400)
    minutes, second = divmod(rest, 60)
    hour, minute = divmod(minutes, 60)
    return f"{_day(number)}T{hour:02}:{minute:02}:{second:02}"


def _offset(hours: int) -> str:
    return f"{hours:+03}:00" if hours else "Z"


def hour_and_minute(micros: int, offset: int) -> str:
    """Write the time of day, as a transcript's HTML shows it."""
    return _clock_face(micros // SECOND + offset * 3600)[11:16]


def go_time(seconds: int, nanos: int, offset: int) -> str:
    """Format a time like Go's RFC3339Nano: trailing zeros dropped, `Z` for offset zero."""
    fraction = f".{nanos:09}".rstrip("0") if nanos else ""
    return f"{_clock_face(seconds + offset * 3600)}{fraction}{_offset(offset)}"


def go_micros(micros: int, offset: int) -> str:
    """Write a time of at most 6 decimals in Go's style."""
    return go_time(micros // SECOND, micros % SECOND * 1000, offset)


def slack_ts(micros: int) -> str:
    """Write a Slack message id: seconds, a dot, 6 digits."""
    return f"{micros // SECOND}.{micros % SECOND:06}"


def through_float(ts: str, offset: int) -> str:
    """Convert a Slack message id to a time with loss: a 64-bit float, truncated to nanoseconds."""
    lossy = float(ts)
    whole = int(lossy)
    return go_time(whole, int((lossy - whole) * 1e9), offset)


def captured(micros: int, offset: int = 0) -> str:
    """Format a time like a capture service: always with milliseconds."""
    face = _clock_face(micros // SECOND + offset * 3600)
    return f"{face}.{micros % SECOND // 1000:03}{_offset(offset)}"


def european_offset(micros: int) -> int:
    """Return +2 from April to October and +1 otherwise."""
    return 2 if 4 <= int(month_of(micros)[5:]) <= 10 else 1


def day_of(micros: int) -> str:
    """Return the day of a time in UTC, as `2024-03-11`."""
    return _day(micros // (24 * HOUR))


def pacific_offset(micros: int) -> int:
    """Return the offset of Los Angeles, in hours: -7 from March's second Sunday to November's first."""
    year = int(day_of(micros)[:4])
    starts = _sunday_after(date(year, 3, 8)) * 24 + 10
    ends = _sunday_after(date(year, 11, 1)) * 24 + 9
    return -7 if starts <= micros // HOUR < ends else -8


def _sunday_after(first: date) -> int:
    """Return the first Sunday on or after a day, in days since 1970."""
    return (first - _EPOCH).days + (6 - first.weekday()) % 7
