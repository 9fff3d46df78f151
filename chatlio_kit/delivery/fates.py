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
class Accepted:
    """An event that is about to be sent."""

    event_id: str
    kind: str
    payload_digest: str
    source_file: str
    source_record: int

    @property
    def place(self) -> tuple[str, str, int]:
        """The digest of its payload and where it was read."""
        return self.payload_digest, self.source_file, self.source_record


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that the platform will not take, its full answer, and the record as it was sent, if known."""

    event_id: str
    reason: str
    answer: str
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class KeptLetter:
    """An event that can be sent again as it was."""

    event_id: str
    kind: str
    body: bytes


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
