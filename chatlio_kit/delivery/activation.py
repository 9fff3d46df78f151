"""The guard: a dataflow that was just made or changed may drop what is sent to it, so sending waits.

How long is the connection's to say; the local platform needs a moment only.
"""

from __future__ import annotations

import time
from datetime import timedelta

from chatlio_kit.connection import Connection, Dataflow
from chatlio_kit.connection.connection import GUARD_AFTER_SCHEMA_CHANGE as LONGEST_GUARD
from chatlio_kit.display import Progress

LOCAL_GUARD_SECONDS = 0.5


def guard_left(connection: Connection, flow: Dataflow) -> float:
    """Return the seconds that sending to a dataflow still has to wait, by the platform's clock."""
    now = connection.platform.now()
    if connection.platform.settings.is_local:
        guard = timedelta(seconds=LOCAL_GUARD_SECONDS)
        left = flow.changed + guard - now
    else:
        guard = LONGEST_GUARD
        left = connection.guard_until(flow) - now
    # a change lies in the past, whatever the clocks say
    return min(max(left, timedelta(0)), guard).total_seconds()


def keep_guard(connection: Connection, flow: Dataflow, *, quiet: bool = False) -> None:
    """Wait until a dataflow may be trusted with data, showing the countdown."""
    left = guard_left(connection, flow)
    if left <= 0:
        return
    what = f"waiting for the new {flow.kind} dataflow"
    with Progress(what, round(left), "s", quiet=quiet or left < 1) as progress:
        while left > 0:
            step = min(1.0, left)
            time.sleep(step)
            progress.advance(int(step))
            left -= step
