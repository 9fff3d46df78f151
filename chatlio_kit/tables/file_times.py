"""Whether the times of files, where they stand in for events' times, look like those of copies."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pyarrow.compute as pc

_DAY = timedelta(days=1)
_FAR, _FAR_FOR_FEW = timedelta(days=7), timedelta(days=30)
_FEW = 3
_SHARE = 10
"""Files are suspicious that were written within a tenth of the time that their records speak of."""


@dataclass
class FileTimes:
    """What files' times and their records' own times span, for events that were dated by their file.

    Attributes:
        records: how many events were dated so.
        files: in how many files.
        early: events whose file is older than what they speak of.
    """

    records: int = 0
    files: int = 0
    early: int = 0
    _last: str = ""
    _written: tuple[datetime, datetime] | None = None
    _own: tuple[datetime, datetime] | None = None

    def add(self, rows: Any) -> None:
        """Look at accepted events, an Arrow table; files come one after another."""
        rows = rows.filter(pc.equal(rows["occurred_at_source"], "file_time"))
        if not len(rows):
            return
        names = rows["source_file"].to_pylist()
        self.records += len(names)
        self.files += sum(name != before for before, name in zip([self._last, *names], names, strict=False))
        self._last = names[-1]
        own = pc.coalesce(rows["started_at"], rows["visitor_created_at"])
        self.early += pc.sum(pc.less(rows["occurred_at"], own)).as_py() or 0
        self._written = _wider(self._written, rows["occurred_at"])
        self._own = _wider(self._own, own)

    def suspicion(self) -> str | None:
        """Say why the files' times look like a copy's; None where they do not."""
        if self._written is None or self._own is None:
            return None
        within, spoken = self._written[1] - self._written[0], self._own[1] - self._own[0]
        gap = self._written[0] - self._own[1]
        if self.early:
            return f"{self.early:,} of these events speak of times after their file's"
        if self.records > 1 and spoken > _DAY and within * _SHARE < spoken:
            if self.files == 1:
                return (
                    f"one file has all {self.records:,} of these events, and they speak of times over "
                    f"{_said(spoken)}"
                )
            return (
                f"all {self.files:,} files were written within {_said(within)}, and their events speak of "
                f"times over {_said(spoken)}"
            )
        if gap > (_FAR if self.records >= _FEW else _FAR_FOR_FEW):
            return f"the files were written {_said(gap)} after the last time that their events speak of"
        return None


def _wider(known: tuple[datetime, datetime] | None, times: Any) -> tuple[datetime, datetime] | None:
    found = pc.min_max(times).as_py()
    if found["min"] is None:
        return known
    first, last = known or (found["min"], found["max"])
    return min(first, found["min"]), max(last, found["max"])


def _said(span: timedelta) -> str:
    for size, word in ((_DAY, "day"), (timedelta(hours=1), "hour"), (timedelta(minutes=1), "minute")):
        if span >= size:
            count = span // size
            return f"{count:,} {word}{'s' if count > 1 else ''}"
    return f"{max(1, round(span.total_seconds()))} s"
