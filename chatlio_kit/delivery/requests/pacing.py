"""The pace of sending: under the platform's published limits, and slower when it has enough.

Streaming ingestion names 1,000 requests and 10,000 messages a second; one that feeds Profile 1,500
a second. After an answer 429 or 503 the pace is cut, and then rises again steadily to where it was.
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
"""Seconds of pace that a pause may save up: so little that no second passes the published limit.

Workers that wait run ahead into debt, so nothing is lost by it while there is something to send.
"""
_IN_ONE_REQUEST = 0.05
"""Seconds of pace that one request may hold.

A request arrives as a whole, and may arrive late: a second then holds the pace, one request more, and what
was late. A twentieth leaves room for all of it below the published limit.
"""
CUT = 0.6
"""What is left of the pace after the platform said that it has enough."""
LOWEST = 0.02
RECOVERY = 0.05
"""What comes back a second, as a share of the whole pace."""
_BETWEEN_CUTS = 1.0
"""Answers within a second say the same thing once."""


def most_in_a_request(messages_per_second: float) -> int:
    """Give how many messages a request may hold at a pace."""
    return max(1, int(messages_per_second * _IN_ONE_REQUEST))


@dataclass
class _Bucket:
    """Tokens that come back at a steady rate; a taker may run into debt and then waits it off."""

    rate: float
    tokens: float
    filled_at: float

    def take(self, count: float, now: float, share: float) -> float:
        rate = self.rate * share
        self.tokens = min(rate * BURST, self.tokens + (now - self.filled_at) * rate) - count
        self.filled_at = now
        return max(0.0, -self.tokens / rate)


class Pace:
    """A governor that all workers share.

    Args:
        messages: messages a second.
        requests: requests a second.
        clock: tells the time in seconds.
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
        """The share of the whole pace that is kept at the moment."""
        return min(1.0, self._share + (self._clock() - self._shared_at) * RECOVERY)

    def wait_for(self, messages: int) -> bool:
        """Wait until a request with so many messages may go out; say whether it may."""
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
        """Cut the pace since the platform has enough, and let nothing out for so many seconds."""
        with self._lock:
            now = self._clock()
            self._held_until = max(self._held_until, now + hold)
            if now - self._cut_at >= _BETWEEN_CUTS:
                self._share = max(LOWEST, self.share * CUT)
                self._shared_at = self._cut_at = now

    def pause(self, seconds: float) -> None:
        """Wait, unless sending was stopped."""
        if seconds > 0:
            self._stopped.wait(seconds)

    def stop(self) -> None:
        """End all waits at once."""
        self._stopped.set()

    @property
    def is_stopped(self) -> bool:
        """Whether sending was stopped."""
        return self._stopped.is_set()
