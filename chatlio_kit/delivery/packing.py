"""Wire records to request bodies: as full as the platform takes them, never fuller.

One request goes to one dataflow and holds at most 1,000,000 bytes (streaming ingestion: multiple messages;
whether 1 MB means more is not documented, so the smaller reading is kept).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from chatlio_kit.delivery.wire import WireRecord

LIMIT = 1_000_000
ADVISED_RECORD = 10_000
"""Profile drops events beyond this size; the lake keeps them."""

_HEAD, _TAIL = b'{"messages":[', b"]}"


@dataclass(frozen=True, slots=True)
class Packet:
    """The records of one request."""

    records: tuple[WireRecord, ...]

    @property
    def body(self) -> bytes:
        """The request body of the batch endpoint."""
        return _HEAD + b",".join(record.body for record in self.records) + _TAIL

    def halves(self) -> tuple[Packet, Packet]:
        """Split in two, for an answer that blames the whole."""
        middle = len(self.records) // 2
        return Packet(self.records[:middle]), Packet(self.records[middle:])

    def singles(self) -> list[Packet]:
        """Split into packets of one record."""
        return [Packet((record,)) for record in self.records]

    def only(self, places: Iterable[int]) -> Packet:
        """Keep the records at some places."""
        return Packet(tuple(self.records[place] for place in places))


def fits(record: WireRecord, limit: int = LIMIT) -> bool:
    """Whether a record can be sent at all."""
    return len(_HEAD) + len(record.body) + len(_TAIL) <= limit


def pack(records: Iterable[WireRecord], limit: int = LIMIT) -> Iterator[Packet]:
    """Fill packets in order; each record has to fit by itself."""
    held: list[WireRecord] = []
    size = len(_HEAD) + len(_TAIL)
    for record in records:
        grown = size + len(record.body) + (1 if held else 0)
        if held and grown > limit:
            yield Packet(tuple(held))
            held, grown = [], len(_HEAD) + len(_TAIL) + len(record.body)
        held.append(record)
        size = grown
    if held:
        yield Packet(tuple(held))
