"""CPU time, elapsed time and peak memory of a command and all its child processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import count
from threading import Event, Thread
from typing import NamedTuple

import psutil

_REST = 3.0
"""Seconds before each run, for the system to release and flush what the last one used."""
_LOOKS_PER_LIST = 5
"""Readings of memory per listing of the tree, which is slower: it reads all processes."""


class Cost(NamedTuple):
    """Cost of one run.

    Attributes:
        cpu: User and system seconds of all processes; 0 on Windows, which keeps no sum.
        seconds: Elapsed seconds.
        peak: Peak resident memory in MB, summed over the processes; shared pages count repeatedly.
        error: Last line of the error output; empty if the command succeeded.
    """

    cpu: float
    seconds: float
    peak: float
    error: str


def measure(command: Sequence[str], rest: float = _REST) -> Cost:
    """Run a command after a rest, and measure it."""
    os.sync()
    time.sleep(rest)
    before, begun = os.times(), time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    root, peak, ended = psutil.Process(process.pid), 0, Event()

    def look() -> None:
        nonlocal peak
        tree: list[psutil.Process] = []
        for turn in count():
            if ended.wait(0.1):
                return
            if turn % _LOOKS_PER_LIST == 0:
                tree = _tree(root)
            peak = max(peak, sum(map(_resident, tree)))

    looking = Thread(target=look)
    looking.start()
    _, errors = process.communicate()
    seconds, after = time.perf_counter() - begun, os.times()
    ended.set()
    looking.join()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    error = (errors.strip() or "no error output").splitlines()[-1][:80] if process.returncode else ""
    print(f"  {cpu:.1f} s", end="", file=sys.stderr, flush=True)
    return Cost(cpu, seconds, peak / 1e6, error)


def _tree(root: psutil.Process) -> list[psutil.Process]:
    try:
        return [root, *root.children(recursive=True)]
    except psutil.Error:  # it has just ended
        return []


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:  # it has just ended
        return 0
