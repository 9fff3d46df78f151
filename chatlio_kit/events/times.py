"""Chatlio's ways of writing time, brought to UTC with microseconds.

Texts are RFC 3339 as Go writes it: 0 to 9 decimals, trailing zeros dropped, any offset
(Chatlio documentation: webhooks, chat transcripts). ``""``, null and year 0001 mean that there is no time.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

RFC3339 = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)"
TIME_DTYPE: Final = "datetime64[us, UTC]"
ARROW_TIME: Final = pa.timestamp("us", tz="UTC")
UNSET_YEAR = "0001-"


def is_absent(text: str | None) -> bool:
    """Whether a time's text says that there is none."""
    return not text or text.startswith(UNSET_YEAR)


def read_rfc3339(texts: Any) -> tuple[Any, list[int]]:
    """Read an Arrow array of RFC 3339 texts, decimals cut to microseconds.

    Returns:
        The times, and the places of the texts that are there but are no RFC 3339 time.
    """
    if texts.null_count == len(texts):
        return pa.nulls(len(texts), ARROW_TIME), []
    told = pc.and_(pc.not_equal(texts, ""), pc.invert(pc.starts_with(texts, UNSET_YEAR)))
    formed = pc.and_(told, pc.match_substring_regex(texts, _WHOLE_RFC3339))
    whole = pc.if_else(formed, texts, None)
    times = _cut_times(whole)
    wrong = pc.and_(pc.fill_null(told, False), pc.is_null(times))
    return times, pc.indices_nonzero(wrong).to_pylist()


_WHOLE_RFC3339 = rf"^(?:{RFC3339})$".replace("(", "(?:").replace("(?:?:", "(?:")


def _cut_times(whole: Any) -> Any:
    longest = pc.max(pc.binary_length(whole)).as_py() or 0
    if longest <= len("2024-01-01T00:00:00.123456-08:00"):
        with suppress(pa.ArrowInvalid):  # raised for decimals beyond microseconds
            return pc.cast(whole, ARROW_TIME)
    cut = pc.replace_substring_regex(whole, r"(\.\d{6})\d+", r"\1")
    with suppress(pa.ArrowInvalid):  # raised for what is no day of the calendar: told one by one
        return pc.cast(cut, ARROW_TIME)
    return pa.concat_arrays([_time(cut[row : row + 1]) for row in range(len(cut))])


def _time(text: Any) -> Any:
    """Read an array of one text; missing where it is no day of the calendar."""
    try:
        return pc.cast(text, ARROW_TIME)
    except pa.ArrowInvalid:
        return pa.nulls(1, ARROW_TIME)


def read_slack_ts(texts: Any) -> Any:
    """Read an Arrow array of Slack message ids.

    Integer arithmetic throughout: a float would lose the last microsecond.
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
        text if there else None for text, there in zip(written, times.is_valid().to_pylist(), strict=True)
    ]
