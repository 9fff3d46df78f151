"""Frames are shown as tables to read."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.interactiveshell import InteractiveShell

import chatlio_kit as ck
from chatlio_kit.display.frame import frame_sheet
from chatlio_kit.display.notice import Notice
from chatlio_kit.display.palette import BLUE
from chatlio_kit.display.sheet import Sheet
from chatlio_kit.errors import UsageError

FRAME = pd.DataFrame(
    {
        "at": pd.to_datetime(["2024-03-11T09:03:10.000900Z", None], format="ISO8601", utc=True),
        "text": ["two\nlines", None],
        "number": pd.array([1234, None], dtype="Int64"),
        "share": [0.25, float("nan")],
        "seconds": [1372.91, 3.0],
        "is_whole": [True, False],
    }
)


def test_values_are_written_as_they_are_read() -> None:
    """Times to the second in the zone that the heading names, few decimals, empty cells for nothing."""
    sheet = frame_sheet(FRAME, time_zone="Europe/Berlin")
    assert sheet.headings == ["at (Europe/Berlin)", "text", "number", "share", "seconds", "is_whole"]
    assert [list(row) for row in sheet.rows] == [
        ["2024-03-11 10:03:10", "two\nlines", 1234, "0.250", "1,372.9", "yes"],
        [None, None, None, None, "3.0", "no"],
    ]
    assert [sheet.is_numeric(column) for column in range(6)] == [False, False, True, True, True, False]
    assert "two ↵ lines" in str(sheet)
    assert "\\n" not in str(sheet)
    assert "text-align:left" in sheet._repr_html_()
    assert "white-space:pre-line" in sheet._repr_html_()


def test_a_table_reads_well_in_a_notebook() -> None:
    """A title keeps its line, a note starts where cells do, and an option is not broken at its hyphens."""
    html = Sheet(
        "Verdict: green", ("field",), [("name it with --undated-as",)], ["none -- at all"]
    )._repr_html_()
    assert '<caption style="text-align:left;padding:.4em .5em;white-space:nowrap">' in html
    assert '<span style="white-space:nowrap">--undated-as</span>' in html
    assert '<p style="padding:0 .5em">none -- at all</p>' in html
    assert "nowrap" not in Sheet("a title " * 20, ("field",), [("text",)])._repr_html_()


def test_an_index_is_shown_where_it_has_a_meaning() -> None:
    """Row numbers are left out; names, and the levels of a group, are columns."""
    assert list(frame_sheet(FRAME[["text"]]).headings) == ["text"]
    counts = pd.Series(["a", "a", "b"], name="kind").value_counts()
    assert list(frame_sheet(counts).headings) == ["kind", "count"]
    grouped = pd.DataFrame({"x": [1, 1], "y": ["a", "b"], "z": [1, 2]}).groupby(["x", "y"]).size()
    assert list(frame_sheet(grouped).headings) == ["x", "y", ""]
    assert [list(row) for row in frame_sheet(grouped).rows] == [[1, "a", 1], [1, "b", 1]]


@given(rows=st.integers(0, 60), columns=st.integers(1, 14))
def test_omitted_rows_and_columns_are_reported(rows: int, columns: int) -> None:
    """Part of long and wide frames is shown, and the notes give the full size."""
    frame = pd.DataFrame({f"c{at}": range(rows) for at in range(columns)})
    sheet = frame_sheet(frame)
    notes = " ".join(sheet.notes)
    shown = [row for row in sheet.rows if row[0] != "⋮"]
    assert len(shown) == rows or (len(shown) < rows and f"{rows} rows" in notes)
    assert len(sheet.headings) == columns or f"{columns - len(sheet.headings)} more column" in notes
    assert str(sheet)
    assert all(sheet.is_numeric(column) for column in range(len(sheet.headings)) if rows)


def test_untrusted_text_stays_text() -> None:
    """In cells, headings, names and notices."""
    spiteful = "<script>alert(1)</script>\x1b[31m"
    frame = pd.DataFrame({spiteful: [spiteful]}, index=pd.Index([spiteful], name=spiteful))
    for shown in (frame_sheet(frame), Notice(spiteful, spiteful, "#123456")):
        assert "<script" not in shown._repr_html_()
        assert "\x1b" not in shown._repr_html_() + repr(shown)


def test_a_lesson_shows_frames_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """In its notebook only; the frame itself is not changed."""
    shell = InteractiveShell()
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    before = FRAME.copy()
    ck.open_lesson("convert", time_zone="Europe/Berlin")
    for shown in (FRAME, FRAME["at"]):
        texts, _ = shell.display_formatter.format(shown)
        assert "2024-03-11 10:03:10<" in texts["text/html"]
        assert "NaT" not in texts["text/html"] + texts["text/plain"]
    pd.testing.assert_frame_equal(FRAME, before)


def test_a_stop_on_purpose_is_calm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error's sentence is shown in blue, and the notebook goes on."""
    shown: list[Notice] = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    with ck.open_lesson("start", state=tmp_path).expect_stop():
        raise UsageError("Name the captures.")
    assert [(notice.word, notice.sentence, notice.color) for notice in shown] == [
        ("Stopped, as expected", "Name the captures.", BLUE)
    ]
