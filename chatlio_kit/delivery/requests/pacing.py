"""Limit the rate of sending to the platform's published limits, and slow down when it throttles.

Streaming ingestion allows 1,000 requests and 10,000 messages a second; a dataset that feeds Profile, 1,500
messages a second. After an answer 429 or 503 the pace is cut, then rises steadily to its full rate.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

MESSAGES_PER_SECOND = 9_000
MESSAGES_PER_SECOND_TO_PROFILE = 1_400
REQUESTS_PER_SECOND = 1_000

BURST = 0.01
"""Seconds of pace that a pause may accumulate: few enough that no second exceeds the published limit.

Waiting workers draw tokens in advance, so a small burst costs no throughput.
"""
_REQUEST_SHARE = 0.05
"""Seconds of pace that one request may hold.

A request arrives as a whole, and may arrive late: one second may then receive the pace, one request more, and
the late ones. A twentieth keeps the sum below the published limit.
"""
CUT = 0.6
"""The factor by which throttling reduces the pace."""
LOWEST = 0.02
RECOVERY = 0.05
"""The share of the full pace that is regained each second."""
_BETWEEN_CUTS = 1.0
"""Throttling answers within a second count once."""


def largest_request(messages_per_second: float) -> int:
    """Return the maximum number of messages in a request at a pace."""
    return max(1, int(messages_per_second * _REQUEST_SHARE))


@dataclass
class _Bucket:
    """A token bucket; a taker may overdraw it, and then waits until the debt is refilled."""

    rate: float
    tokens: float
    filled_at: float

    def take(self, count: float, now: float, share: float) -> float:
        rate = self.rate * share
        self.tokens = min(rate * BURST, self.tokens + (now - self.filled_at) * rate) - count
        self.filled_at = now
        return max(0.0, -self.tokens / rate)


class Pace:
    """A rate limiter that all workers share.

    Args:
        messages: Messages a second.
        requests: Requests a second.
        clock: Returns the time in seconds.
    """

    def __init__(
        self,
        messages: float = MESSAGES_PER_SECOND,
        requests: float = REQUESTS_PER_SECOND,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        now = clock()
        self._clock = clock
        self._messages = _Bucket(messages, 0.0, now)
        self._requests = _Bucket(requests, 0.0, now)
        self._share, self._shared_at, self._cut_at = 1.0, now, now - _BETWEEN_CUTS
        self._held_until = now
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    @property
    def share(self) -> float:
        """The current share of the full pace."""
        return min(1.0, self._share + (self._clock() - self._shared_at) * RECOVERY)

    def wait_for(self, messages: int) -> bool:
        """Wait until a request with this many messages may be sent; return False if sending was stopped."""
        with self._lock:
            now, share = self._clock(), self.share
            pause = max(
                self._messages.take(messages, now, share),
                self._requests.take(1, now, share),
                self._held_until - now,
            )
        self.pause(pause)
        return not self.is_stopped

    def slow_down(self, hold: float = 0.0) -> None:
        """Cut the pace because the platform throttles, and send nothing for ``hold`` seconds."""
        with self._lock:
            now = self._clock()
            self._held_until = max(self._held_until, now + hold)
            if now - self._cut_at >= _BETWEEN_CUTS:
                self._share = max(LOWEST, self.share * CUT)
                self._shared_at = self._cut_at = now

    def pause(self, seconds: float) -> None:
        """Wait, unless sending was stopped."""
        self._stopped.wait(seconds)

    def stop(self) -> None:
        """End all waits immediately."""
        self._stopped.set()

    @property
    def is_stopped(self) -> bool:
        """True if sending was stopped."""
        return self._stopped.is_set()
