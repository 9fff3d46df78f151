"""How plots look: one palette, one quiet grid, a light panel that reads on light and dark pages alike."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib.pyplot as plt
from matplotlib import style
from matplotlib.axes import Axes

# Okabe and Ito's colours, which stay apart for colour-blind readers.
BLUE, SKY, GREEN = "#0072B2", "#56B4E9", "#009E73"
ORANGE, VERMILLION, PURPLE = "#E69F00", "#D55E00", "#CC79A7"
PALETTE = (BLUE, ORANGE, SKY, VERMILLION, GREEN, PURPLE)

PANEL, INK, QUIET, LINE = "#FCFCFA", "#22272B", "#5C656C", "#E3E6E4"

WIDTH = 8.4
_STYLE: dict[str, Any] = {
    "figure.facecolor": PANEL,
    "figure.dpi": 110,
    "figure.constrained_layout.use": True,
    "axes.facecolor": PANEL,
    "axes.edgecolor": LINE,
    "axes.labelcolor": QUIET,
    "axes.labelsize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.color": INK,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.major.pad": 6,
    "legend.frameon": False,
    "legend.fontsize": 9,
}


@contextmanager
def panel(height: float, *, grid: str) -> Iterator[Axes]:
    """Open axes in the house's look, and show them at the end.

    Args:
        height: in inches; the width is always the same.
        grid: the axis whose values have lines: ``x`` or ``y``.
    """
    with style.context(_STYLE):
        figure, axes = plt.subplots(figsize=(WIDTH, height))
        figure.get_layout_engine().set(w_pad=0.14, h_pad=0.12)  # type: ignore[union-attr,call-arg]
        axes.grid(axis=grid)  # type: ignore[arg-type]
        yield axes
        plt.show()


def legend_above(axes: Axes, entries: int) -> None:
    """Put the legend in one line above the plot, from the left."""
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        ncols=entries,
        borderaxespad=0.2,
        handlelength=0.9,
        handleheight=0.9,
        columnspacing=1.4,
        borderpad=0,
    )


def in_words(name: object) -> str:
    """Write a column's name as words."""
    return str(name).replace("_", " ")
