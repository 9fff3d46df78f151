"""The pace of sending: under the platform's published limits, whatever it could take.

Streaming ingestion names 1,000 requests and 10,000 messages a second.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

MESSAGES_PER_SECOND = 9_000
MESSAGES_PER_SECOND_TO_PROFILE = 1_400
REQUESTS_PER_SECOND = 1_000


@dataclass
class _Bucket:
    """Tokens that come back at a steady rate; a taker may run into debt and then waits it off."""

    rate: float
    tokens: float
    filled_at: float

    def take(self, count: float, now: float) -> float:
        self.tokens = min(self.rate, self.tokens + (now - self.filled_at) * self.rate) - count
        self.filled_at = now
        return max(0.0, -self.tokens / self.rate)


class Pace:
    """A governor that all workers share.

    Args:
        messages: messages a second.
        requests: requests a second.
    """

    def __init__(self, messages: float = MESSAGES_PER_SECOND, requests: float = REQUESTS_PER_SECOND) -> None:
        now = time.monotonic()
        self._messages = _Bucket(messages, 0.0, now)
        self._requests = _Bucket(requests, 0.0, now)
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def wait_for(self, messages: int) -> None:
        """Wait until a request with so many messages may go out."""
        with self._lock:
            now = time.monotonic()
            pause = max(self._messages.take(messages, now), self._requests.take(1, now))
        self.pause(pause)

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
