"""The chats of a set of tables: conversations, events outside any conversation, and rejected records.

Frames in memory and the files of ``convert`` are read by the same SQL, and only what is chosen is loaded.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Protocol
from unicodedata import normalize

import orjson
import pandas as pd
import pyarrow as pa

from chatlio_kit.chatlio.rejections import Reason, Rejection
from chatlio_kit.errors import FrameError, UsageError, option
from chatlio_kit.tables.derive.database import database
from chatlio_kit.tables.derive.files import view_of
from chatlio_kit.tables.report import REJECTED as REJECTED_FILE

CONVERSATION, REJECTED = "conversation", "rejected record"
LONGEST_TEXT = 10_000
"""How many characters of one text a page shows."""
MOST_MESSAGES = 1_000
"""How many messages of one conversation a page shows."""

_COLUMNS = {
    "events": (
        *("event_id", "kind", "occurred_at", "conversation_id", "visitor_id", "visitor_email"),
        *("visitor_name", "contact_name", "contact_email", "agent_name", "page_url", "message", "subject"),
        *("started_at", "ended_at", "source_file", "source_record"),
    ),
    "messages": ("conversation_id", "event_id", "sent_at", "position", "author", "username", "text"),
}
_EVENTS = """
SELECT rank, event_id, kind, epoch_ms(occurred_at), source_file, source_record,
    nullif(concat_ws(': ', subject, left(message, $longest)), '')
FROM events JOIN chosen ON chosen.entry = coalesce(conversation_id, event_id)
ORDER BY rank, occurred_at, event_id
"""
_MESSAGES = """
SELECT rank, author, epoch_ms(sent_at), username, left(text, $longest), greatest(length(text) - $longest, 0)
FROM messages JOIN chosen ON chosen.entry = coalesce(conversation_id, event_id)
QUALIFY row_number() OVER (PARTITION BY rank ORDER BY sent_at, position) <= $most
ORDER BY rank, sent_at, position
"""
_FACTS = ("conversation_id", "visitor", "visitor_email", "visitor_id", "agent", "page_url")


class Status(StrEnum):
    """What became of an event, or of the event of a conversation that needs attention most.

    The order is that of attention.
    """

    REJECTED = "rejected"
    DEAD_LETTERED = "dead_lettered"
    GONE = "gone"
    NOT_SENT = "not_sent"
    PENDING = "pending"
    SENT = "sent"
    LANDED = "landed"
    ACCEPTED = "accepted"


class Ledgered(Protocol):
    """What knows the statuses of events that were sent, such as a run."""

    def statuses(self, event_ids: Sequence[str]) -> Mapping[str, tuple[Status, str]]:
        """Return the status of each event, and a sentence about it; an unknown event was not sent."""


@dataclass(frozen=True)
class Filters:
    """Which entries are chosen.

    Attributes:
        query: words that all have to occur, each anywhere in the entry, in any case.
        since: the first moment, in milliseconds since 1970.
        until: the moment after the last one.
    """

    query: str = ""
    since: int | None = None
    until: int | None = None

    @classmethod
    def of(cls, query: str = "", since: str | None = None, until: str | None = None) -> Filters:
        """Read filters as they are written in options.

        Raises:
            UsageError: when a time is none.
        """
        return cls(query, _milliseconds("since", since), _milliseconds("until", until))

    @property
    def words(self) -> list[str]:
        """The words of the query, folded."""
        return fold(self.query).split()

    def match_time(self, moment: int | None) -> bool:
        """Whether a moment is in the chosen time; without one, only if no time was chosen."""
        if moment is None:
            return self.since is None and self.until is None
        return (self.since is None or moment >= self.since) and (self.until is None or moment < self.until)


@dataclass
class Entry:
    """A conversation with its events and messages, an event outside any conversation, or a rejected record.

    Attributes:
        id: the conversation id, the event id, or ``file:record``.
        type: ``conversation``, the kind of the event, or ``rejected record``.
        started_at: milliseconds since 1970; None for a rejected record.
        ended_at: the same.
        facts: who took part and where, by name.
        flags: ``unanswered`` and ``feedback``, where they apply.
        event_ids: the ids of its events.
        message_count: how many messages it has.
        characters: about how many characters it takes to show.
        status: what became of it.
        events: id, kind, time, file, record, text, status and detail of each event; loaded on demand.
        messages: author, time, name, text and number of hidden characters; loaded on demand.
        raw: the beginning of a rejected record.
    """

    id: str
    type: str
    started_at: int | None = None
    ended_at: int | None = None
    facts: dict[str, str] = field(default_factory=dict)
    flags: list[str] = field(default_factory=list)
    event_ids: list[str] = field(default_factory=list)
    message_count: int = 0
    characters: int = 0
    status: Status = Status.ACCEPTED
    events: list[tuple[Any, ...]] = field(default_factory=list)
    messages: list[tuple[Any, ...]] = field(default_factory=list)
    raw: str | None = None

    @property
    def rows(self) -> int:
        """How many rows it takes to show."""
        return 1 + len(self.event_ids) + min(self.message_count, MOST_MESSAGES)


class Corpus:
    """The chats of a set of tables.

    Args:
        database: has the views ``events`` and ``messages``.
        rejections: returns the rejected records.
        ledger: knows what became of events that were sent, if anything does.
    """

    def __init__(
        self, database: Any, rejections: Callable[[], Iterable[Rejection]], ledger: Ledgered | None = None
    ) -> None:
        self._database, self._rejections, self._ledger = database, rejections, ledger

    @classmethod
    @contextmanager
    def of_frames(
        cls,
        frames: Mapping[str, pd.DataFrame],
        rejections: Iterable[Rejection],
        ledger: Ledgered | None = None,
    ) -> Iterator[Corpus]:
        """Open frames in memory.

        Raises:
            FrameError: when a frame lacks a column.
        """
        with _database() as opened:
            for name, columns in _COLUMNS.items():
                if missing := [column for column in columns if column not in frames[name]]:
                    raise FrameError(
                        f"tables.{name} lacks the column {missing[0]!r}. Convert again, and keep all columns."
                    )
                rows = pa.Table.from_pandas(frames[name][list(columns)], preserve_index=False)
                opened.register(name, rows)
            yield cls(opened, lambda: rejections, ledger)

    @classmethod
    @contextmanager
    def of_folder(cls, folder: Path, ledger: Ledgered | None = None) -> Iterator[Corpus]:
        """Open a folder that ``convert`` wrote.

        Raises:
            UsageError: when it holds no such tables.
        """
        with _database() as opened:
            for name in _COLUMNS:
                if not (folder / f"{name}.parquet").is_file():
                    raise UsageError(
                        f"{str(folder)!r} holds no tables that convert wrote: {name}.parquet is missing. "
                        "Name the folder that was given to --out."
                    )
                opened.execute(view_of(name, folder))
            yield cls(opened, lambda: read_rejections(folder), ledger)

    def entries(self, filters: Filters) -> Iterator[Entry]:
        """Yield what matches, the latest first, then rejected records; events and messages are not loaded."""
        words = filters.words
        reader = self._database.execute(_query(), {"longest": LONGEST_TEXT, "with_words": bool(words)})
        for batch in reader.to_arrow_reader(20_000):
            for row in batch.to_pylist():
                if filters.match_time(row["started_at"]) and _matches(words, row["words"]):
                    yield _entry(row)
        if filters.match_time(None):
            for rejection in self._rejections():
                entry = _rejected(rejection)
                if _matches(words, "\n".join([entry.id, *entry.facts.values(), rejection.raw or ""])):
                    yield entry

    def load(self, entries: Sequence[Entry]) -> None:
        """Load the events and messages of entries, as far as a page shows them."""
        ids = pa.array([entry.id for entry in entries], pa.large_string())
        chosen = pa.table({"entry": ids, "rank": pa.array(range(len(entries)), pa.int64())})
        self._database.register("chosen", chosen)
        statuses = self.read_statuses(entries)
        for rank, event_id, *rest in self._fetch(_EVENTS, longest=LONGEST_TEXT):
            status, detail = statuses.get(event_id, (None, ""))
            entries[rank].events.append((event_id, *rest, status, detail))
        for rank, *message in self._fetch(_MESSAGES, longest=LONGEST_TEXT, most=MOST_MESSAGES):
            entries[rank].messages.append(tuple(message))

    def read_statuses(self, entries: Sequence[Entry]) -> dict[str, tuple[Status, str]]:
        """Look up what became of all events, and set the status of each entry."""
        if self._ledger is None:
            return {}
        ids = [event_id for entry in entries for event_id in entry.event_ids]
        known = self._ledger.statuses(ids)
        statuses = {event_id: known.get(event_id, (Status.NOT_SENT, "")) for event_id in ids}
        order = list(Status)
        for entry in entries:
            if entry.event_ids:
                entry.status = min((statuses[one][0] for one in entry.event_ids), key=order.index)
        return statuses

    def _fetch(self, query: str, **values: int) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = self._database.execute(query, values).fetchall()
        return rows


def fold(text: str) -> str:
    """Return a text as it is compared; the page's script does the same."""
    return text.lower() if text.isascii() else normalize("NFC", text).lower()


def read_rejections(folder: Path) -> Iterator[Rejection]:
    """Yield the rejected records that a run wrote into a folder; a line that cannot be read is left out."""
    path = folder / REJECTED_FILE
    if not path.is_file():
        return
    with path.open("rb") as file:
        for line in file:
            rejection = parse_rejection(line)
            if rejection is not None:
                yield rejection


def parse_rejection(line: bytes) -> Rejection | None:
    """Parse a line of ``rejected.jsonl``; None where it is damaged."""
    try:
        members = orjson.loads(line)
        return Rejection(
            str(members["file"]),
            int(members["record"]),
            Reason(members["reason"]),
            members.get("field"),
            str(members["detail"]),
            members.get("raw"),
        )
    except (ValueError, KeyError, TypeError):
        return None


@contextmanager
def _database() -> Iterator[Any]:
    with tempfile.TemporaryDirectory(prefix="chatlio-kit-") as folder, database(Path(folder)) as opened:
        yield opened


def _matches(words: Sequence[str], text: str) -> bool:
    if not words:
        return True
    folded = fold(text)
    return all(word in folded for word in words)


def _entry(row: Mapping[str, Any]) -> Entry:
    is_conversation = row["conversation_id"] is not None
    flags = {"unanswered": row["was_unanswered"], "feedback": row["has_feedback"]}
    return Entry(
        row["entry"],
        CONVERSATION if is_conversation else row["kind"].replace("_", " "),
        row["started_at"],
        row["ended_at"],
        {name: row[name][:LONGEST_TEXT] for name in _FACTS if row[name]},
        [flag for flag, applies in flags.items() if applies and is_conversation],
        row["event_ids"],
        row["messages"],
        row["characters"],
    )


def _rejected(rejection: Rejection) -> Entry:
    facts = {
        "reason": rejection.reason,
        "field": rejection.field or "",
        "detail": rejection.detail,
    }
    raw = None if rejection.raw is None else rejection.raw[:LONGEST_TEXT]
    return Entry(
        f"{rejection.file}:{rejection.record}",
        REJECTED,
        facts={name: value for name, value in facts.items() if value},
        characters=len(raw or ""),
        status=Status.REJECTED,
        raw=raw,
    )


@cache
def _query() -> str:
    return resources.files(__package__).joinpath("entries.sql").read_text(encoding="utf-8")


def _milliseconds(name: str, value: str | None) -> int | None:
    if value is None:
        return None
    if not re.match(r"\d{4}-\d\d-\d\d", value):
        raise _no_time(name, value)
    try:
        moment = pd.Timestamp(value)
    except ValueError:
        raise _no_time(name, value) from None
    return int((moment.tz_localize("UTC") if moment.tz is None else moment).timestamp() * 1000)


def _no_time(name: str, value: str) -> UsageError:
    return UsageError(
        f"{option(name, repr(value))} is no time. Write a day, as in 2024-03-01, or an RFC 3339 time, as in "
        "2024-03-01T09:00:00Z."
    )
