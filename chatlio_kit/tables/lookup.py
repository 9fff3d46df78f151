"""Find single records in the tables and rejections of a folder that ``convert`` wrote."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from chatlio_kit.chatlio.catalogue import TABLES
from chatlio_kit.chatlio.person import Person
from chatlio_kit.chatlio.rejections import Rejection
from chatlio_kit.tables.derive.database import database
from chatlio_kit.tables.derive.files import view_of
from chatlio_kit.tables.erasure import check_tables
from chatlio_kit.tables.explorer.corpus import explained, parse_rejection
from chatlio_kit.tables.report import REJECTED

_ADDRESSES, _MAILBOX = ("visitor_email", "contact_email", "reply_to_email"), "contact_mailbox"
_EVENTS = """
SELECT event_id, kind, epoch_ms(occurred_at), conversation_id, visitor_id, source_file, source_record
FROM events WHERE {condition} ORDER BY occurred_at, event_id
"""
_ROWS = {
    "conversations": "conversation_id",
    "messages": "conversation_id",
    "visitors": "visitor_id",
    "offline_messages": "event_id",
}
_MOST_CONSTANTS = 200
"""Up to this many keys are written into a query, which can then skip row groups."""


def is_same_file(name: str, other: str) -> bool:
    """Return whether two names may mean the same file: they are equal, or one is the end of the other's path.

    Captures have the names under which they were given, so ``captures/a.ndjson`` may be ``a.ndjson``
    elsewhere.
    """
    return name == other or name.endswith(f"/{other}") or other.endswith(f"/{name}")


@dataclass(frozen=True)
class EventRow:
    """A row of the table ``events``, and the number of its rows in other tables.

    Attributes:
        event_id: The event's id.
        kind: Its kind.
        occurred_at: Time of the event.
        conversation_id: Its conversation.
        visitor_id: Its visitor.
        file: The file it was read from.
        record: The number of the record in that file.
        rows: Number of rows by table.
    """

    event_id: str
    kind: str
    occurred_at: datetime
    conversation_id: str | None
    visitor_id: str | None
    file: str
    record: int
    rows: dict[str, int] = field(default_factory=dict)

    def key(self, column: str) -> str | None:
        """Return the value that rows of another table have in a column."""
        if column == "visitor_id":
            return self.visitor_id
        return (self.conversation_id if column == "conversation_id" else None) or self.event_id


@dataclass(frozen=True)
class Wanted:
    """A search: event ids, and everything that one other name leads to.

    Attributes:
        event_ids: Ids of events.
        name_id: A conversation or visitor id, in lower case.
        address: An e-mail address, in lower case.
        file: The name of a file, or its last parts.
        record: The number of a record in that file.
    """

    event_ids: tuple[str, ...] = ()
    name_id: str | None = None
    address: str | None = None
    file: str | None = None
    record: int | None = None

    def is_at(self, file: str, record: int) -> bool:
        """Return whether this is the wanted record."""
        return record == self.record and is_same_file(file, str(self.file))

    def is_rejection(self, rejection: Rejection) -> bool:
        """Return whether a rejected record is the wanted one, or names it."""
        if self.record is not None:
            return self.is_at(rejection.file, rejection.record)
        return self.is_named_in(rejection.raw or "")

    def is_named_in(self, record: str) -> bool:
        """Return whether a record's text holds the id or address as a whole word."""
        return self._person.is_named_in(record) or any(event_id in record for event_id in self.event_ids)

    @cached_property
    def _person(self) -> Person:
        return Person(self.name_id, self.address)

    @property
    def needle(self) -> bytes:
        """A string that a line of ``rejected.jsonl`` contains in any case."""
        if self.record is not None:
            return f'"record":{self.record},'.encode()
        return (self.name_id or self.address or "".join(self.event_ids[:1])).encode()


def find_rows(folder: Path, wanted: Wanted) -> list[EventRow]:
    """Return the wanted events; if a name is given, those of the same conversations too.

    Raises:
        UsageError: The folder holds no tables.
        CaptureError: A table cannot be read.
    """
    check_tables(folder)
    with (
        tempfile.TemporaryDirectory(prefix="chatlio-kit-") as work,
        database(Path(work)) as opened,
        explained(),
    ):
        present = [name for name in TABLES if (folder / f"{name}.parquet").is_file()]
        for name in present:
            opened.execute(view_of(name, folder))
        events = _find_events(opened, wanted) if "events" in present else []
        for name, column in _ROWS.items():
            if name in present:
                _count_rows(opened, name, column, events)
    return events


def find_rejections(folders: Iterable[Path], wanted: Wanted) -> Iterator[tuple[Path, Rejection]]:
    """Yield the wanted rejected records, and those that name it, with the folder that lists each."""
    for folder in folders:
        path = folder / REJECTED
        if not path.is_file():
            continue
        with path.open("rb") as lines:
            for line in lines:
                if wanted.needle not in (line if wanted.record is not None else line.lower()):
                    continue
                rejection = parse_rejection(line)
                if rejection is not None and wanted.is_rejection(rejection):
                    yield folder, rejection


def _find_events(opened: Any, wanted: Wanted) -> list[EventRow]:
    if wanted.record is not None:
        condition = (
            "source_record = ? AND (source_file = ? OR ends_with(source_file, '/' || ?)"
            " OR ends_with(?, '/' || source_file))"
        )
        by_id, ids = _is_in("event_id", wanted.event_ids)
        return _fetch_events(opened, f"({condition}) OR {by_id}", [wanted.record, *[wanted.file] * 3, *ids])
    if wanted.event_ids:
        return _fetch_events(opened, *_is_in("event_id", wanted.event_ids))
    if wanted.name_id is not None:
        spellings = (wanted.name_id, wanted.name_id.upper())
        conditions = [_is_in(column, spellings) for column in ("conversation_id", "visitor_id")]
        condition = " OR ".join(words for words, _ in conditions)
        named = _fetch_events(opened, condition, [value for _, values in conditions for value in values])
    else:
        condition = " OR ".join(f"lower({column}) = ?" for column in _ADDRESSES)
        condition += f" OR contains(lower({_MAILBOX}), '<' || ? || '>')"
        named = _fetch_events(opened, condition, [wanted.address] * (len(_ADDRESSES) + 1))
    conversations = {event.conversation_id for event in named} - {None}
    by_id, ids = _is_in("event_id", [event.event_id for event in named])
    by_conversation, keys = _is_in("conversation_id", sorted(map(str, conversations)))
    return _fetch_events(opened, f"{by_id} OR {by_conversation}", [*ids, *keys])


def _fetch_events(opened: Any, condition: str, values: Sequence[object]) -> list[EventRow]:
    rows = opened.execute(_EVENTS.format(condition=condition), values).fetchall()
    return [
        EventRow(event_id, kind, datetime.fromtimestamp(moment / 1000, UTC), *rest)
        for event_id, kind, moment, *rest in rows
    ]


def _count_rows(opened: Any, name: str, column: str, events: Sequence[EventRow]) -> None:
    """Count a table's rows by event; an event without a conversation counts as one itself."""
    keys = {event.key(column) for event in events}
    counts: dict[str, int] = {}
    by_event = [column, "event_id"] if name == "messages" else [column]
    for searched in by_event:
        condition, values = _is_in(searched, sorted(key for key in keys if key is not None))
        query = f"SELECT {searched}, count(*) FROM {name} WHERE {condition} GROUP BY 1"  # noqa: S608 - names from above
        counts |= dict(opened.execute(query, values).fetchall())
    for event in events:
        event.rows[name] = counts.get(event.key(column) or "", 0)


def _is_in(column: str, keys: Sequence[str]) -> tuple[str, list[object]]:
    """Return the condition that a column has one of these values, and its parameters."""
    if len(keys) > _MOST_CONSTANTS:
        return f"{column} IN (SELECT unnest(?))", [list(keys)]
    return (f"{column} IN ({', '.join('?' * len(keys))})", list(keys)) if keys else ("false", [])
