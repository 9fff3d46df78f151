"""The meaning of columns, and a conversation to read."""

from __future__ import annotations

from pathlib import Path

import pytest

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


def test_the_dictionary_knows_every_column(documented_tables: Tables) -> None:
    """It has a row for each column of the frame, in its order, each with a meaning."""
    for name in TABLES:
        described = documented_tables.dictionary(name)
        assert list(described.index) == list(getattr(documented_tables, name).columns)
        assert described["meaning"].str.len().gt(0).all()
    with pytest.raises(UsageError, match="no table called 'chats'"):
        documented_tables.dictionary("chats")


def test_a_conversation_can_be_read(documented_tables: Tables) -> None:
    """Messages are in order, with their author and the time since the first."""
    lines = repr(documented_tables.read_conversation(STARTED)).splitlines()
    assert (
        lines[0] == "11 March 2024, 07:59 UTC · answered by Sam Lee · reported as unanswered · with feedback"
    )
    in_berlin = documented_tables.read_conversation(STARTED, time_zone="Europe/Berlin")
    assert in_berlin.started_at == "11 March 2024, 08:59 Europe/Berlin"
    assert lines[1].split() == ["+0:00", "visitor", "ana-ruiz:", "Is", "the", "beta", "open?"]
    assert lines[2].split() == ["+0:56", "agent", "Sam", "L.:", "Yes,", "since", "today."]


def test_untrusted_text_is_escaped(documented_tables: Tables) -> None:
    """Visitors' messages and names are always shown as text."""
    attack = "<script>alert(1)</script>"
    documented_tables.messages["text"] = attack
    documented_tables.messages["username"] = f'"{attack}'
    documented_tables.conversations["agent_name"] = attack
    html = documented_tables.read_conversation(STARTED)._repr_html_()
    assert "<script" not in html
    assert html.count("&lt;script&gt;") == 5


def test_slacks_escapes_are_decoded(documented_tables: Tables) -> None:
    """A message is shown as its author saw it, and markup typed by a visitor stays text."""
    raw = "&lt;script&gt;alert(1)&lt;/script&gt; &amp; <https://a.example|the page>"
    documented_tables.messages["text"] = raw
    shown = documented_tables.read_conversation(STARTED)
    assert "<script>alert(1)</script> & the page (https://a.example)" in repr(shown)
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; the page" in shown._repr_html_()
    assert "<script" not in shown._repr_html_()
    assert (documented_tables.messages["text"] == raw).all()


def test_a_conversation_without_transcript_is_labelled(documented_tables: Tables) -> None:
    """Without messages there is a heading and a note."""
    documented_tables.messages = empty("messages")
    shown = documented_tables.read_conversation(STARTED)
    assert repr(shown).endswith("None of its transcripts were read.")
    assert "None of its transcripts were read." in shown._repr_html_()


def test_an_unknown_conversation_is_reported(documented_tables: Tables) -> None:
    """A message says so."""
    with pytest.raises(UsageError, match="no conversation 'x'"):
        documented_tables.read_conversation("x")


def test_many_files_are_shown_by_folder(sample: Tables, tmp_path: Path) -> None:
    """An export of many files shows a row for each folder."""
    export = Export([write_sample(tmp_path / "captures", events=300, seed=7).path], ReadOptions())
    assert len(repr(export).splitlines()) == 3 + 5
    assert str(tmp_path) not in repr(export) + export._repr_html_()
