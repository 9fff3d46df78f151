"""The words of the ledger: what is accepted, what becomes of it, and how it is counted."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Fate(StrEnum):
    """What became of an accepted event."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD_LETTERED = "dead_lettered"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that the platform will not take, its full answer, and the record as it was sent, if known."""

    event_id: str
    reason: str
    answer: str
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """Events that the platform took.

    Attributes:
        request: the number of the request in the run.
        transactions: transaction ids by the events' rows in the ledger.
    """

    request: int
    transactions: dict[int, str]


@dataclass(frozen=True, slots=True)
class Refused:
    """An event that becomes a dead letter.

    Attributes:
        row: its row in the ledger.
        request: the number of the request in the run; None when it was not even sent.
        letter: the dead letter.
    """

    row: int
    request: int | None
    letter: DeadLetter


@dataclass(frozen=True, slots=True)
class KeptLetter:
    """An event that can be sent again as it was."""

    row: int
    event_id: str
    kind: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Named:
    """An event as a person finds it again: its id, its kind, and the file and record it was read from.

    Attributes:
        transaction_id: the platform's receipt, by which its support finds the record; None if it gave none.
        reason: why it is a dead letter, if it is one.
        answer: the platform's full answer to a dead letter.
    """

    event_id: str
    kind: str
    file: str
    record: int
    transaction_id: str | None = None
    reason: str | None = None
    answer: str | None = None

    @property
    def place(self) -> str:
        """Where it was read, in words."""
        return f"{self.file} record {self.record:,}"


@dataclass(frozen=True, slots=True)
class ReadFile:
    """A file that was read to its end without a reject.

    Attributes:
        name: its name, as events carry it.
        mark: tells whether it changed: size, time and digest.
        records: how many records it holds.
    """

    name: str
    mark: str
    records: int


@dataclass(frozen=True)
class Tally:
    """How many events have which fate."""

    delivered: int = 0
    dead_lettered: int = 0
    pending: int = 0
    landed: int = 0
