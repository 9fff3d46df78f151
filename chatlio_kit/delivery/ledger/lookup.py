"""Look up single events in the ledger, without writing to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chatlio_kit.connection import Destination
from chatlio_kit.delivery.ledger.encoding import ID_IN_KEYS, from_milliseconds, key_parameters
from chatlio_kit.delivery.ledger.ledger import Ledger
from chatlio_kit.delivery.ledger.models import FORGOTTEN_SOURCE, Fate
from chatlio_kit.tables.explorer import Status

_SELECT = """
SELECT destination.platform, org, sandbox, dataset, name, lower(hex(event_id)), kind, fate, landed, run,
    request, attempts, source_file, source_record, transaction_id, reason, answer, settled_at, gone,
    batch_id, state, coalesce(readback.at, readback.began_at),
    (SELECT max(at) FROM readback AS last WHERE last.destination = event.destination)
FROM event
JOIN destination ON destination.id = event.destination
LEFT JOIN batch_read ON batch_read.number = event.batch
LEFT JOIN readback ON readback.destination = event.destination AND readback.number = event.readback
"""
_TYPES = (
    *(str, str, str, str, str, str, str, str, int, int, int | None),
    *(int, str, int, str | None, str | None, str | None, int | None, str | None, str | None, str | None),
    *(int | None, int | None),
)
_IS_FILE = (
    "({0} = :file OR substr({0}, -length(:file) - 1) = '/' || :file"
    " OR substr(:file, -length({0}) - 1) = '/' || {0})"
)
"""SQL that is true if a column and a file name are equal, or one is the end of the other's path."""


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """The ledger's data about one event at one destination.

    Attributes:
        destination: The destination.
        event_id: Its id.
        kind: Its kind.
        fate: Delivered, dead-lettered or pending.
        landed: True if the last read that looked for it found it in the dataset.
        run: The number of the run that sent it last.
        request: The number of the request or batch, within the run, whose answer settled it.
        attempts: Number of times that it was sent.
        file: The file it was read from.
        record: The number of the record in that file.
        transaction_id: The platform's receipt, if it issued one.
        reason: Reason of a dead letter.
        answer: The platform's answer to a dead letter.
        settled_at: Time at which the platform's verdict was recorded.
        gone: Reason why it is no longer in the dataset, if it was there once.
        batch_id: The batch in which it was loaded, or in which the last read found it.
        batch_state: State of that batch.
        found_at: Time of that read.
        read_at: Time of the last dataset read; None if there was none.
        via: The route of that run, ``stream`` or ``batch``.
    """

    destination: Destination
    event_id: str
    kind: str
    fate: Fate
    landed: bool
    run: int
    request: int | None
    attempts: int
    file: str
    record: int
    transaction_id: str | None
    reason: str | None
    answer: str | None
    settled_at: datetime | None
    gone: str | None
    batch_id: str | None
    batch_state: str | None
    found_at: datetime | None
    read_at: datetime | None
    via: str = "stream"

    @property
    def is_forgotten(self) -> bool:
        """True if ``forget`` erased the person's data."""
        return self.file == FORGOTTEN_SOURCE

    @property
    def status(self) -> Status:
        """Its status."""
        if self.gone is not None:
            return Status.GONE
        if self.landed:
            return Status.LANDED
        return Status.SENT if self.fate is Fate.DELIVERED else Status(self.fate)


class LedgerStatuses:
    """The statuses of a ledger's events, as an explorer shows them.

    Args:
        ledger: The open ledger.
        destination: The destination; by default the one at which an event needs attention most.
    """

    def __init__(self, ledger: Ledger, destination: Destination | None = None) -> None:
        self._ledger, self._destination = ledger, destination

    def statuses(self, event_ids: Sequence[str]) -> Mapping[str, tuple[Status, str]]:
        """Return the status of each event in the ledger, and a sentence about it."""
        order = list(Status)
        worst: dict[str, LedgerEntry] = {}
        for entry in find_events(self._ledger, event_ids):
            if self._destination in (None, entry.destination):
                other = worst.setdefault(entry.event_id, entry)
                if order.index(entry.status) < order.index(other.status):
                    worst[entry.event_id] = entry
        return {event_id: (entry.status, _sentence(entry)) for event_id, entry in worst.items()}


def find_events(ledger: Ledger, event_ids: Iterable[str]) -> list[LedgerEntry]:
    """Return the ledger's data about these events, a row for each event and destination."""
    keys = key_parameters(event_ids)
    bulk_runs: set[tuple[int, int]] = set()
    if ledger.fetch_all("SELECT 1 FROM sqlite_master WHERE name = 'lot'"):
        bulk_runs.update(ledger.fetch_all("SELECT DISTINCT destination, run FROM lot"))
    rows = [
        (*row, "batch" if (number, row[9]) in bulk_runs else "stream")
        for (number,) in ledger.fetch_all("SELECT id FROM destination ORDER BY id")
        for row in ledger.fetch_all(
            f"{_SELECT} WHERE event.destination = :destination AND {ID_IN_KEYS}",
            {"destination": number, **keys},
            _TYPES,
        )
    ]
    if any(row[7] not in list(Fate) for row in rows):
        raise ledger.damaged()
    return [_entry(*row) for row in rows]


def find_ids_at(ledger: Ledger, file: str, record: int) -> list[str]:
    """Return the ids of the events that were read from a record.

    Args:
        ledger: The ledger.
        file: The file's name, or its last parts.
        record: The record's number.
    """
    is_file = _IS_FILE.format("source_file")
    query = f"SELECT DISTINCT lower(hex(event_id)) FROM event WHERE source_record = :record AND {is_file}"  # noqa: S608 - a constant
    return [event_id for (event_id,) in ledger.fetch_all(query, {"file": file, "record": record})]


def find_ids_in_dead_letters(ledger: Ledger, text: str, names_it: Callable[[str], bool]) -> list[str]:
    """Return the ids of the dead letters whose kept record holds a text.

    Args:
        ledger: The ledger.
        text: The text to search for, in lower case.
        names_it: Decides whether a record with that text matches.
    """
    query = (
        "SELECT lower(hex(event_id)), CAST(body AS TEXT) FROM kept_body"
        " WHERE instr(lower(CAST(body AS TEXT)), ?)"
    )
    return [event_id for event_id, body in ledger.fetch_all(query, (text,), (str, str)) if names_it(body)]


def was_read_to_its_end(ledger: Ledger, file: str) -> bool:
    """Return whether a run read a file to its end and rejected none of its records."""
    query = f"SELECT 1 FROM file_read WHERE {_IS_FILE.format('name')}"  # noqa: S608 - a constant
    return bool(ledger.fetch_all(query, {"file": file}))


def _entry(*row: Any) -> LedgerEntry:
    where, (event_id, kind, fate, landed), sent, settled = row[:5], row[5:9], row[9:17], row[18:21]
    times = [from_milliseconds(row[place]) for place in (17, 21, 22)]
    known = (event_id, kind, Fate(fate), bool(landed), *sent, times[0], *settled, *times[1:], row[23])
    return LedgerEntry(Destination(*where), *known)


def _sentence(entry: LedgerEntry) -> str:
    words = {
        Status.GONE: f"no longer in the dataset: {entry.gone}",
        Status.LANDED: f"batch {entry.batch_id}" if entry.batch_id else "",
        Status.DEAD_LETTERED: str(entry.reason),
    }.get(entry.status, "")
    return f"{entry.destination}: {words}" if words else str(entry.destination)
