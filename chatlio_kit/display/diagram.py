"""Diagrams: boxes joined by arrows, in the style of the plots.

Positions are in inches from the lower left corner.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from chatlio_kit.display.figure import STYLE, WIDTH, Picture
from chatlio_kit.display.palette import INK, QUIET

_ROUND = 0.07
_EDGE, _BOX_HEIGHT, _BOX_GAP, _HEADING = 0.2, 0.62, 0.16, 0.44
_ARROW_SHARE = 0.3  # of a column's width


@dataclass(frozen=True)
class Box:
    """A box of a flow.

    Attributes:
        title: Bold text.
        lines: Text below the title.
        color: Edge colour.
    """

    title: str
    lines: str = ""
    color: str = QUIET


class Canvas:
    """A canvas for one diagram.

    Attributes:
        axes: Matplotlib axes; one unit is one inch.
        picture: The finished picture.
    """

    picture: Picture

    def __init__(self, axes: Axes) -> None:
        self.axes = axes

    def box(
        self,
        place: tuple[float, float, float, float],
        title: str = "",
        lines: str = "",
        *,
        color: str = QUIET,
        fill: str = "#FFFFFF",
        dashed: bool = False,
    ) -> None:
        """Draw a box.

        Args:
            place: Left, bottom, width and height.
            title: Bold text in the middle.
            lines: Text below the title.
            color: Edge colour.
            fill: Fill colour.
            dashed: True if the edge is dashed.
        """
        left, bottom, width, height = place
        self.axes.add_patch(
            FancyBboxPatch(
                (left + _ROUND, bottom + _ROUND),
                width - 2 * _ROUND,
                height - 2 * _ROUND,
                boxstyle=f"round,pad={_ROUND}",
                facecolor=fill,
                edgecolor=color,
                linewidth=1.3,
                linestyle=(0, (3, 2)) if dashed else "solid",
            )
        )
        middle, center = left + width / 2, bottom + height / 2
        rise = 0.075 * len(lines.splitlines())
        self.text((middle, center + rise), title, bold=True)
        self.text((middle, center - 0.105), lines, color=QUIET)

    def text(
        self,
        place: tuple[float, float],
        words: str,
        *,
        color: str = INK,
        bold: bool = False,
        align: str = "center",
    ) -> None:
        """Write text at a position."""
        weight = "bold" if bold else "normal"
        self.axes.text(
            *place, words, ha=align, va="center", color=color, fontsize=8, fontweight=weight, linespacing=1.35
        )

    def line(self, *places: tuple[float, float]) -> None:
        """Draw a line from position to position."""
        self.axes.plot(*zip(*places, strict=True), color=QUIET, linewidth=1.2, solid_joinstyle="miter")

    def arrow(
        self, start: tuple[float, float], end: tuple[float, float], *, color: str = QUIET, bend: str = ""
    ) -> None:
        """Draw an arrow; ``bend`` is a Matplotlib connection style, e.g. ``angle3``."""
        self.axes.add_patch(
            FancyArrowPatch(
                start,
                end,
                arrowstyle="-|>",
                mutation_scale=9,
                shrinkA=0,
                shrinkB=0,
                linewidth=1.2,
                color=color,
                connectionstyle=bend or "arc3",
            )
        )


@contextmanager
def diagram(height: float, words: str) -> Iterator[Canvas]:
    """Yield a canvas, which has its picture at the end of the block.

    Args:
        height: Height in inches; the width is fixed.
        words: Description, as alternative text.
    """
    with style.context(STYLE):
        picture = Picture(figsize=(WIDTH, height))
        picture.words = words
        axes = picture.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set_xlim(0, WIDTH)
        axes.set_ylim(0, height)
        canvas = Canvas(axes)
        yield canvas
        canvas.picture = picture


def flow(columns: Sequence[tuple[str, Sequence[Box]]], words: str) -> Picture:
    """Draw a flow of steps, from left to right.

    Args:
        columns: Heading and boxes of each step; the next step continues from the first box.
        words: Description, as alternative text.
    """
    most = max(len(boxes) for _, boxes in columns)
    height = _HEADING + most * (_BOX_HEIGHT + _BOX_GAP) + _EDGE
    column = (WIDTH - 2 * _EDGE) / (len(columns) - _ARROW_SHARE)
    width = column * (1 - _ARROW_SHARE)
    middle = height - _HEADING - _BOX_HEIGHT / 2
    with diagram(height, words) as canvas:
        for at, (heading, boxes) in enumerate(columns):
            left = _EDGE + at * column
            canvas.text((left, height - _HEADING / 2), heading, color=QUIET, align="left")
            for row, box in enumerate(boxes):
                center = middle - row * (_BOX_HEIGHT + _BOX_GAP)
                place = (left, center - _BOX_HEIGHT / 2, width, _BOX_HEIGHT)
                canvas.box(place, box.title, box.lines, color=box.color)
                if at:
                    bend = left - (column - width) / 2
                    canvas.line((left - column + width + 0.04, middle), (bend, middle), (bend, center))
                    canvas.arrow((bend, center), (left - 0.04, center))
    return canvas.picture
