"""The canary: on Experience Platform the first records of a dataflow are read back before volume follows.

That raw records may travel in batches is proven for the HTTP API source and only likely for Chatlio's. What
the edge acknowledges may still be lost behind it, so a few records show the way, once for each dataflow.
"""

from __future__ import annotations

import time

from chatlio_kit.connection import Connection, Dataflow
from chatlio_kit.delivery.ledger.destination import DestinationLedger
from chatlio_kit.delivery.readback import Reader
from chatlio_kit.delivery.requests.wire import WireRecord
from chatlio_kit.display import Progress

CANARY_RECORDS = 20
CANARY_PATIENCE = 5400.0
"""Seconds: streamed records are visible in the lake within an hour (streaming ingestion overview)."""
_LOOK_EVERY = 30.0


def wait_for_canary(
    connection: Connection,
    book: DestinationLedger,
    flow: Dataflow,
    records: list[WireRecord],
    *,
    quiet: bool,
) -> bool:
    """Wait until these records were read back; say whether volume may follow.

    It may not when the platform failed all of them, or when none was seen in an hour and a half.
    """
    ids = [record.event_id for record in records]
    waited, seen = 0.0, 0
    reader = Reader(connection, book)
    started = time.monotonic()
    with Progress(f"canary of {flow.kind}: reading back", len(ids), "records", quiet=quiet) as progress:
        while True:
            reader.read_new()
            landed = book.landed_among(ids)
            progress.advance(landed - seen)
            progress.say(waited=f"{time.monotonic() - started:.0f}s")
            seen = landed
            open_ones = book.open_among(ids)
            if landed and not open_ones:
                book.pass_canary(flow.flow_id)
                return True
            if not open_ones or waited >= CANARY_PATIENCE:
                return False
            connection.platform.sleep(_LOOK_EVERY)
            waited += _LOOK_EVERY
