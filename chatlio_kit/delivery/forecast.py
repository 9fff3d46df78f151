"""What a backfill would send, computed before anything is sent."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import pandas as pd

from chatlio_kit.delivery.requests.pacing import (
    MESSAGES_PER_SECOND,
    MESSAGES_PER_SECOND_TO_PROFILE,
    largest_request,
)
from chatlio_kit.delivery.requests.packing import ADVISED_RECORD, fits, pack
from chatlio_kit.delivery.requests.wire import wire_records
from chatlio_kit.display import Sheet, SheetDisplay
from chatlio_kit.tables import RecordCounts

BATCH_API_SECONDS = 4 * 3600.0
"""Beyond this, files are better: Adobe advises batch ingestion for bulk data that is not urgent."""


@dataclass
class Share:
    """The totals of one kind."""

    records: int = 0
    bytes: int = 0
    requests: int = 0
    heavy: int = 0
    too_large: int = 0


@dataclass(repr=False)
class Forecast(SheetDisplay):
    """What a backfill would send.

    Attributes:
        destination: the destination, or that there is no connection yet.
        per_second: its pace, messages a second.
        counts: records read, by what becomes of them; what was delivered before counts as duplicates.
        kinds: what would be sent, by kind.
        notes: further sentences.
    """

    destination: str
    per_second: int = MESSAGES_PER_SECOND
    counts: RecordCounts = field(default_factory=RecordCounts)
    kinds: dict[str, Share] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, events: pd.DataFrame, messages: pd.DataFrame) -> None:
        """Add a batch of accepted events."""
        for kind, of_kind in events.groupby("kind", sort=False):
            share = self.kinds.setdefault(str(kind), Share())
            nested = messages[messages["event_id"].isin(of_kind["event_id"])]
            records = list(wire_records(of_kind, nested))
            fitting = [record for record in records if fits(record)]
            share.records += len(records)
            share.bytes += sum(len(record.body) for record in records)
            share.heavy += sum(len(record.body) > ADVISED_RECORD for record in records)
            share.too_large += len(records) - len(fitting)
            share.requests += sum(1 for _ in pack(fitting, most=largest_request(self.per_second)))

    @property
    def seconds(self) -> float:
        """The least time that sending takes at this pace."""
        return sum(share.records for share in self.kinds.values()) / self.per_second

    def as_dict(self) -> dict[str, Any]:
        """Return the fields of ``backfill --dry-run --json``."""
        kinds = {kind: asdict(share) for kind, share in self.kinds.items()}
        for share in kinds.values():
            share["least_seconds"] = round(share["records"] / self.per_second, 3)
        return {
            "destination": self.destination,
            **self.counts.as_dict(),
            "messages_per_second": self.per_second,
            "least_seconds": round(self.seconds, 3),
            "kinds": kinds,
            "batch_ingestion_advised": self.seconds >= BATCH_API_SECONDS,
        }

    def sheet(self) -> Sheet:
        """Return the forecast as a table with sentences."""
        rows = [
            (
                kind,
                share.records,
                share.bytes,
                share.requests,
                share.heavy,
                share.records / self.per_second,
            )
            for kind, share in self.kinds.items()
        ]
        counts = self.counts
        notes = [
            f"read {counts.read:,} = to send {counts.accepted:,} + rejected {counts.rejected:,}"
            f" + duplicates or delivered before {counts.duplicates:,}",
            f"at least {self.seconds:,.1f} s at {self.per_second:,} messages a second; nothing was sent",
        ]
        if self.per_second == MESSAGES_PER_SECOND_TO_PROFILE:
            notes.append("the dataset feeds Profile, which takes 1,500 records a second")
        if too_large := sum(share.too_large for share in self.kinds.values()):
            notes.append(f"{too_large:,} records are over 1 MB and would become dead letters")
        if self.seconds >= BATCH_API_SECONDS:
            notes.append("This is bulk: files for the batch ingestion API would serve better than streaming.")
        headings = ("kind", "records", "bytes", "requests", "over 10 KB", "least seconds")
        return Sheet(f"Forecast for {self.destination}", headings, rows, [*notes, *self.notes])
