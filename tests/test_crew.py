"""Workers: their results in order, and none of them left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from chatlio_kit.crew import Crew
from chatlio_kit.errors import CaptureError

ROOM = "json"
"""The workers of these tests need nothing of ours."""


def _workers(of: int) -> list[psutil.Process]:
    """The workers of a process, once all of them are there."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = [
            each
            for each in psutil.Process(of).children(recursive=True)
            if "serve(" in " ".join(each.cmdline())
        ]
        if len(found) == 2:
            return found
        time.sleep(0.02)
    raise AssertionError("the workers did not start")


def _end(workers: list[psutil.Process]) -> bool:
    """Whether all of them end; one whose end nobody has asked for yet has ended too."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in workers):
            return True
        time.sleep(0.02)
    return False


def test_results_come_in_the_order_of_their_items() -> None:
    """However long each takes, results stand beside their items in the order in which these came."""
    items = [0.2, 0.0, 0.1, 0.0]
    with Crew(2, ROOM) as crew:
        assert [item for item, _ in crew.map(time.sleep, items)] == items
    with Crew(2, ROOM) as crew:
        assert list(crew.map(len, ["a" * size for size in range(50)])) == [
            ("a" * size, size) for size in range(50)
        ]


def test_workers_end_with_their_work() -> None:
    """After the work no process of a crew is left, not even one whose end nobody asked for."""
    with Crew(2, ROOM) as crew:
        list(crew.map(len, ["a"]))
        workers = _workers(os.getpid())
    assert not any(each.is_running() for each in workers)


def _busy(crew: Crew, seconds: float) -> tuple[Iterator[tuple[float, None]], list[psutil.Process]]:
    """Give results that take their time, and the workers that are busy with them."""
    results = crew.map(time.sleep, [0.0, *[seconds] * 9])
    next(results)
    return results, _workers(os.getpid())


def test_an_interrupt_ends_workers_at_once() -> None:
    """Nobody waits for work that was interrupted, however long it takes."""
    workers: list[psutil.Process] = []

    def interrupted() -> None:
        with Crew(2, ROOM) as crew:
            workers.extend(_busy(crew, 600)[1])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert _end(workers)


@pytest.mark.parametrize("which", [0, 1])
def test_a_worker_that_dies_is_told(which: int) -> None:
    """A worker that was killed, as happens when memory runs out, is told in a sentence."""
    workers: list[psutil.Process] = []

    def killed() -> None:
        with Crew(2, ROOM) as crew:
            results, found = _busy(crew, 0.5)
            workers.extend(found)
            found[which].kill()
            list(results)

    with pytest.raises(CaptureError, match="ended before it was done"):
        killed()
    assert _end(workers)


def test_workers_end_when_their_program_is_killed(tmp_path: Path) -> None:
    """A program that is killed leaves no worker behind."""
    script = tmp_path / "program.py"
    script.write_text(
        "import time\nfrom chatlio_kit.crew import Crew\n"
        f"with Crew(2, {ROOM!r}) as crew:\n    list(crew.map(len, ['a']))\n    time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, str(script)]) as program:
        workers = _workers(program.pid)
        program.kill()
    assert _end(workers)
