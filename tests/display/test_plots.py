"""Plots and sheets: they draw what the frame says, and give nothing back."""

from __future__ import annotations

from collections.abc import Callable

import matplotlib.colors
import matplotlib.pyplot
import pandas as pd
import pytest
from matplotlib.figure import Figure

from chatlio_kit.analysis import figures
from chatlio_kit.display import Progress, Sheet, figure
from chatlio_kit.display.figure import Picture
from chatlio_kit.display.palette import PANEL

COUNTS = pd.DataFrame(
    {"sent_out": [3, 5], "found": [3, 4]}, index=pd.Index(["transcript", "offline_message"], name="kind")
)
WAITS = pd.DataFrame(
    {"lower_quartile": [10.0], "median": [20.0], "upper_quartile": [55.0]},
    index=pd.Index(["2024"], name="year"),
)


@pytest.fixture(autouse=True)
def shown(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Figure, Picture]]:
    """Draw without a screen, and keep each picture that is shown, with its figure."""
    seen: list[tuple[Figure, Picture]] = []
    figures: list[Figure] = []
    of = Picture.of

    def keep(figure: Figure, words: str) -> Picture:
        figures.append(figure)
        return of(figure, words)

    monkeypatch.setattr(Picture, "of", keep)
    monkeypatch.setattr(figure, "display", lambda picture: seen.append((figures[-1], picture)))
    return seen


DRAW: dict[str, Callable[[], None]] = {
    "stacked": lambda: figures.stacked(COUNTS, unit="events"),
    "columns": lambda: figures.columns(COUNTS["found"], unit="events"),
    "bars": lambda: figures.bars(COUNTS["found"], unit="events"),
    "quartiles": lambda: figures.quartiles(WAITS, unit="seconds"),
    "shares": lambda: figures.shares(COUNTS["found"] / 5, of="share of events"),
    "arrived": lambda: figures.arrived(COUNTS, expected="sent_out", found="found", unit="events"),
}


@pytest.mark.parametrize("name", DRAW)
def test_a_plot_is_shown_once_on_its_own_panel(name: str, shown: list[tuple[Figure, Picture]]) -> None:
    """It is shown, named by its unit, and laid on a panel that reads on dark pages too."""
    assert DRAW[name]() is None
    [(figure, picture)] = shown
    axes = figure.axes[0]
    assert matplotlib.colors.to_hex(figure.get_facecolor()).upper() == PANEL
    assert axes.get_xlabel() + axes.get_ylabel()
    assert axes.get_title() == ""
    assert picture.png.startswith(b"\x89PNG")
    assert matplotlib.pyplot.get_fignums() == []


@pytest.mark.parametrize("name", DRAW)
def test_a_plot_can_be_heard(name: str, shown: list[tuple[Figure, Picture]]) -> None:
    """Its words name every row, and stand escaped where those look who cannot see it."""
    DRAW[name]()
    picture = shown[0][1]
    assert all(row in picture.words for row in (["2024"] if name == "quartiles" else ["transcript"]))
    assert repr(picture) == picture.words
    html = Picture("a < b", b"", 1, 2)._repr_html_()
    assert html.startswith('<img alt="a &lt; b" width="1" height="2"')


def test_nothing_can_be_drawn(shown: list[tuple[Figure, Picture]]) -> None:
    """A frame without rows, or with zeros alone, gives an empty plot and no warning."""
    for frame in (COUNTS.iloc[:0], COUNTS * 0):
        figures.stacked(frame, unit="events")
        figures.columns(frame["found"], unit="events")
        figures.bars(frame["found"], unit="events")
        figures.shares(frame["found"].astype("float64"), of="share of events")
        figures.arrived(frame, expected="sent_out", found="found", unit="events")
    figures.quartiles(WAITS.iloc[:0], unit="seconds")
    assert len(shown) == 11


def test_labels_are_words_and_values(shown: list[tuple[Figure, Picture]]) -> None:
    """Names are written as words, and what is missing is told beside its bar."""
    figures.arrived(COUNTS, expected="sent_out", found="found", unit="events")
    axes = shown[0][0].axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["transcript", "offline message"]
    assert [text.get_text() for text in axes.texts] == ["3 of 3", "4 of 5"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["sent out", "found"]


def test_of_many_columns_some_are_named(shown: list[tuple[Figure, Picture]]) -> None:
    """As many names as can be read, and as many words as can be listened to."""
    figures.columns(pd.Series(range(36), index=[f"2024-{at:02}" for at in range(36)]), unit="events")
    figure, picture = shown[0]
    assert len(figure.axes[0].get_xticklabels()) == 9
    assert picture.words.endswith("the first 2024-00 0, the highest 2024-35 35, the last 2024-35 35")


def test_a_sheet_indents_and_escapes_in_html() -> None:
    """Leading blanks become padding, since HTML swallows them, and texts are escaped."""
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
