"""Wire records to request bodies: as full as the platform takes them, never fuller.

One request goes to one dataflow and holds at most 1,000,000 bytes (streaming ingestion: multiple messages;
whether 1 MB means more is not documented, so the smaller reading is kept).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chatlio_kit.delivery.requests.wire import WireRecord, WireRecords

LIMIT = 1_000_000
ADVISED_RECORD = 10_000
"""Profile drops events beyond this size; the lake keeps them."""

_HEAD, _TAIL = b'{"messages":[', b"]}"
_AROUND = len(_HEAD) + len(_TAIL)


@dataclass(frozen=True, slots=True)
class RequestBody:
    """The records of one request."""

    records: WireRecords

    def __len__(self) -> int:
        return len(self.records)

    @property
    def body(self) -> bytes:
        """The request body of the batch endpoint."""
        return b"".join((_HEAD, self.records.joined, _TAIL))

    def halves(self) -> tuple[RequestBody, RequestBody]:
        """Split in two, for an answer that blames the whole."""
        middle = len(self.records) // 2
        return RequestBody(self.records[:middle]), RequestBody(self.records[middle:])

    def singles(self) -> list[RequestBody]:
        """Split into packets of one record."""
        return [RequestBody(self.records[place : place + 1]) for place in range(len(self.records))]

    def only(self, places: Sequence[int]) -> RequestBody:
        """Keep the records at some places."""
        return RequestBody(self.records.take(places))


def fitting(records: WireRecords, limit: int = LIMIT) -> NDArray[np.bool_]:
    """Say of each record whether it can be sent at all."""
    return records.sizes + _AROUND <= limit


def fits(record: WireRecord, limit: int = LIMIT) -> bool:
    """Whether a record can be sent at all."""
    return len(record.body) + _AROUND <= limit


def pack(records: Iterable[WireRecord], limit: int = LIMIT, most: int | None = None) -> Iterator[RequestBody]:
    """Fill packets in order; each record has to fit by itself.

    Args:
        records: what is sent.
        limit: how many bytes a request may have.
        most: how many records it may hold.
    """
    laid = records if isinstance(records, WireRecords) else WireRecords.of(records)
    start = 0
    while start < len(laid):
        # each record but the last is followed by a comma
        end = laid.ends[start] + limit - _AROUND + 1
        stop = max(start + 1, int(np.searchsorted(laid.ends, end, side="right")) - 1)
        stop = stop if most is None else min(stop, start + most)
        yield RequestBody(laid[start:stop])
        start = stop
