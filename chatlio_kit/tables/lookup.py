"""Find single records in the tables and rejects of a folder that ``convert`` wrote."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from chatlio_kit.chatlio.catalogue import TABLES
from chatlio_kit.chatlio.person import Person
from chatlio_kit.chatlio.rejections import Rejection
from chatlio_kit.tables.derive.database import database
from chatlio_kit.tables.derive.files import view_of
from chatlio_kit.tables.erasure import check_tables
from chatlio_kit.tables.explorer.corpus import parse_rejection
from chatlio_kit.tables.report import REJECTED

_ADDRESSES = ("visitor_email", "contact_email", "reply_to_email", "contact_mailbox")
_EVENTS = """
SELECT event_id, kind, epoch_ms(occurred_at), conversation_id, visitor_id, source_file, source_record
FROM events WHERE {condition} ORDER BY occurred_at, event_id
"""
_OF_CONVERSATIONS = """
{direct} OR conversation_id IN (SELECT conversation_id FROM events WHERE {direct})
"""
_ROWS = {
    "conversations": ("conversation_id", "conversation_id"),
    "messages": ("conversation_id", "coalesce(conversation_id, event_id)"),
    "visitors": ("visitor_id", "visitor_id"),
    "offline_messages": ("event_id", "event_id"),
}


def is_same_file(name: str, other: str) -> bool:
    """Whether two names may mean one file: they are equal, or one is the end of the other's path.

    Captures have the names that they were given with, so ``captures/a.ndjson`` may be ``a.ndjson`` elsewhere.
    """
    return name == other or name.endswith(f"/{other}") or other.endswith(f"/{name}")


@dataclass(frozen=True)
class EventRow:
    """A row of the table ``events``, and how many rows the other tables have of it.

    Attributes:
        event_id: the event's id.
        kind: its kind.
        occurred_at: when it happened.
        conversation_id: its conversation.
        visitor_id: its visitor.
        file: the file it was read from.
        record: the number of the record in that file.
        rows: the numbers of rows by table.
    """

    event_id: str
    kind: str
    occurred_at: datetime
    conversation_id: str | None
    visitor_id: str | None
    file: str
    record: int
    rows: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Wanted:
    """What is looked for: event ids, and all that one other name leads to.

    Attributes:
        event_ids: ids of events.
        name_id: a conversation or visitor id, lower-cased.
        address: an e-mail address, lower-cased.
        file: the name of a file, or its last parts.
        record: the number of a record in that file.
    """

    event_ids: tuple[str, ...] = ()
    name_id: str | None = None
    address: str | None = None
    file: str | None = None
    record: int | None = None

    def is_at(self, file: str, record: int) -> bool:
        """Whether a record is the one that is looked for."""
        return record == self.record and is_same_file(file, str(self.file))

    def is_rejection(self, rejection: Rejection) -> bool:
        """Whether a rejected record is the one that is looked for, or names it."""
        if self.record is not None:
            return self.is_at(rejection.file, rejection.record)
        return self.is_named_in(rejection.raw or "")

    def is_named_in(self, record: str) -> bool:
        """Whether a record as text holds the id or address as a whole word."""
        return self._person.is_named_in(record) or any(event_id in record for event_id in self.event_ids)

    @cached_property
    def _person(self) -> Person:
        return Person(self.name_id, self.address)

    @property
    def needle(self) -> bytes:
        """A part that a line of ``rejected.jsonl`` has in any case."""
        if self.record is not None:
            return f'"record":{self.record},'.encode()
        return (self.name_id or self.address or "".join(self.event_ids[:1])).encode()


def find_rows(folder: Path, wanted: Wanted) -> list[EventRow]:
    """Return the events that are looked for; those of the same conversations too, if a name is given.

    Raises:
        UsageError: when the folder holds no tables.
    """
    check_tables(folder)
    with tempfile.TemporaryDirectory(prefix="chatlio-kit-") as work, database(Path(work)) as opened:
        present = [name for name in TABLES if (folder / f"{name}.parquet").is_file()]
        for name in present:
            opened.execute(view_of(name, folder))
        if "events" not in present:
            return []
        condition, values = _condition(wanted)
        found = opened.execute(_EVENTS.format(condition=condition), values).fetchall()
        events = [
            EventRow(event_id, kind, datetime.fromtimestamp(moment / 1000, UTC), *rest)
            for event_id, kind, moment, *rest in found
        ]
        for name, (column, key) in _ROWS.items():
            if name in present:
                keys = {_key(event, column) for event in events} - {None}
                query = f"SELECT {key}, count(*) FROM {name} WHERE {key} IN (SELECT unnest($keys)) GROUP BY 1"  # noqa: S608 - names from above
                counts = dict(opened.execute(query, {"keys": sorted(map(str, keys))}).fetchall())
                for event in events:
                    event.rows[name] = counts.get(_key(event, column), 0)
    return events


def find_rejections(folders: Iterable[Path], wanted: Wanted) -> Iterator[tuple[Path, Rejection]]:
    """Yield the rejected records that are looked for, or that name it, with the folder that lists each."""
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


def _condition(wanted: Wanted) -> tuple[str, dict[str, object]]:
    if wanted.record is not None:
        condition = (
            "source_record = $record AND (source_file = $file OR ends_with(source_file, '/' || $file))"
        )
        return f"({condition}) OR event_id IN (SELECT unnest($ids))", {
            "record": wanted.record, "file": wanted.file, "ids": list(wanted.event_ids)
        }  # fmt: skip
    if wanted.name_id is not None:
        direct = "lower(conversation_id) = $name OR lower(visitor_id) = $name"
        return _OF_CONVERSATIONS.format(direct=direct), {"name": wanted.name_id}
    if wanted.address is not None:
        direct = " OR ".join(f"lower({column}) = $name" for column in _ADDRESSES[:-1])
        direct += f" OR contains(lower({_ADDRESSES[-1]}), '<' || $name || '>')"
        return _OF_CONVERSATIONS.format(direct=direct), {"name": wanted.address}
    return "event_id IN (SELECT unnest($ids))", {"ids": list(wanted.event_ids)}


def _key(event: EventRow, column: str) -> str | None:
    if column == "visitor_id":
        return event.visitor_id
    return event.event_id if column == "event_id" else event.conversation_id or event.event_id
