"""The style of figures: one palette, a quiet grid, and a light panel that suits light and dark pages.

In a notebook a figure appears as an image with alternative text; a terminal shows the text.
"""

from __future__ import annotations

import base64
import io
import math
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html import escape
from typing import Any

from cycler import cycler
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from chatlio_kit.arguments import wrong
from chatlio_kit.display.palette import INK, LINE, PALETTE, PANEL, QUIET
from chatlio_kit.display.visible import visible

WIDTH = 8.4
"""Width of a picture in inches."""
_WIDTH_WITH_NUMBERS = 9.6
Numbers = Sequence[Sequence[str]]
StyleSheet = str | dict[str, Any] | None
_TITLE_DENSITY = 10.5  # characters in an inch
_GAP = 2  # characters between columns of numbers
_LINE = 14.0  # points from one row of numbers to the next
_CHARACTER = 0.078  # inches
_BOLD = 1.25  # times the width of a normal character
_DPI, _OVERSAMPLING = 110, 1.5
_FRAME = "max-width:100%;height:auto;box-sizing:border-box;border:1px solid #E3E6E4;border-radius:8px"

_SAFE: dict[str, Any] = {
    "text.parse_math": False,  # dollar signs in untrusted text do not start a formula
    "text.usetex": False,
}
STYLE: dict[str, Any] = {
    "figure.facecolor": PANEL,
    "figure.dpi": _DPI,
    "axes.prop_cycle": cycler(color=PALETTE),
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
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.major.pad": 6,
    "legend.frameon": False,
    "legend.fontsize": 9,
    **_SAFE,
}


class Picture(Figure):
    """A Matplotlib figure that appears as an image with alternative text.

    It can be changed and saved like any other.

    Attributes:
        words: Description, as alternative text.
        numbers: Rows of strings next to the plot, headings first.
        plot_width: Width of the plot, in inches.
    """

    words: str = ""
    numbers: Numbers = ()
    plot_width: float = WIDTH

    def savefig(self, *args: Any, **kwargs: Any) -> None:
        """Save the figure as Matplotlib does; characters missing from its font appear as boxes."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
            super().savefig(*args, **kwargs)

    def __repr__(self) -> str:
        return "\n".join(map(visible, (self.words, *map("  ".join, self.numbers))))

    def _repr_html_(self) -> str:
        png = io.BytesIO()
        self.savefig(png, format="png", dpi=_DPI * _OVERSAMPLING, metadata={"Software": None})
        width, height = (round(inches * _DPI) for inches in self.get_size_inches())
        source = f"data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}"
        size = f'width="{width}" height="{height}"'
        return f'<img alt="{escape(visible(self.words))}" {size} style="{_FRAME}" src="{source}">'


@contextmanager
def panel(
    height: float,
    words: str,
    *,
    grid: str | None,
    title: str = "",
    numbers: Numbers | None = None,
    style_sheet: StyleSheet = None,
) -> Iterator[tuple[Picture, Axes]]:
    """Yield a styled figure and its axes.

    Args:
        height: Height in inches, without the title.
        words: Description, as alternative text.
        grid: Axis with grid lines: ``x`` or ``y``.
        title: Sentence above the plot.
        numbers: Rows of strings to write next to the plot, headings first.
        style_sheet: Matplotlib style sheet or rcParams that modify the style.
    """
    with style.context(_styles(style_sheet)):
        widths = [
            max(math.ceil(len(heading) * _BOLD), max(map(len, cells), default=0))
            for heading, *cells in zip(*numbers or (), strict=True)
        ]
        side = (sum(widths) + _GAP * len(widths)) * _CHARACTER
        width = _WIDTH_WITH_NUMBERS if numbers else WIDTH
        lines = textwrap.wrap(title, int(width * _TITLE_DENSITY))
        height = max(height, (len(numbers or ()) + 1) * _LINE / 72 + 0.3) + 0.26 * len(lines)
        picture = Picture(figsize=(width, height), layout="constrained")
        picture.words = f"{title}. {words}" if title else words
        picture.numbers, picture.plot_width = numbers or (), width - side
        axes, *beside = picture.subplots(
            1, 2 if numbers else 1, width_ratios=[width - side, side] if numbers else None, squeeze=False
        )[0]
        picture.get_layout_engine().set(w_pad=0.14, h_pad=0.12)  # type: ignore[union-attr,call-arg]
        if lines:
            picture.suptitle("\n".join(lines), x=0.14 / width, ha="left", fontsize=11.5)
        if numbers:
            _write_numbers(beside[0], numbers, widths)
        if grid:
            axes.grid(axis=grid)
        yield picture, axes


def _styles(style_sheet: StyleSheet) -> list[Any]:
    """Return the styles to apply, in order.

    Raises:
        UsageError: Matplotlib does not know the style.
    """
    if style_sheet is None:
        return [STYLE]
    try:
        with style.context(style_sheet):
            return [STYLE, style_sheet, _SAFE]
    except (OSError, KeyError, ValueError, TypeError, AttributeError):
        raise wrong(
            "style", "a Matplotlib style sheet, such as 'dark_background', or rcParams", style_sheet
        ) from None


def _write_numbers(axes: Axes, numbers: Numbers, widths: Sequence[int]) -> None:
    """Write rows of strings: names on the left, numbers aligned to the right."""
    axes.set_axis_off()
    whole = sum(widths) + _GAP * len(widths)
    for row, cells in enumerate(numbers):
        right = 0
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True)):
            right += width + _GAP
            axes.annotate(
                cell,
                (0 if column == 0 else right / whole, 1),
                xycoords="axes fraction",
                xytext=(0, -row * _LINE),
                textcoords="offset points",
                ha="left" if column == 0 else "right",
                va="top",
                fontsize=8.5,
                weight="bold" if row == 0 else "normal",
                annotation_clip=False,
            )


def legend_above(axes: Axes, entries: int) -> None:
    """Put the legend on one line above the plot, starting at the left."""
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
