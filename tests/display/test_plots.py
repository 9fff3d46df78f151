"""Plots and sheets: they draw what the frame says, and give nothing back."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import matplotlib
import matplotlib.pyplot as plt
import pandas as pd
import pytest

from chatlio_kit.display import Progress, Sheet, plots
from chatlio_kit.display.look import PANEL

COUNTS = pd.DataFrame(
    {"sent_out": [3, 5], "found": [3, 4]}, index=pd.Index(["transcript", "offline_message"], name="kind")
)
WAITS = pd.DataFrame(
    {"lower_quartile": [10.0], "median": [20.0], "upper_quartile": [55.0]},
    index=pd.Index(["2024"], name="year"),
)


@pytest.fixture(autouse=True)
def shown(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Draw without a screen, and note each time that a plot is shown."""
    matplotlib.use("agg")
    seen: list[int] = []
    monkeypatch.setattr(plt, "show", lambda: seen.append(plt.gcf().number))
    yield seen
    plt.close("all")


DRAW: dict[str, Callable[[], None]] = {
    "stacked": lambda: plots.stacked(COUNTS, unit="events"),
    "columns": lambda: plots.columns(COUNTS["found"], unit="events"),
    "bars": lambda: plots.bars(COUNTS["found"], unit="events"),
    "quartiles": lambda: plots.quartiles(WAITS, unit="seconds"),
    "shares": lambda: plots.shares(COUNTS["found"] / 5, of="share of events"),
    "arrived": lambda: plots.arrived(COUNTS, expected="sent_out", found="found", unit="events"),
}


@pytest.mark.parametrize("name", DRAW)
def test_a_plot_is_shown_once_on_its_own_panel(name: str, shown: list[int]) -> None:
    """It is shown, named by its unit, and laid on a panel that reads on dark pages too."""
    assert DRAW[name]() is None
    assert shown == [1]
    axes = plt.gcf().axes[0]
    assert matplotlib.colors.to_hex(plt.gcf().get_facecolor()).upper() == PANEL
    assert axes.get_xlabel() + axes.get_ylabel()
    assert axes.get_title() == ""


def test_labels_are_words_and_values() -> None:
    """Names are written as words, and what is missing is told beside its bar."""
    plots.arrived(COUNTS, expected="sent_out", found="found", unit="events")
    axes = plt.gcf().axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["transcript", "offline message"]
    assert [text.get_text() for text in axes.texts] == ["3 of 3", "4 of 5"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["sent out", "found"]


def test_of_many_columns_some_are_named() -> None:
    """As many names as can be read."""
    plots.columns(pd.Series(range(36), index=[f"2024-{at:02}" for at in range(36)]), unit="events")
    assert len(plt.gcf().axes[0].get_xticklabels()) == 9


def test_a_sheet_indents_and_escapes_in_html() -> None:
    """Leading blanks become padding, since HTML swallows them, and texts are escaped."""
    html = Sheet("Counts", ("records", "count"), [("all", 2), ("  <b>", 1)])._repr_html_()
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
