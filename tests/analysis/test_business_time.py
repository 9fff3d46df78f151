"""Business time: opening hours in local time, on every day of the year."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chatlio_kit.analysis.calendar import Calendar
from chatlio_kit.errors import UsageError

ZONES = (
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "America/Santiago",
    "Asia/Kolkata",
    "UTC",
)
RULES = {  # opening hours, and the same as a function of weekday and minute of the day
    "Mo-Fr 09:00-17:30": lambda day, minute: day < 5 and 540 <= minute < 1050,
    "Mo-Fr 08:00-12:00,13:15-18:00; Sa 10:00-14:00": lambda day, minute: (
        (day < 5 and (480 <= minute < 720 or 795 <= minute < 1080)) or (day == 5 and 600 <= minute < 840)
    ),
    "Mo,We,Fr-Su 05:00-24:00": lambda day, minute: day not in (1, 3) and minute >= 300,
    "Mo-Su 06:00-12:00; Mo-Su 10:00-16:00": lambda day, minute: 360 <= minute < 960,
    "Mo-Su 22:00-06:00": lambda day, minute: minute >= 1320 or minute < 360,
    "24/7": lambda day, minute: True,
}
moments = st.datetimes(datetime(2023, 1, 1), datetime(2025, 12, 31), timezones=st.just(UTC))
spans = st.timedeltas(timedelta(0), timedelta(days=12))
minutes = st.integers(0, 60 * 24 * 365 * 2).map(
    lambda n: datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=n)
)


def seconds(calendar: Calendar, start: datetime, end: datetime) -> float:
    """Return the open seconds between two times."""
    return float(calendar.seconds(pd.Series([start]), pd.Series([end])).iloc[0])


@settings(max_examples=40)
@given(
    start=minutes, span=st.integers(1, 4000), zone=st.sampled_from(ZONES), hours=st.sampled_from(list(RULES))
)
@example(datetime(2024, 3, 30, 12, tzinfo=UTC), 2880, "Europe/Berlin", "Mo-Su 22:00-06:00")
@example(datetime(2024, 10, 26, 12, tzinfo=UTC), 2880, "Europe/Berlin", "Mo-Su 22:00-06:00")
@example(datetime(2024, 9, 7, 12, tzinfo=UTC), 2880, "America/Santiago", "Mo,We,Fr-Su 05:00-24:00")
def test_it_equals_a_count_minute_by_minute(start: datetime, span: int, zone: str, hours: str) -> None:
    """Minute by minute: time counts while the clock shows opening hours."""
    local = [(start + timedelta(minutes=passed)).astimezone(ZoneInfo(zone)) for passed in range(span)]
    is_open = [RULES[hours](clock.weekday(), clock.hour * 60 + clock.minute) for clock in local]
    calendar = Calendar(hours, time_zone=zone)
    assert seconds(calendar, start, start + timedelta(minutes=span)) == sum(is_open) * 60
    times = pd.Series([clock.astimezone(UTC) for clock in local[::97]])
    assert calendar.is_open(times).tolist() == is_open[::97]


@settings(max_examples=40)
@given(
    start=moments, first=spans, second=spans, hours=st.sampled_from(list(RULES)), zone=st.sampled_from(ZONES)
)
def test_parts_add_up(start: datetime, first: timedelta, second: timedelta, hours: str, zone: str) -> None:
    """A span has as much business time as its parts, at most its length, and all of it around the clock."""
    calendar = Calendar(hours, time_zone=zone, holidays="DE")
    middle, end = start + first, start + first + second
    whole = seconds(calendar, start, end)
    assert whole == pytest.approx(seconds(calendar, start, middle) + seconds(calendar, middle, end), abs=1e-5)
    assert 0 <= whole <= (end - start).total_seconds() + 1e-5
    assert seconds(Calendar("24/7", time_zone=zone), start, end) == (end - start).total_seconds()


@settings(max_examples=30)
@given(day=st.dates(date(2023, 1, 1), date(2025, 12, 31)), zone=st.sampled_from(ZONES))
def test_a_holiday_is_closed(day: date, zone: str) -> None:
    """A closed day has no business time, and every other day has as much as before."""
    at = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone))
    begin, end = at.astimezone(UTC), (at + timedelta(days=1)).astimezone(UTC)
    usual, closed = (Calendar("Mo-Su 09:00-17:00", time_zone=zone, holidays=days) for days in (None, [day]))
    assert seconds(usual, begin, end) == 8 * 3600
    assert seconds(closed, begin, end) == 0
    around = (begin - timedelta(days=3), end + timedelta(days=3))
    assert seconds(usual, *around) - seconds(closed, *around) == 8 * 3600


@pytest.mark.parametrize(
    ("hours", "start", "end", "expected"),
    [
        ("Mo-Su 00:00-06:00", "2024-03-30T23:00Z", "2024-03-31T23:00Z", 5),  # an hour is skipped
        ("Mo-Su 00:00-06:00", "2024-10-26T22:00Z", "2024-10-27T22:00Z", 7),  # an hour occurs twice
        ("Mo-Su 02:30-05:00", "2024-03-30T23:00Z", "2024-03-31T23:00Z", 2),  # opening is skipped
        ("Mo-Su 02:30-05:00", "2024-10-26T22:00Z", "2024-10-27T22:00Z", 3.5),  # opens at the first 02:30
        ("Mo-Su 01:00-02:30", "2024-10-26T22:00Z", "2024-10-27T22:00Z", 2.5),  # closes at the second
        ("Mo-Fr 09:00-17:30", "2024-03-28T16:00Z", "2024-04-02T07:30Z", 1),  # Easter between two half hours
        ("Fr-Mo 12:00-13:00", "2024-04-05T00:00Z", "2024-04-12T00:00Z", 4),  # a week that begins on Friday
    ],
)
def test_days_of_the_year(hours: str, start: str, end: str, expected: float) -> None:
    """Hours in Berlin: on both days when the clocks change, and over Easter."""
    calendar = Calendar(hours, time_zone="Europe/Berlin", holidays="DE-BE")
    assert seconds(calendar, pd.Timestamp(start), pd.Timestamp(end)) == expected * 3600


def test_regions_and_dates_are_holidays() -> None:
    """A region's own holidays count, together with dates; another region's do not."""
    corpus_christi, eve = date(2024, 5, 30), date(2024, 12, 24)
    days = pd.DatetimeIndex([corpus_christi, eve], dtype="datetime64[us]")
    for holidays, expected in (("DE-BE", [True, True]), ("DE-BY, 2024-12-24", [False, False]),
                               (["DE-BY", eve], [False, False]), (None, [True, True])):  # fmt: skip
        assert Calendar("Mo-Su 09:00-17:00", holidays=holidays).opens_on(days).tolist() == expected


def test_a_missing_time_is_missing() -> None:
    """Business time of a span without an end is unknown; no times give no values."""
    calendar = Calendar("24/7")
    times = pd.Series(pd.to_datetime(["2024-01-01T00:00Z", None]))
    assert calendar.seconds(times, times).isna().tolist() == [False, True]
    assert calendar.is_open(times).tolist() == [True, False]
    assert calendar.seconds(times[:0], times[:0]).empty


@pytest.mark.parametrize(
    ("options", "words"),
    [
        *(({"hours": hours}, "hours= is opening hours") for hours in
          ("", "9-17", "Mo-Fr", "Mo 25:00-26:00", "mo 9:00-17:00", "Mo 09:00-17:30;", 8)),
        *(({"time_zone": zone}, "time_zone= is the name of a time zone")
          for zone in ("", "Berlin", "Europe", "../etc/passwd", None)),
        *(({"holidays": days}, "holidays= is a country or region")
          for days in ("XX", "DE-XX", "2024-13-01", "de_BE", [3])),
    ],
)  # fmt: skip
def test_an_invalid_argument_is_refused(options: dict[str, object], words: str) -> None:
    """A message names the parameter and shows a valid value."""
    with pytest.raises(UsageError, match=words):
        Calendar(**{"hours": "24/7", **options})  # type: ignore[arg-type]
