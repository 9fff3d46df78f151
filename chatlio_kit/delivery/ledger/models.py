"""The ledger's types: fates, dead letters, events by name, counts and reads of the dataset."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from chatlio_kit.counting import counted

FORGOTTEN = "forgotten"
FORGOTTEN_SOURCE = f"({FORGOTTEN})"
"""The source file of an event whose personal data ``forget`` erased."""
_BATCHES_SHOWN = 5


class Fate(StrEnum):
    """The fate of an accepted event."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD_LETTERED = "dead_lettered"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that the platform refused, its full answer, and the record as it was sent, if known."""

    event_id: str
    reason: str
    answer: str
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class Delivered:
    """Events that the platform accepted.

    Attributes:
        request: The number of the request in the run.
        transactions: Transaction ids by the events' rows in the ledger.
    """

    request: int
    transactions: dict[int, str]


@dataclass(frozen=True, slots=True)
class Refused:
    """An event that becomes a dead letter.

    Attributes:
        row: Its row in the ledger.
        request: The number of the request in the run; None when it was not even sent.
        letter: The dead letter.
    """

    row: int
    request: int | None
    letter: DeadLetter


@dataclass(frozen=True, slots=True)
class RetryableRecord:
    """An event that can be sent again as it was."""

    row: int
    event_id: str
    kind: str
    body: bytes


@dataclass(frozen=True, slots=True)
class EventRef:
    """An event's identification for users: its id, its kind, and the file and record it was read from.

    Attributes:
        transaction_id: The platform's receipt, by which its support finds the record, if it issued one.
        reason: Reason of a dead letter.
        answer: The platform's full answer to a dead letter.
    """

    event_id: str
    kind: str
    file: str
    record: int
    transaction_id: str | None = None
    reason: str | None = None
    answer: str | None = None

    @property
    def location(self) -> str:
        """The file and record it was read from, in words."""
        return f"{self.file} record {self.record:,}"


@dataclass(frozen=True, slots=True)
class ProcessedFile:
    """A file that was read to its end without a reject.

    Attributes:
        name: Its name, as events carry it.
        fingerprint: Changes with its content, its time or the options it was read with.
        records: Number of records in it.
    """

    name: str
    fingerprint: str
    records: int


class Gone(StrEnum):
    """Reasons why an event that was read back or loaded before is no longer in the dataset.

    For a batch that ended in another way, it is the batch's status: ``batch_deleted``, ``batch_archived`` and
    so on.
    """

    ERASED = "erased"
    REVERTED = "batch_reverted"
    DELETED = "batch_deleted"
    DATASET_DELETED = "dataset_deleted"
    UNREADABLE = "unreadable"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class FateCounts:
    """Numbers of events by fate.

    ``delivered`` is the sum of ``landed``, ``gone`` and events under way.
    """

    delivered: int = 0
    dead_lettered: int = 0
    pending: int = 0
    landed: int = 0
    gone: int = 0

    @property
    def under_way(self) -> int:
        """Events that were delivered and neither landed nor are gone."""
        return self.delivered - self.landed - self.gone

    def as_dict(self) -> dict[str, int]:
        """Return the four counts that every JSON answer has."""
        return {
            "delivered": self.delivered,
            "dead_lettered": self.dead_lettered,
            "pending": self.pending,
            "landed": self.landed,
        }


@dataclass(frozen=True)
class Readback:
    """The read of the dataset on which ``landed`` and ``gone`` are based.

    Attributes:
        at: Time of the last dataset read, by the platform's clock; None if there was none.
        older: Number of landed events that this read did not look for again.
        older_since: Time at which the oldest of these was last looked for; None if unknown.
        unreadable: The batches that could not be read, each with the reason.
    """

    at: datetime | None = None
    older: int = 0
    older_since: datetime | None = None
    unreadable: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, object]:
        """Return the fields of every JSON answer; times are RFC 3339."""
        return {
            "read_back_at": _rfc3339(self.at),
            "not_read_again": self.older,
            "not_read_again_since": _rfc3339(self.older_since),
            "unreadable_batches": [
                {"batch": batch, "reason": reason} for batch, reason in self.unreadable.items()
            ],
        }

    def sentences(self) -> list[str]:
        """Report the time of the read, events that only an older read found, and unreadable batches."""
        sentences = []
        if self.at is not None:
            sentences.append(f"The dataset was read back at {_in_words(self.at)}.")
        if self.older:
            since = f"of {_in_words(self.older_since)}" if self.older_since else "without a recorded time"
            sentences.append(
                f"Not looked for again: {counted(self.older, 'landed event')}, for which an earlier read "
                f"{since} still applies. reconcile reads everything again."
            )
        sentences += [
            f"The batch {batch} cannot be read, so its rows do not count as landed: {reason}."
            for batch, reason in list(self.unreadable.items())[:_BATCHES_SHOWN]
        ]
        if (more := len(self.unreadable) - _BATCHES_SHOWN) > 0:
            sentences.append(
                f"{counted(more, 'more batch', 'more batches')} cannot be read; --json lists all."
            )
        return sentences


def _in_words(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _rfc3339(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
