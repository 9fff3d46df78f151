"""Chatlio's ways of writing time, brought to UTC with microseconds.

Texts are RFC 3339 as Go writes it: 0 to 9 decimals, trailing zeros dropped, any offset
(Chatlio documentation: webhooks, chat transcripts). ``""``, null and year 0001 mean that there is no time.
"""

from __future__ import annotations

from typing import Final

import pandas as pd

RFC3339 = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)"
TIME_DTYPE: Final = "datetime64[us, UTC]"
UNSET_YEAR = "0001-"


def is_absent(text: str | None) -> bool:
    """Whether a time's text says that there is none."""
    return not text or text.startswith(UNSET_YEAR)


def parse_rfc3339(texts: pd.Series[str]) -> tuple[pd.Series[pd.Timestamp], pd.Series[bool]]:
    """Read a column of RFC 3339 texts.

    Decimals beyond microseconds are cut, never rounded.

    Args:
        texts: text, missing where there is no time.

    Returns:
        The times as ``datetime64[us, UTC]`` (missing where absent or unreadable), and a mask of the texts
        that are there but are no RFC 3339 time.
    """
    absent = texts.isna() | texts.eq("") | texts.str.startswith(UNSET_YEAR, na=False)
    formed = texts.str.fullmatch(RFC3339, na=False)
    cut = texts.where(formed & ~absent).str.replace(r"(\.\d{6})\d+", r"\1", regex=True)
    times = pd.to_datetime(cut, format="ISO8601", utc=True, errors="coerce").astype(TIME_DTYPE)
    return times, ~absent & times.isna()


def parse_slack_ts(texts: pd.Series[str]) -> pd.Series[pd.Timestamp]:
    """Read a column of Slack message ids, ``seconds.6digits``, exactly.

    Integer arithmetic throughout: a float would lose the last microsecond.

    Args:
        texts: text of the form ``1710144005.000200``; anything else gives a missing time.

    Returns:
        The times as ``datetime64[us, UTC]``.
    """
    formed = texts.str.fullmatch(r"\d{1,11}\.\d{6}", na=False)
    digits = texts.where(formed).str.replace(".", "", regex=False)
    return pd.to_datetime(digits.astype("Int64"), unit="us", utc=True).astype(TIME_DTYPE)


def to_wire(times: pd.Series[pd.Timestamp]) -> pd.Series[str]:
    """Write a column of times as ``2024-01-01T00:00:00.123Z``, cut to milliseconds."""
    return times.dt.strftime("%Y-%m-%dT%H:%M:%S.%f").str.slice(0, 23).add("Z")
