"""A report as one self-contained HTML page, without scripts, fonts or requests.

All text is escaped. The page follows the reader's light or dark theme and can be printed.
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
    """One key figure.

    Attributes:
        name: Name of the count.
        value: The number.
        is_trouble: True if it needs attention.
    """

    name: str
    value: int
    is_trouble: bool = False


@dataclass(frozen=True)
class Bar:
    """One segment of a stacked column, in the chart's coordinates."""

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
        periods: Column names, e.g. months.
        series: Counts for each column, by segment name.
        unit: Unit of the counts, e.g. ``events``.
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
        """A description, as alternative text."""
        totals = self.totals
        most = max(totals)
        span = self.periods[0] if len(totals) == 1 else f"{self.periods[0]} to {self.periods[-1]}"
        return (
            f"Columns of {self.unit} for {span}, made of {', '.join(self.series)}. "
            f"{sum(totals):,} in all; most in {self.periods[totals.index(most)]}: {most:,}."
        )

    @property
    def bars(self) -> list[Bar]:
        """The segments of all columns, from the bottom up."""
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
        """The height and the number of each grid line."""
        numbers = range(0, int(self._top) + 1, self._tick)
        return [
            (round(self.bottom - number * (self.bottom - _TOP) / self._top, 2), f"{number:,}")
            for number in numbers
        ]

    @property
    def names(self) -> list[tuple[float, str]]:
        """The position and name of each labelled column; if there are many, some stay unlabelled."""
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
        label: Type of case.
        place: Its location.
        text: Explanation.
        verbatim: The case itself, character by character.
    """

    label: str
    place: str
    text: str
    verbatim: str | None = None


@dataclass(frozen=True)
class Part:
    """A section of a report.

    Attributes:
        title: Heading.
        text: Paragraph below the heading.
        chart: A chart.
        sheet: A table, shown without its title and with its notes below.
        is_folded: True if the table is initially collapsed.
        examples: Cases, one below the other.
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
        title: Heading.
        lead: Paragraph below the heading.
        tiles: Key figures.
        parts: Sections.
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
    """Make control characters visible before text is escaped; a macro's output is already escaped."""
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
