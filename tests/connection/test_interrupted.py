"""A connect that is interrupted anywhere is finished by the next one, and nothing exists twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from chatlio_kit.aep import Platform
from chatlio_kit.aep import http as wire
from chatlio_kit.connection import open_connection, plan_connection
from chatlio_kit.connection import provision as building
from chatlio_kit.local_platform import RunningPlatform, running

Census = dict[str, list[str]]
KINDS = ["transcript", "feedback"]
WEBHOOKS = [option for kind in KINDS for option in ("--webhook", kind)]
SHARED = {"field group": 1, "schema": 1, "dataset": 1}
OWN = ("mapping set", "source", "target", "dataflow")


class Killed(BaseException):
    """The process is gone; no handler of ours sees this."""


@pytest.fixture
def after(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Make something happen once the platform has acted on the N-th request, and count the requests."""
    send = wire.send_once
    monkeypatch.setattr(building, "_FIRST_POLL", 0.02)
    monkeypatch.setattr(wire, "FIRST_PAUSE", 0.0)

    @contextmanager
    def cut(number: int, happens: Callable[[], Any]) -> Iterator[list[str]]:
        asked: list[str] = []

        def counted(session: Any, method: str, url: str, **parts: Any) -> Any:
            reply = send(session, method, url, **parts)
            asked.append(f"{method} {url}")
            return happens() if len(asked) == number else reply

        with monkeypatch.context() as patch:
            patch.setattr(wire, "send_once", counted)
            yield asked

    return cut


@pytest.fixture
def fresh(tmp_path: Path) -> Callable[[object], Any]:
    """Start a platform that is empty, with a short delay until a dataflow is enabled."""
    return lambda name: running(tmp_path / f"store {name}", enabling_delay=0.01, processing_delay=0)


@pytest.fixture
def check_whole(settings_for: Any, count_objects: Callable[[Platform], Census]) -> Callable[..., None]:
    """Find exactly one of each object, an open connection, and nothing more to do."""

    def check(local: RunningPlatform, kinds: list[str], where: str) -> None:
        expected = SHARED | dict.fromkeys(OWN, len(kinds))
        with Platform(settings_for(local)) as platform:
            assert {thing: len(ids) for thing, ids in count_objects(platform).items()} == expected, where
            assert plan_connection(platform, webhooks=kinds).changes == 0, where
            assert list(open_connection(platform).live) == kinds, where

    return check


def test_a_connect_killed_after_any_change_is_finished_by_the_next(
    fresh: Any, after: Any, chatlio_kit: Any, check_whole: Any
) -> None:
    """After every request that changes something: the process ends, and the next run leaves one of each.

    A request that only reads leaves the platform as it was, and a connect keeps nothing on disk, so a kill
    after it is the kill after the change before it.
    """

    def die() -> None:
        raise Killed

    with fresh("whole") as local, after(0, die) as asked:
        assert chatlio_kit(local, "connect", *WEBHOOKS).exit_code == 0
    changes = [number for number, call in enumerate(asked, 1) if not call.startswith("GET")]
    assert len(changes) > 10
    for number in changes:
        with fresh(number) as local:
            with after(number, die) as asked, pytest.raises(Killed):
                chatlio_kit(local, "connect", *WEBHOOKS)
            assert chatlio_kit(local, "connect", *WEBHOOKS).exit_code == 0
            check_whole(local, KINDS, f"killed after request {number}: {asked[-1]}")


def test_a_connect_that_loses_any_answer_continues(
    fresh: Any, after: Any, settings_for: Any, check_whole: Any
) -> None:
    """For every request: the platform acted, its answer is lost; the same run still leaves one of each."""

    def lose() -> wire.Silence:
        return wire.Silence("the connection broke off", was_sent=True)

    number, was_lost = 0, True
    while was_lost:
        number += 1
        with fresh(number) as local:
            with after(number, lose) as asked, Platform(settings_for(local)) as platform:
                platform.sleep = lambda _seconds: None
                plan_connection(platform, webhooks=KINDS[:1]).apply()
            was_lost = len(asked) >= number
            check_whole(local, KINDS[:1], f"lost the answer to request {number}")
    assert number > 25


def test_a_connect_leaves_nothing_in_the_state_folder(fresh: Any, chatlio_kit: Any) -> None:
    """The platform's marks are all the memory there is: without a state folder nothing is lost."""
    with fresh("") as local:
        assert chatlio_kit(local, "connect", *WEBHOOKS).exit_code == 0
    assert not chatlio_kit.state.exists() or not list(chatlio_kit.state.iterdir())


def test_a_platform_that_answers_in_small_pages_hides_nothing(
    tmp_path: Path, settings_for: Any, check_whole: Any
) -> None:
    """If every list comes object by object, everything is still found, and nothing is duplicated."""
    kinds = ["transcript", "unanswered", "feedback"]
    with (
        running(tmp_path / "store", enabling_delay=0.01, largest_page=1) as local,
        Platform(settings_for(local)) as platform,
    ):
        plan_connection(platform, webhooks=kinds).apply()
        other = plan_connection(platform, name="zz", webhooks=[])
        assert {entry.action.value for entry in other.objects} == {"create"}
        plan_connection(platform, webhooks=kinds).apply()
        check_whole(local, kinds, "small pages")
