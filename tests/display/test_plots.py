"""Plots and sheets show the frame's values."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import matplotlib.colors
import matplotlib.pyplot
import pandas as pd
import pytest
from matplotlib.figure import Figure

from chatlio_kit.analysis import figures
from chatlio_kit.display import Progress, Sheet
from chatlio_kit.display.figure import Picture
from chatlio_kit.display.palette import PANEL

COUNTS = pd.DataFrame(
    {"sent_out": [3, 5], "found": [3, 4]}, index=pd.Index(["transcript", "offline_message"], name="kind")
)
WAITS = pd.DataFrame(
    {"lower_quartile": [10.0], "median": [20.0], "upper_quartile": [55.0]},
    index=pd.Index(["2024"], name="year"),
)


DRAW: dict[str, Callable[..., Picture]] = {
    "stacked": partial(figures.stacked, COUNTS, unit="events"),
    "columns": partial(figures.columns, COUNTS["found"], unit="events"),
    "bars": partial(figures.bars, COUNTS["found"], unit="events"),
    "quartiles": partial(figures.quartiles, WAITS, unit="seconds"),
    "band": partial(figures.band, WAITS, unit="seconds"),
    "heat": partial(figures.heat, COUNTS, unit="events"),
    "arrived": partial(figures.arrived, COUNTS, expected="sent_out", found="found", unit="events"),
}


@pytest.mark.parametrize("name", DRAW)
def test_a_plot_is_a_figure_on_its_own_panel(name: str) -> None:
    """It is a figure of matplotlib, titled, named by its unit, on a panel that reads on dark pages too."""
    figure = DRAW[name](title="More than before")
    axes = figure.axes[0]
    assert isinstance(figure, Figure)
    assert figure.get_suptitle() == "More than before"
    assert matplotlib.colors.to_hex(figure.get_facecolor()).upper() == PANEL
    assert axes.get_xlabel() + axes.get_ylabel()
    assert "data:image/png;base64,iVBOR" in figure._repr_html_()
    assert matplotlib.pyplot.get_fignums() == []


@pytest.mark.parametrize("name", DRAW)
def test_a_plot_has_alternative_text(name: str) -> None:
    """Its alternative text names every row, and is escaped."""
    figure = DRAW[name]()
    rows = ["2024"] if name in ("quartiles", "band") else ["transcript"]
    assert all(row in figure.words for row in rows)
    assert repr(figure).startswith(figure.words)
    assert all(text in repr(figure) for row in figure.numbers for text in row)
    figure.words = "a < b"
    width = 1056 if figure.numbers else 924
    assert figure._repr_html_().startswith(f'<img alt="a &lt; b" width="{width}" height=')


@pytest.mark.parametrize("name", DRAW)
def test_a_plot_accepts_a_style(name: str) -> None:
    """Colours and backgrounds are those of the style sheet."""
    figure = DRAW[name](style="dark_background")
    assert matplotlib.colors.to_hex(figure.get_facecolor()) == "#000000"
    label = (figure.axes[0].get_xticklabels() + figure.axes[0].get_yticklabels())[0]
    assert matplotlib.colors.to_hex(label.get_color()) == "#ffffff"


def test_a_plot_names_its_finding() -> None:
    """By default, it gives the count, the highest value, and what is missing."""
    ties = pd.Series({"a": 2, "b": 2, "c": 1})
    assert figures.bars(ties, unit="events").get_suptitle() == "Events: 5 in all; highest: 2 (a and b)"
    months = pd.Series({"2024-01": 2, "2024-02": 4, "2024-03": 3})
    course = "Events: from 2 in 2024-01 to 3 in 2024-03; highest: 4 (2024-02)"
    assert figures.bars(months, unit="events").get_suptitle() == course
    assert DRAW["stacked"]().get_suptitle() == "Events: 15 in all; highest: 9 (offline message)"
    assert DRAW["arrived"]().get_suptitle() == "7 of 8 events found; 1 missing"
    whole = figures.arrived(COUNTS, expected="found", found="found", unit="events")
    assert whole.get_suptitle() == "All 7 events found"
    assert figures.bars(ties.iloc[:0], unit="events").get_suptitle() == "Events: nothing to show"


def test_nothing_can_be_drawn() -> None:
    """A frame without rows, or with zeros alone, gives an empty plot and no warning."""
    for frame in (COUNTS.iloc[:0], COUNTS * 0):
        for figure in (
            figures.stacked(frame, unit="events"),
            figures.columns(frame["found"], unit="events"),
            figures.bars(frame["found"], unit="events"),
            figures.arrived(frame, expected="sent_out", found="found", unit="events"),
            figures.quartiles(WAITS.iloc[:0], unit="seconds"),
            figures.band(WAITS.iloc[:0], unit="seconds"),
        ):
            assert figure._repr_html_()


def test_labels_are_words_and_values() -> None:
    """Names are written as words, and what is missing is next to its bar."""
    axes = DRAW["arrived"]().axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["transcript", "offline message"]
    assert [text.get_text() for text in axes.texts] == ["3 of 3", "4 of 5"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["sent out", "found"]


def test_of_many_columns_some_are_named() -> None:
    """As many labels as can be read, and a description of limited length."""
    months = pd.Series(range(36), index=[f"2024-{at:02}" for at in range(36)])
    figure = figures.columns(months, unit="events")
    assert len(figure.axes[0].get_xticklabels()) == 9
    assert figure.words.endswith("the first 2024-00 0, the highest 2024-35 35, the last 2024-35 35")


def test_a_sheet_indents_and_escapes_in_html() -> None:
    """Leading spaces become padding, because HTML ignores them, and text is escaped."""
    html = Sheet("RecordCounts", ("records", "count"), [("all", 2), ("  <b>", 1)])._repr_html_()
    assert 'padding-left:2em">&lt;b&gt;</td>' in html


def test_progress_goes_to_stderr_in_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """A line on stderr, or nothing at all."""
    for quiet in (False, True):
        with Progress("counting", 2, "things", quiet=quiet) as progress:
            progress.advance(2)
            progress.say(requests=1)
        said = capsys.readouterr()
        assert said.out == ""
        assert ("counting" in said.err) is not quiet
