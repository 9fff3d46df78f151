"""The guard: a dataflow that was just made or changed may drop what is sent to it, so sending waits.

About five minutes (HTTP API source; it holds after updates too). The local platform needs none of it.
"""

from __future__ import annotations

import time

from chatlio_kit.connection import Dataflow
from chatlio_kit.display import Progress

GUARD_SECONDS = 300.0
LOCAL_GUARD_SECONDS = 0.5


def guard_left(flow: Dataflow, *, is_local: bool) -> float:
    """Give the seconds that sending to a dataflow still has to wait."""
    guard = LOCAL_GUARD_SECONDS if is_local else GUARD_SECONDS
    return max(0.0, flow.changed_at / 1000 + guard - time.time())


def keep_guard(flow: Dataflow, *, is_local: bool, quiet: bool = False) -> None:
    """Wait until a dataflow may be trusted with data, showing the countdown."""
    left = guard_left(flow, is_local=is_local)
    if left <= 0:
        return
    with Progress(
        f"waiting for the new {flow.kind} dataflow", round(left), "s", quiet=quiet or left < 1
    ) as bar:
        while left > 0:
            step = min(1.0, left)
            time.sleep(step)
            bar.advance(1 if step == 1.0 else 0)
            left -= step
