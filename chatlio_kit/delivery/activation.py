"""Wait until a dataflow is active and its first records have been read back.

A new or changed dataflow may drop records, so sending waits as long as the connection requires. On Experience
Platform a canary follows, once for each dataflow: Adobe documents batches of raw records only for the HTTP
API source, not for Chatlio's. An acknowledged record may still be lost, so a few are read back first.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from datetime import timedelta

from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.connection import Connection, Dataflow
from chatlio_kit.connection.connection import (
    GUARD_AFTER_FLOW_CHANGE,
    GUARD_AFTER_PROFILE,
    GUARD_AFTER_SCHEMA_CHANGE,
)
from chatlio_kit.delivery.ledger.destination import DestinationLedger
from chatlio_kit.delivery.readback import DatasetReader
from chatlio_kit.display import Progress

LOCAL_GUARD_SECONDS = 0.5
CANARY_PATIENCE = 5400.0
"""Seconds: streamed records are visible in the lake within an hour (streaming ingestion overview)."""
_LONGEST_PAUSE = 30.0


def seconds_until_active(connection: Connection, flow: Dataflow) -> float:
    """Return the seconds that sending to a dataflow still has to wait, by the platform's clock."""
    now = connection.platform.now()
    if connection.platform.settings.is_local:
        longest = timedelta(seconds=LOCAL_GUARD_SECONDS)
        remaining = flow.changed + longest - now
    else:
        longest = GUARD_AFTER_PROFILE if connection.people.profile else GUARD_AFTER_SCHEMA_CHANGE
        remaining = connection.guard_until(flow) - now
    # a change is in the past, even if the clocks differ
    return min(max(remaining, timedelta(0)), longest).total_seconds()


def forecast_guard(connection: Connection | None, kinds: Iterable[Kind]) -> float:
    """Return the seconds that sending these kinds will wait, if missing dataflows were created now."""
    if connection is None:
        return GUARD_AFTER_FLOW_CHANGE.total_seconds()
    now = connection.platform.now()
    return max(
        (
            seconds_until_active(connection, connection.history[kind])
            if kind in connection.history
            else (connection.guard_after(now) - now).total_seconds()
            for kind in kinds
        ),
        default=0.0,
    )


def wait_until_active(connection: Connection, flow: Dataflow, *, quiet: bool = False) -> None:
    """Wait until a dataflow accepts data reliably, and show the countdown."""
    remaining = seconds_until_active(connection, flow)
    if remaining <= 0:
        return
    label = f"waiting for the new {flow.kind} dataflow"
    with Progress(label, round(remaining), "s", quiet=quiet or remaining < 1) as progress:
        while remaining > 0:
            step = min(1.0, remaining)
            time.sleep(step)
            progress.advance(int(step))
            remaining -= step


def canary_pauses() -> Iterator[float]:
    """Yield the seconds between two looks for the first records: more and more, up to half a minute."""
    pause = 1.0
    while True:
        yield pause
        pause = min(2 * pause, _LONGEST_PAUSE)


def wait_for_canary(
    connection: Connection, ledger: DestinationLedger, flow: Dataflow, event_ids: list[str], *, quiet: bool
) -> bool:
    """Wait until a dataflow's first records were read back, and return whether the rest may follow.

    They may not if the platform failed all first records, or if none was visible within an hour and a half.
    """
    waited, landed, pauses = 0.0, 0, canary_pauses()
    reader = DatasetReader(connection, ledger)
    started = time.monotonic()
    label = f"canary of {flow.kind}: reading back"
    with Progress(label, len(event_ids), "records", quiet=quiet) as progress:
        while True:
            reader.read_new()
            landed_before, landed = landed, ledger.count_landed(event_ids)
            progress.advance(landed - landed_before)
            progress.say(waited=f"{time.monotonic() - started:.0f}s")
            is_settled = not ledger.count_under_way(event_ids)
            if landed and is_settled:
                return True
            if is_settled or waited >= CANARY_PATIENCE:
                return False
            pause = next(pauses)
            connection.platform.sleep(pause)
            waited += pause
