"""When an event happened, as far as that is known; never a guess.

A transcript's end, else the moment of capture; else nothing, unless the user chose a stand-in.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import pandas as pd

from chatlio_kit.errors import UsageError
from chatlio_kit.events.times import TIME_DTYPE, parse_rfc3339


class Undated(StrEnum):
    """What stands in for the time of an event that has none."""

    REJECT = "reject"
    FILE_TIME = "file-time"
    VISITOR_CREATED = "visitor-created"
    GIVEN = "given"


@dataclass(frozen=True)
class UndatedAs:
    """The user's choice for events without a time."""

    choice: Undated = Undated.REJECT
    time: pd.Timestamp | None = None

    @classmethod
    def from_text(cls, text: str | None) -> UndatedAs:
        """Read the option ``--undated-as file-time|visitor-created|<RFC 3339 time>``.

        Raises:
            UsageError: when the text is none of these.
        """
        if text is None:
            return cls()
        if text in (Undated.FILE_TIME, Undated.VISITOR_CREATED):
            return cls(Undated(text))
        times, wrong = parse_rfc3339(pd.Series([text], dtype="str"))
        if wrong[0] or times.isna()[0]:
            raise UsageError(
                f"--undated-as {text!r} is neither file-time nor visitor-created nor an RFC 3339 time "
                "such as 2024-03-11T09:00:00+01:00."
            )
        return cls(Undated.GIVEN, times[0])


def date_events(events: pd.DataFrame, file_times: pd.Series[pd.Timestamp], undated_as: UndatedAs) -> None:
    """Fill ``occurred_at`` and ``occurred_at_source`` of a frame in place; what stays undated stays missing.

    Args:
        events: ``ended_at``, ``received_at`` and ``visitor_created_at``, each ``datetime64[us, UTC]``.
        file_times: when each event's file was written.
        undated_as: what stands in where the capture gives no time.
    """
    candidates = [("ended_at", events["ended_at"]), ("received_at", events["received_at"])]
    if undated_as.choice is Undated.FILE_TIME:
        candidates.append(("file_time", file_times))
    elif undated_as.choice is Undated.VISITOR_CREATED:
        candidates.append(("visitor_created", events["visitor_created_at"]))
    elif undated_as.choice is Undated.GIVEN:
        given = pd.Series(undated_as.time, index=events.index, dtype=TIME_DTYPE)
        candidates.append(("given", given))
    occurred = pd.Series(pd.NaT, index=events.index, dtype=TIME_DTYPE)
    source = pd.Series(None, index=events.index, dtype="str")
    for name, times in candidates:
        fills = occurred.isna() & times.notna()
        occurred = occurred.where(~fills, times)
        source = source.where(~fills, name)
    events["occurred_at"] = occurred
    events["occurred_at_source"] = source
