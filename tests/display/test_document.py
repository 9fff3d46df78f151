"""A report's page: self-contained, escaped, and with descriptions of its charts."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatlio_kit.display import Chart, Document, Example, Part, Sheet, Tile, visible
from chatlio_kit.samples import write_sample
from chatlio_kit.tables import Export, ReadOptions, RecordCounts, convert
from chatlio_kit.tables.report import _periods


class _Reader(HTMLParser):
    """A collector of a page's text, tags and external references."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: set[str] = set()
        self.sources: list[str | None] = []
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href", "data", "action")]
        self.texts += [value for name, value in attrs if name == "aria-label" and value]
        if tag not in ("meta", "line", "rect", "i"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("meta", "line", "rect", "i"):
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @classmethod
    def read(cls, page: str) -> _Reader:
        reader = cls()
        reader.feed(page)
        reader.close()
        assert reader._open == []
        return reader


WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\r\x00"), min_size=1, max_size=20)
SPITEFUL = st.one_of(
    WORDS, st.sampled_from(['<script>alert("x")</script>', "</pre><img src=x>", "{{ 7*7 }}", "&lt;"])
)


@given(words=st.lists(SPITEFUL, min_size=8, max_size=8), numbers=st.lists(st.integers(0, 10**9), min_size=2))
def test_everything_on_a_page_is_escaped(words: list[str], numbers: list[int]) -> None:
    """Any text in a report is shown unchanged and never becomes markup."""
    title, lead, label, place, text, verbatim, cell, note = words
    chart = Chart([f"{cell}{at}" for at in range(len(numbers))], {title: [*numbers[:-1], 1]}, "events")
    page = Document(
        title,
        lead,
        [Tile(label, 3)],
        [
            Part(place, text, chart, Sheet("", (cell, "n"), [(f"{cell}!", 7)], [note]), is_folded=True),
            Part(place, examples=[Example(label, place, text, verbatim)]),
        ],
    ).to_html()
    reader = _Reader.read(page)
    assert reader.tags.isdisjoint({"script", "img", "iframe", "link", "object"})
    said = "".join(reader.texts)
    assert all(visible(word.strip(), keep="\n\t") in said for word in words)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a conversion with rejects."""
    folder = tmp_path_factory.mktemp("page")
    sample = write_sample(folder / "x.d", events=800, bad_share=0.05)
    convert(Export([sample.path], ReadOptions()), folder / "out", quiet=True)
    return (folder / "out" / "report.html").read_text()


def test_a_page_loads_nothing_and_is_small(page: str) -> None:
    """No script, no image, no font, no address that would be fetched; a few hundred kilobytes at most."""
    reader = _Reader.read(page)
    assert reader.sources == []
    assert "url(" not in page
    assert "@import" not in page
    assert re.findall(r"default-src 'none'", page)
    assert len(page) < 300_000


def test_a_page_shows_the_counts_and_the_options_that_settle_rejects(page: str) -> None:
    """Counts, reasons with their hints, places of examples, and the picture in words."""
    said = " ".join(_Reader.read(page).texts)
    for word in ("800", "760", "40", "not_json", "Choose a stand-in with --undated-as", ", record "):
        assert word in said
    assert "Columns of events for 2023-01 to " in said


@pytest.mark.parametrize(
    ("months", "unit", "names"),
    [
        (["2024-11", "2025-02"], "month", ["2024-11", "2024-12", "2025-01", "2025-02"]),
        (["2015-05", "2015-06", "2024-01"], "year", [str(year) for year in range(2015, 2025)]),
        (["0001-01", "1970-01", "2024-01"], "year", ["0001", "1970", "2024"]),
    ],
)
def test_a_timeline_has_no_gaps_that_can_be_shown(months: list[str], unit: str, names: list[str]) -> None:
    """Months are consecutive, even empty ones; many become years, very many only those with events."""
    periods, reported = _periods({month: {"feedback": 2} for month in months})
    assert (list(periods), reported) == (names, unit)
    assert sum(each["feedback"] for each in periods.values()) == 2 * len(months)


def test_counts_without_events_have_no_timeline(tmp_path: Path) -> None:
    """An export without a good record still has its page."""
    (tmp_path / "a.ndjson").write_text("7\n")
    convert(Export([tmp_path / "a.ndjson"], ReadOptions()), tmp_path / "out", quiet=True)
    assert RecordCounts().timeline() == {}
    assert "<svg" not in (tmp_path / "out" / "report.html").read_text()
