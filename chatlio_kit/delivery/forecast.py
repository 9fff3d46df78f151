"""Forecast of what a backfill would send by each route."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import pandas as pd
import pyarrow as pa

from chatlio_kit.connection.resources.people import People
from chatlio_kit.counting import counted
from chatlio_kit.delivery.bulk.files import FULL_BATCH, FULL_FILE, parquet_size
from chatlio_kit.delivery.bulk.loader import BYTES_PER_SECOND
from chatlio_kit.delivery.bulk.xdm import xdm_schema, xdm_table
from chatlio_kit.delivery.requests.pacing import (
    MESSAGES_PER_SECOND,
    MESSAGES_PER_SECOND_TO_PROFILE,
    largest_request,
)
from chatlio_kit.delivery.requests.packing import ADVISED_RECORD, fits, pack
from chatlio_kit.delivery.requests.wire import wire_records
from chatlio_kit.display import Sheet, SheetDisplay
from chatlio_kit.tables import RecordCounts

QUOTA, QUOTA_OF_PROFILE = 10_000, 1_500
"""Streaming quota: messages a second, and records a second to Profile (guardrails)."""
BATCHES_A_DAY = 90
"""Batches that Profile takes per day and sandbox (guardrails)."""
LONG_STREAM = 600.0
"""Seconds after which a stream counts as bulk, which should use batches.

Adobe lists bulk streaming as an anti-pattern; at 9,000 messages a second this is about 5,000,000 events.
"""
RECORDS_A_CORE = 20_000
"""Records that a core converts in a second, measured by `make bench`."""
_SAMPLE = 8_000_000


@dataclass
class Share:
    """The totals of one kind."""

    records: int = 0
    bytes: int = 0
    requests: int = 0
    heavy: int = 0
    too_large: int = 0
    parquet_bytes: int = 0


@dataclass(repr=False)
class Forecast(SheetDisplay):
    """A forecast of a backfill.

    Attributes:
        destination: The destination, or a note that there is no connection yet.
        per_second: The pace, messages a second.
        counts: Records read, by outcome; events delivered before count as duplicates.
        kinds: Totals by kind.
        guard_seconds: The wait until new dataflows accept data, before a stream.
        canaries: Dataflows whose first records are read back before the rest follows.
        notes: Further sentences.
    """

    destination: str
    per_second: int = MESSAGES_PER_SECOND
    counts: RecordCounts = field(default_factory=RecordCounts)
    kinds: dict[str, Share] = field(default_factory=dict)
    guard_seconds: float = 0.0
    canaries: int = 0
    notes: list[str] = field(default_factory=list)
    _samples: dict[str, list[pa.Table]] = field(default_factory=dict)
    _sampled: dict[str, int] = field(default_factory=dict)

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
            samples = self._samples.setdefault(str(kind), [])
            if sum(table.nbytes for table in samples) < _SAMPLE:
                samples.append(xdm_table(_SCHEMA, of_kind, nested))
                self._sampled[str(kind)] = share.bytes
            share.parquet_bytes = 0  # computed from the samples on first access

    def scaled(self, factor: float) -> Forecast:
        """Return the forecast for ``factor`` times as many records of the same sort."""
        self._measure()
        kinds = {
            kind: Share(**{name: round(value * factor) for name, value in asdict(share).items()})
            for kind, share in self.kinds.items()
        }
        return replace(self, kinds=kinds, counts=RecordCounts(), notes=[], _samples={}, _sampled={})

    def _measure(self) -> None:
        """Estimate the Parquet bytes of each kind from its first records."""
        for kind, tables in self._samples.items():
            share = self.kinds[kind]
            if not share.parquet_bytes:
                share.parquet_bytes = round(parquet_size(tables) * share.bytes / self._sampled[kind])

    @property
    def seconds(self) -> float:
        """The least time for sending at this pace, in seconds."""
        return self.records / self.per_second

    @property
    def records(self) -> int:
        """The records that would be sent."""
        return sum(share.records for share in self.kinds.values())

    @property
    def quota(self) -> int:
        """The streaming quota, messages a second, to the lake or to Profile."""
        return QUOTA_OF_PROFILE if self.per_second == MESSAGES_PER_SECOND_TO_PROFILE else QUOTA

    @property
    def batch_bytes(self) -> int:
        """The bytes of the batch route's files, estimated from the first records of each kind."""
        self._measure()
        return sum(share.parquet_bytes for share in self.kinds.values())

    @property
    def files(self) -> int:
        """The number of files on the batch route."""
        return math.ceil(self.batch_bytes / FULL_FILE)

    @property
    def batches(self) -> int:
        """Its batches."""
        return math.ceil(self.files / FULL_BATCH)

    @property
    def batch_seconds(self) -> float:
        """The least time for uploading at 20 GB an hour, in seconds."""
        return self.batch_bytes / BYTES_PER_SECOND

    @property
    def core_seconds(self) -> float:
        """The seconds that one core needs to convert the records."""
        return self.records / RECORDS_A_CORE

    @property
    def cheaper(self) -> str:
        """The cheaper route: a long stream uses quota that live traffic needs."""
        return "batch" if self.seconds > LONG_STREAM else "stream"

    def waits(self) -> list[str]:
        """Report what a stream waits for besides sending."""
        parts = []
        if self.guard_seconds:
            minutes = counted(max(1, round(self.guard_seconds / 60)), "minute")
            parts.append(f"about {minutes} until new dataflows accept data")
        if self.canaries:
            parts.append(
                f"until the first records of {counted(self.canaries, 'dataflow')} are read back, up to an "
                "hour each"
            )
        return [f"A stream also waits {' and '.join(parts)}."] if parts else []

    def routes(self) -> dict[str, dict[str, float]]:
        """Return least time, bytes, calls and the share of the streaming quota of each route."""
        kinds = self.kinds.values()
        stream = {
            "least_seconds": round(self.seconds, 3),
            "bytes": sum(share.bytes for share in kinds),
            "requests": sum(share.requests for share in kinds),
            "quota_share": round(self.per_second / self.quota, 3),
        }
        batch = {
            "least_seconds": round(self.batch_seconds, 3),
            "bytes": self.batch_bytes,
            "files": self.files,
            "batches": self.batches,
            "quota_share": 0.0,
        }
        return {"stream": stream, "batch": batch}

    def comparison(self) -> list[str]:
        """Compare the costs of both routes, and name the cheaper one with the reason."""
        share = f"{self.per_second / self.quota:.0%} of the organisation's streaming quota"
        to_profile = self.quota == QUOTA_OF_PROFILE
        stream = (
            f"By stream: {at_least(self.seconds)} at {self.per_second:,} messages a second, {share}"
            f"{' to Profile' if to_profile else ''}; live traffic shares the rest meanwhile."
        )
        batch = (
            f"By batch: about {in_bytes(self.batch_bytes)} of Parquet, {counted(self.files, 'file')} in "
            f"{counted(self.batches, 'batch', 'batches')}, {at_least(self.batch_seconds)} at 20 GB "
            "an hour; it uses none of the streaming quota"
            + (f", and of Profile's {BATCHES_A_DAY} batches a day {self.batches:,}." if to_profile else ".")
        )
        why = (
            f"batch, because a stream would hold {share} for {in_time(self.seconds)}"
            if self.cheaper == "batch"
            else f"stream, because it is over in {in_time(self.seconds)}, and a batch also waits until the "
            "platform has ingested it"
        )
        return [stream, batch, f"Cheaper: {why}."]

    def as_dict(self) -> dict[str, Any]:
        """Return the fields of ``backfill --dry-run --json``."""
        self._measure()
        kinds = {kind: asdict(share) for kind, share in self.kinds.items()}
        for share in kinds.values():
            share["least_seconds"] = round(share["records"] / self.per_second, 3)
        return {
            "destination": self.destination,
            **self.counts.as_dict(),
            "messages_per_second": self.per_second,
            "least_seconds": round(self.seconds, 3),
            "guard_seconds": round(self.guard_seconds, 3),
            "canaries": self.canaries,
            "kinds": kinds,
            "routes": self.routes(),
            "cheaper": self.cheaper,
            "batch_ingestion_advised": self.cheaper == "batch",
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
            "nothing was sent",
            *((*self.comparison(), *self.waits()) if self.records else ()),
        ]
        if self.quota == QUOTA_OF_PROFILE:
            notes.append("the dataset feeds Profile, which takes 1,500 records a second")
        if too_large := sum(share.too_large for share in self.kinds.values()):
            notes.append(
                f"over 1 MB: {counted(too_large, 'record')}, which become dead letters if streamed; a batch "
                "takes them"
            )
        headings = ("kind", "records", "bytes", "requests", "over 10 KB", "least seconds")
        return Sheet(f"Forecast for {self.destination}", headings, rows, [*notes, *self.notes])


def in_time(seconds: float) -> str:
    """Return a duration in words, to two digits."""
    for unit, size in (("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.{1 if seconds < 10 * size else 0}f} {unit}"
    return f"{seconds:,.1f} seconds" if seconds >= 1 else "less than a second"


def at_least(seconds: float) -> str:
    """Return a least duration in words."""
    return f"{'at least ' if seconds >= 1 else ''}{in_time(seconds)}"


def in_bytes(count: float) -> str:
    """Return a number of bytes in words, to two digits."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:,.{1 if count < 10 * size else 0}f} {unit}"
    return f"{count:,.0f} bytes"


_SCHEMA = xdm_schema("chatlio", "tenant", People())
