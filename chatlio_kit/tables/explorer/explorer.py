"""Search, filter and read conversations on one HTML page that works offline, in a notebook or as a file.

Chat text is untrusted. It is embedded as JSON that no HTML parser interprets and is inserted only as text
nodes. The page's policy allows its own script alone: no requests, other scripts, frames or forms.
"""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from collections.abc import Iterable
from functools import cache
from hashlib import sha256
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

import orjson
import pandas as pd

from chatlio_kit.arguments import checked
from chatlio_kit.chatlio.rejections import shortened
from chatlio_kit.counting import counted
from chatlio_kit.display.visible import visible
from chatlio_kit.errors import in_words
from chatlio_kit.tables.explorer.corpus import MOST_MESSAGES, Corpus, Entry, Filters, Status, fold
from chatlio_kit.tables.output import write_whole

ROWS, ROWS_OF_A_FILE = 10_000, 100_000
"""Maximum number of messages and events on a page: in a notebook, and in a file."""

_CHARACTERS_PER_ROW = 200
_REJECTED_SHARE = 4
_HEIGHT = 640
_SNIPPET = 200
_ENTRIES_AT_ONCE = 20_000
_VISITOR = ("contact_name", "visitor_name", "contact_email", "visitor_email")
_NAMES = {
    "conversation_id": "conversation",
    "visitor_name": "visitor",
    "contact_name": "contact",
    "visitor_email": "e-mail",
    "contact_email": "contact's e-mail",
    "visitor_id": "visitor id",
    "agent_name": "agent",
    "page_url": "page",
    "detail": "what happened",
}
_STATUSES = {
    Status.REJECTED: "rejected",
    Status.DEAD_LETTERED: "dead-lettered",
    Status.GONE: "gone",
    Status.NOT_SENT: "not sent",
    Status.PENDING: "pending",
    Status.SENT: "sent, not read back",
    Status.LANDED: "landed",
    Status.ACCEPTED: "accepted",
}
_COLUMNS = (
    *("type", "id", "started_at", "visitor", "visitor_email", "agent", "page_url", "messages"),
    *("status", "match"),
)


class Explorer:
    """A page for searching, filtering and reading conversations.

    In a notebook it displays itself; :meth:`save` writes it to a file. It holds a bounded part of the tables,
    which ``holds`` describes.

    Attributes:
        holds: A sentence on what the page holds and how to choose something else.
    """

    def __init__(self, entries: list[Entry], holds: str) -> None:
        self._entries, self.holds = entries, holds

    @classmethod
    def of(cls, corpus: Corpus, filters: Filters, limit: int) -> Explorer:
        """Choose a page's contents: the latest conversations, and some rejected records.

        Args:
            corpus: The chats.
            filters: The filters to apply.
            limit: Maximum number of messages and events on the page; rejected records may be a quarter of it.
        """
        choice = _Choice(limit)
        choice.add(corpus.entries(filters))
        corpus.load(choice.chosen)
        return cls(choice.chosen, choice.sentence(filters))

    def to_html(self) -> str:
        """Return the page."""
        script, style = _resource("page.js"), _resource("page.css")
        return Template(_resource("page.html")).substitute(
            policy=f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
            "base-uri 'none'; form-action 'none'",
            holds=escape(visible(self.holds)),
            style=style,
            script=script,
            data=self._data(),
        )

    @checked()
    def save(self, path: Path | str) -> Path:
        """Write the page to a file that only its owner can read, and return the path.

        Raises:
            OutputError: The file cannot be written.
        """
        path, text = Path(path), self.to_html()
        write_whole(path, lambda draft: draft.write_text(text, encoding="utf-8", newline="\n"))
        return path

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return visible(f"Explorer: {self.holds}")

    def _repr_html_(self) -> str:
        return (
            '<iframe title="Explorer of conversations" sandbox="allow-scripts" '
            f'style="width:100%;height:{_HEIGHT}px;border:0" srcdoc="{escape(self.to_html())}"></iframe>'
        )

    def _data(self) -> str:
        """Return the entries as JSON in which no HTML parser finds a tag, a comment or an entity."""
        content = orjson.dumps(
            {
                "entries": [_as_json(entry) for entry in self._entries],
                "statuses": {str(status): words for status, words in _STATUSES.items()},
            }
        ).decode()
        for character in "<>&\u2028\u2029":
            content = content.replace(character, f"\\u{ord(character):04x}")
        return content


def find(corpus: Corpus, filters: Filters) -> pd.DataFrame:
    """Search all chats as an explorer would: the latest first, then rejected records.

    Returns:
        A row for each entry: ``type``, ``id``, ``started_at``, ``visitor``, ``visitor_email``, ``agent``,
        ``page_url``, ``messages`` (their number), ``status``, and ``match``, the first text that contains one
        of the words.
    """
    entries = list(corpus.entries(filters))
    rows: list[tuple[object, ...]] = []
    while entries:  # each chunk is released before the next is loaded
        loaded, entries = entries[:_ENTRIES_AT_ONCE], entries[_ENTRIES_AT_ONCE:]
        corpus.load(loaded)
        rows += [_row(entry, filters.words) for entry in loaded]
    frame = pd.DataFrame(rows, columns=list(_COLUMNS))
    texts = {name: "str" for name in _COLUMNS if name not in ("started_at", "messages")}
    return frame.astype({**texts, "messages": "int64"}).assign(
        started_at=pd.to_datetime(frame["started_at"].astype("Float64"), unit="ms", utc=True)
    )


class _Choice:
    """The entries that fit on a page."""

    def __init__(self, limit: int) -> None:
        self.chosen: list[Entry] = []
        self._all, self._held = Counter[bool](), Counter[bool]()
        self._chats, self._rejects = _Budget(limit), _Budget(limit // _REJECTED_SHARE)

    def add(self, entries: Iterable[Entry]) -> None:
        """Choose from entries in their order, until the page is full."""
        for entry in entries:
            is_rejected = entry.is_rejected
            self._all[is_rejected] += 1
            if (self._rejects if is_rejected else self._chats).take(entry):
                self._held[is_rejected] += 1
                self.chosen.append(entry)

    def sentence(self, filters: Filters) -> str:
        """Describe the choice: how many entries of how many, and how to choose others."""
        scope, chats, rejects = self._scope(filters), self._all[False], self._all[True]
        if self._held == self._all:
            return (
                "This page holds "
                f"{counted(chats, 'conversation or other event', 'conversations and other events')} and "
                f"{counted(rejects, 'rejected record')}{scope}; nothing is left out."
            )
        times = [entry.started_at for entry in self.chosen if entry.started_at is not None]
        since = f", back to {pd.Timestamp(min(times), unit='ms'):%Y-%m-%d}" if times else ""
        advice = in_words(
            "choose others with --query, --since and --until, or more with --limit",
            "choose others with query=, since= and until=, or more with limit=",
        )
        return (
            f"This page holds a part: the latest {self._held[False]:,} of {chats:,} conversations and other "
            f"events{since}, and {self._held[True]:,} of {rejects:,} rejected records{scope}. A search on "
            f"this page finds only what it holds; {advice}."
        )

    @staticmethod
    def _scope(filters: Filters) -> str:
        parts = [f"with {shortened(filters.query)}"] if filters.query.strip() else []
        for name, moment in (("from", filters.since), ("before", filters.until)):
            if moment is not None:
                parts.append(f"{name} {pd.Timestamp(moment, unit='ms'):%Y-%m-%d %H:%M} UTC")
        return f" {' '.join(parts)}" if parts else ""


class _Budget:
    """Room for entries on a page. The first entry always fits; the first that does not ends the choice."""

    def __init__(self, rows: int) -> None:
        self._rows, self._characters = rows, rows * _CHARACTERS_PER_ROW
        self._is_empty, self._is_full = True, False

    def take(self, entry: Entry) -> bool:
        """Reserve room for an entry, and return whether it fits."""
        self._rows -= entry.rows
        self._characters -= entry.characters
        self._is_full |= not self._is_empty and min(self._rows, self._characters) < 0
        self._is_empty = False
        return not self._is_full


def _as_json(entry: Entry) -> dict[str, Any]:
    """Return the displayed parts of an entry, without empty values."""
    members = {
        "id": entry.id,
        "type": entry.type,
        "at": entry.started_at,
        "end": entry.ended_at,
        "name": _first(entry, *_VISITOR),
        "facts": [
            (_NAMES.get(name, name), value) for name, values in entry.facts.items() for value in values
        ],
        "flags": entry.flags,
        "unknown": entry.unknown_flags,
        "status": entry.status,
        "events": entry.events,
        "messages": entry.messages,
        "hidden": max(0, entry.message_count - MOST_MESSAGES),
        "raw": entry.raw,
    }
    return {name: value for name, value in members.items() if value not in (None, [], 0)}


def _first(entry: Entry, *names: str) -> str | None:
    """Return the latest known value of the first of these facts that is known."""
    return next((entry.facts[name][0] for name in names if name in entry.facts), None)


def _row(entry: Entry, words: list[str]) -> tuple[object, ...]:
    facts = [value for values in entry.facts.values() for value in values]
    texts = [str(message[3] or "") for message in entry.messages]
    texts += [str(event[5] or "") for event in entry.events] + [entry.raw or "", *facts]
    match = next((text for text in texts if any(word in fold(text) for word in words)), "")
    return (
        entry.type,
        entry.id,
        entry.started_at,
        _first(entry, *_VISITOR[:2]),
        _first(entry, *_VISITOR[2:]),
        _first(entry, "agent_name"),
        _first(entry, "page_url"),
        entry.message_count,
        entry.status,
        (match or next(filter(None, texts), ""))[:_SNIPPET],
    )


def _hash(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


@cache
def _resource(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
