"""All metrics of a set of tables, in calendar time and in business time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from functools import cached_property
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from chatlio_kit.analysis import metrics
from chatlio_kit.analysis.calendar import Calendar
from chatlio_kit.analysis.definitions import METRICS, PERIODS, definitions
from chatlio_kit.analysis.summary import BUSINESS, HEADLINES, check_name, summarize
from chatlio_kit.analysis.words import in_words
from chatlio_kit.arguments import checked, flag, optional, path_ending_in, text, wrong
from chatlio_kit.counting import counted
from chatlio_kit.display import Sheet, SheetDisplay
from chatlio_kit.display.sheet import FormattedNumber
from chatlio_kit.display.workbook import write_workbook
from chatlio_kit.errors import FrameError
from chatlio_kit.tables import Tables, empty
from chatlio_kit.tables.output import write_whole

if TYPE_CHECKING:
    from chatlio_kit.display.figure import Picture


def _tables(name: str, value: object) -> None:
    if not isinstance(value, Tables):
        raise wrong(name, "tables, from read_tables() or to_tables()", value)


@checked(tables=_tables, hours=optional(text))
def measure(
    tables: Tables,
    *,
    hours: str | None = None,
    time_zone: str = "UTC",
    holidays: str | date | Iterable[str | date] | None = None,
) -> Metrics:
    """Return the metrics of tables.

    Args:
        tables: The result of ``read_tables`` or ``to_tables``; edited frames are measured unchanged.
        hours: Opening hours, such as ``"Mo-Fr 09:00-17:30; Sa 10:00-14:00"``, or ``24/7``. With them, each
            metric is also measured in business time.
        time_zone: IANA name of the zone of hours, days and months, such as ``"Europe/Berlin"``.
        holidays: Closed days: a country or region such as ``"DE"`` or ``"DE-BE"``, dates such as
            ``"2024-12-24"``, or several of these.

    Raises:
        UsageError: An argument cannot be parsed.
        FrameError: An edited frame lacks a column, or has one of another dtype.
    """
    frames = tables.frames()
    for name, frame in frames.items():
        _check_columns(name, frame)
    return Metrics(frames, Calendar(hours, time_zone=time_zone, holidays=holidays))


class Metrics(SheetDisplay):
    """The metrics of a set of tables, displayed as a monthly overview.

    Args:
        frames: The five tables by name.
        calendar: The time zone, the opening hours and the holidays.
    """

    definitions = staticmethod(definitions)

    def __init__(self, frames: Mapping[str, pd.DataFrame], calendar: Calendar) -> None:
        self.calendar = calendar
        self._frames = {**frames, "turns": metrics.turns(frames["messages"])}
        self._rows: dict[str, pd.DataFrame] = {}

    def rows(self, metric: str) -> pd.DataFrame:
        """Return the values behind a metric: a row for each conversation, reply or day.

        Raises:
            UsageError: There is no such metric.
        """
        check_name("metric", metric, METRICS)
        if metric not in self._rows:
            function = getattr(metrics, metric)
            frames = [self._frames[name] for name in signature(function).parameters if name != "calendar"]
            self._rows[metric] = function(*frames, self.calendar)
        return self._rows[metric]

    def frame(self, metric: str, by: str = "month") -> pd.DataFrame:
        """Return a metric summarized by period, agent, page or hour, and compared with the period before.

        Args:
            metric: Its name; ``definitions()`` lists all.
            by: ``all``, ``day``, ``week``, ``month``, ``quarter``, ``year``, ``hour``, ``weekday``,
                ``hour_of_week``, ``agent``, ``page`` or ``site``.

        Returns:
            The result of :func:`~chatlio_kit.analysis.summary.summarize`. Periods are the same for all
            metrics: from the first event to the last.

        Raises:
            UsageError: There is no such metric or group, or the metric is not available by that group.
        """
        return summarize(self.rows(metric), metric, by, self.calendar, span=self._span)

    @checked(business=flag)
    def figure(
        self,
        metric: str,
        by: str = "month",
        *,
        business: bool = False,
        style: str | dict[str, Any] | None = None,
    ) -> Picture:
        """Return a metric as a Matplotlib figure, with its finding as the title and the numbers next to it.

        Args:
            metric: Its name.
            by: As in :meth:`frame`.
            business: If true, show business time.
            style: Matplotlib style sheet, such as ``"dark_background"``, or rcParams to change.

        Raises:
            UsageError: As in :meth:`frame`, or there are no opening hours or no such style.
        """
        from chatlio_kit.analysis.pictures import draw  # noqa: PLC0415 - matplotlib takes half a second to load

        return draw(
            METRICS[check_name("metric", metric, METRICS)], by, self.frame(metric, by), business, style
        )

    def overview(self, by: str = "month") -> pd.DataFrame:
        """Return a row for each metric: over all time, in the last period, and in the one before.

        Durations are medians, numbers are means. ``change`` is the last period minus the one before.
        """
        check_name("by", by, PERIODS)
        rows = []
        for name, metric in METRICS.items():
            frame, overall = self.frame(name, by), self.frame(name, "all").iloc[0]
            column = HEADLINES[metric.measure]
            row = {"metric": name, "unit": str(metric.measure), "all": overall[column]}
            row |= dict.fromkeys(("last", "before", "change"), float("nan"))
            if len(frame):
                last = frame.iloc[-1]
                row |= {"last": last[column], "before": last["before"], "change": last["change"]}
            if self.calendar.hours is not None:
                row[f"{BUSINESS}all"] = overall[BUSINESS + column]
                row[f"{BUSINESS}last"] = frame[BUSINESS + column].iloc[-1] if len(frame) else float("nan")
            rows.append(row)
        return pd.DataFrame(rows).set_index("metric")

    def table(self, by: str = "month") -> pd.DataFrame:
        """Return all metrics available by a group, one below the other, with their names in ``metric``."""
        frames = [
            self.frame(name, by).reset_index().assign(metric=name)
            for name in METRICS
            if by not in ("agent", "page", "site")
            or ("agent" if by == "agent" else "page") in self.rows(name)
        ]
        together = pd.concat(frames, ignore_index=True)
        return together[["metric", *(name for name in together if name != "metric")]]

    def as_dict(self, by: str = "month") -> dict[str, Any]:
        """Return everything as it appears in JSON: by period, and by agent for metrics available by agent."""
        content: dict[str, Any] = {
            "hours": self.calendar.hours,
            "time_zone": self.calendar.time_zone,
            "holidays": list(self.calendar.holidays),
            "by": by,
            "notes": self._notes(by),
            "metrics": {},
        }
        for name, metric in METRICS.items():
            found: dict[str, Any] = {
                "title": metric.title,
                "unit": str(metric.measure),
                "meaning": metric.meaning,
                "standard_in": metric.source,
                "all": _records(self.frame(name, "all").reset_index(drop=True))[0],
                f"by_{by}": _records(self.frame(name, by).reset_index()),
            }
            if "agent" in self.rows(name):
                found["by_agent"] = _records(self.frame(name, "agent").reset_index())
            content["metrics"][name] = found
        return content

    @checked()
    def to_excel(self, path: Path | str, by: str = "month") -> Path:
        """Write the overview, the metrics by period, by agent and by page, and the definitions to a workbook.

        Args:
            path: The workbook; an existing one is replaced.
            by: A period.

        Returns:
            The path.

        Raises:
            UsageError: The path does not end in .xlsx, so it may be a file of another type.
            OutputError: The workbook cannot be written.
        """
        path = path_ending_in(".xlsx", "path", path)
        sheets = {
            "overview": self.overview(by).reset_index(),
            f"by {by}": self.table(by),
            "by agent": self.table("agent"),
            "by page": self.table("page"),
            "definitions": definitions().reset_index(),
        }
        write_whole(path, lambda draft: write_workbook(draft, sheets))
        return path

    @cached_property
    def _span(self) -> tuple[pd.Timestamp, pd.Timestamp] | None:
        """The first and last time of an event; None if there are no events."""
        times = pd.concat(
            [self._frames["events"]["occurred_at"], self._frames["conversations"]["started_at"]]
        )
        return (times.min(), times.max()) if len(times) else None

    def sheet(self, by: str = "month") -> Sheet:
        """Return the overview as a table."""
        overview = self.overview(by).drop(columns="unit")
        names = [str(name) for name in overview]
        rows = [
            (
                METRICS[metric].title,
                *(
                    FormattedNumber(in_words(value, METRICS[metric].measure, is_change=name == "change"))
                    for name, value in zip(names, values, strict=True)
                ),
            )
            for metric, *values in overview.itertuples(name=None)
        ]
        return Sheet("Metrics", ("", *(name.replace("_", " ") for name in names)), rows, self._notes(by))

    def _notes(self, by: str) -> list[str]:
        notes = ["Durations are medians, numbers are means."]
        if self._span is not None:
            last = self.frame("conversations", by).index[-1]
            end = self._span[1].tz_convert(self.calendar.time_zone)
            notes.append(
                f"last: {last}, compared with the {by} before. The last event is from {end:%Y-%m-%d %H:%M}, "
                f"so the {by} may not be over."
            )
        if self.calendar.hours is not None:
            holidays = f", without the holidays {', '.join(self.calendar.holidays)}" * bool(
                self.calendar.holidays
            )
            notes.append(f"business: {self.calendar.hours}, {self.calendar.time_zone}{holidays}")
        if strays := int(self._frames["messages"]["conversation_id"].isna().sum()):
            notes.append(
                "Not measured, because no conversation is known, as where ids are redacted with drop: "
                f"{counted(strays, 'message')}."
            )
        if from_slack := int(self._frames["conversations"]["has_feedback"].isna().sum()):
            notes.append(
                f"{counted(from_slack, 'conversation is', 'conversations are')} known only from Slack, "
                "which records neither feedback nor reports of unanswered chats: the shares of both, and of "
                "abandoned conversations, exclude these."
            )
        return [*notes, f"times: {self.calendar.time_zone}"]


def _check_columns(table: str, frame: pd.DataFrame) -> None:
    names = list(frame.columns)
    for column, dtype in empty(table).dtypes.items():
        if names.count(str(column)) != 1:
            raise FrameError(
                f"tables.{table} does not have exactly one column {column!r}. Keep the columns of "
                "to_tables()."
            )
        if frame[column].dtype != dtype:
            raise FrameError(
                f"The column {column!r} of tables.{table} is of dtype {frame[column].dtype}, not {dtype}. "
                f"Convert it with astype({str(dtype)!r})."
            )


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows as they appear in JSON, without unknown values."""
    frame = frame.rename(columns=lambda name: str(name).replace(" ", "_"))
    return [
        {str(name): None if pd.isna(value) else value for name, value in row.items()}
        for row in frame.to_dict("records")
    ]
