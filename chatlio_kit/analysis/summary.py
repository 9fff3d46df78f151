"""A metric's rows, summarized by period, agent, page or hour, and compared with the period before."""

from __future__ import annotations

from typing import Any

import pandas as pd

from chatlio_kit.analysis.calendar import WEEKDAYS, Calendar
from chatlio_kit.analysis.definitions import GROUPS, METRICS, PERIODS, Measure
from chatlio_kit.analysis.metrics import EVERY_HOUR
from chatlio_kit.arguments import named
from chatlio_kit.errors import UsageError, option

NOBODY = "(none)"
"""The group of rows without an agent or page."""
HEADLINES = {
    Measure.DURATION: "median",
    Measure.NUMBER: "mean",
    Measure.SHARE: "share",
    Measure.COUNT: "number",
}
"""The main column of a summary, compared with the period before."""
BUSINESS = "business_"
"""The prefix of columns in business time."""
_COUNTED = ("count", "number")
_QUARTILES = {"lower_quartile": 0.25, "median": 0.5, "upper_quartile": 0.75}
_FORMS = {"day": "%Y-%m-%d", "week": "%G-W%V", "month": "%Y-%m", "quarter": "%Y-Q%q", "year": "%Y"}
Times = tuple[pd.Timestamp, pd.Timestamp]


def summarize(
    rows: pd.DataFrame,
    metric: str,
    by: str = "month",
    calendar: Calendar = EVERY_HOUR,
    *,
    span: Times | None = None,
) -> pd.DataFrame:
    """Return the rows of a metric summarized by group.

    Args:
        rows: The result of the metric's function.
        metric: Its name.
        by: One of :data:`~chatlio_kit.analysis.definitions.GROUPS`.
        calendar: Provides the time zone of days, months and hours.
        span: The first and the last time that periods cover; by default those of the rows.

    Returns:
        A row for each group: periods without gaps, all hours and weekdays, or the agents, pages and sites
        that occur, the most frequent first. Columns: ``count``, ``mean``, ``lower_quartile``, ``median``,
        ``upper_quartile`` and ``highest`` of seconds and numbers; ``count``, ``number`` and ``share`` of
        shares; ``number`` of counts; for periods ``before`` and ``change``, of the main column of the metric
        (``HEADLINES``). With opening hours, all columns again, as ``business_...``.

    Raises:
        UsageError: There is no such metric or group, or the metric is not available by that group.
    """
    measure = METRICS[check_name("metric", metric, METRICS)].measure
    keys, index = _keys(rows, metric, check_name("by", by, GROUPS), calendar, span)
    parts: list[pd.DataFrame] = []
    for column in ("value", "business_value"):
        if column not in rows:
            continue
        part = _aggregate(rows[column].groupby(keys), measure)
        part = part if index is None else part.reindex(index)
        part[[name for name in _COUNTED if name in part]] = (
            part[[name for name in _COUNTED if name in part]].fillna(0).astype("int64")
        )
        if by in PERIODS:
            headline = part[HEADLINES[measure]].astype("float64")
            part["before"] = headline.shift()
            part["change"] = headline - part["before"]
        parts.append(part.add_prefix(BUSINESS if parts else ""))
    summary = pd.concat(parts, axis=1).rename_axis(index=by.replace("_", " "))
    if index is None:
        first = summary.columns[0]
        order = pd.DataFrame({"size": -summary[first], "name": summary.index}, index=summary.index)
        summary = summary.loc[order.sort_values(["size", "name"]).index]
    return summary


def _aggregate(groups: Any, measure: Measure) -> pd.DataFrame:
    if measure is Measure.COUNT:
        return pd.DataFrame({"number": groups.sum()})
    if measure is Measure.SHARE:
        return pd.DataFrame({"count": groups.count(), "number": groups.sum(), "share": groups.mean()})
    quartiles = {name: groups.quantile(share) for name, share in _QUARTILES.items()}
    return pd.DataFrame(
        {"count": groups.count(), "mean": groups.mean(), **quartiles, "highest": groups.max()}
    )


def _keys(
    rows: pd.DataFrame, metric: str, by: str, calendar: Calendar, span: Times | None
) -> tuple[pd.Series, pd.Index | None]:
    """Return the group of each row, and all groups if they are known in advance."""
    if by in ("agent", "page", "site"):
        column = "agent" if by == "agent" else "page"
        if column not in rows:
            raise UsageError(f"The metric {metric!r} is not available by {by}. Choose another group.")
        names = rows[column].astype("str")
        if by == "site":
            names = names.str.extract(r"^[a-z]+://([^/?#]+)", expand=False)
        return names.fillna(NOBODY), None
    local = calendar.local(rows["at"])
    if by in PERIODS:
        ends = pd.Series(list(span or ()), dtype=rows["at"].dtype)
        limits = (calendar.local(ends) if len(ends) else local).dt.to_period(PERIODS[by])
        known = limits.dropna()
        periods = pd.period_range(known.min(), known.max(), freq=PERIODS[by]) if len(known) else known.array
        return _named(local.dt.to_period(PERIODS[by]), by), pd.Index(_named(pd.Series(periods), by))
    if by == "all":
        return pd.Series("all", index=rows.index), pd.Index(["all"])
    if by == "hour":
        return local.dt.hour, pd.RangeIndex(24)
    days = local.dt.day_of_week.map(dict(enumerate(WEEKDAYS))).astype("str")
    if by == "weekday":
        return days, pd.Index(WEEKDAYS)
    hours = days + " " + local.dt.strftime("%H")
    return hours, pd.Index([f"{day} {hour:02}" for day in WEEKDAYS for hour in range(24)])


def _named(periods: pd.Series, by: str) -> pd.Series:
    form = _FORMS[by]
    names: pd.Series = (periods.dt.start_time if by == "week" else periods).dt.strftime(form)
    return names


def check_name(name: str, value: str, known: dict[str, Any]) -> str:
    """Return a name after checking that it is known.

    Raises:
        UsageError: It is not known.
    """
    if not isinstance(value, str) or value not in known:
        raise UsageError(f"{option(name)} is one of {', '.join(known)}, not {named(value)}.")
    return value
