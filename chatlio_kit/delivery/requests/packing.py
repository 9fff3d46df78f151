"""Pack wire records into request bodies up to the platform's limit.

One request is for one dataflow and holds at most 1,000,000 bytes (streaming ingestion: multiple messages; the
size of 1 MB is not documented, so the smaller reading applies).
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
_ENVELOPE_BYTES = len(_HEAD) + len(_TAIL)


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
        """Split in two, for an answer that rejects the whole request."""
        middle = len(self.records) // 2
        return RequestBody(self.records[:middle]), RequestBody(self.records[middle:])

    def singles(self) -> list[RequestBody]:
        """Split into bodies of one record."""
        return [RequestBody(self.records[index : index + 1]) for index in range(len(self.records))]

    def only(self, indexes: Sequence[int]) -> RequestBody:
        """Return a body with the records at these indexes."""
        return RequestBody(self.records.take(indexes))


def fitting(records: WireRecords, limit: int = LIMIT) -> NDArray[np.bool_]:
    """Return for each record whether a request can hold it."""
    return records.sizes + _ENVELOPE_BYTES <= limit


def fits(record: WireRecord, limit: int = LIMIT) -> bool:
    """Return whether a request can hold a record."""
    return len(record.body) + _ENVELOPE_BYTES <= limit


def pack(records: Iterable[WireRecord], limit: int = LIMIT, most: int | None = None) -> Iterator[RequestBody]:
    """Yield request bodies in the records' order. Each record has to fit by itself.

    Args:
        records: The records to send.
        limit: Maximum number of bytes in a request.
        most: Maximum number of records in a request.
    """
    buffered = records if isinstance(records, WireRecords) else WireRecords.of(records)
    start = 0
    while start < len(buffered):
        # each record but the last is followed by a comma
        end = buffered.ends[start] + limit - _ENVELOPE_BYTES + 1
        stop = max(start + 1, int(np.searchsorted(buffered.ends, end, side="right")) - 1)
        stop = stop if most is None else min(stop, start + most)
        yield RequestBody(buffered[start:stop])
        start = stop
