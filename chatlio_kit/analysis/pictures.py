"""The figure of a metric: a suitable plot, with the finding as its title and its numbers next to it."""

from __future__ import annotations

from functools import partial

import pandas as pd

from chatlio_kit.analysis import figures
from chatlio_kit.analysis.calendar import WEEKDAYS
from chatlio_kit.analysis.definitions import PERIODS, Measure, Metric
from chatlio_kit.analysis.summary import BUSINESS, HEADLINES, NOBODY
from chatlio_kit.analysis.words import in_words, span_in_words
from chatlio_kit.display.figure import Numbers, Picture, StyleSheet
from chatlio_kit.display.visible import label
from chatlio_kit.errors import UsageError

_MOST_ROWS, _HOURS = 14, 24
_LONGEST_NAME = 18
_IN_ORDER = {*PERIODS, "hour", "weekday"}
_BESIDE = {
    Measure.DURATION: ("count", "lower_quartile", "median", "upper_quartile"),
    Measure.NUMBER: ("count", "mean", "median", "highest"),
    Measure.SHARE: ("number", "count", "share"),
    Measure.COUNT: ("number",),
}
_HEADINGS = {"lower_quartile": "25 %", "upper_quartile": "75 %"}
_PREPOSITIONS = {"hour": "at", "hour_of_week": "on", "weekday": "on", "page": "on", "agent": "with"}
_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400
_SPANS = (
    *(1, 2, 5, 10, 20, 30),
    *(count * _MINUTE for count in (1, 2, 5, 10, 20, 30)),
    *(count * _HOUR for count in (1, 2, 4, 6, 12)),
    *(count * _DAY for count in (1, 2, 5, 10, 20, 50, 100)),
)
_SCALES = {
    Measure.DURATION: figures.Scale(span_in_words, _SPANS),
    Measure.NUMBER: figures.Scale(lambda value: f"{value:,.3g}"),
    Measure.SHARE: figures.Scale(lambda value: f"{round(value * 100, 1):g} %"),
    Measure.COUNT: figures.COUNTS,
}


def draw(metric: Metric, by: str, frame: pd.DataFrame, business: bool, style: StyleSheet) -> Picture:
    """Return the figure of a metric's summary.

    Args:
        metric: The metric.
        by: Its groups.
        frame: The summary.
        business: If true, show business time.
        style: Matplotlib style sheet or rcParams.

    Raises:
        UsageError: There is no business time to show.
    """
    if business:
        frame = frame.filter(regex=f"^{BUSINESS}").rename(columns=lambda name: name.removeprefix(BUSINESS))
        if frame.empty and not len(frame.columns):
            raise UsageError(
                "There are no opening hours, so there is no business time. Name them with hours=."
            )
    column = HEADLINES[metric.measure]
    scale, unit = _SCALES[metric.measure], metric.title
    title = finding(metric, by, frame, business)
    if by == "hour_of_week":
        map_ = pd.DataFrame(
            frame[column].to_numpy().reshape(7, 24),
            index=pd.Index(WEEKDAYS),
            columns=pd.Index([f"{hour:02}" for hour in range(24)], name="hour"),
        )
        return figures.heat(
            map_, unit=unit, scale=figures.Scale(partial(_short, metric.measure)), title=title, style=style
        )
    beside: Numbers | None = _numbers(metric.measure, frame)
    is_spread = metric.measure is Measure.DURATION
    if by in _IN_ORDER:
        if is_spread:
            return figures.band(frame, unit=unit, scale=scale, title=title, beside=beside, style=style)
        return figures.columns(frame[column], unit=unit, scale=scale, title=title, beside=beside, style=style)
    frame = frame.head(_MOST_ROWS)
    if is_spread:
        return figures.quartiles(frame, unit=unit, scale=scale, title=title, beside=beside, style=style)
    if metric.measure is Measure.COUNT:
        beside = None  # each bar has its number at the end
    return figures.bars(frame[column], unit=unit, scale=scale, title=title, beside=beside, style=style)


def finding(metric: Metric, by: str, frame: pd.DataFrame, business: bool = False) -> str:
    """Return a sentence about a summary's finding.

    For counts, the sentence names the highest group. For other metrics, it compares the last period with the
    one before, or the lowest group with the highest among those with at least a tenth of the largest group's
    rows.
    """
    title = metric.title[:1].upper() + metric.title[1:] + (" in business time" if business else "")
    column = HEADLINES[metric.measure]
    values = frame[column].dropna()
    if values.empty or not len(frame):
        return f"{title}: nothing to measure"
    if metric.measure is Measure.COUNT:
        top, total = values.idxmax(), values.sum()
        where = f", most {_at(by, top)} ({values.max():,.0f})" if len(values) > 1 else ""
        return f"{title}: {total:,.0f} in all{where}"
    word = {"median": "median ", "mean": "on average "}.get(column, "")
    if by in PERIODS:
        last = frame.loc[values.index[-1]]
        sentence = f"{title}: {word}{in_words(last[column], metric.measure)} in {values.index[-1]}"
        if pd.isna(last["change"]):
            return sentence
        change = in_words(abs(last["change"]), metric.measure, is_change=True).lstrip("+±")
        more = (
            "as much as"
            if last["change"] == 0
            else f"{change} {'more' if last['change'] > 0 else 'less'} than"
        )
        return f"{sentence}, {more} in the {by} before"
    frequent = frame["count"] >= frame["count"].max() / 10
    values = values[frequent.reindex(values.index)].drop(NOBODY, errors="ignore")
    if len(values) < 2:
        known = frame[column].dropna().iloc[0]
        return f"{title}: {word}{in_words(known, metric.measure)}"
    low, high = values.idxmin(), values.idxmax()
    if values[low] == values[high]:
        return f"{title}: {word}{in_words(values[low], metric.measure)} for each {by.replace('_', ' ')}"
    return (
        f"{title}: {word}from {in_words(values[low], metric.measure)} ({_group(by, low)}) "
        f"to {in_words(values[high], metric.measure)} ({_group(by, high)})"
    )


def _group(by: str, name: object) -> str:
    return f"{name}:00" if by in ("hour", "hour_of_week") else label(name)


def _at(by: str, name: object) -> str:
    """Return a group with its preposition."""
    return f"{_PREPOSITIONS.get(by, 'in' if by in PERIODS else 'for')} {_group(by, name)}"


def _short(measure: Measure, value: float) -> str:
    """Return a value that fits in a cell of a heat map."""
    if measure is Measure.SHARE:
        return f"{value * 100:.0f}"
    if measure is Measure.DURATION:
        return f"{value:.0f}" if value < 1000 else f"{value / 60:.0f}m"
    return f"{value:.3g}"


def _numbers(measure: Measure, frame: pd.DataFrame) -> Numbers:
    """Return the rows next to a plot: all, or if there are many, the last in time or the first in rank."""
    columns = [
        *_BESIDE[measure],
        *(["change"] if "change" in frame and measure is not Measure.DURATION else []),
    ]
    is_cut = len(frame) > (_HOURS if frame.index.name == "hour" else _MOST_ROWS)
    shown = frame if not is_cut else frame.tail(_MOST_ROWS) if "change" in frame else frame.head(_MOST_ROWS)
    heading = str(frame.index.name or "")
    rows = [(heading, *(_HEADINGS.get(name, name) for name in columns))]
    for group, row in shown.iterrows():
        cells = [_cell(name, row[name], measure) for name in columns]
        rows.append((_name(group), *cells))
    return rows


def _name(group: object) -> str:
    name = label(group)
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def _cell(name: str, value: float, measure: Measure) -> str:
    if name in ("count", "number"):
        return f"{value:,.0f}"
    return in_words(value, measure, is_change=name == "change")
