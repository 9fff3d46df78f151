"""Business time: a time zone, opening hours and holidays.

Opening hours are local times. Each day's hours are converted to UTC separately, so a day on which the clocks
change has its actual length.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from importlib import import_module

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from chatlio_kit.arguments import named, wrong
from chatlio_kit.arguments import time_zone as check_time_zone
from chatlio_kit.errors import UsageError, option

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_DAYS = tuple(day[:2] for day in WEEKDAYS)
_DAY = "|".join(_DAYS)
_TIME = r"(?:[01]?\d|2[0-3]):[0-5]\d|24:00"
_RULE = re.compile(
    rf"(?P<days>(?:{_DAY})(?:-(?:{_DAY}))?(?:,(?:{_DAY})(?:-(?:{_DAY}))?)*)"
    rf" (?P<spans>(?:{_TIME})-(?:{_TIME})(?:,(?:{_TIME})-(?:{_TIME}))*)"
)
_MICROSECONDS = 1e6

Span = tuple[frozenset[int], int, int]
"""Weekdays, from 0 for Monday, with minutes from midnight to opening and to closing."""


@dataclass(frozen=True, init=False)
class Calendar:
    """The time zone and the hours in which time counts.

    Args:
        hours: Opening hours, such as ``"Mo-Fr 09:00-17:30; Sa 10:00-12:00,13:00-16:00"``. Hours that end
            before they begin continue on the next day. None: business time is not measured.
        time_zone: IANA name of the zone of hours, days and months, such as ``"Europe/Berlin"``.
        holidays: Closed days: a country in the ``holidays`` library, with or without a region, such as
            ``"DE"`` or ``"DE-BE"``, dates such as ``"2024-12-24"``, or several of these, separated by commas
            or in a list.

    Raises:
        UsageError: One of them cannot be parsed.
    """

    hours: str | None
    time_zone: str
    holidays: tuple[str, ...]

    def __init__(
        self,
        hours: str | None = None,
        *,
        time_zone: str = "UTC",
        holidays: str | date | Iterable[str | date] | None = None,
    ) -> None:
        object.__setattr__(self, "hours", hours)
        object.__setattr__(self, "time_zone", time_zone)
        object.__setattr__(self, "holidays", _names(holidays))
        check_time_zone("time_zone", time_zone)
        if hours is not None:
            _spans(hours)
        for name in self.holidays:
            _holidays(name, 2024)

    def seconds(self, starts: pd.Series, ends: pd.Series) -> pd.Series[float]:
        """Return the open seconds between times; missing if either time is missing.

        Args:
            starts: Times in UTC.
            ends: Times in UTC, with the same index.
        """
        if starts.empty:
            return pd.Series(index=starts.index, dtype="float64")
        opened, closed, before = self._open_times(pd.concat([starts, ends]))

        def counted(times: pd.Series) -> NDArray[np.float64]:
            instants = _instants(times)
            at = np.searchsorted(opened, instants, side="right") - 1
            current = np.minimum(instants, closed[at]) - opened[at]
            return np.where(times.isna(), np.nan, before[at] + current)

        return pd.Series((counted(ends) - counted(starts)) / _MICROSECONDS, index=starts.index)

    def is_open(self, times: pd.Series) -> pd.Series[bool]:
        """Return whether each time is within the opening hours."""
        if times.empty:
            return pd.Series(index=times.index, dtype="bool")
        opened, closed, _ = self._open_times(times)
        instants = _instants(times)
        at = np.searchsorted(opened, instants, side="right") - 1
        return pd.Series((instants < closed[at]) & times.notna().to_numpy(), index=times.index)

    def opens_on(self, days: pd.DatetimeIndex) -> NDArray[np.bool_]:
        """Return whether opening hours begin on each of these local days."""
        weekdays = {weekday for days_of_week, _, _ in _spans(self.hours) for weekday in days_of_week}
        return np.asarray(days.day_of_week.isin(list(weekdays)) & ~days.isin(self._closed(days)))

    def local(self, times: pd.Series) -> pd.Series:
        """Return times as local time, without a time zone."""
        clocks: pd.Series = times.dt.tz_convert(self.time_zone).dt.tz_localize(None)
        return clocks

    def midnights(self, days: pd.DatetimeIndex) -> pd.DatetimeIndex:
        """Return the beginning of each local day, in UTC."""
        return _in_utc(days, self.time_zone, is_first=True)

    def _open_times(self, times: pd.Series) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        known = times.dropna()
        years = (2000, 2000) if known.empty else (known.min().year, known.max().year)
        return _open_times(self, *years)

    def _closed(self, days: pd.DatetimeIndex) -> list[pd.Timestamp]:
        years = range(days[0].year, days[-1].year + 1) if len(days) else range(0)
        return [
            pd.Timestamp(day) for year in years for name in self.holidays for day in _holidays(name, year)
        ]


@lru_cache(maxsize=32)
def _open_times(
    calendar: Calendar, first: int, last: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the opening and closing times between two years, and the total open time before each opening.

    Times are microseconds since 1970. The first opening is before all times and has no length.
    """
    days = pd.date_range(f"{first - 1}-12-30", f"{last + 1}-01-02", freq="D", unit="us")
    days = days[~days.isin(calendar._closed(days))]
    opened: list[NDArray[np.int64]] = []
    closed: list[NDArray[np.int64]] = []
    for weekdays, opening, closing in _spans(calendar.hours):
        chosen = days[days.day_of_week.isin(list(weekdays))]
        for minute, instants, is_first in ((opening, opened, True), (closing, closed, False)):
            local = chosen + pd.Timedelta(minutes=minute)
            instants.append(_in_utc(local, calendar.time_zone, is_first=is_first).asi8)
    past = [np.array([np.iinfo(np.int64).min // 4])]
    starts, ends = np.concatenate(past + opened), np.concatenate(past + closed)
    order = np.argsort(starts, kind="stable")
    starts, ends = starts[order], np.maximum.accumulate(ends[order])
    is_apart = starts[1:] > ends[:-1]  # else it was already open
    starts, ends = starts[np.concatenate(([True], is_apart))], ends[np.concatenate((is_apart, [True]))]
    return starts, ends, np.concatenate(([0], np.cumsum(ends - starts)[:-1]))


def _in_utc(local: pd.DatetimeIndex, time_zone: str, *, is_first: bool) -> pd.DatetimeIndex:
    """Return local times in UTC.

    The first or second occurrence is used for a time that occurs twice; a skipped time becomes the moment
    after.
    """
    which = np.full(len(local), is_first)
    zoned = local.tz_localize(time_zone, ambiguous=which, nonexistent="shift_forward")
    return zoned.tz_convert("UTC").as_unit("us")


def _instants(times: pd.Series) -> NDArray[np.int64]:
    known = times.dt.as_unit("us").fillna(pd.Timestamp(0, tz="UTC"))
    return np.asarray(known.astype("int64"))


@lru_cache(maxsize=32)
def _spans(hours: str | None) -> tuple[Span, ...]:
    """Return opening hours as periods of a day."""
    if hours == "24/7":
        return ((frozenset(range(7)), 0, 24 * 60),)
    rules = [rule.strip() for rule in hours.split(";")] if isinstance(hours, str) else []
    matches = [_RULE.fullmatch(rule) for rule in rules]
    spans: list[Span] = []
    for match in matches:
        if match is None:
            break
        weekdays = frozenset(day for part in match["days"].split(",") for day in _weekdays(part))
        for part in match["spans"].split(","):
            opening, closing = (_minutes(time) for time in part.split("-"))
            spans.append((weekdays, opening, closing if closing > opening else closing + 24 * 60))
    if not spans or None in matches:
        raise UsageError(
            f"{option('hours')} is opening hours, such as 'Mo-Fr 09:00-17:30; Sa 10:00-14:00', or 24/7, "
            f"not {named(hours)}."
        )
    return tuple(spans)


def _weekdays(part: str) -> list[int]:
    first, _, last = part.partition("-")
    start, end = _DAYS.index(first), _DAYS.index(last or first)
    return [day % 7 for day in range(start, end + 1 if end >= start else end + 8)]


def _minutes(time: str) -> int:
    hour, minute = time.split(":")
    return int(hour) * 60 + int(minute)


def _names(holidays: str | date | Iterable[str | date] | None) -> tuple[str, ...]:
    listed: list[object] = [holidays]
    if holidays is None:
        listed = []
    elif isinstance(holidays, Iterable) and not isinstance(holidays, str):
        listed = list(holidays)
    names: list[str] = []
    for day in listed:
        if not isinstance(day, str | date):
            raise _not_holidays(day)
        names += (day.isoformat()[:10] if isinstance(day, date) else day).split(",")
    return tuple(name.strip() for name in names)


def _not_holidays(value: object) -> UsageError:
    return wrong("holidays", "a country or region, such as DE or DE-BE, or dates such as 2024-12-24", value)


@lru_cache(maxsize=1024)
def _holidays(name: str, year: int) -> tuple[date, ...]:
    """Return the holidays of a country or region in a year, or a single day."""
    try:
        if re.fullmatch(r"\d{4}-\d\d-\d\d", name):
            return (date.fromisoformat(name),) if name.startswith(f"{year}-") else ()
        country, _, region = name.partition("-")
        known = import_module("holidays").country_holidays(country, subdiv=region or None, years=year)
        return tuple(day for day in known if isinstance(day, date))
    except (NotImplementedError, ValueError):
        raise _not_holidays(name) from None
