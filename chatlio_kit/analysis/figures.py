"""Plots of small frames of numbers. Each draws what the frame says, shows it and gives nothing back.

The frame is the companion: show it beside the plot, so that every value can be read and compared.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
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
_MANY = 13


def stacked(numbers: pd.DataFrame, *, unit: str) -> None:
    """Draw a column for each row, its parts one above the other.

    Args:
        numbers: a row for each column of the plot, a column for each part.
        unit: what is counted, e.g. ``events``.
    """
    what = f"Stacked columns of {label(unit)}, parts {_listed(numbers.columns)}: "
    with panel(_HEIGHT, what + _spoken(numbers.sum(axis=1)), grid="y") as axes:
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
    with panel(_HEIGHT, f"Columns of {label(unit)}: {_spoken(numbers)}", grid="y") as axes:
        axes.bar(range(len(numbers)), numbers, color=BLUE, width=0.82)
        _name_columns(axes, numbers.index)
        _count_upwards(axes, unit)


def bars(numbers: pd.Series[int], *, unit: str) -> None:
    """Draw a bar for each row, the first on top, with its value behind it.

    Args:
        numbers: a value for each bar.
        unit: what is counted.
    """
    with panel(0.9 + _ROW * len(numbers), f"Bars of {label(unit)}: {_spoken(numbers)}", grid="x") as axes:
        axes.barh(range(len(numbers)), numbers, color=BLUE, height=0.68)
        for at, value in enumerate(numbers):
            axes.annotate(
                f"{value:,}", (value, at), xytext=(5, 0), textcoords="offset points", va="center", color=INK
            )
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
    with panel(1.2 + _ROW * len(numbers), what + _spoken(numbers["median"]), grid="x") as axes:
        rows = range(len(numbers))
        low, high = numbers["lower_quartile"], numbers["upper_quartile"]
        axes.hlines(rows, low, high, color=BLUE, linewidth=7, alpha=0.35, label="middle half")
        axes.plot(numbers["median"], rows, "o", color=BLUE, markersize=8, label="median")
        for at, value in enumerate(numbers["median"]):
            axes.annotate(
                f"{value:,.0f}",
                (value, at),
                xytext=(0, 8),
                textcoords="offset points",
                ha="center",
                color=INK,
            )
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
    with panel(_HEIGHT - 0.4, f"Columns, {label(of)}: {_spoken(numbers, '.0%')}", grid="y") as axes:
        axes.bar(range(len(numbers)), numbers, color=VERMILLION, width=0.7)
        for at, value in enumerate(numbers):
            axes.annotate(
                f"{value:.0%}", (at, value), xytext=(0, 3), textcoords="offset points", ha="center", color=INK
            )
        _name_columns(axes, numbers.index)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.set_ylim(0, _highest(numbers) * 1.18)
        axes.set_ylabel(label(of))


def arrived(numbers: pd.DataFrame, *, expected: Hashable, found: Hashable, unit: str) -> None:
    """Draw what was found inside what was expected: a full bar means that all of it is there.

    Args:
        numbers: a row for each bar.
        expected: the column with what should be there.
        found: the column with what is there.
        unit: what is counted.
    """
    what = f"Bars of {label(unit)}, {label(found)} of {label(expected)}: "
    pairs = zip(numbers.index, numbers[found], numbers[expected], strict=True)
    words = what + ", ".join(f"{label(row)} {there:,} of {wanted:,}" for row, there, wanted in pairs)
    with panel(0.95 + _ROW * 1.15 * len(numbers), words, grid="x") as axes:
        rows = range(len(numbers))
        axes.barh(rows, numbers[expected], color=LINE, height=0.78, label=label(expected))
        axes.barh(rows, numbers[found], color=BLUE, height=0.46, label=label(found))
        for at, (wanted, there) in enumerate(zip(numbers[expected], numbers[found], strict=True)):
            axes.annotate(
                f"{there:,} of {wanted:,}",
                (max(wanted, there), at),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
                color=INK if there == wanted else VERMILLION,
            )
        _name_rows(axes, numbers.index)
        axes.set_xlim(0, _highest(numbers[[expected, found]]) * 1.2)
        _count_along(axes.xaxis)
        axes.set_xlabel(label(unit))
        legend_above(axes, 2)


def _spoken(numbers: pd.Series[Any], form: str = ",.10g") -> str:
    """Say all values, or of many the first, the highest and the last."""
    said = [f"{label(row)} {value:{form}}" for row, value in numbers.items()]
    if len(said) <= _MANY:
        return ", ".join(said)
    highest = int(numbers.to_numpy().argmax())
    return f"{len(said)} values, the first {said[0]}, the highest {said[highest]}, the last {said[-1]}"


def _highest(numbers: pd.Series[Any] | pd.DataFrame) -> float:
    """Give the highest value; 1 where there is none above zero, so that an axis has a length."""
    return float(np.nan_to_num(numbers.to_numpy(dtype="float64")).max(initial=0.0)) or 1.0


def _listed(names: Iterable[object]) -> str:
    return ", ".join(label(name) for name in names)


def _name_columns(axes: Axes, index: pd.Index[str]) -> None:
    """Name the columns below them; of many, only as many as can be read."""
    names = [label(each) for each in index]
    step = 1 if len(names) <= _MANY else -(-len(names) // 9)
    places = range(0, len(names), step)
    axes.set_xticks(list(places), [names[at] for at in places])
    axes.set_xlim(-0.7, len(names) - 0.3)
    if index.name is not None:
        axes.set_xlabel(label(index.name), color=QUIET)


def _name_rows(axes: Axes, index: pd.Index[str]) -> None:
    names: Sequence[str] = [label(each) for each in index]
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)


def _count_upwards(axes: Axes, unit: str) -> None:
    _count_along(axes.yaxis)
    axes.set_ylabel(label(unit))


def _count_along(axis: Axis) -> None:
    axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10], integer=True))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
