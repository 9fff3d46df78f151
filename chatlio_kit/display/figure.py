"""The style of pictures: one palette, a quiet grid, a light panel that suits light and dark pages.

A picture is an image with a description for those who cannot see it; a terminal shows the description.
"""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import Any

from IPython.display import display
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from chatlio_kit.display.palette import INK, LINE, PANEL, QUIET
from chatlio_kit.display.visible import visible

WIDTH = 8.4
_DPI, _OVERSAMPLING = 110, 1.5
_FRAME = "max-width:100%;height:auto;border:1px solid #E3E6E4;border-radius:8px"

STYLE: dict[str, Any] = {
    "figure.facecolor": PANEL,
    "figure.dpi": _DPI,
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
    "text.parse_math": False,  # dollar signs in strangers' texts are no formulas
    "text.usetex": False,
}


@dataclass(frozen=True, repr=False)
class Picture:
    """An image with a description.

    Attributes:
        words: the description, for those who cannot see the image.
        png: the image, with more pixels than are shown.
        width: in pixels, as shown.
        height: in pixels, as shown.
    """

    words: str
    png: bytes
    width: int
    height: int

    @classmethod
    def of(cls, figure: Figure, words: str) -> Picture:
        """Return a figure as a picture."""
        png = io.BytesIO()
        FigureCanvasAgg(figure)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
            figure.savefig(png, format="png", dpi=_DPI * _OVERSAMPLING, metadata={"Software": None})
        width, height = (round(inches * _DPI) for inches in figure.get_size_inches())
        return cls(words, png.getvalue(), width, height)

    def __repr__(self) -> str:
        return visible(self.words)

    def _repr_html_(self) -> str:
        source = f"data:image/png;base64,{base64.b64encode(self.png).decode()}"
        size = f'width="{self.width}" height="{self.height}"'
        return f'<img alt="{escape(visible(self.words))}" {size} style="{_FRAME}" src="{source}">'


@contextmanager
def panel(height: float, words: str, *, grid: str) -> Iterator[Axes]:
    """Yield axes in the style of pictures, and display them at the end.

    Args:
        height: in inches; the width is always the same.
        words: the description, for those who cannot see the picture.
        grid: the axis whose values have grid lines: ``x`` or ``y``.
    """
    with style.context(STYLE):
        figure = Figure(figsize=(WIDTH, height))
        axes = figure.subplots()
        figure.get_layout_engine().set(w_pad=0.14, h_pad=0.12)  # type: ignore[union-attr,call-arg]
        axes.grid(axis=grid)  # type: ignore[arg-type]
        yield axes
        display(Picture.of(figure, words))  # type: ignore[no-untyped-call]


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
