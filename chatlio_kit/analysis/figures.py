"""Plots of small frames of numbers. Each function returns a Matplotlib figure, which displays itself.

Display the frame next to the plot, so that every value can be read and compared.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import to_hex
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator

from chatlio_kit.display.figure import WIDTH, Numbers, Picture, StyleSheet, legend_above, panel
from chatlio_kit.display.visible import label

_HEIGHT = 3.2
_ROW = 0.36
_MOST_VALUES = 13
_CHARACTERS = 92  # below a plot
_MARKS = 6
_DATED = r"\d{4}(-|$)"  # a label that begins with a year


@dataclass(frozen=True)
class Scale:
    """The number format of values, and a suitable axis.

    Attributes:
        form: Formats a value.
        steps: Possible distances between ticks; decimal by default.
        is_whole: True if ticks are whole numbers.
    """

    form: Callable[[float], str]
    steps: Sequence[float] = ()
    is_whole: bool = False


COUNTS = Scale(lambda value: f"{value:,.10g}", is_whole=True)
"""Whole numbers with thousands separators."""


def stacked(
    numbers: pd.DataFrame, *, unit: str, title: str | None = None, style: StyleSheet = None
) -> Picture:
    """Draw a column for each row, with its parts stacked.

    Args:
        numbers: A row for each column of the plot, a column for each part.
        unit: Unit of the counts, e.g. ``events``.
        title: A sentence about the figure; by default, its finding.
        style: Matplotlib style sheet or rcParams.
    """
    what = f"Stacked columns of {label(unit)}, parts {', '.join(map(label, numbers.columns))}: "
    sums = numbers.sum(axis=1)
    words, title = what + _in_words(sums, COUNTS), _finding(unit, sums, title)
    beside = [
        (label(numbers.columns.name or ""), "all"),
        *((label(n), COUNTS.form(v)) for n, v in numbers.sum().items()),
    ]
    with panel(_HEIGHT, words, grid="y", title=title, numbers=beside, style_sheet=style) as (picture, axes):
        base = pd.Series(0, index=numbers.index)
        for part in numbers.columns:
            axes.bar(range(len(numbers)), numbers[part], bottom=base, label=label(part), width=0.82)
            base = base + numbers[part]
        _name_columns(axes, numbers.index)
        _mark(axes.yaxis, COUNTS)
        axes.set_ylabel(_wrapped(unit))
        legend_above(axes, len(numbers.columns))
    return picture


def columns(
    numbers: pd.Series[Any],
    *,
    unit: str,
    scale: Scale = COUNTS,
    title: str = "",
    beside: Numbers | None = None,
    style: StyleSheet = None,
) -> Picture:
    """Draw a column for each row.

    Args:
        numbers: A value for each column of the plot.
        unit: Unit of the counts, e.g. ``conversations``.
        scale: Number format of the values.
        title: A sentence about the figure.
        beside: Rows of strings to write next to the plot, headings first.
        style: Matplotlib style sheet or rcParams.
    """
    words = f"Columns of {label(unit)}: {_in_words(numbers, scale)}"
    with panel(_HEIGHT, words, grid="y", title=title, numbers=beside, style_sheet=style) as (picture, axes):
        axes.bar(range(len(numbers)), numbers, width=0.82)
        _name_columns(axes, numbers.index)
        axes.set_ylim(0, _highest(numbers) * 1.08)
        _mark(axes.yaxis, scale)
        axes.set_ylabel(_wrapped(unit))
    return picture


def bars(
    numbers: pd.Series[Any],
    *,
    unit: str,
    scale: Scale = COUNTS,
    title: str | None = None,
    beside: Numbers | None = None,
    style: StyleSheet = None,
) -> Picture:
    """Draw a bar for each row, the first on top, with its value at the end.

    Args:
        numbers: A value for each bar.
        unit: Unit of the counts.
        scale: Number format of the values.
        title: A sentence about the figure; by default, its finding.
        beside: Rows of strings to write next to the plot, headings first.
        style: Matplotlib style sheet or rcParams.
    """
    words, title = f"Bars of {label(unit)}: {_in_words(numbers, scale)}", _finding(unit, numbers, title)
    height = 0.9 + _ROW * len(numbers)
    with panel(height, words, grid="x", title=title, numbers=beside, style_sheet=style) as (picture, axes):
        axes.barh(range(len(numbers)), numbers, height=0.68)
        for row, value in enumerate(numbers.fillna(0)):
            _annotate(axes, scale.form(value), (value, row), (5, 0))
        _name_rows(axes, numbers.index)
        axes.set_xlim(0, _highest(numbers) * 1.12)
        _mark(axes.xaxis, scale)
        axes.set_xlabel(label(unit))
    return picture


def quartiles(
    numbers: pd.DataFrame,
    *,
    unit: str,
    scale: Scale = COUNTS,
    title: str = "",
    beside: Numbers | None = None,
    style: StyleSheet = None,
) -> Picture:
    """Draw the middle half of some values as a band and their median as a dot, one row for each group.

    Args:
        numbers: A row for each group, with ``lower_quartile``, ``median`` and ``upper_quartile``.
        unit: Unit of the values, e.g. ``seconds``.
        scale: Number format of the values.
        title: A sentence about the figure.
        beside: Rows of strings to write next to the plot, headings first.
        style: Matplotlib style sheet or rcParams.
    """
    what = f"Bands of {label(unit)}, from the lower to the upper quartile, with the median: "
    words, height = what + _in_words(numbers["median"], scale), 1.2 + _ROW * len(numbers)
    with panel(height, words, grid="x", title=title, numbers=beside, style_sheet=style) as (picture, axes):
        rows = range(len(numbers))
        low, high = numbers["lower_quartile"], numbers["upper_quartile"]
        axes.hlines(rows, low, high, color=_color(0), linewidth=7, alpha=0.35, label="middle half")
        axes.plot(numbers["median"], rows, "o", markersize=8, label="median")
        for row, value in enumerate(numbers["median"]):
            if value == value:  # noqa: PLR0124 - NaN is not
                _annotate(axes, scale.form(value), (value, row), (0, 8))
        _name_rows(axes, numbers.index)
        axes.set_ylim(len(numbers) - 0.4, -0.75)
        highest = _highest(numbers[["upper_quartile", "median"]])
        axes.set_xlim(-0.025 * highest, 1.08 * highest)  # a dot at zero is drawn as a whole
        _mark(axes.xaxis, scale)
        axes.set_xlabel(label(unit))
        legend_above(axes, 2)
    return picture


def band(
    numbers: pd.DataFrame,
    *,
    unit: str,
    scale: Scale = COUNTS,
    title: str = "",
    beside: Numbers | None = None,
    style: StyleSheet = None,
) -> Picture:
    """Draw the median of some values as a line within the band of their middle half, over time.

    Args:
        numbers: A row for each period, with ``lower_quartile``, ``median`` and ``upper_quartile``.
        unit: Unit of the values, e.g. ``seconds``.
        scale: Number format of the values.
        title: A sentence about the figure.
        beside: Rows of strings to write next to the plot, headings first.
        style: Matplotlib style sheet or rcParams.
    """
    what = f"A line of the median of {label(unit)}, in the band from the lower to the upper quartile: "
    words = what + _in_words(numbers["median"], scale)
    with panel(_HEIGHT, words, grid="y", title=title, numbers=beside, style_sheet=style) as (picture, axes):
        places = np.arange(len(numbers))
        low, high, median = (
            numbers[name].to_numpy(dtype="float64") for name in ("lower_quartile", "upper_quartile", "median")
        )
        axes.fill_between(places, low, high, color=_color(0), alpha=0.25, linewidth=0, label="middle half")
        axes.plot(places, median, "o-", color=_color(0), markersize=4.5, label="median")
        _name_columns(axes, numbers.index)
        axes.set_ylim(0, _highest(numbers[["upper_quartile", "median"]]) * 1.08)
        _mark(axes.yaxis, scale)
        axes.set_ylabel(_wrapped(unit))
        legend_above(axes, 2)
    return picture


def heat(
    numbers: pd.DataFrame,
    *,
    unit: str,
    scale: Scale = COUNTS,
    title: str = "",
    style: StyleSheet = None,
) -> Picture:
    """Draw a frame as a heat map, with each value written in its cell.

    Args:
        numbers: A row for each row of the map.
        unit: Unit of the values.
        scale: Number format of the values.
        title: A sentence about the figure.
        style: Matplotlib style sheet or rcParams.
    """
    cells = {f"{row} {name}": numbers.at[row, name] for row in numbers.index for name in numbers}
    words = f"A map of {label(unit)}: {_in_words(pd.Series(cells), scale)}"
    with panel(0.9 + _ROW * len(numbers), words, grid=None, title=title, style_sheet=style) as (
        picture,
        axes,
    ):
        values = numbers.to_numpy(dtype="float64")
        highest = _highest(numbers)
        axes.imshow(values, aspect="auto", cmap="Blues", vmin=0, vmax=highest * 1.25)
        for (row, column), value in np.ndenumerate(values):
            if value:
                color = "white" if value > highest * 0.75 else "#22272B"
                text = "" if np.isnan(value) else scale.form(value)
                axes.text(column, row, text, ha="center", va="center", fontsize=7, color=color)
        axes.set_xticks(range(numbers.shape[1]), [label(name) for name in numbers.columns])
        axes.set_yticks(range(len(numbers)), [label(name) for name in numbers.index])
        axes.set_xlabel(label(numbers.columns.name or unit))
    return picture


def arrived(
    numbers: pd.DataFrame,
    *,
    expected: Hashable,
    found: Hashable,
    unit: str,
    title: str | None = None,
    style: StyleSheet = None,
) -> Picture:
    """Draw the number found as a bar inside the number expected: a full bar means that nothing is missing.

    Args:
        numbers: A row for each bar.
        expected: Column with the expected numbers.
        found: Column with the numbers found.
        unit: Unit of the counts.
        title: A sentence about the figure; by default, its finding.
        style: Matplotlib style sheet or rcParams.
    """
    fractions = [
        f"{part:,} of {whole:,}" for part, whole in zip(numbers[found], numbers[expected], strict=True)
    ]
    values = ", ".join(f"{label(row)} {words}" for row, words in zip(numbers.index, fractions, strict=True))
    words = f"Bars of {label(unit)}, {label(found)} of {label(expected)}: {values}"
    height = 0.95 + _ROW * 1.15 * len(numbers)
    if title is None:
        there, whole = (int(numbers[name].sum()) for name in (found, expected))
        missing = f"; {whole - there:,} missing" if there < whole else ""
        of = f"All {whole:,}" if there == whole else f"{there:,} of {whole:,}"
        title = f"{of} {label(unit)} {label(found)}{missing}"
    with panel(height, words, grid="x", title=title, style_sheet=style) as (picture, axes):
        rows = range(len(numbers))
        axes.barh(rows, numbers[expected], color="0.5", alpha=0.22, height=0.78, label=label(expected))
        axes.barh(rows, numbers[found], color=_color(0), height=0.46, label=label(found))
        is_complete = numbers[found] == numbers[expected]
        for row, end in enumerate(numbers[[expected, found]].max(axis=1)):
            color = None if is_complete.iat[row] else _color(3)
            _annotate(axes, fractions[row], (end, row), (6, 0), color=color)
        _name_rows(axes, numbers.index)
        axes.set_xlim(0, _highest(numbers[[expected, found]]) * 1.2)
        _mark(axes.xaxis, COUNTS)
        axes.set_xlabel(label(unit))
        legend_above(axes, 2)
    return picture


def _finding(unit: str, numbers: pd.Series[Any], title: str | None) -> str:
    """Return the given title, or the highest value in words, with the course over time or the sum."""
    if title is not None:
        return title
    what = label(unit)[:1].upper() + label(unit)[1:]
    known = numbers.dropna()
    if not known.sum():
        return f"{what}: nothing to show"
    first, *ties = (label(name) for name in known.index[known == known.max()])
    others = f" and {ties[0] if len(ties) == 1 else f'{len(ties)} more'}" if ties else ""
    highest = f"; highest: {known.max():,.0f} ({first}{others})" if len(known) > 1 else ""
    if (
        len(known) > 1
        and known.index.is_monotonic_increasing
        and known.index.astype(str).str.match(_DATED).all()
    ):
        ends = ((label(name), value) for name, value in known.iloc[[0, -1]].items())
        return f"{what}: from " + " to ".join(f"{value:,.0f} in {name}" for name, value in ends) + highest
    return f"{what}: {known.sum():,.0f} in all{highest}"


def _in_words(numbers: pd.Series[Any], scale: Scale) -> str:
    """Return all values as text; if there are many, the first, the highest and the last."""
    known = numbers.dropna()
    values = [f"{label(row)} {scale.form(value)}" for row, value in known.items()]
    if len(values) <= _MOST_VALUES:
        return ", ".join(values)
    highest = int(known.to_numpy().argmax())
    return (
        f"{len(values)} values, the first {values[0]}, the highest {values[highest]}, the last {values[-1]}"
    )


def _annotate(
    axes: Axes, text: str, point: tuple[float, float], offset: tuple[int, int], *, color: str | None = None
) -> None:
    """Write text to the right of a point, or above it."""
    is_above = offset[0] == 0
    axes.annotate(
        text,
        point,
        xytext=offset,
        textcoords="offset points",
        ha="center" if is_above else "left",
        va="baseline" if is_above else "center",
        color=color or rcParams["text.color"],
    )


def _color(number: int) -> str:
    """Return a colour of the current style."""
    return to_hex(f"C{number}")


def _highest(numbers: pd.Series[Any] | pd.DataFrame) -> float:
    """Return the highest value; 1 if none is above zero, so that the axis has a length."""
    return float(np.nan_to_num(numbers.to_numpy(dtype="float64")).max(initial=0.0)) or 1.0


def _name_columns(axes: Axes, index: pd.Index[Any]) -> None:
    """Label columns below the axis; if there are many, some stay unlabelled."""
    names = [label(name) for name in index]
    room = max((len(name) + 2 for name in names), default=1)
    width = axes.figure.plot_width if isinstance(axes.figure, Picture) else WIDTH
    step = max(1, math.ceil(len(names) * room * WIDTH / (_CHARACTERS * width)))
    axes.set_xticks(list(range(0, len(names), step)), names[::step])
    axes.set_xlim(-0.7, len(names) - 0.3)
    if index.name is not None:
        axes.set_xlabel(label(index.name))


def _name_rows(axes: Axes, index: pd.Index[Any]) -> None:
    names: Sequence[str] = [label(name) for name in index]
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)


def _mark(axis: Axis, scale: Scale) -> None:
    """Put about six ticks on an axis."""
    highest = max(axis.get_view_interval())
    step = next((step for step in scale.steps if step * _MARKS >= highest), None)
    decimal = MaxNLocator(_MARKS, steps=[1, 2, 5, 10], integer=scale.is_whole)
    axis.set_major_locator(MultipleLocator(step) if step else decimal)
    axis.set_major_formatter(FuncFormatter(lambda value, _: scale.form(value)))


def _wrapped(unit: str) -> str:
    return "\n".join(textwrap.wrap(label(unit), 26))
