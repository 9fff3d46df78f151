"""Plots of small frames of numbers. Each function draws a plot and displays it.

Display the frame next to the plot, so that every value can be read and compared.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from chatlio_kit.display.figure import legend_above, panel
from chatlio_kit.display.palette import BLUE, INK, LINE, PALETTE, QUIET, VERMILLION
from chatlio_kit.display.visible import label

_HEIGHT = 3.2
_ROW = 0.36
_MOST_LABELS = 13


def stacked(numbers: pd.DataFrame, *, unit: str) -> None:
    """Draw a column for each row, its parts one above the other.

    Args:
        numbers: a row for each column of the plot, a column for each part.
        unit: what is counted, e.g. ``events``.
    """
    what = f"Stacked columns of {label(unit)}, parts {', '.join(map(label, numbers.columns))}: "
    with panel(_HEIGHT, what + _in_words(numbers.sum(axis=1)), grid="y") as axes:
        base = pd.Series(0, index=numbers.index)
        for color, part in zip(PALETTE, numbers.columns, strict=False):
            axes.bar(
                range(len(numbers)), numbers[part], bottom=base, color=color, label=label(part), width=0.82
            )
            base = base + numbers[part]
        _name_columns(axes, numbers.index)
        _count_upwards(axes, unit)
        legend_above(axes, len(numbers.columns))


def columns(numbers: pd.Series[int], *, unit: str) -> None:
    """Draw a column for each row.

    Args:
        numbers: a value for each column of the plot.
        unit: what is counted, e.g. ``conversations``.
    """
    with panel(_HEIGHT, f"Columns of {label(unit)}: {_in_words(numbers)}", grid="y") as axes:
        axes.bar(range(len(numbers)), numbers, color=BLUE, width=0.82)
        _name_columns(axes, numbers.index)
        _count_upwards(axes, unit)


def bars(numbers: pd.Series[int], *, unit: str) -> None:
    """Draw a bar for each row, the first on top, with its value at the end.

    Args:
        numbers: a value for each bar.
        unit: what is counted.
    """
    with panel(0.9 + _ROW * len(numbers), f"Bars of {label(unit)}: {_in_words(numbers)}", grid="x") as axes:
        axes.barh(range(len(numbers)), numbers, color=BLUE, height=0.68)
        for row, value in enumerate(numbers):
            _annotate(axes, f"{value:,}", (value, row), (5, 0))
        _name_rows(axes, numbers.index)
        axes.set_xlim(0, _highest(numbers) * 1.08)
        _count_along(axes.xaxis)
        axes.set_xlabel(label(unit))


def quartiles(numbers: pd.DataFrame, *, unit: str) -> None:
    """Draw the middle half of some values as a band and their median as a dot, a row for each group.

    Args:
        numbers: a row for each group, with ``lower_quartile``, ``median`` and ``upper_quartile``.
        unit: of the values, e.g. ``seconds``.
    """
    what = f"Bands of {label(unit)}, from the lower to the upper quartile, with the median: "
    with panel(1.2 + _ROW * len(numbers), what + _in_words(numbers["median"]), grid="x") as axes:
        rows = range(len(numbers))
        low, high = numbers["lower_quartile"], numbers["upper_quartile"]
        axes.hlines(rows, low, high, color=BLUE, linewidth=7, alpha=0.35, label="middle half")
        axes.plot(numbers["median"], rows, "o", color=BLUE, markersize=8, label="median")
        for row, value in enumerate(numbers["median"]):
            _annotate(axes, f"{value:,.0f}", (value, row), (0, 8))
        _name_rows(axes, numbers.index)
        axes.set_ylim(len(numbers) - 0.4, -0.75)
        axes.set_xlim(left=0)
        axes.set_xlabel(label(unit))
        legend_above(axes, 2)


def shares(numbers: pd.Series[float], *, of: str) -> None:
    """Draw shares as columns from 0 % upwards, each with its value on top.

    Args:
        numbers: a share between 0 and 1 for each column of the plot.
        of: what it is a share of, e.g. ``share of conversations``.
    """
    with panel(_HEIGHT - 0.4, f"Columns, {label(of)}: {_in_words(numbers, '.0%')}", grid="y") as axes:
        axes.bar(range(len(numbers)), numbers, color=VERMILLION, width=0.7)
        for column, value in enumerate(numbers):
            _annotate(axes, f"{value:.0%}", (column, value), (0, 3))
        _name_columns(axes, numbers.index)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.set_ylim(0, _highest(numbers) * 1.18)
        axes.set_ylabel(label(of))


def arrived(numbers: pd.DataFrame, *, expected: Hashable, found: Hashable, unit: str) -> None:
    """Draw the number found as a bar inside the number expected: a full bar means that all are there.

    Args:
        numbers: a row for each bar.
        expected: the column with the expected numbers.
        found: the column with the numbers found.
        unit: what is counted.
    """
    fractions = [
        f"{part:,} of {whole:,}" for part, whole in zip(numbers[found], numbers[expected], strict=True)
    ]
    values = ", ".join(f"{label(row)} {words}" for row, words in zip(numbers.index, fractions, strict=True))
    words = f"Bars of {label(unit)}, {label(found)} of {label(expected)}: {values}"
    with panel(0.95 + _ROW * 1.15 * len(numbers), words, grid="x") as axes:
        rows = range(len(numbers))
        axes.barh(rows, numbers[expected], color=LINE, height=0.78, label=label(expected))
        axes.barh(rows, numbers[found], color=BLUE, height=0.46, label=label(found))
        is_complete = numbers[found] == numbers[expected]
        for row, end in enumerate(numbers[[expected, found]].max(axis=1)):
            color = INK if is_complete.iat[row] else VERMILLION
            _annotate(axes, fractions[row], (end, row), (6, 0), color=color)
        _name_rows(axes, numbers.index)
        axes.set_xlim(0, _highest(numbers[[expected, found]]) * 1.2)
        _count_along(axes.xaxis)
        axes.set_xlabel(label(unit))
        legend_above(axes, 2)


def _in_words(numbers: pd.Series[Any], form: str = ",.10g") -> str:
    """Return all values in words; of many, the first, the highest and the last."""
    values = [f"{label(row)} {value:{form}}" for row, value in numbers.items()]
    if len(values) <= _MOST_LABELS:
        return ", ".join(values)
    highest = int(numbers.to_numpy().argmax())
    return (
        f"{len(values)} values, the first {values[0]}, the highest {values[highest]}, the last {values[-1]}"
    )


def _annotate(
    axes: Axes, text: str, point: tuple[float, float], offset: tuple[int, int], *, color: str = INK
) -> None:
    """Write a text to the right of a point, or above it."""
    is_above = offset[0] == 0
    axes.annotate(
        text,
        point,
        xytext=offset,
        textcoords="offset points",
        ha="center" if is_above else "left",
        va="baseline" if is_above else "center",
        color=color,
    )


def _highest(numbers: pd.Series[Any] | pd.DataFrame) -> float:
    """Return the highest value; 1 if none is above zero, so that an axis has a length."""
    return float(np.nan_to_num(numbers.to_numpy(dtype="float64")).max(initial=0.0)) or 1.0


def _name_columns(axes: Axes, index: pd.Index[str]) -> None:
    """Name the columns below them; of many, only as many as can be read."""
    names = [label(name) for name in index]
    step = 1 if len(names) <= _MOST_LABELS else -(-len(names) // 9)
    axes.set_xticks(list(range(0, len(names), step)), names[::step])
    axes.set_xlim(-0.7, len(names) - 0.3)
    if index.name is not None:
        axes.set_xlabel(label(index.name), color=QUIET)


def _name_rows(axes: Axes, index: pd.Index[str]) -> None:
    names: Sequence[str] = [label(name) for name in index]
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)


def _count_upwards(axes: Axes, unit: str) -> None:
    _count_along(axes.yaxis)
    axes.set_ylabel(label(unit))


def _count_along(axis: Axis) -> None:
    axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10], integer=True))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
