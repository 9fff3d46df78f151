"""What chats answer, what columns mean, and a conversation to read."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from chatlio_kit.analysis import metrics
from chatlio_kit.chatlio.catalogue import TABLES
from chatlio_kit.errors import UsageError
from chatlio_kit.samples import write_sample
from chatlio_kit.tables import Export, ReadOptions, Tables, empty

STARTED = "7c1e9a52-3b6d-4f08-5a91-0d4e6b2f8c13"


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """A small sample as tables."""
    folder = write_sample(tmp_path_factory.mktemp("sample") / "captures", events=300, seed=7).path
    return Export([folder], ReadOptions()).to_tables(quiet=True)


@pytest.fixture
def documented_tables(documented: Path) -> Tables:
    """One event of each kind as tables."""
    return Export([documented], ReadOptions()).to_tables(quiet=True)


def _conversations(**columns: list[object]) -> pd.DataFrame:
    return pd.DataFrame(columns)


def test_events_are_counted_by_month_and_year(sample: Tables) -> None:
    """Every event is counted once, and no month between the first and the last is left out."""
    by_month, by_year = metrics.events_by_month(sample.events), metrics.events_by_year(sample.events)
    assert by_month.to_numpy().sum() == by_year.to_numpy().sum() == len(sample.events)
    assert list(by_month.columns) == [
        "transcript",
        "offline_message",
        "conversation_started",
        "unanswered",
        "feedback",
    ]
    assert list(by_month.index) == list(
        pd.period_range(by_month.index[0], by_month.index[-1], freq="M").astype(str)
    )


def test_no_events_give_no_months() -> None:
    """An empty table has an empty answer."""
    assert metrics.events_by_month(empty("events")).empty


def test_hours_are_all_24(sample: Tables) -> None:
    """Every hour has a row, and every conversation is in one of them."""
    hours = metrics.conversations_by_hour(sample.conversations)
    assert list(hours.index) == list(range(24))
    assert hours["conversations"].sum() == len(sample.conversations)


def test_waits_have_quartiles() -> None:
    """Quartiles and the share under a minute, by year, of those that were answered."""
    table = _conversations(
        started_at=pd.to_datetime(["2024-01-01", "2024-02-01", "2024-03-01", "2025-01-01"], utc=True),
        first_response_seconds=pd.array([10.0, 20.0, 90.0, None], dtype="Float64"),
    )
    waits = metrics.first_responses(table)
    assert waits.loc["2024"].to_dict() == {
        "answered": 3,
        "lower_quartile": 15.0,
        "median": 20.0,
        "upper_quartile": 55.0,
        "under_a_minute": 0.667,
    }
    assert list(waits.index) == ["2024"]


def test_pages_are_counted_without_their_queries() -> None:
    """What follows ? or # is cut off; equal counts stand in the order of their names."""
    pages = [
        "https://a.example/x?q=1",
        "https://a.example/x#top",
        "https://a.example/z",
        "https://a.example/b",
    ]
    table = _conversations(page_url=pd.array(pages, dtype="str"))
    counted = metrics.busiest_pages(table, top=2)["conversations"]
    assert counted.to_dict() == {"https://a.example/x": 2, "https://a.example/b": 1}


def test_the_unanswered_have_a_share() -> None:
    """By weekday, in the order of the week, those that occur."""
    table = _conversations(
        started_at=pd.to_datetime(["2024-01-02", "2024-01-01", "2024-01-08"], utc=True),
        was_unanswered=pd.array([False, True, False], dtype="boolean"),
    )
    found = metrics.unanswered(table)
    assert list(found.index) == ["Monday", "Tuesday"]
    assert found["share"].tolist() == [0.5, 0.0]


def test_the_dictionary_knows_every_column(documented_tables: Tables) -> None:
    """It has a row for each column of the frame, in its order, each with a meaning."""
    for name in TABLES:
        described = documented_tables.dictionary(name)
        assert list(described.index) == list(getattr(documented_tables, name).columns)
        assert described["meaning"].str.len().gt(0).all()
    with pytest.raises(UsageError, match="no table called 'chats'"):
        documented_tables.dictionary("chats")


def test_a_conversation_can_be_read(documented_tables: Tables) -> None:
    """Messages stand in their order, with who wrote them and how much later."""
    lines = repr(documented_tables.read_conversation(STARTED)).splitlines()
    assert (
        lines[0] == "11 March 2024, 07:59 UTC · answered by Sam Lee · reported as unanswered · with feedback"
    )
    assert lines[1].split() == ["+0:00", "visitor", "ana-ruiz:", "Is", "the", "beta", "open?"]
    assert lines[2].split() == ["+0:56", "agent", "Sam", "L.:", "Yes,", "since", "today."]


def test_strangers_texts_are_escaped(documented_tables: Tables) -> None:
    """Whatever a visitor writes, and whatever they call themselves, is shown as text."""
    attack = "<script>alert(1)</script>"
    documented_tables.messages["text"] = attack
    documented_tables.messages["username"] = f'"{attack}'
    documented_tables.conversations["agent_name"] = attack
    html = documented_tables.read_conversation(STARTED)._repr_html_()
    assert "<script" not in html
    assert html.count("&lt;script&gt;") == 5


def test_a_conversation_without_transcript_says_so(documented_tables: Tables) -> None:
    """Without messages there is a heading and a sentence."""
    documented_tables.messages = empty("messages")
    shown = documented_tables.read_conversation(STARTED)
    assert repr(shown).endswith("None of its transcripts were read.")
    assert "None of its transcripts were read." in shown._repr_html_()


def test_an_unknown_conversation_is_told(documented_tables: Tables) -> None:
    """A sentence says so."""
    with pytest.raises(UsageError, match="no conversation 'x'"):
        documented_tables.read_conversation("x")


def test_many_files_are_shown_by_folder(sample: Tables, tmp_path: Path) -> None:
    """An export of many files shows a row for each folder."""
    export = Export([write_sample(tmp_path / "captures", events=300, seed=7).path], ReadOptions())
    assert len(repr(export).splitlines()) == 3 + 5
    assert str(tmp_path) not in repr(export) + export._repr_html_()
