"""The explorer's page and the search: what they hold, find and refuse, and that no untrusted text runs."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterable
from copy import deepcopy
from functools import cached_property
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chatlio_kit as ck
from chatlio_kit.chatlio.slack_text import decode
from chatlio_kit.errors import FrameError, UsageError
from chatlio_kit.samples import write_sample
from chatlio_kit.tables import Export, ReadOptions, Tables
from chatlio_kit.tables.explorer import Explorer

PLANTED = (
    "</script><script>document.title='run'</script>",
    "<!--<script>",
    "<img src=x onerror=\"document.title='run'\">",
    "]]>&lt;b&gt;&amp;\u2028\u2029'\"`${1}\\u003c",
    "$data $script ${style}",
    "\u202egnp.exe \x1b[2J",
)
LETTERS = (
    "İSTANBUL",
    "ΟΔΟΣ",
    "οδος",
    "STRASSE Straße GROẞ",
    "ﬁn",
    "Zoë café",
    "100 % ок_",
    "東京 🙏",
    "I\u0307x",
)
WORDS = [
    "order",
    "ORDER",
    "straße",
    "größe",
    "retoure",
    "spain",
    "undated",
    "shop.example",
    "zzz",
    "the",
    "a",
]


def _fold(text: str) -> str:
    return text.lower().replace("i\u0307", "i").replace("ς", "σ")


class Page(HTMLParser):
    """A page as seen by an HTML parser."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.content: dict[str, str] = {}
        self._open = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        self.tags.append((tag, dict(attributes)))
        self._open = "data" if tag == "script" and dict(attributes).get("id") == "data" else tag

    def handle_endtag(self, tag: str) -> None:
        """Note the end of a tag."""
        self._open = ""

    def handle_data(self, data: str) -> None:
        """Note the text in a tag."""
        self.content[self._open] = self.content.get(self._open, "") + data

    @cached_property
    def data(self) -> dict[str, Any]:
        """The page's data."""
        content: dict[str, Any] = orjson.loads(self.content["data"])
        return content

    def found(self, query: str) -> list[str]:
        """Return the ids of the entries in which all words occur: the rule of the page's script."""
        ids = []
        for entry in self.data["entries"]:
            texts = [entry["id"], entry.get("raw", ""), *(value for _, value in entry.get("facts", []))]
            texts += [text or "" for message in entry.get("messages", []) for text in message[2:4]]
            texts += [event[place] or "" for event in entry.get("events", []) for place in (0, 3, 5)]
            if all(word in _fold("\n".join(texts)) for word in _fold(query).split()):
                ids.append(entry["id"])
        return ids


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """The tables of a sample with rejections."""
    path = write_sample(tmp_path_factory.mktemp("sample") / "x.d", events=1200, seed=5, bad_share=0.02).path
    return Export([path], ReadOptions()).to_tables(quiet=True)


@pytest.fixture(scope="module")
def page(tables: Tables) -> Page:
    """The page with all of them."""
    return Page(tables.explore().to_html())


def test_every_record_is_on_the_page(tables: Tables, page: Page) -> None:
    """Each event, message and rejected record occurs once, under its conversation or by itself."""
    entries = page.data["entries"]
    assert sorted(event[0] for entry in entries for event in entry.get("events", [])) == sorted(
        tables.events["event_id"]
    )
    texts = [message[3] for entry in entries for message in entry.get("messages", [])]
    assert sorted(texts) == sorted(tables.messages["text"].map(decode))
    rejected = [entry["id"] for entry in entries if entry["type"] == "rejected record"]
    assert rejected == [f"{rejection.file}:{rejection.record}" for rejection in tables.rejections]
    chats = [entry for entry in entries if entry["type"] == "conversation"]
    assert len(chats) == len(tables.conversations)
    times = [entry["at"] for entry in entries if "at" in entry]
    assert times == sorted(times, reverse=True)
    assert "nothing is left out" in tables.explore().holds


@settings(max_examples=20)
@given(st.lists(st.sampled_from(WORDS), max_size=3).map(" ".join))
def test_the_frame_and_the_page_find_the_same(tables: Tables, page: Page, query: str) -> None:
    """``search`` and the page's rule agree, in rows and order."""
    frame = tables.search(query)
    assert frame["id"].tolist() == page.found(query)
    assert frame["match"].str.len().max() <= 200 or frame.empty


def test_the_frame_has_the_columns_of_analysis(tables: Tables) -> None:
    """Times are UTC, counts are whole numbers, and counts of messages are those of the table."""
    frame = tables.search("")
    assert str(frame["started_at"].dt.tz) == "UTC"
    chats = frame[frame["type"] == "conversation"].set_index("id")
    counts = tables.messages.groupby("conversation_id").size()
    assert chats["messages"][counts.index].tolist() == counts.tolist()
    assert set(frame["status"]) == {"accepted", "rejected"}
    assert tables.search("zzz zzz").empty


def test_a_page_describes_the_part_that_fits(tables: Tables) -> None:
    """The latest conversations are held up to the limit, and the sentence counts the others."""
    explorer = tables.explore(limit=100)
    entries = Page(explorer.to_html()).data["entries"]
    chats = [entry for entry in entries if entry["type"] != "rejected record"]
    rows = sum(1 + len(entry["events"]) + len(entry.get("messages", [])) for entry in chats)
    assert 80 < rows <= 100
    latest = tables.search("").iloc[: len(chats)]
    assert [entry["id"] for entry in chats] == latest["id"].tolist()
    assert f"the latest {len(chats):,} of " in explorer.holds
    assert "query=, since= and until=" in explorer.holds
    assert len(tables.explore(limit=1)) == 2  # the latest conversation and one rejected record always fit


def test_a_page_contains_the_chosen_entries(tables: Tables) -> None:
    """A query and a period select; a rejected record has no time, so a period excludes it."""
    first, last = "2024-02-01", "2024-03-01T00:00:00Z"
    chosen = tables.explore(query="order", since=first, until=last)
    ids = {entry["id"] for entry in Page(chosen.to_html()).data["entries"]}
    frame = tables.search("order")
    is_in_time = (frame["started_at"] >= "2024-02-01") & (frame["started_at"] < "2024-03-01")
    assert ids == set(frame["id"][is_in_time])
    assert ids == set(tables.search("order", since=first, until=last)["id"])
    assert 'with "order" from 2024-02-01 00:00 UTC before 2024-03-01 00:00 UTC' in chosen.holds


def test_wrong_usage_is_a_sentence(tables: Tables) -> None:
    """An invalid time, and a frame without a column, are named."""
    with pytest.raises(UsageError, match="since='yesterday' is not a time"):
        tables.explore(since="yesterday")
    with pytest.raises(UsageError, match="limit= is a whole number from 1"):
        tables.explore(limit=0)
    edited = deepcopy(tables)
    edited.messages = edited.messages.drop(columns="text")
    with pytest.raises(FrameError, match="The frame messages lacks the column 'text'"):
        edited.search("order")


def test_edited_frames_are_shown(tables: Tables) -> None:
    """A dropped conversation is missing from the page, masked text from the search; empty tables show."""
    edited = deepcopy(tables)
    gone = edited.conversations["conversation_id"].iloc[0]
    edited.events = edited.events[edited.events["conversation_id"] != gone]
    edited.messages = edited.messages.assign(text="")
    ids = {entry["id"] for entry in Page(edited.explore().to_html()).data["entries"]}
    assert gone not in ids
    assert len(ids) == len(tables.search("")) - 1
    edited.events, edited.messages, edited.rejections = edited.events[:0], edited.messages[:0], []
    assert Page(edited.explore().to_html()).data["entries"] == []
    assert edited.search("order").empty


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Explorer:
    """An explorer over text that tries to run, in messages, names, pages, file names and rejections."""
    folder = tmp_path_factory.mktemp("planted") / "<img src=x onerror=alert(1)>"
    folder.mkdir()
    lines = []
    for number, text in enumerate(PLANTED):
        chat = f"00000000-0000-0000-0000-{number:012d}"
        messages = [{"ts": f"1710144005.00020{number}", "text": text, "username": text, "isVisitorMsg": True}]
        shared = {"conversationUUID": chat, "visitor": {"UUID": chat, "name": text, "currentPage": text}}
        times = {"startedAt": "2024-03-11T09:00:00Z", "endedAt": "2024-03-11T09:03:10Z"}
        transcript = {**shared, **times, "messages": messages, "visitorName": text}
        feedback = {"kind": "feedback", "payload": {**shared, "message": text}}
        lines += [
            {"kind": "transcript", "payload": transcript},
            {**feedback, "receivedAt": "2024-03-11T09:05:00Z"},
            {**feedback, "receivedAt": text},
        ]
    (folder / "a.ndjson").write_bytes(b"\n".join(map(orjson.dumps, lines)))
    return Export([folder], ReadOptions()).to_tables(quiet=True).explore()


def test_no_untrusted_text_leaves_the_data(planted: Explorer) -> None:
    """An HTML parser sees only the page's own tags, and the data has every string unchanged."""
    page = Page(planted.to_html())
    assert [tag for tag, _ in page.tags].count("script") == 2
    assert "img" not in {tag for tag, _ in page.tags}
    assert "<" not in page.content["data"]
    texts = {message[3] for entry in page.data["entries"] for message in entry.get("messages", [])}
    assert texts == set(map(decode, PLANTED))
    names = {message[2] for entry in page.data["entries"] for message in entry.get("messages", [])}
    assert names == set(PLANTED)
    assert sum(entry["status"] == "rejected" for entry in page.data["entries"]) == len(PLANTED)


def test_the_policy_allows_only_the_pages_own_script_and_style(planted: Explorer) -> None:
    """The policy names the digests of the page's parts, and nothing is loaded from elsewhere."""
    page = Page(planted.to_html())
    (policy,) = [
        attributes["content"] for tag, attributes in page.tags
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    ]  # fmt: skip
    digests = {
        name: b64encode(sha256(page.content[name].encode()).digest()).decode() for name in ("script", "style")
    }
    assert policy == (
        f"default-src 'none'; script-src 'sha256-{digests['script']}'; "
        f"style-src 'sha256-{digests['style']}'; base-uri 'none'; form-action 'none'"
    )
    loading = {"src", "href", "action", "srcset", "style"}
    assert not [
        pair for _, attributes in page.tags for pair in attributes if pair in loading or pair[:2] == "on"
    ]
    parsing = ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", "url(")
    assert not [way for way in parsing if way in page.content["script"] + page.content["style"]]


def test_every_field_has_a_name(page: Page) -> None:
    """There is a label for each field, a language, a title and a status for screen readers."""
    labelled = {attributes.get("for") for tag, attributes in page.tags if tag == "label"}
    fields = {attributes["id"] for tag, attributes in page.tags if tag in ("input", "select")}
    assert fields == labelled == {"query", "status", "type", "from", "to"}
    assert ("html", {"lang": "en"}) in page.tags
    assert page.content["title"] == "Conversations"
    assert [attributes["id"] for tag, attributes in page.tags if attributes.get("role") == "status"] == [
        "count"
    ]


def test_a_notebook_shows_the_page_in_its_own_frame(planted: Explorer, tmp_path: Path) -> None:
    """The iframe has a title, may run only the page's script, and holds the same page as the file."""
    ((tag, attributes),) = Page(planted._repr_html_()).tags
    assert (tag, attributes["sandbox"]) == ("iframe", "allow-scripts")
    assert attributes["title"]
    assert attributes["srcdoc"] == planted.to_html()
    path = planted.save(tmp_path / "x.html")
    assert path.read_bytes().decode() == planted.to_html()
    assert repr(planted).startswith("Explorer: This page holds ")


@pytest.fixture(scope="module")
def letters(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """One offline message for each of several strings with complex upper and lower case."""
    path = tmp_path_factory.mktemp("letters") / "offline_message.ndjson"
    visitor = {"UUID": "00000000-0000-0000-0000-000000000000"}
    records = [
        {
            "receivedAt": "2024-03-11T09:05:00Z",
            "payload": {"visitor": visitor, "email": "", "name": "", "message": text},
        }
        for text in LETTERS
    ]
    path.write_bytes(b"\n".join(map(orjson.dumps, records)))
    return ck.read_export(path).to_tables(quiet=True)


@pytest.mark.parametrize("text", LETTERS)
def test_any_spelling_of_a_text_finds_it(letters: Tables, text: str) -> None:
    """The query and its upper and lower case find what the page's rule finds."""
    page = Page(letters.explore().to_html())
    for query in (text, text.upper(), text.lower()):
        assert letters.search(query)["id"].tolist() == page.found(query)
    assert text in set(letters.search(text)["match"])


def test_messages_are_shown_and_found_as_their_writers_saw_them(
    tmp_path: Path, ndjson: Callable[[Path, Iterable[Any]], Path]
) -> None:
    """Slack's escapes are decoded on the page and in the search, and the frame keeps what Chatlio sent."""
    text = "<@U1|sam>: R&amp;D &lt;3, see <https://a.example|the page>"
    chat = {
        "conversationUUID": "7c1e9a52-3b6d-4f08-5a91-0d4e6b2f8c13",
        "startedAt": "2024-03-11T09:00:00Z",
        "endedAt": "2024-03-11T09:03:10Z",
        "messages": [{"ts": "1710144005.000200", "text": text, "isVisitorMsg": False}],
    }
    path = ndjson(tmp_path / "a.ndjson", [{"kind": "transcript", "payload": chat}])
    tables = ck.read_export(path).to_tables(quiet=True)
    (entry,) = Page(tables.explore().to_html()).data["entries"]
    assert entry["messages"][0][3] == "@sam: R&D <3, see the page (https://a.example)"
    assert (len(tables.search("R&D page")), len(tables.search("&amp;"))) == (1, 0)
    assert tables.messages["text"].tolist() == [text]


def test_long_texts_are_truncated_and_counted(
    tmp_path: Path, ndjson: Callable[[Path, Iterable[Any]], Path]
) -> None:
    """A page shows the beginning of a long text and how much is missing; the search covers all of it."""
    chat = "7c1e9a52-3b6d-4f08-5a91-0d4e6b2f8c13"
    messages = [
        {"ts": f"1710144005.{number:06d}", "text": "m", "isVisitorMsg": True} for number in range(1200)
    ]
    messages[0]["text"] = "x" * 12_000 + " needle"
    transcript = {
        "conversationUUID": chat, "startedAt": "2024-03-11T09:00:00Z", "endedAt": "2024-03-11T09:03:10Z",
        "messages": messages,
    }  # fmt: skip
    path = ndjson(tmp_path / "a.ndjson", [{"kind": "transcript", "payload": transcript}])
    tables = ck.read_export(path).to_tables(quiet=True)
    assert tables.rejections == []
    (entry,) = Page(tables.explore().to_html()).data["entries"]
    assert (len(entry["messages"]), entry["hidden"]) == (1000, 200)
    assert (len(entry["messages"][0][3]), entry["messages"][0][4]) == (10_000, 2_007)
    assert tables.search("needle")["id"].tolist() == [chat]


def test_a_time_without_any_moment_is_refused(tmp_path: Path) -> None:
    """A beginning that is not before the end would show an empty page."""
    tables = ck.read_export(write_sample(tmp_path / "x.d", events=20).path).to_tables(quiet=True)
    for since in ("2024-01-02", "2024-01-01"):
        with pytest.raises(UsageError, match="is not before"):
            tables.explore(since=since, until="2024-01-01")
