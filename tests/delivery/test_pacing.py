"""The pace, with a clock that the test controls."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatlio_kit.delivery.requests.pacing import CUT, RECOVERY, Pace, largest_request


class Clock:
    """A clock that advances only by waiting."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


class PacedByHand(Pace):
    """A pace whose waits advance the clock instead of waiting."""

    def __init__(self, messages: float, requests: float, clock: Clock) -> None:
        super().__init__(messages, requests, clock)
        self.hand = clock

    def pause(self, seconds: float) -> None:
        """Advance the clock."""
        self.hand.now += max(0.0, seconds)


def _sent(pace: PacedByHand, sizes: list[int], idle: list[float]) -> list[tuple[float, int]]:
    sent = []
    for size, pause in zip(sizes, idle, strict=True):
        pace.hand.now += pause
        pace.wait_for(size)
        sent.append((pace.hand.now, size))
    return sent


@given(
    pace=st.sampled_from([(9_000, 10_000), (1_400, 1_500)]),
    shares=st.lists(st.floats(0, 1), min_size=60, max_size=60),
    idle=st.lists(st.floats(0, 0.3), min_size=60, max_size=60),
)
def test_no_second_passes_the_published_limit(
    pace: tuple[int, int], shares: list[float], idle: list[float]
) -> None:
    """At both default paces, no second exceeds the platform's limit, with any pauses."""
    messages, limit = pace
    sizes = [max(1, round(share * largest_request(messages))) for share in shares]
    sent = _sent(PacedByHand(messages, 1000, Clock()), sizes, idle)
    for start, _ in sent:
        assert sum(size for moment, size in sent if start <= moment < start + 1) <= limit


@pytest.mark.parametrize(("messages", "limit"), [(9_000, 10_000), (1_400, 1_500)])
def test_a_full_request_may_arrive_late(messages: int, limit: int) -> None:
    """Full requests go out after a pause, one is late by some milliseconds: no second is too full."""
    size = largest_request(messages)
    sent = _sent(PacedByHand(messages, 1000, Clock()), [size] * 60, [1.0] + [0.0] * 59)
    for late in range(len(sent)):
        arrived = [(moment + 0.008 * (at == late), each) for at, (moment, each) in enumerate(sent)]
        for start, _ in arrived:
            assert sum(each for moment, each in arrived if start <= moment < start + 1) <= limit


def test_requests_are_paced_too() -> None:
    """Many small requests go out at the pace of requests, not of messages."""
    clock = Clock()
    _sent(PacedByHand(9000, 100, clock), [1] * 500, [0.0] * 500)
    assert 4.9 <= clock.now <= 5.1


def test_a_steady_sender_keeps_the_configured_pace() -> None:
    """A minute of full requests holds 9,000 messages a second, and not one more."""
    clock = Clock()
    sent = _sent(PacedByHand(9000, 1000, clock), [900] * 600, [0.0] * 600)
    assert abs(sum(size for _, size in sent) / clock.now - 9000) < 9000 * 0.02


def test_throttling_cuts_the_pace_which_then_recovers() -> None:
    """After throttling, the pace is cut and nothing is sent for the requested time; then it rises again."""
    clock = Clock()
    pace = PacedByHand(1000, 1000, clock)
    clock.now = 100.0
    pace.slow_down(hold=3.0)
    assert pace.share == CUT
    pace.wait_for(1)
    assert clock.now >= 103.0
    assert pace.share == pytest.approx(CUT + (clock.now - 100) * RECOVERY)
    clock.now += 1 / RECOVERY
    assert pace.share == 1.0


def test_a_cut_pace_sends_less() -> None:
    """In the second after throttling, messages go out at the cut pace."""
    clock = Clock()
    pace = PacedByHand(1000, 1000, clock)
    pace.slow_down()
    sent = _sent(pace, [10] * 100, [0.0] * 100)
    assert 1000 * CUT <= sum(size for moment, size in sent if moment <= 1) <= 1000 * (CUT + RECOVERY)


def test_a_request_holds_one_message_at_least() -> None:
    """A slow pace sends single records."""
    assert largest_request(1) == 1


def test_refusals_of_one_moment_count_once() -> None:
    """Four workers that are refused at the same time cut the pace once."""
    one, four = PacedByHand(1000, 1000, Clock()), PacedByHand(1000, 1000, Clock())
    one.slow_down()
    for _ in range(4):
        four.slow_down()
    assert one.share == four.share


def test_a_request_waits_for_its_turn() -> None:
    """A pace on the real clock lets time pass before a request that it cannot take at once."""
    start = time.monotonic()
    assert Pace(1000, 1000).wait_for(200)
    assert time.monotonic() - start > 0.1


def test_a_stop_ends_the_waiting() -> None:
    """After a stop, nothing more is sent, with immediate effect."""
    pace = Pace(0.001, 0.001)
    pace.stop()
    assert pace.wait_for(1000) is False
