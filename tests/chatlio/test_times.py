"""Chatlio's time formats."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatlio_kit.chatlio.timestamps import read_rfc3339, read_slack_ts


def _texts(*values: str | None) -> Any:
    return pa.array(values, pa.large_string())


@given(
    moment=st.datetimes(min_value=datetime(1971, 1, 1), max_value=datetime(2200, 1, 1)),
    decimals=st.integers(0, 9),
    offset=st.integers(-14 * 60, 14 * 60),
    beyond=st.integers(0, 999),
)
def test_any_rfc3339_text_gives_its_instant(
    moment: datetime, decimals: int, offset: int, beyond: int
) -> None:
    """With any offset and 0 to 9 decimals, a timestamp gives its instant, truncated to microseconds."""
    digits = f"{moment.microsecond:06d}{beyond:03d}"[:decimals]
    local = moment.replace(microsecond=0, tzinfo=timezone(timedelta(minutes=offset)))
    sign, minutes = ("-" if offset < 0 else "+"), abs(offset)
    zone = "Z" if offset == 0 else f"{sign}{minutes // 60:02d}:{minutes % 60:02d}"
    text = f"{local:%Y-%m-%dT%H:%M:%S}{'.' + digits if digits else ''}{zone}"
    times, wrong = read_rfc3339(_texts(text, "2024-01-01T00:00:00Z"))
    expected = local.astimezone(UTC) + timedelta(microseconds=int(digits[:6].ljust(6, "0")))
    assert times[0].as_py() == expected
    assert wrong == []


@pytest.mark.parametrize("text", ["", None, "0001-01-01T00:00:00Z"])
def test_absent_times_are_absent_and_not_wrong(text: str | None) -> None:
    """An empty string, null and year 0001 mean that there is no time."""
    times, wrong = read_rfc3339(_texts(text, "2024-03-11T09:03:10.000900030+01:00"))
    assert times.is_null().to_pylist() == [True, False]
    assert wrong == []


@pytest.mark.parametrize(
    "text",
    ["yesterday", "2024-02-30T10:00:00Z", "12/03/2024", "2024-03-11T09:03:10", "2024-03-11 09:03:10",
     "2024-03-11T09:03:10.1234567890Z", "2024-03-11T25:00:00Z", "2024-03-11T09:03:10+25:00", "1710144005"],
)  # fmt: skip
def test_a_string_that_is_not_an_rfc3339_time_is_reported(text: str) -> None:
    """A string that is not an RFC 3339 time is marked, and costs no other row."""
    times, wrong = read_rfc3339(_texts(text, "2024-03-11T09:03:10Z"))
    assert wrong == [0]
    assert times.is_null().to_pylist() == [True, False]


@given(seconds=st.integers(0, 7_000_000_000), micros=st.integers(0, 999_999))
def test_a_slack_ts_is_exact_to_the_microsecond(seconds: int, micros: int) -> None:
    """The time of a message id is its digits, without rounding through a float."""
    times = read_slack_ts(pa.array([f"{seconds}.{micros:06d}", None], pa.large_string()))
    expected = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds, microseconds=micros)
    assert times[0].as_py() == expected
    assert times.is_null().to_pylist() == [False, True]


SAME = [
    ("2024-03-11t09:03:10z", "2024-03-11T09:03:10Z"),
    ("2024-03-11 09:03:10.5+00:00", "2024-03-11T09:03:10.5Z"),
    ("2024-03-11 09:03:10.123450 UTC", "2024-03-11T09:03:10.12345Z"),
    ("2024-03-11 10:03:10+01", "2024-03-11T09:03:10Z"),
    ("2024-03-11T04:33:10-0430", "2024-03-11T09:03:10Z"),
    ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"),
    ("2016-12-31T15:59:60.25-08:00", "2017-01-01T00:00:00.25Z"),
]


@pytest.mark.parametrize(("text", "same"), SAME)
def test_neighbouring_forms_give_the_same_instant(text: str, same: str) -> None:
    """Unambiguous variants are read, next to RFC 3339 in one column."""
    times, wrong = read_rfc3339(_texts(text, None, same, "0001-01-01t00:00:00z"))
    assert times[0].as_py() == times[2].as_py() is not None
    assert (wrong, times.null_count) == ([], 2)


@pytest.mark.parametrize(
    "text",
    ["2016-12-31T22:59:60Z", "2024-03-11T09:03:61Z", "2024-03-11T09:03:10 CET", "2024-03-11T09:03:10+24:00",
     "2024-03-11T09:03:10+1:00", "2024-03-11  09:03:10Z", "\u0662024-03-11T09:03:10Z",
     "9999-12-31T23:59:60Z"],
)  # fmt: skip
def test_ambiguous_formats_are_reported(text: str) -> None:
    """An impossible second, a zone's name, an offset beyond a day: none is guessed."""
    assert read_rfc3339(_texts(text))[1] == [0]
