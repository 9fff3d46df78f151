"""Parse Chatlio's timestamps to UTC with microseconds, and write them.

Timestamps are RFC 3339 as Go writes it: 0 to 9 decimals without trailing zeros, and any offset (Chatlio
documentation: webhooks, chat transcripts). ``""``, null and year 0001 mean that there is no time.
"""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

RFC3339 = r"\d{4}-\d\d-\d\dT\d\d:\d\d:[0-5]\d(\.\d{1,9})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)"
TIME_DTYPE: Final = "datetime64[us, UTC]"
ARROW_TIME: Final = pa.timestamp("us", tz="UTC")
UNSET_YEAR = "0001-"
_STRICT = re.compile(RFC3339, re.ASCII)
_LENIENT = re.compile(
    r"(?P<day>\d{4}-\d\d-\d\d)[Tt ](?P<minute>\d\d:\d\d):(?P<second>\d\d)(?P<decimals>\.\d{1,9})?"
    r"(?:[Zz]| ?UTC| ?(?P<hours>[+-]\d\d)(?::?(?P<minutes>\d\d))?)",
    re.ASCII,
)
_LEAP = "60"


def as_rfc3339(text: str) -> str | None:
    """Return a time in a similar format as RFC 3339; None for any other string.

    Accepted are unambiguous variants: lower-case ``t`` and ``z``, a space for ``T``, ``UTC`` for ``Z``, and
    offsets such as ``+0100`` and ``+01``. A leap second becomes the first second of the next day.
    """
    if _STRICT.fullmatch(text):
        return text
    parts = _LENIENT.fullmatch(text)
    if parts is None:
        return None
    offset = f"{parts['hours']}:{parts['minutes'] or '00'}" if parts["hours"] else "Z"
    second = "59" if parts["second"] == _LEAP else parts["second"]
    written = f"{parts['day']}T{parts['minute']}:{second}{parts['decimals'] or ''}{offset}"
    if not _STRICT.fullmatch(written):
        return None
    return _after_leap(parts, offset) if parts["second"] == _LEAP else written


def _after_leap(parts: re.Match[str], offset: str) -> str | None:
    try:
        last = datetime.fromisoformat(f"{parts['day']}T{parts['minute']}:59{offset}").astimezone(UTC)
        following = last + timedelta(seconds=1)
    except (ValueError, OverflowError):
        return None
    if (following.hour, following.minute) != (0, 0):
        return None
    return f"{following:%Y-%m-%dT%H:%M:%S}{parts['decimals'] or ''}Z"


def is_absent(text: str | None) -> bool:
    """Return whether a timestamp means that there is no time."""
    return not text or text.startswith(UNSET_YEAR)


def read_rfc3339(texts: Any) -> tuple[Any, list[int]]:
    """Parse an Arrow array of RFC 3339 strings and similar formats, truncated to microseconds.

    Returns:
        The times, and the rows with a string that is not a time (:func:`as_rfc3339`).
    """
    if texts.null_count == len(texts):
        return pa.nulls(len(texts), ARROW_TIME), []
    present = pc.and_(pc.not_equal(texts, ""), pc.invert(pc.starts_with(texts, UNSET_YEAR)))
    formed = pc.and_(present, pc.match_substring_regex(texts, _WHOLE_RFC3339))
    whole = pc.if_else(formed, texts, None)
    others = pc.fill_null(pc.and_not(present, formed), False)
    if pc.any(others).as_py():
        rewritten = [as_rfc3339(text) for text in texts.filter(others).to_pylist()]
        whole = pc.replace_with_mask(whole, others, pa.array(rewritten, whole.type))
    times = _cut_times(whole)
    wrong = pc.and_(pc.fill_null(present, False), pc.is_null(times))
    return times, pc.indices_nonzero(wrong).to_pylist()


_WHOLE_RFC3339 = rf"^(?:{RFC3339})$".replace("(", "(?:").replace("(?:?:", "(?:")


def _cut_times(whole: Any) -> Any:
    longest = pc.max(pc.binary_length(whole)).as_py() or 0
    if longest <= len("2024-01-01T00:00:00.123456-08:00"):
        with suppress(pa.ArrowInvalid):  # raised for more decimals than microseconds
            return pc.cast(whole, ARROW_TIME)
    cut = pc.replace_substring_regex(whole, r"(\.\d{6})\d+", r"\1")
    with suppress(pa.ArrowInvalid):  # raised for a day that does not exist
        return pc.cast(cut, ARROW_TIME)
    return pa.concat_arrays([_time(cut[row : row + 1]) for row in range(len(cut))])


def _time(text: Any) -> Any:
    """Parse an array of one string; null if the day does not exist."""
    try:
        return pc.cast(text, ARROW_TIME)
    except pa.ArrowInvalid:
        return pa.nulls(1, ARROW_TIME)


def read_slack_ts(texts: Any) -> Any:
    """Parse an Arrow array of Slack message ids.

    Integer arithmetic throughout, because a float would lose the last microsecond.
    """
    formed = pc.match_substring_regex(texts, r"^[0-9]{1,11}\.[0-9]{6}$")
    digits = pc.replace_substring(pc.if_else(formed, texts, None), ".", "")
    return pc.cast(digits, pa.int64()).cast(ARROW_TIME)


def write_rfc3339(times: Any) -> list[str | None]:
    """Write an Arrow array of times as RFC 3339 UTC with microseconds."""
    if times.null_count == len(times):
        return [None] * len(times)
    instants = pc.fill_null(pc.cast(times, pa.int64()), 0).to_numpy().astype("datetime64[us]")
    written = np.char.add(np.datetime_as_string(instants, unit="us"), "Z").tolist()
    if not times.null_count:
        return written  # type: ignore[no-any-return]
    return [
        text if is_valid else None
        for text, is_valid in zip(written, times.is_valid().to_pylist(), strict=True)
    ]
