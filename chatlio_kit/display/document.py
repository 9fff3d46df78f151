"""A report as one self-contained HTML page: no script, no font, no request.

All texts are escaped. The page follows the reader's light or dark theme, and prints.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from chatlio_kit.display.palette import INK, LINE, PALETTE, PANEL, QUIET
from chatlio_kit.display.sheet import Sheet, format_cell
from chatlio_kit.display.visible import visible

if TYPE_CHECKING:
    from jinja2 import Template

_WIDTH, _HEIGHT = 960, 260
_LEFT, _BOTTOM, _TOP = 64, 28, 10
_TICKS, _MOST_NAMES, _WIDEST = 4, 12, 72.0


@dataclass(frozen=True)
class Tile:
    """One number that matters.

    Attributes:
        name: what it counts.
        value: the number.
        is_trouble: whether somebody should look at it.
    """

    name: str
    value: int
    is_trouble: bool = False


@dataclass(frozen=True)
class Bar:
    """One part of one column of a chart, in the picture's coordinates."""

    x: float
    y: float
    width: float
    height: float
    series: int
    words: str


@dataclass(frozen=True)
class Chart:
    """A chart of stacked columns.

    Attributes:
        periods: the columns' names, e.g. months.
        series: what the parts count: a number for each column.
        unit: the word for what is counted.
    """

    periods: Sequence[str]
    series: Mapping[str, Sequence[int]]
    unit: str

    width, height, left, bottom = _WIDTH, _HEIGHT, _LEFT, _HEIGHT - _BOTTOM

    @property
    def totals(self) -> list[int]:
        """The height of each column."""
        return [sum(values) for values in zip(*self.series.values(), strict=True)]

    @property
    def words(self) -> str:
        """The description, for those who cannot see the chart."""
        totals = self.totals
        most = max(totals)
        span = self.periods[0] if len(totals) == 1 else f"{self.periods[0]} to {self.periods[-1]}"
        return (
            f"Columns of {self.unit} for {span}, made of {', '.join(self.series)}. "
            f"{sum(totals):,} in all; most in {self.periods[totals.index(most)]}: {most:,}."
        )

    @property
    def bars(self) -> list[Bar]:
        """The columns' parts, from the bottom up."""
        step, scale = self._step, (self.bottom - _TOP) / self._top
        width = min(step * 0.82, _WIDEST)
        bars = []
        for column, period in enumerate(self.periods):
            x = self.left + column * step + (step - width) / 2
            y = float(self.bottom)
            for index, (name, values) in enumerate(self.series.items()):
                height = values[column] * scale
                y -= height
                if values[column]:
                    words = f"{period}, {name}: {values[column]:,}"
                    bars.append(
                        Bar(round(x, 2), round(y, 2), round(width, 2), round(height, 2), index, words)
                    )
        return bars

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """The height of each grid line, and its number."""
        numbers = range(0, int(self._top) + 1, self._tick)
        return [
            (round(self.bottom - number * (self.bottom - _TOP) / self._top, 2), f"{number:,}")
            for number in numbers
        ]

    @property
    def names(self) -> list[tuple[float, str]]:
        """The position of each column's name, and the name; of many, only as many as can be read."""
        every = -(-len(self.periods) // _MOST_NAMES)
        return [
            (round(self.left + (column + 0.5) * self._step, 2), self.periods[column])
            for column in range(0, len(self.periods), every)
        ]

    @property
    def _step(self) -> float:
        return (self.width - self.left) / len(self.periods)

    @property
    def _tick(self) -> int:
        rough = max(1.0, max(self.totals) / _TICKS)
        power = 10 ** math.floor(math.log10(rough))
        return max(1, int(next(step * power for step in (1, 2, 5, 10) if step * power >= rough)))

    @property
    def _top(self) -> float:
        return float(-(-max(self.totals) // self._tick) * self._tick or 1)


@dataclass(frozen=True)
class Example:
    """One case as an example of others.

    Attributes:
        label: the kind of case.
        place: where it occurs.
        text: an explanation.
        verbatim: the case itself, character by character.
    """

    label: str
    place: str
    text: str
    verbatim: str | None = None


@dataclass(frozen=True)
class Part:
    """A part of a report.

    Attributes:
        title: its heading.
        text: a paragraph below it.
        chart: a chart.
        sheet: a table, without its title and with its notes below.
        is_folded: whether the table is collapsed at first.
        examples: cases, one below the other.
    """

    title: str
    text: str = ""
    chart: Chart | None = None
    sheet: Sheet | None = None
    is_folded: bool = False
    examples: Sequence[Example] = ()


@dataclass(frozen=True)
class Document:
    """A report.

    Attributes:
        title: its heading.
        lead: a paragraph below it.
        tiles: the numbers that matter.
        parts: the rest.
    """

    title: str
    lead: str = ""
    tiles: Sequence[Tile] = ()
    parts: Sequence[Part] = ()

    def to_html(self) -> str:
        """Return the report as one HTML page."""
        colors = {"panel": PANEL, "ink": INK, "quiet": QUIET, "line": LINE}
        return _template().render(document=self, palette=PALETTE, colors=colors)


def _finalized(value: object) -> object:
    """Make texts visible before they are escaped; a macro's output is escaped already."""
    return visible(value, keep="\n\t") if type(value) is str else value


@cache
def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415 - only for this page

    environment = Environment(
        loader=PackageLoader("chatlio_kit.display", "."),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalized,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["format_cell"] = format_cell
    return environment.get_template("document.html.jinja")
