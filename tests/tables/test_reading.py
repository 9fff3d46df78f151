"""Tables read back from a folder, shown in another time zone, and written as a workbook."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import openpyxl
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import chatlio_kit as ck
from chatlio_kit.chatlio.catalogue import TABLES
from chatlio_kit.display import workbook
from chatlio_kit.tables import Tables, convert

FORMULAS = ["=1+1", '=HYPERLINK("https://evil.example")', "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "'=1"]


@pytest.fixture(scope="module")
def captures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sample in which every twentieth record is broken."""
    return ck.write_sample(tmp_path_factory.mktemp("read") / "captures", events=300, bad_share=0.05).path


@pytest.fixture(scope="module")
def folder(captures: Path) -> Path:
    """The folder that convert wrote."""
    out = captures.with_name("tables")
    convert(ck.read_export(captures), out, quiet=True)
    return out


@pytest.fixture
def tables(folder: Path) -> Tables:
    """The tables read back."""
    return ck.read_tables(folder)


def test_tables_read_back_equal_the_converted_ones(captures: Path, tables: Tables) -> None:
    """Frames, dtypes, counts and rejections are those of the same captures in memory."""
    expected = ck.read_export(captures).to_tables(quiet=True)
    for name in TABLES:
        pd.testing.assert_frame_equal(getattr(tables, name), getattr(expected, name))
    assert tables.counts == expected.counts
    assert tables.counts.rejected
    pd.testing.assert_frame_equal(tables.rejected, expected.rejected)
    assert repr(tables.read_conversation()) == repr(expected.read_conversation())


def test_redacted_tables_are_read_back(captures: Path, tmp_path: Path) -> None:
    """Rejections without their records are read correctly."""
    convert(ck.read_export(captures, redact="drop"), tmp_path / "tables", quiet=True)
    assert ck.read_tables(tmp_path / "tables").rejected["raw"].isna().all()


def test_another_folder_is_not_read_as_tables(folder: Path, tmp_path: Path) -> None:
    """A message names the problem and the next step."""
    with pytest.raises(ck.ChatlioKitError, match=r"There is no folder '.*none'"):
        ck.read_tables(tmp_path / "none")
    with pytest.raises(ck.ChatlioKitError, match=r"lacks events.parquet, .*report.json"):
        ck.read_tables(tmp_path)
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    assert len(ck.read_tables(tmp_path).events)
    for name, content, words in (
        ("visitors.parquet", b"PAR1", "visitors.parquet' cannot be read"),
        ("report.json", b"{}", "report.json' cannot be read"),
        ("report.json", b"", "report.json' cannot be read"),
        ("rejected.jsonl", b'{"reason": "new"}\n', "cannot be read"),
    ):
        kept = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ck.ChatlioKitError, match=words):
            ck.read_tables(tmp_path)
        (tmp_path / name).write_bytes(kept)
    pq.write_table(pa.table({"visitor_id": ["x"]}), tmp_path / "visitors.parquet")
    with pytest.raises(ck.ChatlioKitError, match="has other columns than the table visitors"):
        ck.read_tables(tmp_path)


def test_times_are_shown_in_a_zone(tables: Tables) -> None:
    """Each time is the same moment in another zone, and the tables themselves stay in UTC."""
    shown = tables.frames(time_zone="Asia/Kolkata")
    for name, frame in shown.items():
        for column in frame.select_dtypes("datetimetz"):
            assert str(frame[column].dt.tz) == "Asia/Kolkata"
            assert (frame[column] == getattr(tables, name)[column]).sum() == frame[column].notna().sum()
    assert str(tables.events["occurred_at"].dt.tz) == "UTC"
    with pytest.raises(ck.ChatlioKitError, match="time_zone= is the name of a time zone"):
        tables.frames(time_zone="Mars/Olympus")


def test_texts_are_decoded_next_to_the_raw_text(tables: Tables) -> None:
    """``decode`` shows text as typed; the raw text is in the next column, and in the tables."""
    tables.messages.loc[0, "text"] = "1 &lt; 2 <@U1>"
    shown = tables.frames(decode=True)["messages"]
    assert shown.loc[0, ["text", "raw_text"]].tolist() == ["1 < 2 @U1", "1 &lt; 2 <@U1>"]
    assert tables.messages.loc[0, "text"] == "1 &lt; 2 <@U1>"
    assert shown["raw_text"].equals(tables.messages["text"])


def test_a_workbook_contains_every_cell(tables: Tables, tmp_path: Path) -> None:
    """Each table is a sheet; strings, numbers, flags and times equal those in the frames."""
    path = tables.to_excel(tmp_path / "chats.xlsx", time_zone="Europe/Berlin")
    shown = tables.frames(time_zone="Europe/Berlin", decode=True)
    book = openpyxl.load_workbook(path)
    assert book.sheetnames == [*TABLES, "rejected"]
    for name in TABLES:
        header, *rows = book[name].iter_rows(values_only=True)
        assert len(header) == len(shown[name].columns)
        for column, heading in enumerate(header):
            values = shown[name][str(heading).removesuffix(" (Europe/Berlin)")]
            for row, value in zip(rows, values, strict=True):
                if pd.isna(value) or value == "":
                    assert row[column] in (None, "")
                elif isinstance(value, pd.Timestamp):
                    found = row[column]
                    assert isinstance(found, datetime)
                    assert abs(found - value.tz_localize(None).to_pydatetime()).total_seconds() < 0.002
                else:
                    assert row[column] == value
    assert "started_at (Europe/Berlin)" in [cell.value for cell in book["conversations"][1]]


@pytest.mark.parametrize("text", FORMULAS)
def test_no_text_becomes_a_formula_or_a_link(tables: Tables, tmp_path: Path, text: str) -> None:
    """A string that looks like a formula is quoted, so it stays text when its cell is edited."""
    tables.messages.loc[0, "text"] = text
    sheet = openpyxl.load_workbook(tables.to_excel(tmp_path / "chats.xlsx"))["messages"]
    column = [cell.value for cell in sheet[1]].index("text") + 1
    cell = sheet.cell(2, column)
    assert cell.data_type == "s"
    assert cell.quotePrefix
    assert cell.value.replace("_x000D_", "\r") == text
    assert not sheet.cell(3, column).quotePrefix


def test_text_beyond_a_cell_is_truncated_and_marked(tables: Tables, tmp_path: Path) -> None:
    """Long text ends with its length; characters that a workbook cannot hold are marked."""
    tables.messages.loc[0, "text"] = "x" * 40_000
    tables.messages.loc[1, "text"] = "a\x00b\uffffc https://a.example"
    sheet = openpyxl.load_workbook(tables.to_excel(tmp_path / "chats.xlsx"))["messages"]
    column = [cell.value for cell in sheet[1]].index("text") + 1
    assert sheet.cell(2, column).value.endswith("… [the first of 40,000 characters]")
    assert len(sheet.cell(2, column).value) == 32_767
    assert sheet.cell(3, column).value.endswith("b\ufffdc https://a.example")
    assert sheet.cell(3, column).hyperlink is None


def test_more_rows_than_a_sheet_holds_continue_on_the_next(
    tables: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No row is lost."""
    monkeypatch.setattr(workbook, "_MOST_ROWS", 100)
    book = openpyxl.load_workbook(tables.to_excel(tmp_path / "chats.xlsx"))
    parts = [name for name in book.sheetnames if name.split()[0] == "messages"]
    assert parts[:3] == ["messages", "messages 2", "messages 3"]
    assert sum(book[name].max_row - 1 for name in parts) == len(tables.messages)


def test_a_workbook_that_cannot_be_written_is_a_sentence(tables: Tables, tmp_path: Path) -> None:
    """No partial output is left."""
    with pytest.raises(ck.ChatlioKitError, match=r"none.chats.xlsx' cannot be written"):
        tables.to_excel(tmp_path / "none" / "chats.xlsx")
    (tmp_path / "folder.xlsx").mkdir()
    with pytest.raises(ck.ChatlioKitError, match="cannot be written"):
        tables.to_excel(tmp_path / "folder.xlsx")
    assert [path.name for path in tmp_path.iterdir()] == ["folder.xlsx"]
