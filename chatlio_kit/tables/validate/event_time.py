"""The time of an event, never guessed.

The time is a transcript's end, or else the moment of capture. Without either there is none, unless the user
chose a stand-in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from chatlio_kit.chatlio.timestamps import ARROW_TIME, read_rfc3339
from chatlio_kit.errors import UsageError, option


class Undated(StrEnum):
    """The time of an event that has none of its own."""

    REJECT = "reject"
    FILE_TIME = "file-time"
    VISITOR_CREATED = "visitor-created"
    GIVEN = "given"


@dataclass(frozen=True)
class UndatedAs:
    """The user's choice for events without a time."""

    choice: Undated = Undated.REJECT
    time: datetime | None = None

    @classmethod
    def from_text(cls, text: str | None) -> UndatedAs:
        """Parse the option ``--undated-as file-time|visitor-created|<RFC 3339 time>``.

        Raises:
            UsageError: The string is none of these.
        """
        if text is None:
            return cls()
        if text in (Undated.FILE_TIME, Undated.VISITOR_CREATED):
            return cls(Undated(text))
        times, _ = read_rfc3339(pa.array([text], pa.large_string()))
        if times.null_count:
            given = option("undated_as", repr(text))
            raise UsageError(
                f"{given} is neither file-time nor visitor-created nor an RFC 3339 time "
                "such as 2024-03-11T09:00:00+01:00."
            )
        return cls(Undated.GIVEN, times[0].as_py())


def date_events(
    columns: Mapping[str, Any], file_times: Callable[[], Any], undated_as: UndatedAs
) -> tuple[Any, Any]:
    """Return the times of events and their sources; the time of an undated event is missing.

    Args:
        columns: ``ended_at``, ``received_at`` and ``visitor_created_at`` as Arrow times.
        file_times: Returns the time at which each event's file was written.
        undated_as: The time to use if the capture has none.

    Returns:
        The columns ``occurred_at`` and ``occurred_at_source``.
    """
    candidates = [("ended_at", columns["ended_at"]), ("received_at", columns["received_at"])]
    if undated_as.choice is Undated.FILE_TIME:
        candidates.append(("file_time", file_times()))
    elif undated_as.choice is Undated.VISITOR_CREATED:
        candidates.append(("visitor_created", columns["visitor_created_at"]))
    elif undated_as.choice is Undated.GIVEN:
        given = pa.scalar(undated_as.time, ARROW_TIME)
        candidates.append(("given", pa.repeat(given, len(columns["ended_at"]))))
    occurred = pc.coalesce(*(times for _, times in candidates))
    sources = [
        pc.if_else(times.is_valid(), pa.scalar(name, pa.large_string()), None) for name, times in candidates
    ]
    return occurred, pc.coalesce(*sources)
