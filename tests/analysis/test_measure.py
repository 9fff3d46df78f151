"""Tables measured: groups, comparisons with the period before, figures, workbooks and the command."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import matplotlib.colors
import openpyxl
import pandas as pd
import pytest
from click.testing import CliRunner

import chatlio_kit as ck
from chatlio_kit.analysis import metrics
from chatlio_kit.analysis.definitions import GROUPS, METRICS, PERIODS, definitions
from chatlio_kit.analysis.measure import Metrics
from chatlio_kit.chatlio.catalogue import TABLES
from chatlio_kit.cli import main
from chatlio_kit.errors import FrameError, UsageError
from chatlio_kit.tables import Tables, convert, empty
from chatlio_kit.tables.findings import RecordCounts

from .conftest import HOURS, REGION, ZONE, write_seasons

NAME = "=cmd() $x^2$ \\undefined{ <b>李</b>\x1b[31m " + "x" * 60


@pytest.fixture(scope="module")
def measured(seasons: Tables) -> Metrics:
    """The metrics of the export around the changes of the clocks."""
    return ck.measure(seasons, hours=HOURS, time_zone=ZONE, holidays=REGION)


@pytest.fixture
def nothing() -> Metrics:
    """The metrics of empty tables."""
    frames = {name: empty(name) for name in TABLES}
    return ck.measure(Tables(**frames, rejections=[], counts=RecordCounts(), notes=[]), hours="24/7")


def _chats(starts: list[str], **columns: list[Any]) -> Tables:
    """Return tables with only conversations."""
    known = {
        "conversation_id": [str(number) for number in range(len(starts))],
        "started_at": pd.to_datetime(starts, utc=True, format="ISO8601").as_unit("us"),
        "was_unanswered": pd.array([False] * len(starts), dtype="boolean"),
    }
    frame = empty("conversations").reindex(range(len(starts))).assign(**known | columns)
    others = {name: empty(name) for name in ("events", "messages", "visitors", "offline_messages")}
    return Tables(conversations=frame, **others, rejections=[], counts=RecordCounts(), notes=[])


def test_each_metric_is_one_documented_function() -> None:
    """Frames and a calendar are the input; the definitions give each metric's name, meaning and source."""
    table = definitions()
    assert list(table.index) == list(METRICS)
    assert len(table) > 20
    assert (table != "").all(axis=None)
    for name in METRICS:
        function = getattr(metrics, name)
        assert (function.__doc__ or "").startswith("Return ")
        assert list(inspect.signature(function).parameters)[-1] == "calendar"


@pytest.mark.parametrize("by", GROUPS)
@pytest.mark.parametrize("metric", ["conversations", "missed", "agent_messages", "reply_time"])
def test_every_group_holds_every_row(measured: Metrics, metric: str, by: str) -> None:
    """No grouping of a metric loses a row."""
    frame = measured.frame(metric, by)
    assert frame[frame.columns[0]].sum() == len(measured.rows(metric))
    assert frame.index.is_unique
    assert ("before" in frame) == (by in PERIODS)


def test_periods_are_local_and_have_no_gaps() -> None:
    """A conversation belongs to the local day, and empty periods count 0."""
    tables = _chats(["2024-03-30T22:59Z", "2024-03-30T23:00Z", "2024-04-02T22:00Z"])
    days = ck.measure(tables, time_zone="Europe/Berlin").frame("conversations", "day")
    assert days["number"].to_dict() == {
        "2024-03-30": 1, "2024-03-31": 1, "2024-04-01": 0, "2024-04-02": 0, "2024-04-03": 1,
    }  # fmt: skip
    for by, names in {
        "week": ["2024-W13", "2024-W14"],
        "month": ["2024-03", "2024-04"],
        "quarter": ["2024-Q1", "2024-Q2"],
        "year": ["2024"],
    }.items():
        assert list(ck.measure(tables, time_zone="Europe/Berlin").frame("conversations", by).index) == names


def test_a_period_is_compared_with_the_previous_one() -> None:
    """The value before, and the change; in business time as well."""
    starts = ["2024-01-01T10:00Z", "2024-01-02T20:00Z", "2024-02-01T10:00Z", "2024-04-01T10:00Z"]
    unanswered = pd.array([True, False, True, False], dtype="boolean")
    measured = ck.measure(_chats(starts, was_unanswered=unanswered), hours="Mo-Su 09:00-17:00")
    frame = measured.frame("unanswered")
    assert frame["share"].tolist()[:2] == [0.5, 1.0]
    assert frame.loc["2024-02", ["before", "change"]].tolist() == [0.5, 0.5]
    assert frame.loc["2024-02", ["business_before", "business_change"]].tolist() == [1.0, 0.0]
    assert frame.loc["2024-03", "count"] == 0
    assert pd.isna(frame.loc["2024-04", "change"])  # March had none
    overview = measured.overview()
    assert overview.loc["conversations", ["all", "last", "before", "change"]].tolist() == [4, 1, 0, 1]


def test_without_hours_there_is_no_business_time(seasons: Tables) -> None:
    """Columns of business time exist if there are opening hours."""
    measured = ck.measure(seasons)
    assert not measured.frame("duration").filter(like="business").columns.size
    with pytest.raises(UsageError, match="no opening hours"):
        measured.figure("duration", business=True)


def test_edited_frames_are_measured() -> None:
    """Exactly what is in the frames is measured."""
    tables = _chats(["2024-01-01T10:00Z", "2024-01-02T20:00Z"])
    tables.conversations = tables.conversations.iloc[:1]
    assert ck.measure(tables).frame("conversations", "all")["number"].tolist() == [1]


def test_an_edited_frame_that_no_longer_fits_is_refused() -> None:
    """The message names the column and the remedy."""
    tables = _chats(["2024-01-01T10:00Z"])
    tables.conversations = tables.conversations.drop(columns="ended_at")
    with pytest.raises(FrameError, match="does not have exactly one column 'ended_at'"):
        ck.measure(tables)
    tables = _chats(["2024-01-01T10:00Z"])
    tables.conversations["transcripts"] = 0.5
    with pytest.raises(
        FrameError, match=r"'transcripts' of tables\.conversations is of dtype float64, not Int64"
    ):
        ck.measure(tables)


def test_empty_tables_have_empty_answers(nothing: Metrics) -> None:
    """Without data, nothing is measured, and empty figures and files are written."""
    for metric in METRICS:
        assert nothing.rows(metric).empty
        assert nothing.frame(metric).empty
        assert "nothing to measure" in nothing.figure(metric).get_suptitle()
    assert json.loads(json.dumps(nothing.as_dict()))["metrics"]["missed"]["all"]["share"] is None
    assert "conversations" in repr(nothing)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda measured: measured.frame("speed"), "metric= is one of conversations, .*not 'speed'"),
        (lambda measured: measured.frame("missed", "decade"), "by= is one of all, day, .*not 'decade'"),
        (lambda measured: measured.frame("missed", None), "by= is one of .*not None"),
        (lambda measured: measured.overview("agent"), "by= is one of day, week"),
        (lambda measured: measured.figure("backlog", "agent"), "'backlog' is not available by agent"),
        (ck.measure, "tables= is tables, from"),
        (lambda measured: ck.measure("tables/"), "tables= is tables, from"),
    ],
)
def test_unknown_names_are_refused_with_the_valid_ones(measured: Metrics, call: Any, words: str) -> None:
    """A message lists the valid names."""
    with pytest.raises(UsageError, match=words):
        call(measured)


@pytest.mark.parametrize("by", ["month", "agent", "hour", "weekday", "hour_of_week", "page", "all"])
@pytest.mark.parametrize("metric", ["conversations", "missed", "agent_messages", "first_reply_time"])
def test_a_figure_has_its_finding_and_its_numbers(measured: Metrics, metric: str, by: str) -> None:
    """One call returns a Matplotlib figure with its finding as the title and its numbers next to the plot."""
    figure = measured.figure(metric, by, business=by == "hour")
    title = figure.get_suptitle().replace("\n", " ")
    assert title.lower().startswith(METRICS[metric].title)
    assert any(letter.isdigit() for letter in title)
    texts = " ".join(text.get_text() for axes in figure.axes for text in axes.texts)
    assert title in figure.words
    assert figure._repr_html_().startswith('<img alt="')
    if metric == "conversations":
        numbers = measured.frame(metric, by)["business_number" if by == "hour" else "number"]
        assert all(f"{value:,}" in texts for value in numbers[numbers > 0].tail(10))


def test_the_finding_compares() -> None:
    """The title compares the last period with the one before, or the lowest group with the highest."""
    starts = [f"2024-0{month}-0{day}T10:00Z" for month in (1, 2) for day in (1, 2, 3, 4)]
    flags = pd.array([True, False, False, False, True, True, False, False], dtype="boolean")
    names = pd.array(["Ana", "Bo"] * 4, dtype="str")
    measured = ck.measure(_chats(starts, was_unanswered=flags, answered_by=names))
    assert measured.figure("unanswered").get_suptitle() == (
        "Reported as unanswered: 50.0 % in 2024-02, 25.0 points more than in the month before"
    )
    assert measured.figure("unanswered", "agent").get_suptitle() == (
        "Reported as unanswered: from 25.0 % (Bo) to 50.0 % (Ana)"
    )
    assert measured.figure("conversations").get_suptitle() == "Conversations: 8 in all, most in 2024-01 (4)"
    sheet = measured.sheet()
    assert all(sheet.is_numeric(column) for column in range(1, len(sheet.headings)))


def test_a_figure_can_be_restyled_and_saved(measured: Metrics, tmp_path: Path) -> None:
    """A style sheet changes it, and so does Matplotlib afterwards; it is saved like any other figure."""
    dark = measured.figure("missed", style="dark_background")
    assert matplotlib.colors.to_hex(dark.get_facecolor()) == "#000000"
    own = measured.figure("missed", style={"figure.facecolor": "#123456", "text.color": "#ff0000"})
    assert matplotlib.colors.to_hex(own.get_facecolor()) == "#123456"
    own.axes[0].set_title("mine")
    own.set_size_inches(5, 3)
    for kind in ("png", "svg", "pdf"):
        own.savefig(tmp_path / f"figure.{kind}")
        assert (tmp_path / f"figure.{kind}").stat().st_size > 1000


def test_untrusted_names_are_never_formulas(seasons: Tables, tmp_path: Path) -> None:
    """Agents and pages are untrusted: in figures, on pages and in workbooks they are text."""
    tables = Tables(**seasons.frames(), rejections=[], counts=RecordCounts(), notes=[])
    tables.conversations = tables.conversations.assign(answered_by=NAME, page_url=NAME)
    tables.messages = tables.messages.assign(username=NAME)
    measured = ck.measure(tables)
    for metric, by in (("missed", "agent"), ("conversations", "page"), ("reply_time", "agent")):
        figure = measured.figure(metric, by)
        figure.savefig(tmp_path / "figure.png")
        shown = figure._repr_html_() + repr(figure)
        assert "<b>" not in figure._repr_html_()
        assert "\x1b" not in shown
        texts = [text.get_text() for axes in figure.axes for text in axes.texts + axes.get_yticklabels()]
        assert all(len(text) <= 48 and "\x1b" not in text for text in texts)
    book = openpyxl.load_workbook(measured.to_excel(tmp_path / "metrics.xlsx"))
    cells = [cell for row in book["by agent"].iter_rows() for cell in row if str(cell.value).startswith("=")]
    assert cells
    assert all(cell.data_type == "s" and cell.quotePrefix for cell in cells)


def test_the_workbook_holds_what_the_frames_hold(measured: Metrics, tmp_path: Path) -> None:
    """Overview, periods, agents, pages and definitions, one sheet each."""
    path = measured.to_excel(tmp_path / "metrics.xlsx", "week")
    sheets = pd.read_excel(path, sheet_name=None)
    assert list(sheets) == ["overview", "by week", "by agent", "by page", "definitions"]
    pd.testing.assert_frame_equal(
        sheets["by week"], measured.table("week"), check_dtype=False, check_names=False
    )
    assert list(sheets["definitions"]["metric"]) == list(METRICS)


def test_the_command_prints_and_writes(tmp_path: Path) -> None:
    """``metrics TABLES`` shows the overview, as JSON everything, and writes a workbook."""
    tables = tmp_path / "tables"
    convert(ck.read_export(write_seasons(tmp_path / "captures", 40)), tables, quiet=True)
    command = [
        "metrics",
        str(tables),
        "--by",
        "day",
        "--hours",
        HOURS,
        "--time-zone",
        ZONE,
        "--holidays",
        REGION,
    ]
    book = tmp_path / "metrics.xlsx"
    shown = CliRunner().invoke(main, [*command, "--xlsx", str(book)])
    assert shown.exit_code == 0, shown.output
    assert "first reply time" in shown.output
    assert openpyxl.load_workbook(book).sheetnames[1] == "by day"
    answer = json.loads(CliRunner().invoke(main, [*command, "--json"]).stdout)
    assert any("compared with the day before" in note for note in answer["notes"])
    measured = ck.measure(ck.read_tables(tables), hours=HOURS, time_zone=ZONE, holidays=REGION)
    assert answer["metrics"].keys() == METRICS.keys()
    frame = measured.frame("reply_time", "day")
    found = pd.DataFrame(answer["metrics"]["reply_time"]["by_day"]).set_index("day")
    pd.testing.assert_frame_equal(found, frame, check_dtype=False, check_names=False)
    assert answer["time_zone"] == ZONE


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--hours", "always"], "--hours is opening hours"),
        (["--time-zone", "Mars"], "--time-zone is the name of a time zone"),
        (["--holidays", "XX"], "--holidays is a country"),
        (["--by", "decade"], "--by"),
    ],
)
def test_the_command_refuses_in_its_own_words(tmp_path: Path, options: list[str], words: str) -> None:
    """An invalid option gives exit code 2 and a message."""
    convert(ck.read_export(write_seasons(tmp_path / "captures", 4)), tmp_path / "tables", quiet=True)
    result = CliRunner().invoke(main, ["metrics", str(tmp_path / "tables"), *options])
    assert result.exit_code == 2
    assert words in result.output
