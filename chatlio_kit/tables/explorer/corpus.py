"""The chats in a set of tables: conversations, events outside any conversation, and rejected records.

The same SQL reads frames in memory and the files of ``convert``, and only what is chosen is loaded.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from importlib import import_module, resources
from pathlib import Path
from typing import Any, Protocol

import orjson
import pandas as pd
import pyarrow as pa

from chatlio_kit.arguments import wrong
from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.chatlio.rejections import Reason, Rejection
from chatlio_kit.chatlio.slack_text import decode
from chatlio_kit.errors import CaptureError, FrameError, UsageError, option
from chatlio_kit.tables.arrow import arrow_schema
from chatlio_kit.tables.derive.database import database
from chatlio_kit.tables.derive.files import view_of
from chatlio_kit.tables.report import REJECTED as REJECTED_FILE

CONVERSATION, REJECTED = "conversation", "rejected record"
LONGEST_TEXT = 10_000
"""Maximum number of characters that a page shows of one text."""
MOST_MESSAGES = 1_000
"""Maximum number of messages that a page shows of one conversation."""

_ENTRIES_AT_ONCE = 20_000
_FACTS = (
    *("conversation_id", "visitor_name", "contact_name", "visitor_email", "contact_email", "visitor_id"),
    *("agent_name", "page_url"),
)
"""The columns of events that are shown and searched unchanged."""
_COLUMNS = {
    "events": (
        *("event_id", "kind", "occurred_at", "started_at", "ended_at", "message", "subject"),
        *("source_file", "source_record", "origin", *_FACTS),
    ),
    "messages": (
        *("conversation_id", "event_id", "sent_at", "position", "author", "username", "text", "origin"),
    ),
}
_SLACK = "slack_export"
_DECODED = (
    "CASE WHEN origin = 'webhook' AND (contains(text, '<') OR contains(text, '&')) THEN decoded(text)"
    " ELSE text END"
)
"""Text from a Slack export was decoded when it was read."""
_FOLDED = f"""
WITH texts AS (
    SELECT
        coalesce(conversation_id, event_id) AS entry,
        concat_ws(
            chr(10), event_id, source_file, concat_ws(': ', subject, message), {", ".join(_FACTS)}
        ) AS plain
    FROM events
    UNION ALL
    SELECT coalesce(conversation_id, event_id), concat_ws(chr(10), username, {_DECODED}) FROM messages
),
folded AS (
    SELECT entry, CASE
        WHEN strlen(plain) = length(plain) THEN lower(plain)  -- bytes and characters: ASCII alone
        ELSE replace(replace(lower(plain), 'i' || chr(775), 'i'), chr(962), chr(963))
    END AS folded
    FROM texts
)
"""  # noqa: S608 - names from above
_EVENTS = f"""
SELECT rank, event_id, kind, epoch_ms(occurred_at), source_file, source_record,
    nullif(concat_ws(': ', subject, left(message, $longest)), ''), epoch_ms(ended_at), origin,
    {", ".join(_FACTS)}
FROM events JOIN chosen ON chosen.entry = coalesce(conversation_id, event_id)
ORDER BY rank, occurred_at, event_id
"""  # noqa: S608 - names from above
_MESSAGES = f"""
SELECT rank, author, epoch_ms(sent_at), username, left(shown, $longest), greatest(length(shown) - $longest, 0)
FROM (SELECT *, {_DECODED} AS shown FROM messages)
JOIN chosen ON chosen.entry = coalesce(conversation_id, event_id)
QUALIFY row_number() OVER (PARTITION BY rank ORDER BY sent_at, position) <= $most
ORDER BY rank, sent_at, position
"""  # noqa: S608 - names from above


class Status(StrEnum):
    """The status of an event, or of the event in a conversation that most needs attention.

    Members are ordered by their need for attention.
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
    """An object that knows the statuses of sent events, such as a run."""

    def statuses(self, event_ids: Sequence[str]) -> Mapping[str, tuple[Status, str]]:
        """Return the status of each event, with a sentence about it; an unknown event was not sent."""


def a_run(name: str, value: object) -> None:
    """Accept an object that knows the statuses of events, or None."""
    if value is not None and not callable(getattr(value, "statuses", None)):
        raise wrong(name, "what stream() returned", value)


@dataclass(frozen=True)
class Filters:
    """Filters for the entries to choose.

    Attributes:
        query: Words that must all occur, anywhere in the entry and in any case.
        since: The first moment, in milliseconds since 1970.
        until: The moment after the last one.
    """

    query: str = ""
    since: int | None = None
    until: int | None = None

    @classmethod
    def of(cls, query: str = "", since: str | None = None, until: str | None = None) -> Filters:
        """Parse filters as they are written in options.

        Raises:
            UsageError: A time is invalid, or no time lies between them.
        """
        first, last = _milliseconds("since", since), _milliseconds("until", until)
        if first is not None and last is not None and first >= last:
            raise UsageError(
                f"{option('since')} {since!r} is not before {option('until')} {until!r}. Choose an earlier "
                "beginning or a later end."
            )
        return cls(query, first, last)

    @property
    def words(self) -> list[str]:
        """The words of the query, folded."""
        return fold(self.query).split()

    def match_time(self, moment: int | None) -> bool:
        """Return whether a moment is in the chosen period; without a moment, only if no period was chosen."""
        if moment is None:
            return self.since is None and self.until is None
        return (self.since is None or moment >= self.since) and (self.until is None or moment < self.until)


@dataclass(slots=True)
class Entry:
    """A conversation with its events and messages, an event outside any conversation, or a rejected record.

    Attributes:
        id: The conversation id, the event id, or ``file:record``.
        started_at: Milliseconds since 1970; None for a rejected record.
        event_count: Number of events.
        message_count: Number of messages.
        characters: Approximate number of characters needed to show it.
        type: ``conversation``, the kind of the event, or ``rejected record``.
        status: Its status.
        ended_at: Milliseconds since 1970.
        facts: Participants and pages: values by name, the latest first.
        events: Id, kind, time, file, record, text, status and detail of each event.
        messages: Author, time, name, decoded text and number of hidden characters of each message.
        raw: The beginning of a rejected record.
        origins: Where its events were read from: webhooks, a Slack export, or both.
    """

    id: str
    started_at: int | None = None
    event_count: int = 0
    message_count: int = 0
    characters: int = 0
    type: str = REJECTED
    status: Status = Status.ACCEPTED
    ended_at: int | None = None
    facts: dict[str, list[str]] = field(default_factory=dict)
    events: list[tuple[Any, ...]] = field(default_factory=list)
    messages: list[tuple[Any, ...]] = field(default_factory=list)
    raw: str | None = None
    origins: set[str] = field(default_factory=set)

    @property
    def is_rejected(self) -> bool:
        """True if it is a rejected record."""
        return self.status is Status.REJECTED

    @property
    def rows(self) -> int:
        """The number of rows needed to show it."""
        return 1 + self.event_count + min(self.message_count, MOST_MESSAGES)

    @property
    def flags(self) -> list[str]:
        """``unanswered`` and ``feedback``, if an event of the conversation is one."""
        kinds = {event[1] for event in self.events} if self.type == CONVERSATION else set()
        return [kind for kind in (Kind.UNANSWERED, Kind.FEEDBACK) if kind in kinds]

    @property
    def unknown_flags(self) -> list[str]:
        """The flags that cannot be known, because only Slack has the conversation."""
        return [Kind.UNANSWERED, Kind.FEEDBACK] if self.origins == {_SLACK} else []

    def add_event(
        self, event: tuple[Any, ...], ended_at: int | None, origin: str, facts: Iterable[str | None]
    ) -> None:
        """Add an event that follows the previous ones in time, and its facts about the conversation."""
        for name, value in zip(_FACTS, facts, strict=True):
            if value:
                values = self.facts.setdefault(name, [])
                if (shown := value[:LONGEST_TEXT]) in values:
                    values.remove(shown)
                values.insert(0, shown)
        self.type = CONVERSATION if "conversation_id" in self.facts else str(event[1]).replace("_", " ")
        self.ended_at = max(filter(None, (self.ended_at, ended_at)), default=None)
        self.origins.add(origin)
        self.events.append(event)


class Corpus:
    """The chats in a set of tables.

    Args:
        database: Has the views ``events`` and ``messages``.
        rejections: Returns the rejected records.
        ledger: Source of the statuses of sent events, if any.
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
            FrameError: A frame lacks a column, or has other types.
        """
        with _database() as opened:
            for name in _COLUMNS:
                opened.register(name, _arrow_rows(name, frames[name]))
            yield cls(opened, lambda: rejections, ledger)

    @classmethod
    @contextmanager
    def of_folder(cls, folder: Path, ledger: Ledgered | None = None) -> Iterator[Corpus]:
        """Open a folder that ``convert`` wrote.

        Raises:
            UsageError: It holds no such tables.
        """
        with _database() as opened, explained():
            for name in _COLUMNS:
                if not (folder / f"{name}.parquet").is_file():
                    raise UsageError(
                        f"{str(folder)!r} holds no tables from convert: {name}.parquet is missing. Name the "
                        "folder that convert wrote to."
                    )
                opened.execute(view_of(name, folder))
            yield cls(opened, lambda: read_rejections(folder), ledger)

    def entries(self, filters: Filters) -> Iterator[Entry]:
        """Yield matching entries, the latest first, with only their sizes; then rejected records."""
        words = filters.words
        with explained():
            self._database.execute(
                f"CREATE OR REPLACE TEMP TABLE matched AS {_matched(len(words))}", words * 2
            )
            rows = self._database.execute(_query(), {"longest": LONGEST_TEXT, "is_search": bool(words)})
            for batch in rows.to_arrow_reader(_ENTRIES_AT_ONCE):
                for values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                    if filters.match_time(values[1]):
                        yield Entry(*values)
        if filters.match_time(None):
            for rejection in self._rejections():
                entry = _rejected(rejection)
                texts = [entry.id, *(value for values in entry.facts.values() for value in values)]
                folded = fold("\n".join([*texts, rejection.raw or ""]))
                if all(word in folded for word in words):
                    yield entry

    def load(self, entries: Sequence[Entry]) -> None:
        """Load the displayed parts of entries: events, messages, facts and statuses."""
        entries = [entry for entry in entries if not entry.is_rejected]
        ids = pa.array([entry.id for entry in entries], pa.large_string())
        with explained():
            self._database.register(
                "chosen", pa.table({"entry": ids, "rank": pa.array(range(len(entries)), pa.int64())})
            )
            events = self._fetch(_EVENTS, longest=LONGEST_TEXT)
            messages = self._fetch(_MESSAGES, longest=LONGEST_TEXT, most=MOST_MESSAGES)
        unknown = (Status.ACCEPTED if self._ledger is None else Status.NOT_SENT, "")
        known = self._ledger.statuses([event[1] for event in events]) if self._ledger else {}
        for rank, *event, ended_at, origin, facts in ((*row[:9], row[9:]) for row in events):
            status = known.get(event[0], unknown)
            entries[rank].add_event((*event, *status), ended_at, origin, facts)
        for rank, *message in messages:
            entries[rank].messages.append(tuple(message))
        order = list(Status)
        for entry in entries:
            entry.status = min((event[6] for event in entry.events), key=order.index)

    def _fetch(self, query: str, **values: int) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = self._database.execute(query, values).fetchall()
        return rows


def _arrow_rows(name: str, frame: pd.DataFrame) -> Any:
    columns = list(_COLUMNS[name])
    if missing := [column for column in columns if column not in frame]:
        raise FrameError(
            f"The frame {name} lacks the column {missing[0]!r}. Convert again and keep all columns."
        )
    schema = arrow_schema(name)
    fields = pa.schema([schema.field(column) for column in columns])
    try:
        return pa.Table.from_pandas(frame[columns], schema=fields, preserve_index=False)
    except (pa.ArrowException, ValueError, TypeError, AttributeError) as error:
        words = str(error).partition("\n")[0].rstrip(".")
        raise FrameError(
            f"The frame {name} has other types than to_tables() returns: {words}. Convert again, or restore "
            "the column."
        ) from error


def fold(text: str) -> str:
    """Return a string in the form for comparisons; the query and the page's script do the same."""
    return text.lower().replace("i\u0307", "i").replace("\u03c2", "\u03c3")


def read_rejections(folder: Path) -> Iterator[Rejection]:
    """Yield the rejected records that a run wrote to a folder; unreadable lines are left out."""
    path = folder / REJECTED_FILE
    if not path.is_file():
        return
    with path.open("rb") as file:
        for line in file:
            rejection = parse_rejection(line)
            if rejection is not None:
                yield rejection


def parse_rejection(line: bytes) -> Rejection | None:
    """Parse a line of ``rejected.jsonl``; None if it is damaged."""
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
        opened.create_function("decoded", decode, ["VARCHAR"], "VARCHAR")
        yield opened


def _matched(words: int) -> str:
    """Return the query for the entries in which all of this many words occur."""
    if not words:
        return "SELECT '' AS entry"
    conditions = ["contains(folded, ?)"] * words
    any_word = " OR ".join(conditions)
    all_words = " AND ".join(f"bool_or({condition})" for condition in conditions)
    return f"{_FOLDED} SELECT entry FROM folded WHERE {any_word} GROUP BY entry HAVING {all_words}"  # noqa: S608 - a constant


@contextmanager
def explained() -> Iterator[None]:
    """Explain that a file is damaged, or that memory or disk space is insufficient.

    Raises:
        CaptureError: A file is damaged, or memory or disk space is insufficient.
    """
    try:
        yield
    except (import_module("duckdb").Error, pa.ArrowException) as error:
        words = str(error).partition("\n")[0].rstrip(".")
        raise CaptureError(
            f"The tables could not be searched: {words}. Convert the captures again, or free memory and disk "
            "space."
        ) from error


def _rejected(rejection: Rejection) -> Entry:
    facts = {"reason": rejection.reason, "field": rejection.field, "detail": rejection.detail}
    raw = None if rejection.raw is None else rejection.raw[:LONGEST_TEXT]
    return Entry(
        f"{rejection.file}:{rejection.record}",
        characters=len(raw or ""),
        status=Status.REJECTED,
        facts={name: [str(value)] for name, value in facts.items() if value},
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
        f"{option(name, repr(value))} is not a time. Write a day, such as 2024-03-01, or an RFC 3339 time, "
        "such as 2024-03-01T09:00:00Z."
    )
